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
# Name -> (how many numbers follow it, the function of the grid and them).
PARTITIONS = {
  'frame': (0, frame_plan),
  'chunk': (1, chunk_plan),
  'key_detail': (1, key_detail_plan),
  'cube': (3, cube_plan),
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
  count, make = PARTITIONS.get(kind, (None, None))
  if len(words) != count or not all(word.isdecimal() for word in words):
    raise ValueError(
      f'plan={name!r}: use frame, chunk:3, key_detail:4 or cube:2x2x2'
    )
  return make(shape, *map(int, words))
