"""The config of the Wan VAE, and what follows from it."""

import dataclasses

import jax
import numpy as np

from videoar_jax.core import fields
from videoar_jax.tokenizer.config import Conv, count_latent_frames

# Of Wan 2.1's latents over many clips, channel by channel.
_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508)
_MEAN += (0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
_STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743)
_STD += (3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916)


@dataclasses.dataclass(frozen=True)
class WanVaeConfig:
  """Shape of the Wan VAE; the defaults are Wan 2.1's (docs/paper.md, Wan VAE).

  Attributes:
    base_width: channels of the finest level.
    multipliers: channels of each level over base_width; each level but the
      last halves height and width.
    halves_time: for each of these halvings, whether it halves time, too.
    num_res_blocks: at each level of the encoder; the decoder has one more.
    latent_width: channels of a latent.
    latent_mean: of each channel, which `normalised` subtracts.
    latent_std: of each channel, which it divides by.
    conv: see `tokenizer.config.TokenizerConfig`.
    encoder_dtype: dtype of the encoder's activations; what it gives is float32.
    decoder_dtype: of the decoder's.
  """

  base_width: fields.Size = 96
  multipliers: tuple[fields.Size, ...] = (1, 2, 4, 4)
  halves_time: tuple[bool, ...] = (False, True, True)
  num_res_blocks: fields.Size = 2
  latent_width: fields.Size = 16
  latent_mean: tuple[float, ...] = _MEAN
  latent_std: tuple[fields.Positive, ...] = _STD
  conv: Conv = 'auto'
  encoder_dtype: fields.Dtype = 'float32'
  decoder_dtype: fields.Dtype = 'bfloat16'

  def __post_init__(self):
    fields.check(self)
    if len(self.halves_time) != len(self.multipliers) - 1:
      raise ValueError(
        f'halves_time={self.halves_time}: multipliers={self.multipliers} make '
        f'{len(self.multipliers) - 1} halvings; give one word for each'
      )
    for name in ('latent_mean', 'latent_std'):
      if len(getattr(self, name)) != self.latent_width:
        raise ValueError(
          f'{name} has {len(getattr(self, name))} numbers; wanted one for each '
          f'of latent_width={self.latent_width} channels'
        )
    for level, width in enumerate(self.widths):
      if level and width % 2:
        raise ValueError(
          f'base_width={self.base_width} makes {width} channels at level '
          f'{level}, which doubling halves; use an even number'
        )

  @property
  def widths(self) -> tuple[int, ...]:
    """Channels of each level, the finest first."""
    return tuple(self.base_width * m for m in self.multipliers)

  @property
  def space_factor(self) -> int:
    """Pixels per latent cell along height and width."""
    return 2 ** len(self.halves_time)

  @property
  def time_factor(self) -> int:
    """Frames per latent frame, after the first."""
    return 2 ** sum(self.halves_time)

  def latent_frames(self, num_frames: int) -> int:
    """Latent frames of a clip.

    Raises:
      ValueError: num_frames is not 1 + k · time_factor.
    """
    return count_latent_frames(num_frames, self.time_factor)

  def pixel_frames(self, latent_frames: int) -> int:
    """Frames of a clip of `latent_frames` latent frames."""
    return 1 + (latent_frames - 1) * self.time_factor

  def check_resolution(self, height: int, width: int) -> None:
    """Raises ValueError unless latent cells cover a frame."""
    factor = self.space_factor
    if min(height, width) < factor or height % factor or width % factor:
      near = [max(1, round(side / factor)) * factor for side in (height, width)]
      raise ValueError(
        f'height×width={height}×{width}: wanted multiples of {factor}; use '
        f'{near[0]}×{near[1]}'
      )

  def normalised(self, mean_bthwd: jax.Array) -> jax.Array:
    """Latents as a generator sees them, of mean 0 and deviation 1 by channel.

    Args:
      mean_bthwd: as the encoder gives them.
    """
    return (mean_bthwd - np.float32(self.latent_mean)) / np.float32(
      self.latent_std
    )

  def denormalised(self, f_bthwd: jax.Array) -> jax.Array:
    """Inverse of `normalised`: latents as the decoder takes them."""
    return f_bthwd * np.float32(self.latent_std) + np.float32(self.latent_mean)
