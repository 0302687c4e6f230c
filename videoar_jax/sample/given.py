"""The frames that a video is to begin with: an image, or the end of a video."""

import collections
from typing import Any

import numpy as np

from videoar_jax.data import clips
from videoar_jax.tokenizer.config import TokenizerConfig


def read_given(
  video: Any,
  config: TokenizerConfig,
  *,
  size: tuple[int, int],
  num_frames: int,
  count: int | None = None,
) -> np.ndarray:
  """Takes the last frames, cropped and scaled as training clips are.

  Args:
    video: path of a picture or a video, or uint8 (T, H, W, 3).
    config: of the tokenizer that is to encode them.
    size: height and width in pixels to bring them to.
    num_frames: of the whole video that they begin.
    count: how many, on the tokenizer's grid; None: all of them.

  Returns:
    uint8 (1, T, H, W, 3).

  Raises:
    ValueError: the video cannot be read or is too short, or the frames are off
      the grid or as many as the whole video has.
  """
  name = clips.name_of(video)
  if count is not None:
    config.latent_frames(count)
    _check_fewer(name, count, num_frames)
  frames = collections.deque(
    clips.fitted_frames(video, size), maxlen=count or num_frames
  )
  if count is not None and len(frames) < count:
    raise ValueError(
      f'{name}: {len(frames)} frames, and given_frames={count} of them are '
      'asked for; give fewer'
    )
  _check_fewer(name, len(frames), num_frames)
  factor = config.time_factor
  if (len(frames) - 1) % factor:
    near = (len(frames) - 1) // factor * factor + 1
    raise ValueError(
      f'{name}: {len(frames)} frames, and the tokenizer needs 1 + {factor}k; '
      f'given_frames={near} takes the last so many'
    )
  return np.stack(frames)[None]


def _check_fewer(name: str, given: int, num_frames: int) -> None:
  if given >= num_frames:
    raise ValueError(
      f'{name}: {given} frames or more are given, and the video is to have '
      f'num_frames={num_frames}; ask for more, or give fewer by given_frames'
    )
