"""Where a unit lies in the cache and in the video, and what it sees.

The cache holds the prefix and then a plan's tokens in their order. A video that
is longer than its plan rolls on: a later block takes the place of the oldest,
which is seen no more.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.plan.unit import Unit, UnitPlan

Index = jax.Array | int

_MOST_REACHES = 8


@dataclasses.dataclass(frozen=True)
class Place:
  """A unit's tokens within a video; its arrays may be traced.

  Attributes:
    position_l3: (t, h, w) of each, before the shift by the prefix's length.
    scale_l: the scale of each, int32.
    starts: whether it sees no other unit.
    offset: of its first token in the cache, behind the prefix.
    reaches: up to where in the cache, behind the prefix, units of this shape
      see; for each block while the plan fills, or for a few blocks together.
    reach: which of these is the unit's own.
    seen_m: which tokens of the cache it sees, behind the prefix, which all see.
      Its own are not there yet.
  """

  position_l3: jax.Array
  scale_l: np.ndarray
  starts: jax.Array
  offset: Index
  reaches: tuple[int, ...]
  reach: Index
  seen_m: jax.Array


@dataclasses.dataclass(frozen=True)
class Loop:
  """Neighbouring blocks of units of equal shapes.

  Attributes:
    first: the first block.
    count: how many.
  """

  first: int
  count: int


@functools.lru_cache(maxsize=64)
def loops(plan: UnitPlan) -> tuple[Loop, ...]:
  """A plan's blocks as few loops: one program serves each block of a loop."""
  found: list[Loop] = []
  kinds = [_kind(plan, block) for block in range(num_blocks(plan))]
  for block, kind in enumerate(kinds):
    if found and kinds[found[-1].first] == kind:
      found[-1] = dataclasses.replace(found[-1], count=found[-1].count + 1)
    else:
      found.append(Loop(block, 1))
  return tuple(found)


def num_blocks(plan: UnitPlan) -> int:
  """Blocks of a plan, each of `period` units."""
  return len(plan.units) // plan.period


def block_units(plan: UnitPlan, block: int) -> tuple[Unit, ...]:
  """The units of a block."""
  return plan.units[block * plan.period :][: plan.period]


def place(
  plan: UnitPlan,
  loop: Loop,
  block: Index,
  number: int,
  *,
  stop: int | None = None,
) -> Place:
  """Places a unit.

  Args:
    plan: of what the cache holds.
    loop: of blocks like this one, one of `loops`.
    block: of the video, from 0; may be traced. Past the plan's last block only
      if the plan rolls.
    number: of the unit in its block.
    stop: behind the last block that this one may be; None: any.

  Returns:
    Its place.
  """
  unit = block_units(plan, loop.first)[number]
  count = num_blocks(plan)
  slot = block % count
  offsets = np.asarray(plan.offsets[:-1]).reshape(count, -1)[:, number]
  last = loop.first + loop.count
  reaches = offsets[loop.first : min(last, stop or last)].tolist()
  together = _together(loop)
  reaches = [*reaches[together - 1 : -1 : together], reaches[-1]]
  if rolls(plan) and (stop is None or stop > count):
    reaches.append(plan.num_tokens)
  return Place(
    position_l3=jnp.asarray(plan.positions(unit)) + _shift(plan, loop, block),
    scale_l=np.full(unit.num_tokens, unit.scale, np.int32),
    starts=_starts(plan, block, number),
    offset=jnp.asarray(offsets)[slot],
    reaches=tuple(reaches),
    reach=_reach(plan, loop, block, len(reaches)),
    seen_m=_seen(plan, slot, block, number)[plan.unit_l],
  )


def reads_unwritten(plan: UnitPlan) -> bool:
  """Whether a unit's reach may hold tokens that are not written yet."""
  return any(_together(loop) > 1 for loop in loops(plan))


def _together(loop: Loop) -> int:
  """Blocks that share a reach, so that programs have few of them."""
  return -(-loop.count // _MOST_REACHES)


def _reach(plan: UnitPlan, loop: Loop, block: Index, number: int) -> Index:
  """Which of so many reaches a block has."""
  found = jnp.asarray(block - loop.first) // _together(loop)
  # Past the plan's end all is read.
  found = jnp.where(block < num_blocks(plan), found, number)
  return jnp.minimum(found, number - 1)


@functools.lru_cache(maxsize=64)
def rolls(plan: UnitPlan) -> bool:
  """Whether a video may be longer than the plan: blocks of whole frames."""
  frames = plan.units[0].frames
  if plan.graph is not None or frames[0] or len(loops(plan)) > 1:
    return False
  for number, unit in enumerate(plan.units):
    first = number // plan.period * len(frames)
    grid = plan.grids[unit.scale]
    if (
      unit.frames != tuple(range(first, first + len(frames)))
      or unit.shape[1:] != grid.shape[1:]
      or grid.places is not None
    ):
      return False
  return True


def _starts(plan: UnitPlan, block: Index, number: int) -> jax.Array:
  if plan.graph is not None:
    return jnp.asarray(plan.starts_u)[block * plan.period + number]
  return jnp.asarray((number == 0) & (jnp.asarray(block) == 0))


def _seen(plan: UnitPlan, slot: Index, block: Index, number: int) -> jax.Array:
  """Which units of the cache a unit sees, itself left out: (units,)."""
  unit = np.arange(len(plan.units))
  if plan.graph is not None:
    row = slot * plan.period + number
    return jnp.asarray(plan.sees_uu)[row] & (unit != row)
  of_slot = unit // plan.period
  own = unit % plan.period < number
  return jnp.where(of_slot == slot, own, of_slot < block)


def _shift(plan: UnitPlan, loop: Loop, block: Index) -> jax.Array:
  """How far a block lies from the first of its loop, along (t, h, w)."""
  if rolls(plan):
    step = np.asarray([len(plan.units[0].frames), 0, 0])
    return (jnp.asarray(block) - loop.first) * step
  origins = _origins(plan)
  return jnp.asarray(origins)[block] - origins[loop.first]


def _origins(plan: UnitPlan) -> np.ndarray:
  """(t, h, w) of the first token of each block."""
  firsts = plan.units[:: plan.period]
  return np.asarray([[axis[0] for axis in plan.axes(unit)] for unit in firsts])


def _kind(plan: UnitPlan, block: int) -> list:
  """What blocks of a loop have in common: scales, and places from the first."""
  units = block_units(plan, block)
  origin = [axis[0] for axis in plan.axes(units[0])]
  return [
    (
      unit.scale,
      [[x - zero for x in axis] for axis, zero in zip(plan.axes(unit), origin)],
    )
    for unit in units
  ]
