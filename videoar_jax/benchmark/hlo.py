"""Bytes that a compiled program moves to and from its device's main memory.

Each instruction reads its operands and writes its results once. Of an array
that is only sliced, the slices are read; of one that is updated in place, the
update is written. What lies in a faster memory, beside the cores, costs nothing
but the copies that bring it there. It is a least amount: an instruction that
reads an operand several times counts once.
"""

import collections
import dataclasses
import math
import re

from videoar_jax.benchmark.origins import (
  ACTIVATIONS,
  CACHE,
  WEIGHTS,
  Origins,
)
from videoar_jax.benchmark.program import (
  Array,
  Computation,
  Instruction,
  Program,
  arrays,
  parse,
)

_FREE = {'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast'}
_FREE |= {'after-all', 'add-dependency', 'opt-barrier', 'partition-id'}
_FREE |= {'replica-id', 'domain'}
_FREE_ENDS = ('-done', '-update')  # of what was counted where it started
_FREE_CALLS = {'AllocateBuffer', 'AssumeGatherIndicesInBound'}
_SLICES = ('slice', 'dynamic-slice', 'gather')
_SLICE_STARTS = ('slice-start', 'dynamic-slice-start')
_UPDATE = 'dynamic-update-slice'


@dataclasses.dataclass(frozen=True)
class Part:
  """What instructions of one origin move.

  Attributes:
    opcode: of the instructions.
    op_name: where in the traced function they come from.
    kind: of the arrays: weights, cache or activations.
    num_bytes: read and written.
  """

  opcode: str
  op_name: str
  kind: str
  num_bytes: float


@dataclasses.dataclass(frozen=True)
class Traffic:
  """What a program moves.

  Attributes:
    parts: the greatest first.
    unknown_loops: loops whose number of trips the program does not tell; they
      count once.
  """

  parts: tuple[Part, ...]
  unknown_loops: tuple[str, ...]

  @property
  def num_bytes(self) -> float:
    """All that is read and written."""
    return math.fsum(part.num_bytes for part in self.parts)

  @property
  def by_kind(self) -> dict[str, float]:
    """The same of each kind of array."""
    found = dict.fromkeys((WEIGHTS, CACHE, ACTIVATIONS), 0.0)
    for part in self.parts:
      found[part.kind] += part.num_bytes
    return found


def read_traffic(
  text: str,
  *,
  weights: str = '',
  cache: frozenset[int] = frozenset(),
  branch: int | None = None,
) -> Traffic:
  """Counts the bytes of a program.

  Args:
    text: `compiled.as_text()`.
    weights: how the names of those parameters of the program begin that are
      weights; '': none are.
    cache: how many numbers an array of the cache holds; one of that many is it.
    branch: the branch that conditionals take; None: the mean of all.

  Raises:
    ValueError: the text is not of a compiled program.
  """
  program = parse(text)
  reader = _Reader(program, Origins(program, weights, cache), branch)
  reader.walk(program.entry, 1.0)
  parts = [Part(*key, value) for key, value in reader.moved.items() if value]
  parts.sort(key=lambda part: -part.num_bytes)
  return Traffic(tuple(parts), tuple(reader.unknown_loops))


