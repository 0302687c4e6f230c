"""What a compiled program sends between devices, and whether it waits for it.

A collective runs beside computations where the compiler made it part of their
fusions, or scheduled some between its start and its end.
"""

import collections
import dataclasses
import re

from videoar_jax.benchmark.origins import Origins
from videoar_jax.benchmark.program import (
  Computation,
  Instruction,
  Program,
  arrays,
)

GATHER, SCATTER, REDUCE = 'all-gather', 'reduce-scatter', 'all-reduce'
EXCHANGE, PERMUTE = 'all-to-all', 'collective-permute'
KINDS = (GATHER, SCATTER, REDUCE, EXCHANGE, PERMUTE)
# What compilers for TPU call computations that hold a collective besides.
_BESIDE = 'async_collective_fusion'
_SCATTER = 'all-reduce-scatter'
_START, _DONE = '-start', '-done'
_WORK = ('fusion', 'dot', 'convolution', 'while')
_KERNEL = 'tpu_custom_call'


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective of a program.

  Attributes:
    kind: one of `KINDS`.
    num_bytes: of the whole arrays: what is gathered, or added up; of an
      exchange or a permutation, what a device sends.
    parts: devices that take part together.
    times: how often it runs.
    hidden: whether computations run beside it, enough of them or not.
    slices: that the devices are of.
  """

  kind: str
  num_bytes: float
  parts: int
  times: float
  hidden: bool
  slices: int = 1

  @property
  def moved_bytes(self) -> float:
    """What each device receives, in all runs, at the least."""
    return self._received(self.parts, self.num_bytes)

  @property
  def within_bytes(self) -> float:
    """What of it comes from devices of its own slice."""
    if self.kind == PERMUTE:
      return 0.0 if self.slices > 1 else self.moved_bytes
    return self._received(self.parts // self.slices, self.num_bytes)

  @property
  def between_bytes(self) -> float:
    """What of it comes from other slices, a share for each device."""
    if self.kind == PERMUTE:
      return self.moved_bytes - self.within_bytes
    share = self.num_bytes / (self.parts // self.slices)
    if self.kind == EXCHANGE:
      share = self.num_bytes
    return self._received(self.slices, share)

  def _received(self, parts: int, num_bytes: float) -> float:
    if self.kind == PERMUTE:
      return self.times * num_bytes
    # What is added up is added up in parts, which are gathered then.
    ways = 2 if self.kind == REDUCE else 1
    return self.times * ways * (parts - 1) / parts * num_bytes


@dataclasses.dataclass(frozen=True)
class Collectives:
  """Those of a program.

  Attributes:
    found: in the order in which they are met.
    unknown_loops: loops around some of them whose number of trips the program
      does not tell; they count once.
  """

  found: tuple[Collective, ...]
  unknown_loops: tuple[str, ...]


def read_collectives(
  program: Program, *, devices: int, slices: int = 1
) -> Collectives:
  """The collectives of a program; of branches the mean is taken.

  Args:
    program: a compiled one.
    devices: it runs on; of collectives that name none, all take part.
    slices: of the devices, equally many each, one after another.

  Raises:
    ValueError: groups of devices that cannot be read.
  """
  reader = _Reader(program, devices, devices // slices)
  reader.walk(program.entry, 1.0, hidden=False)
  return Collectives(tuple(reader.found.values()), tuple(reader.unknown_loops))


class _Reader:
  """Goes through a program as it runs."""

  def __init__(self, program: Program, devices: int, per_slice: int):
    self.program, self.devices, self.per_slice = program, devices, per_slice
    self.origins = Origins(program)
    self.found: dict[tuple, Collective] = {}
    self.unknown_loops: dict[str, None] = {}

  def walk(self, name: str, times: float, *, hidden: bool) -> None:
    """Finds those of a computation that runs so many times."""
    computation = self.program.computations[name]
    hidden = hidden or name.startswith(_BESIDE)
    for one in computation.instructions.values():
      kind = one.opcode.removesuffix(_START)
      if kind in KINDS:
        self._add(kind, one, computation, times, hidden)
      elif one.opcode == 'while':
        self._walk_loop(computation, one, times, hidden)
      elif one.opcode == 'conditional':
        for branch in one.branches:
          self.walk(branch, times / len(one.branches), hidden=hidden)
      elif one.opcode.removesuffix(_START) == 'call':  # on another core, too
        beside = hidden or _is_beside(computation, one)
        self.walk(one.attribute('to_apply'), times, hidden=beside)
      elif called := one.attribute('calls'):
        self.walk(called, times, hidden=hidden or _is_beside(computation, one))

  def _walk_loop(
    self, computation: Computation, loop: Instruction, times: float, hidden
  ) -> None:
    trips, before = self.origins.trips(computation, loop), len(self.found)
    again = 1 if trips is None else trips
    self.walk(loop.attribute('body'), times * again, hidden=hidden)
    if trips is None and len(self.found) > before:
      self.unknown_loops[loop.name] = None

  def _add(
    self,
    kind: str,
    one: Instruction,
    computation: Computation,
    times: float,
    hidden: bool,
  ) -> None:
    # A fusion of its own, of an all-reduce and the slice that is kept.
    scatters = kind == REDUCE and computation.name.startswith(_SCATTER)
    groups = self._groups(one)
    operands = [
      array.num_bytes
      for operand in computation.operands(one)
      for array in arrays(operand.shape)
    ]
    grown = len(groups[0]) if kind == GATHER else 1
    # One that goes on over several fusions stands in each of them.
    key = kind, one.attribute('channel_id') or one.name, times
    before = self.found.get(key)
    self.found[key] = Collective(
      SCATTER if scatters else kind,
      sum(operands) * grown,
      len(groups[0]),
      times,
      hidden or _is_beside(computation, one) or bool(before and before.hidden),
      max(len({x // self.per_slice for x in group}) for group in groups),
    )

  def _groups(self, one: Instruction) -> list[list[int]]:
    """The devices that take part together."""
    return read_groups(one.rest, self.devices)


def _is_beside(computation: Computation, one: Instruction) -> bool:
  """Whether work lies between an instruction's start and its end."""
  if not one.opcode.endswith(_START):
    return False
  names = list(computation.instructions)
  ends = [
    names.index(user.name)
    for user in computation.users.get(one.name, ())
    if user.opcode.endswith(_DONE)
  ]
  between = names[names.index(one.name) + 1 : min(ends, default=0)]
  return any(_is_work(computation.instructions[x]) for x in between)


