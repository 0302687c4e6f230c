"""Boxes of frames, rows and columns."""

import itertools

from videoar_jax.plan.partition import Shape, split
from videoar_jax.plan.unit import Grid, Unit, UnitPlan


def cube_plan(shape: Shape, *parts: int) -> UnitPlan:
  """Boxes in the order of time, height, width (arXiv:2509.24081 §3.2).

  Of a grid of 21×30×52 in 2×2×2 parts, four boxes have 11×15×26 tokens and four
  10×15×26.

  Args:
    shape: (t, h, w) of the grid.
    *parts: into how many each axis is split, the larger parts first.

  Raises:
    ValueError: an axis has more parts than cells, or none.
  """
  name = 'cube:' + 'x'.join(map(str, parts))
  try:
    axes = [split(length, count) for length, count in zip(shape, parts)]
  except ValueError as error:
    raise ValueError(f'{name} of a grid {shape}: {error}') from None
  units = tuple(Unit(*box) for box in itertools.product(*axes))
  return UnitPlan(name, (Grid(shape),), units)
