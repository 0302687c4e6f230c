"""The tokenizer's config, and what follows from it."""

import dataclasses

from videoar_jax.plan.next_scale import check_scales


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
  """Shape of the causal 3D autoencoder and of its quantiser.

  Defaults: VideoAR at 128×128 (PAPER §1.1, after Infinity's causal CNN).

  Attributes:
    base_width: channels at full resolution.
    multipliers: channels of each level over base_width; each level but the
      last halves height and width.
    num_time_levels: how many of the last halvings also halve time.
    encoder_blocks: residual blocks at each level of the encoder.
    decoder_blocks: the same for the decoder.
    latent_width: bits of a token.
    scales: ((h, w), …) of one latent frame, coarse to fine.
    norm_groups: groups of the per-frame group norm.
    conv: 'native' 3D convolution, 'taps' (the same as a sum of 2D ones, much
      faster on CPU), or 'auto' by the default backend.
    dtype: dtype of activations; latents and the quantiser stay float32.
  """

  base_width: int = 128
  multipliers: tuple[int, ...] = (1, 2, 4, 4, 4)
  num_time_levels: int = 2
  encoder_blocks: int = 2
  decoder_blocks: int = 3
  latent_width: int = 48
  scales: tuple[tuple[int, int], ...] = (
    (1, 1),
    (2, 2),
    (3, 3),
    (4, 4),
    (6, 6),
    (8, 8),
  )
  norm_groups: int = 32
  conv: str = 'auto'
  dtype: str = 'bfloat16'

  def __post_init__(self):
    check_scales(self.scales)
    if not 0 <= self.num_time_levels < len(self.multipliers):
      raise ValueError(
        f'num_time_levels={self.num_time_levels}: at most the '
        f'{len(self.multipliers) - 1} halvings of multipliers='
        f'{self.multipliers} can halve time'
      )
    for multiplier in self.multipliers:
      if (self.base_width * multiplier) % self.norm_groups:
        raise ValueError(
          f'norm_groups={self.norm_groups} does not divide '
          f'{self.base_width * multiplier} channels; use a divisor'
        )
    if self.conv not in ('auto', 'native', 'taps'):
      raise ValueError(f"conv={self.conv!r}: use 'auto', 'native' or 'taps'")

  @property
  def space_factor(self) -> int:
    """Pixels per latent cell along height and width."""
    return 2 ** (len(self.multipliers) - 1)

  @property
  def time_factor(self) -> int:
    """Frames per latent frame, after the first."""
    return 2**self.num_time_levels

  def latent_frames(self, num_frames: int) -> int:
    """Latent frames of a clip.

    Raises:
      ValueError: num_frames is not 1 + k · time_factor.
    """
    factor = self.time_factor
    if num_frames < 1 or (num_frames - 1) % factor:
      near = max(1, round((num_frames - 1) / factor) * factor + 1)
      raise ValueError(
        f'num_frames={num_frames}: the tokenizer needs 1 + {factor}k frames; '
        f'use {near}'
      )
    return 1 + (num_frames - 1) // factor

  def pixel_frames(self, latent_frames: int) -> int:
    """Frames of a clip of `latent_frames` latent frames."""
    return 1 + (latent_frames - 1) * self.time_factor

  def check_resolution(self, height: int, width: int) -> None:
    """Raises ValueError unless the latent grid is the finest scale."""
    wanted = tuple(n * self.space_factor for n in self.scales[-1])
    if (height, width) != wanted:
      raise ValueError(
        f'height×width={height}×{width}: the finest scale {self.scales[-1]} '
        f'at {self.space_factor}× compression needs {wanted[0]}×{wanted[1]}; '
        'change data.height and data.width, or the scales'
      )
