"""Videos as users give them: files or arrays, brought to a size."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from videoar_jax.core.console import note
from videoar_jax.data import decode, transforms
from videoar_jax.data.failures import BadRecordError


def fitted_frames(video: Any, size: tuple[int, int]) -> Iterator[np.ndarray]:
  """Yields the frames of a video, cropped and scaled as training clips are.

  Tells once where frames lose their edges.

  Args:
    video: path of a picture or a video; or uint8 (T, H, W, 3).
    size: height and width in pixels to bring them to.
  Yields:
    uint8 (height, width, 3), RGB.
  Raises:
    ValueError: the file cannot be read, if need be after some frames; or an
      array of another shape or dtype.
  """
  if is_path(video):
    frames = decode.iterate_frames(os.fspath(video))
  else:
    frames = iter(check_clip(video))
  try:
    for i, frame in enumerate(frames):
      height, width = frame.shape[:2]
      if not i and height * size[1] != width * size[0]:
        note(
          f'{name_of(video)}: {height}×{width} is cropped at its edges to the '
          f'shape of {size[0]}×{size[1]}'
        )
      yield transforms.fit_frame(frame, *size)
  except BadRecordError as error:
    raise ValueError(f'{video}: {error}') from None


def is_path(video: Any) -> bool:
  """Whether a video is given by the name of its file."""
  return isinstance(video, str | os.PathLike)


def name_of(video: Any) -> str:
  """What messages call a video: its path, or its shape."""
  if is_path(video):
    return str(video)
  return f'video {"×".join(map(str, np.shape(video)))}'


def check_clip(video: Any) -> np.ndarray:
  """A video as a plain array.

  Raises:
    ValueError: not uint8 (T, H, W, 3), or without a frame or a pixel.
  """
  found = np.asarray(video)
  good = found.ndim == 4 and found.shape[-1] == 3 and found.size
  if found.dtype != np.uint8 or not good:
    raise ValueError(
      f'video of shape {found.shape}, {found.dtype}: wanted uint8 (T, H, W, 3) '
      'or the path of a picture or a video'
    )
  return found
