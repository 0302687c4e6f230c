"""Next-scale-in-next-frame: all scales of a frame, then the next frame."""

from videoar_jax.plan.pyramid import Pyramid, Scales, make_pyramid


def next_scale_plan(num_frames: int, scales: Scales) -> Pyramid:
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
  return _frame_by_frame('next_scale', num_frames, scales)


def next_scale_from_last_plan(num_frames: int, scales: Scales) -> Pyramid:
  """The same order, where every scale also starts from the frame before.

  By Eq. 6 a frame's finest scale reaches later frames only through the start of
  their first scale, at its size: 1×1, a mean. What the frame before drew
  there, they cannot take up. Here they read it. Not in the paper
  (docs/paper.md, Inputs).

  Args and errors: those of `next_scale_plan`.
  """
  return _frame_by_frame(
    'next_scale_from_last', num_frames, scales, from_last=True
  )


def _frame_by_frame(name, num_frames, scales, **options) -> Pyramid:
  return make_pyramid(name, num_frames, scales, block_frames=1, **options)
