"""Plans that part one grid of latents into boxes or frames.

This file alone says how an axis that does not divide is split: training, cache
and rollout take it from the plan (arXiv:2509.24081 leaves it open).
"""

from collections.abc import Iterable

from videoar_jax.plan.unit import Grid, Unit, UnitPlan

Shape = tuple[int, int, int]
Indices = tuple[int, ...]


def split(length: int, parts: int) -> tuple[Indices, ...]:
  """Neighbouring indices in so many parts, larger ones first.

  Args:
    length: of the axis.
    parts: how many, from 1 to length.

  Raises:
    ValueError: more parts than indices, or none.
  """
  if not 1 <= parts <= length:
    raise ValueError(f'{parts} parts of {length}: wanted 1 to {length}')
  size, larger = divmod(length, parts)
  firsts = [i * size + min(i, larger) for i in range(parts + 1)]
  return tuple(
    tuple(range(first, stop)) for first, stop in zip(firsts, firsts[1:])
  )


def whole_frames(
  name: str, shape: Shape, groups: Iterable[Indices]
) -> UnitPlan:
  """A plan whose units are groups of whole frames.

  Args:
    name: of the plan.
    shape: (t, h, w) of the grid.
    groups: the frames of each unit.
  """
  _, h, w = shape
  units = tuple(
    Unit(group, tuple(range(h)), tuple(range(w))) for group in groups
  )
  return UnitPlan(name, (Grid(shape),), units)
