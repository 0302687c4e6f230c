"""Where a compiled program's arrays come from, and how often its loops run."""

import math
from collections.abc import Collection

from videoar_jax.benchmark.program import (
  Computation,
  Instruction,
  Program,
  arrays,
)

WEIGHTS, CACHE, ACTIVATIONS = 'weights', 'cache', 'activations'
# What an array is stays what it is.
_MOVES = {'bitcast', 'copy', 'reshape', 'transpose', 'convert', 'slice'}
_MOVES |= {'dynamic-slice', 'gather', 'copy-start', 'copy-done', 'slice-start'}
_MOVES |= {'slice-done', 'async-start', 'async-done', 'dynamic-update-slice'}


class Origins:
  """Looks through copies, tuples and loops of one program."""

  def __init__(
    self, program: Program, weights: str = '', cache: Collection[int] = ()
  ):
    """Sets what is what.

    Args:
      program: the program.
      weights: how the names of those of its parameters begin that are weights;
        '': none are.
      cache: how many numbers an array of the cache holds.
    """
    self._program, self._weights, self._cache = program, weights, cache
    self._kinds: dict[str, str] = {}
    self._loops = {
      loop.attribute(role): (computation, loop)
      for computation in program.computations.values()
      for loop in computation.instructions.values()
      if loop.opcode == 'while'
      for role in ('body', 'condition')
    }

  def kind(self, computation: Computation, one: Instruction) -> str:
    """Weights, cache or activations.

    Of a loop, what its arrays begin as; what is made of arrays of one kind
    alone is of that kind.
    """
    key = f'{computation.name} {one.name}'
    if key not in self._kinds:
      self._kinds[key] = self._find_kind(computation, one)
    return self._kinds[key]

  def _find_kind(self, computation: Computation, one: Instruction) -> str:
    cached = any(
      math.prod(x.shape) in self._cache for x in arrays(one.shape)[:1]
    )
    computation, one = self._source(computation, one)
    is_input = one.opcode == 'parameter'
    is_entry = computation.name == self._program.entry
    is_weight = self._weights and one.name.startswith(self._weights)
    if is_input and is_entry and is_weight:
      return WEIGHTS  # of which the name tells more than the size
    if cached:
      return CACHE
    if is_input:
      return ACTIVATIONS
    operands = computation.operands(one)
    if one.opcode in _MOVES:
      return self.kind(computation, operands[0])
    large = [x for x in operands if _largest(x) > 1]
    kinds = {self.kind(computation, x) for x in large}
    return kinds.pop() if len(kinds) == 1 else ACTIVATIONS

  def trips(self, computation: Computation, loop: Instruction) -> int | None:
    """How often a loop runs; None where the program does not tell.

    Told by the compiler, or counted up by one from a constant to a constant.
    """
    if loop.trip_count is not None:
      return loop.trip_count
    condition = self._program.computations[loop.attribute('condition')]
    compare, operands = self._inside(condition, condition.last)
    if compare.opcode != 'compare' or len(operands) != 2:
      return None
    direction = compare.attribute('direction')
    if direction == 'GT':
      operands.reverse()
    counter, limit = operands
    stop = self._constant(condition, limit)
    place = counter.attribute('index')
    if direction not in ('LT', 'GT') or stop is None or place is None:
      return None
    start = self._constant(*self._element(computation, loop, int(place)))
    if start is None or not self._counts_up(loop, int(place)):
      return None
    return max(0, stop - start)

  def _counts_up(self, loop: Instruction, place: int) -> bool:
    """Whether a loop adds one to an element of its tuple."""
    body = self._program.computations[loop.attribute('body')]
    if body.last.opcode != 'tuple':
      return False
    step, operands = self._inside(
      body, body.instructions[body.last.operands[place]]
    )
    return step.opcode == 'add' and 1 in (
      self._constant(body, x) for x in operands
    )

  def _inside(self, computation: Computation, one: Instruction):
    """An instruction, alone in a fusion or not, and what it reads outside."""
    operands = computation.operands(one)
    if one.opcode != 'fusion':
      return one, operands
    inner = self._program.computations[one.attribute('calls')]
    given = dict(zip((x.name for x in inner.parameters), operands))
    return inner.last, [
      given.get(name, inner.instructions[name]) for name in inner.last.operands
    ]

  def _source(self, computation: Computation, one: Instruction):
    """Where an element of tuples, and of loops, comes from."""
    if one.opcode != 'get-tuple-element':
      return computation, one
    given = computation.instructions[one.operands[0]]
    return self._source(
      *self._element(computation, given, int(one.attribute('index')))
    )

  def _element(self, computation: Computation, one: Instruction, place: int):
    """Where an element of what an instruction gives comes from."""
    computation, one = self._source(computation, one)
    if one.opcode == 'parameter' and computation.name in self._loops:
      computation, one = self._loops[computation.name]
    if one.opcode == 'while':
      first = computation.instructions[one.operands[0]]
      return self._element(computation, first, place)
    if one.opcode == 'tuple':
      one = computation.instructions[one.operands[place]]
      return self._source(computation, one)
    return computation, one

  def _constant(self, computation: Computation, one: Instruction) -> int | None:
    """A whole number that is known before the program runs."""
    computation, one = self._source(computation, one)
    if one.opcode == 'copy':
      return self._constant(computation, computation.operands(one)[0])
    if one.opcode != 'constant' or not one.argument.lstrip('-').isdigit():
      return None
    return int(one.argument)


def _largest(one: Instruction) -> int:
  """How many numbers the largest of an instruction's arrays holds."""
  return max((math.prod(x.shape) for x in arrays(one.shape)), default=0)
