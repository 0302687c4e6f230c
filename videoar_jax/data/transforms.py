"""From a frame as filmed to a frame as trained on."""

from __future__ import annotations

import numpy as np
from PIL import Image


def fit_frame(frame_HWc: np.ndarray, height: int, width: int) -> np.ndarray:
  """Scales the shorter side to fit, with antialias, and crops the centre.

  The crop is taken first, as a box of fractions of a pixel, and only the box
  is resampled: the same picture, without the parts that would be thrown away.

  Args:
    frame_HWc: uint8, RGB, any size.
    height: pixels wanted.
    width: pixels wanted.
  Returns:
    uint8 (height, width, 3).
  """
  old_height, old_width = frame_HWc.shape[:2]
  if (old_height, old_width) == (height, width):
    return frame_HWc
  scale = min(old_height / height, old_width / width)
  box_height, box_width = height * scale, width * scale
  left, top = (old_width - box_width) / 2, (old_height - box_height) / 2
  image = Image.fromarray(frame_HWc).resize(
    (width, height),
    Image.Resampling.BILINEAR,  # widened to the scale: it antialiases
    box=(left, top, left + box_width, top + box_height),
  )
  return np.asarray(image)


def window_start(rng, available: int, num_frames: int, stride: int) -> int:
  """A random first frame such that the clip fits; each is equally likely.

  Returns:
    The first frame's index, or -1 where the video is too short.
  """
  span = (num_frames - 1) * stride + 1
  return int(rng.integers(available - span + 1)) if available >= span else -1
