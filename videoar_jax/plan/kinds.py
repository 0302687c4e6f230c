"""The plans there are, by their names."""

from videoar_jax.plan.clip_pyramid import clip_pyramid_plan
from videoar_jax.plan.next_scale import (
  next_scale_from_last_plan,
  next_scale_plan,
)
from videoar_jax.plan.unit import UnitPlan

PLANS = {
  'next_scale': next_scale_plan,
  'next_scale_from_last': next_scale_from_last_plan,
  'clip_pyramid': clip_pyramid_plan,
}


def check_plan(name: str) -> None:
  """Raises ValueError for a name that is not one of `PLANS`."""
  if name not in PLANS:
    raise ValueError(f'plan={name!r}: use one of {", ".join(PLANS)}')


def make_plan(
  name: str, num_frames: int, scales: tuple[tuple[int, int], ...]
) -> UnitPlan:
  """Builds a plan by its name.

  Args:
    name: one of `PLANS`.
    num_frames: latent frames.
    scales: ((h, w), …) of one frame, coarse to fine.

  Raises:
    ValueError: no such plan, no frame, or sizes that do not grow.
  """
  check_plan(name)
  return PLANS[name](num_frames, scales)
