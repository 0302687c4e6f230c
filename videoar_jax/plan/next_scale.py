"""Next-scale-in-next-frame: all scales of a frame, then the next frame."""

import dataclasses

from videoar_jax.plan.unit import Unit, UnitPlan


def check_scales(scales: tuple[tuple[int, int], ...]) -> None:
  """Raises ValueError unless the sizes grow from coarse to fine."""
  if not scales:
    raise ValueError('scales=(): at least one (h, w) is needed')
  for size in scales:
    if len(size) != 2 or min(size) < 1:
      raise ValueError(
        f'scales holds {size}: sizes are (h, w), each at least 1'
      )
  for small, large in zip(scales[:-1], scales[1:]):
    if not (small[0] <= large[0] and small[1] <= large[1] and small != large):
      raise ValueError(
        f'scales has {small} before {large}: order them from coarse to fine'
      )


def check_frames(num_frames: int) -> None:
  """Raises ValueError unless there is a frame."""
  if num_frames < 1:
    raise ValueError(
      f'num_frames={num_frames}: a plan needs at least one frame'
    )


def next_scale_plan(
  num_frames: int, scales: tuple[tuple[int, int], ...]
) -> UnitPlan:
  """VideoAR's order: frame by frame, within a frame scale by scale.

  Source: VideoAR (arXiv:2601.05966) Eq. 5.

  Args:
    num_frames: latent frames, at least 1.
    scales: ((h, w), …) of one frame, coarse to fine.

  Returns:
    The plan; num_frames * len(scales) units.

  Raises:
    ValueError: no frame, or sizes that do not grow.
  """
  check_scales(scales)
  check_frames(num_frames)
  units = tuple(
    Unit(frame=t, scale=s, size=tuple(size))
    for t in range(num_frames)
    for s, size in enumerate(scales)
  )
  return UnitPlan(name='next_scale', units=units)


def next_scale_from_last_plan(
  num_frames: int, scales: tuple[tuple[int, int], ...]
) -> UnitPlan:
  """The same order, where every scale also starts from the frame before.

  By Eq. 6 a frame's finest scale reaches later frames only through the start of
  their first scale, at its size: 1×1, a mean. What the frame before drew
  there, they cannot take up. Here they read it. Not in the paper
  (docs/paper.md, Inputs).

  Args and errors: those of `next_scale_plan`.
  """
  plan = next_scale_plan(num_frames, scales)
  return dataclasses.replace(plan, name='next_scale_from_last', from_last=True)
