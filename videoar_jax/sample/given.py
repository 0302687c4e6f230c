"""The frames that a video is to begin with: an image, or the end of a video."""

import collections
from collections.abc import Iterator

import numpy as np

from videoar_jax.core.console import note
from videoar_jax.data import decode, transforms
from videoar_jax.data.failures import BadRecordError
from videoar_jax.tokenizer.config import TokenizerConfig


def read_given(
  path: str,
  config: TokenizerConfig,
  *,
  size: tuple[int, int],
  num_frames: int,
  count: int | None = None,
) -> np.ndarray:
  """Reads the last frames of a file, cropped and scaled as training clips are.

  Args:
    path: of a picture or a video.
    config: of the tokenizer that is to encode them.
    size: height and width in pixels to bring them to.
    num_frames: of the whole video that they begin.
    count: how many, on the tokenizer's grid; None: all of them.

  Returns:
    uint8 (1, T, H, W, 3).

  Raises:
    ValueError: the file cannot be read or is too short, or the frames are off
      the grid or as many as the whole video has.
  """
  if count is not None:
    config.latent_frames(count)
    _check_fewer(path, count, num_frames)
  try:
    frames = collections.deque(_fitted(path, size), maxlen=count or num_frames)
  except BadRecordError as error:
    raise ValueError(f'{path}: {error}') from None
  if count is not None and len(frames) < count:
    raise ValueError(
      f'{path}: {len(frames)} frames, and given_frames={count} of them are '
      'asked for; give fewer'
    )
  _check_fewer(path, len(frames), num_frames)
  factor = config.time_factor
  if (len(frames) - 1) % factor:
    near = (len(frames) - 1) // factor * factor + 1
    raise ValueError(
      f'{path}: {len(frames)} frames, and the tokenizer needs 1 + {factor}k; '
      f'given_frames={near} takes the last so many'
    )
  return np.stack(frames)[None]


def _check_fewer(path: str, given: int, num_frames: int) -> None:
  if given >= num_frames:
    raise ValueError(
      f'{path}: {given} frames or more are given, and the video is to have '
      f'num_frames={num_frames}; ask for more, or give fewer by given_frames'
    )


def _fitted(path: str, size: tuple[int, int]) -> Iterator[np.ndarray]:
  """Yields the frames of a file, and tells once if they lose their edges."""
  for i, frame in enumerate(decode.iterate_frames(path)):
    height, width = frame.shape[:2]
    if not i and height * size[1] != width * size[0]:
      note(
        f'{path}: {height}×{width} is cropped at its edges to the shape of '
        f'{size[0]}×{size[1]}'
      )
    yield transforms.fit_frame(frame, *size)
