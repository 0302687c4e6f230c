"""Key frames first, then the frames between them."""

from videoar_jax.plan.partition import Shape, whole_frames
from videoar_jax.plan.unit import UnitPlan


def key_detail_plan(shape: Shape, interval: int) -> UnitPlan:
  """Every interval-th frame from the first, then those one after, and so on.

  Of 21 frames and an interval of 4 the units have 6, 5, 5 and 5; the first
  holds the first and the last frame. Only frames of the last unit are predicted
  with both neighbours known. Source: arXiv:2509.24081 §3.2, which does not say
  the interval.

  Args:
    shape: (t, h, w) of the grid.
    interval: k, from 1 to t.

  Raises:
    ValueError: interval below 1, or above t.
  """
  num_frames = shape[0]
  if not 1 <= interval <= num_frames:
    raise ValueError(
      f'key_detail={interval}: wanted 1 to {num_frames}, the latent frames'
    )
  groups = [tuple(range(o, num_frames, interval)) for o in range(interval)]
  return whole_frames(f'key_detail:{interval}', shape, groups)
