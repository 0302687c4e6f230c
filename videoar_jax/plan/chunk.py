"""Units of neighbouring frames; of one frame, or of several."""

from videoar_jax.plan.partition import Shape, split, whole_frames
from videoar_jax.plan.unit import UnitPlan


def frame_plan(shape: Shape) -> UnitPlan:
  """Frame by frame (arXiv:2509.24081 §3.2).

  Args:
    shape: (t, h, w) of the grid.
  """
  frames = split(shape[0], shape[0])
  return whole_frames('frame', shape, frames)


def chunk_plan(shape: Shape, num_frames: int) -> UnitPlan:
  """Several frames at a time, as Self-Forcing's (arXiv:2506.08009) three.

  Args:
    shape: (t, h, w) of the grid.
    num_frames: of a chunk, at most; where they do not divide t, there are as
      few chunks as can be, the longer ones first.

  Raises:
    ValueError: num_frames below 1.
  """
  if num_frames < 1:
    raise ValueError(f'chunk={num_frames}: wanted at least one frame')
  groups = split(shape[0], -(-shape[0] // num_frames))
  return whole_frames(f'chunk:{num_frames}', shape, groups)