def _is_work(one: Instruction) -> bool:
  return one.opcode in _WORK or _KERNEL in one.rest


def read_groups(text: str, devices: int) -> list[list[int]]:
  """The groups of devices of a collective, from its attributes.

  They are written as lists, `{{0,1},{2,3}}`; as numbers in an order,
  `[2,2]<=[2,2]T(1,0)`; as axes of a mesh, `mesh['x'=2,'y'=2] {'y'}`; or, of a
  collective-permute, as pairs.

  Raises:
    ValueError: they are written otherwise.
  """
  if pairs := re.search(r'source_target_pairs=\{(\{.*?\})\}', text):
    found = re.findall(r'\{(\d+),(\d+)\}', pairs[1])
    return [[int(a), int(b)] for a, b in found]
  match = re.search(r'replica_groups=(.*?)(, (?=[a-z_]+=)|$)', text)
  if not match or match[1].startswith('{}'):
    return [list(range(devices))]
  written = match[1]
  if written.startswith('{{'):
    groups = re.findall(r'\{([\d,]+)\}', written)
    return [[int(x) for x in group.split(',')] for group in groups]
  if written.startswith('mesh'):
    return _of_mesh(text[match.start() :])
  shape = re.match(r'\[([\d,]+)\]<=(.*)', written)
  if not shape:
    raise ValueError(f'collective: cannot read the groups {written!r}')
  count, size = (int(x) for x in shape[1].split(','))
  order = _order(shape[2])
  return [order[i * size : (i + 1) * size] for i in range(count)]


def _of_mesh(text: str) -> list[list[int]]:
  axes = re.search(r"mesh\[((?:'\w+'=\d+,?)+)\]", text)
  own = re.search(r"\{((?:'\w+',?)+)\}", text)
  if not axes or not own:
    raise ValueError(f'collective: cannot read the groups {text[:120]!r}')
  sizes = {k: int(n) for k, n in re.findall(r"'(\w+)'=(\d+)", axes[1])}
  own = re.findall(r"'(\w+)'", own[1])
  placed = re.search(r'device_ids=\((.*?)\)(?= \{)', text)
  total = 1
  for size in sizes.values():
    total *= size
  order = _order(placed[1]) if placed else list(range(total))
  groups = collections.defaultdict(list)
  for place, device in enumerate(order):
    rest, where = place, {}
    for name, size in reversed(sizes.items()):
      rest, where[name] = divmod(rest, size)
    key = tuple(where[name] for name in sizes if name not in own)
    groups[key].append(device)
  return list(groups.values())


def _order(text: str) -> list[int]:
  """`[2,32]T(1,0)`: all numbers in a grid, read with its axes turned."""
  match = re.match(r'\[([\d,]+)\](?:T\(([\d,]+)\))?', text)
  shape = [int(x) for x in match[1].split(',')]
  turn = match[2] and [int(x) for x in match[2].split(',')]
  strides, step = [], 1
  for size in reversed(shape):
    strides.insert(0, step)
    step *= size
  axes = turn or range(len(shape))
  found = [0]
  for axis in axes:
    found = [x + i * strides[axis] for x in found for i in range(shape[axis])]
  return found
