"""A trained tokenizer in Python."""

import dataclasses

import numpy as np

from videoar_jax.api import arguments
from videoar_jax.api.arguments import Path, Size
from videoar_jax.api.videos import Videos
from videoar_jax.core import cache
from videoar_jax.data import clips
from videoar_jax.tokenizer import stream as stream_lib
from videoar_jax.tokenizer.stream import Bits


def load_tokenizer(checkpoint: Path) -> 'Tokenizer':
  """Loads a tokenizer, or the one that lies beside a generator.

  Args:
    checkpoint: as for `load`.
  Raises:
    ValueError: nothing to be trusted there, or no tokenizer.
  """
  cache.keep_programs()
  return Tokenizer(
    stream_lib.Codec.load(arguments.path('checkpoint', checkpoint)),
    str(checkpoint),
  )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tokenizer:
  """A trained tokenizer: videos to bits and back.

  A video is the path of a picture or a video, uint8 (T, H, W, 3), or several,
  uint8 (n, T, H, W, 3). It is cropped and scaled to a size that the tokenizer
  codes, unless it has such a size.

  Attributes:
    codec: the network and its config; codes videos of any length as streams.
    name: what it was loaded from.
  """

  codec: stream_lib.Codec
  name: str = ''

  @property
  def size(self) -> Size:
    """Height and width in pixels that it codes where none is given."""
    return self.codec.config.resolution

  def __repr__(self) -> str:
    config, (height, width) = self.codec.config, self.size
    return (
      f'<{self.name}: {height}×{width} to {config.num_scales} scales, '
      f'{config.latent_width} bits a token>'
    )

  def reconstruct(
    self,
    video: Path | np.ndarray,
    *,
    num_scales: int | None = None,
    size: Size | None = None,
  ) -> Videos:
    """Codes videos and decodes them.

    Args:
      video: see the class.
      num_scales: decode the coarsest so many scales alone; None: all.
      size: (height, width) to code at, where it was trained on several.
    Returns:
      uint8 (n, T, H, W, 3), of as many frames as there were.
    Raises:
      ValueError: the video cannot be read or is none; no such size or number
        of scales.
    """
    video_bTHWc = self._fitted(video, size)
    return self.decode(
      self.codec.encode(video_bTHWc),
      num_frames=video_bTHWc.shape[1],
      num_scales=num_scales,
    )

  def encode(
    self, video: Path | np.ndarray, *, size: Size | None = None
  ) -> Bits:
    """Codes videos; the last frame is repeated up to the tokenizer's grid.

    Args:
      video: see the class.
      size: see `reconstruct`.
    Returns:
      Per scale, coarse to fine, bool (n, t, h, w, bits).
    Raises:
      ValueError: see `reconstruct`.
    """
    return self.codec.encode(self._fitted(video, size))

  def decode(
    self,
    bits: Bits,
    *,
    num_frames: int | None = None,
    num_scales: int | None = None,
  ) -> Videos:
    """Decodes what `encode` returned.

    Args:
      bits: of all scales.
      num_frames: cut to so many; None: all that there are.
      num_scales: see `reconstruct`.
    Returns:
      uint8 (n, T, H, W, 3).
    Raises:
      ValueError: not bits of this tokenizer's scales, or no such number.
    """
    if not isinstance(bits, list | tuple):
      raise ValueError(
        f'bits of {type(bits).__name__}: wanted a list of arrays'
      )
    videos = self.codec.decode(
      [np.asarray(scale) for scale in bits],
      num_frames=arguments.whole('num_frames', num_frames, least=1),
      num_scales=arguments.whole('num_scales', num_scales),
    )
    return Videos(videos)

  def _fitted(self, video: Path | np.ndarray, size: Size | None) -> np.ndarray:
    """Videos at a size that is coded, uint8 bTHWc."""
    size = arguments.size(size)
    several = not clips.is_path(video) and np.ndim(video) == 5 and len(video)
    each = list(video) if several else [video]
    if size is None:
      size = self._own_size(each[0])
    self.codec.config.check_resolution(*size)
    return np.stack(
      [np.stack(list(clips.fitted_frames(one, size))) for one in each]
    )

  def _own_size(self, video: Path | np.ndarray) -> Size:
    """That of a video where it is coded, else the tokenizer's first."""
    if clips.is_path(video):
      return self.size
    size = clips.check_clip(video).shape[1:3]
    try:
      self.codec.config.check_resolution(*size)
    except ValueError:
      return self.size
    return size
