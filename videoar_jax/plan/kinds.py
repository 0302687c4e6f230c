"""The plans there are, by their names."""

from videoar_jax.plan.chunk import chunk_plan, frame_plan
from videoar_jax.plan.clip_pyramid import clip_pyramid_plan
from videoar_jax.plan.cube import cube_plan
from videoar_jax.plan.key_detail import key_detail_plan
from videoar_jax.plan.next_scale import (
  next_scale_from_last_plan,
  next_scale_plan,
)
from videoar_jax.plan.partition import Shape
from videoar_jax.plan.pyramid import Pyramid, Scales
from videoar_jax.plan.unit import UnitPlan

# Of (latent frames, scales).
PLANS = {
  'next_scale': next_scale_plan,
  'next_scale_from_last': next_scale_from_last_plan,
  'clip_pyramid': clip_pyramid_plan,
}
# Of (shape of the grid, the number or numbers after the colon).
PARTITIONS = {
  'frame': lambda shape: frame_plan(shape),
  'chunk': lambda shape, n: chunk_plan(shape, n),
  'key_detail': lambda shape, k: key_detail_plan(shape, k),
  'cube': lambda shape, a, b, c: cube_plan(shape, (a, b, c)),
}


def make_plan(name: str, num_frames: int, scales: Scales) -> Pyramid:
  """Builds a plan of scale pyramids by its name.

  Args:
    name: one of `PLANS`.
    num_frames: latent frames.
    scales: ((h, w), …) of one frame, coarse to fine.

  Raises:
    ValueError: no such plan, no frame, or sizes that do not grow.
  """
  if name not in PLANS:
    raise ValueError(f'plan={name!r}: use one of {", ".join(PLANS)}')
  return PLANS[name](num_frames, scales)


def make_partition(name: str, shape: Shape) -> UnitPlan:
  """Builds a plan that parts one grid by its name.

  Args:
    name: 'frame', 'chunk:3', 'key_detail:4' or 'cube:2x2x2'.
    shape: (t, h, w) of the grid.

  Raises:
    ValueError: no such plan, or one that does not fit the grid.
  """
  kind, _, text = name.partition(':')
  words = text.split('x') if text else []
  wanted = {'frame': 0, 'chunk': 1, 'key_detail': 1, 'cube': 3}
  known = kind in PARTITIONS and all(word.isdecimal() for word in words)
  if not known or len(words) != wanted[kind]:
    raise ValueError(
      f'plan={name!r}: use frame, chunk:3, key_detail:4 or cube:2x2x2'
    )
  return PARTITIONS[kind](shape, *map(int, words))
