"""A pyramid of the whole clip: each scale spans all frames."""

from videoar_jax.plan.pyramid import Pyramid, Scales, make_pyramid


def clip_pyramid_plan(num_frames: int, scales: Scales) -> Pyramid:
  """Scale by scale, all frames of a scale together.

  As many steps as scales, whatever the number of frames; a video cannot be
  continued, as no frame is complete before the others. Source: InfinityStar
  (arXiv:2511.04675), whose pyramids grow in space alone; the multiscale unit
  of arXiv:2509.24081.

  Args:
    num_frames: latent frames, at least 1.
    scales: ((h, w), …) of one frame, coarse to fine.

  Returns:
    The plan; len(scales) units in one block.

  Raises:
    ValueError: no frame, or sizes that do not grow.
  """
  return make_pyramid(
    'clip_pyramid', num_frames, scales, block_frames=num_frames
  )