class _Reader:
  """Goes through a program as it runs, and adds up."""

  def __init__(self, program: Program, origins: Origins, branch: int | None):
    self.program, self.origins, self.branch = program, origins, branch
    self.moved = collections.Counter()
    self.unknown_loops: dict[str, None] = {}

  def walk(self, name: str, times: float) -> None:
    """Adds what a computation moves that runs so many times."""
    computation = self.program.computations[name]
    for one in computation.instructions.values():
      if one.opcode == 'while':
        count = self.origins.trips(computation, one)
        if count is None:
          self.unknown_loops[one.name] = None
        for role in ('condition', 'body'):
          again = 1 if count is None else count
          self.walk(one.attribute(role), times * again)
      elif one.opcode == 'conditional':
        branches = one.branches
        if self.branch is not None:
          branches = [branches[min(self.branch, len(branches) - 1)]]
        for branch in branches:
          self.walk(branch, times / len(branches))
      elif one.opcode == 'call':
        self.walk(one.attribute('to_apply'), times)
      elif not _is_free(one):
        self._add(computation, one, times)

  def _add(self, computation: Computation, one: Instruction, times: float):
    """Adds what an instruction reads and writes."""
    operands = computation.operands(one)
    reads, writes = self._amounts(one, operands)
    sizes = [*zip(operands, reads, strict=True), (one, writes)]
    for array, size in sizes:
      kind = self.origins.kind(computation, array)
      self.moved[one.opcode, one.op_name, kind] += times * size

  def _amounts(
    self, one: Instruction, operands: list[Instruction]
  ) -> tuple[list[int], int]:
    """Bytes read of each operand, and bytes written."""
    whole = [_hbm(operand) for operand in operands]
    results = arrays(one.shape)
    written = sum(x.hbm_bytes for x in results)
    if one.opcode == 'fusion':
      return self._of_fusion(one, operands)
    if one.opcode in _SLICES:
      part = results[0].num_bytes
      return [min(whole[0], part), *whole[1:]], written
    if one.opcode == _UPDATE:
      update = arrays(operands[1].shape)[0].num_bytes
      return [0, *whole[1:]], min(update, written)
    if one.opcode.endswith('-start') and isinstance(one.shape, tuple):
      # (what is read, what is written, …); a copy has them the other way round.
      given = one.shape[0 if one.opcode == 'copy-start' else 1]
      part = sum(x.num_bytes for x in arrays(given))
      if one.opcode in _SLICE_STARTS:
        whole[0] = min(whole[0], part)
      return whole, sum(x.hbm_bytes for x in arrays(given))
    return whole, written

  def _of_fusion(
    self, one: Instruction, operands: list[Instruction]
  ) -> tuple[list[int], int]:
    inner = self.program.computations[one.attribute('calls')]
    results = arrays(one.shape)
    last = inner.last
    last = last.operands if last.opcode == 'tuple' else [last.name]
    updates = [self._update(inner, name) for name in last]
    if len(updates) != len(results):  # one that gives several, of no update
      updates = [None] * len(results)
    places = {_place(array) for x in operands for array in arrays(x.shape)}
    written, in_place = 0, False
    for array, update in zip(results, updates):
      size = array.hbm_bytes
      if update is not None and _place(array) in places:
        size, in_place = min(update, size), True
      written += size
    reads = [
      min(self._read(inner, parameter.name, in_place), whole) if whole else 0
      for parameter, whole in zip(inner.parameters, map(_hbm, operands))
    ]
    return reads, written

  def _read(self, computation: Computation, name: str, in_place: bool) -> float:
    """Bytes that are read of an array inside a fusion; infinite: all of it."""
    total = 0
    if name == computation.root:
      return math.inf  # given as it came, it has to be written
    for user in computation.users.get(name, ()):
      first = user.operands[0] == name
      if user.opcode == 'bitcast':
        total += self._read(computation, user.name, in_place)
      elif user.opcode in _SLICES and first:
        total += arrays(user.shape)[0].num_bytes
      elif user.opcode == 'fusion':
        inner = self.program.computations[user.attribute('calls')]
        for parameter, operand in zip(inner.parameters, user.operands):
          if operand == name:
            total += self._read(inner, parameter.name, in_place)
      elif not (user.opcode == _UPDATE and first and in_place):
        return math.inf
    return total

  def _update(self, computation: Computation, name: str) -> int | None:
    """Bytes of the update that an array is the result of; None: of none."""
    one = computation.instructions[name]
    if one.opcode == 'bitcast':
      return self._update(computation, one.operands[0])
    if one.opcode == 'tuple':
      found = [self._update(computation, x) for x in one.operands]
      return next((x for x in found if x is not None), None)
    if one.opcode == 'fusion':
      inner = self.program.computations[one.attribute('calls')]
      return self._update(inner, inner.root)
    if one.opcode != _UPDATE:
      return None
    return arrays(computation.instructions[one.operands[1]].shape)[0].num_bytes


def _is_free(one: Instruction) -> bool:
  if one.opcode == 'custom-call':
    found = re.search(r'custom_call_target="([^"]*)"', one.rest)
    return bool(found) and found[1] in _FREE_CALLS
  return one.opcode in _FREE or one.opcode.endswith(_FREE_ENDS)


def _hbm(one: Instruction) -> int:
  """Bytes of the main memory that an instruction's arrays take."""
  return sum(array.hbm_bytes for array in arrays(one.shape))


def _place(array: Array) -> tuple:
  """What an array must share with another to lie where that lies."""
  return array.num_bytes, array.dtype, array.memory
