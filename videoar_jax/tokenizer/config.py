"""The tokenizer's config, and what follows from it."""

import dataclasses
from typing import Annotated

from videoar_jax.core import fields
from videoar_jax.plan.pyramid import check_scales

Conv = Annotated[str, fields.Choice(('auto', 'native', 'taps'))]
_Blocks = Annotated[int, fields.Range(least=0, most=100)]


def count_latent_frames(num_frames: int, factor: int) -> int:
  """Latent frames of a clip: one for the first frame, one for each `factor`.

  Raises:
    ValueError: num_frames is not 1 + k · factor.
  """
  if num_frames < 1 or (num_frames - 1) % factor:
    near = max(1, (num_frames - 1 + factor // 2) // factor * factor + 1)
    raise ValueError(
      f'num_frames={num_frames}: the tokenizer needs 1 + {factor}k frames; '
      f'use {near}'
    )
  return 1 + (num_frames - 1) // factor


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
  """Shape of the causal 3D autoencoder and of its quantiser.

  Defaults: VideoAR at 128×128 (docs/paper.md, Tokenizer and Scales).

  Attributes:
    patch: side in pixels of the squares that the networks see as one cell, with
      their pixels as channels; 1 is the paper's, 2 costs about a third of it.
    base_width: channels of the finest level.
    multipliers: channels of each level over base_width; each level but the
      last halves height and width.
    num_time_levels: how many of the last halvings also halve time.
    encoder_blocks: residual blocks at each level of the encoder.
    decoder_blocks: the same for the decoder.
    block: kernels of a residual block's two convolutions: 'full' is the
      paper's, both 3×3×3; 'mixed' has 1×3×3 in the second, two thirds of the
      cost.
    latent_width: bits of a token.
    scales: ((h, w), …) of one latent frame, coarse to fine.
    more_scales: schedules of other resolutions, told apart by their last size;
      the networks work at any.
    norm: 'group', the paper's group norm of each frame, or 'rms', of the
      channels at each position, which with Muon learns faster.
    norm_groups: groups of the group norm.
    conv: 'native' 3D convolution, 'taps' (the same as a sum of 2D ones, much
      faster on CPU), or 'auto', by the platform that is compiled for.
    dtype: dtype of activations; latents and the quantiser stay float32.
  """

  patch: fields.Size = 1
  base_width: fields.Size = 128
  multipliers: tuple[fields.Size, ...] = (1, 2, 4, 4, 4)
  num_time_levels: fields.Natural = 2
  encoder_blocks: _Blocks = 2
  decoder_blocks: _Blocks = 3
  block: Annotated[str, fields.Choice(('full', 'mixed'))] = 'full'
  latent_width: fields.Size = 48
  scales: tuple[tuple[fields.Size, fields.Size], ...] = (
    (1, 1),
    (2, 2),
    (3, 3),
    (4, 4),
    (6, 6),
    (8, 8),
  )
  more_scales: tuple[tuple[tuple[fields.Size, fields.Size], ...], ...] = ()
  norm: Annotated[str, fields.Choice(('group', 'rms'))] = 'group'
  norm_groups: fields.Size = 32
  conv: Conv = 'auto'
  dtype: fields.Dtype = 'bfloat16'

  def __post_init__(self):
    fields.check(self)
    if not self.multipliers:
      raise ValueError('multipliers=(): wanted one for each level')
    for schedule in self.schedules:
      check_scales(schedule)
    finest = [schedule[-1] for schedule in self.schedules]
    if len(set(finest)) < len(finest):
      raise ValueError(
        f'more_scales: the finest sizes {finest} must differ, as they tell the '
        'schedules apart'
      )
    if self.num_time_levels >= len(self.multipliers):
      raise ValueError(
        f'num_time_levels={self.num_time_levels}: at most the '
        f'{len(self.multipliers) - 1} halvings of multipliers='
        f'{self.multipliers} can halve time'
      )
    for multiplier in self.multipliers if self.norm == 'group' else ():
      if (self.base_width * multiplier) % self.norm_groups:
        raise ValueError(
          f'norm_groups={self.norm_groups} does not divide '
          f'{self.base_width * multiplier} channels; use a divisor'
        )

  @property
  def schedules(self) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Scales of every resolution, those of the main one first."""
    return (self.scales, *self.more_scales)

  @property
  def num_scales(self) -> int:
    """Scales of the longest schedule."""
    return max(len(schedule) for schedule in self.schedules)

  def scales_of(self, grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The schedule of a latent grid (h, w).

    Raises:
      ValueError: there is none.
    """
    for schedule in self.schedules:
      if tuple(schedule[-1]) == tuple(grid):
        return schedule
    raise ValueError(
      f'latent grid {grid[0]}×{grid[1]}: no schedule of scales ends in it, '
      f'only in {", ".join(f"{s[-1][0]}×{s[-1][1]}" for s in self.schedules)}; '
      'add one to more_scales'
    )

  def scales_for(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """The schedule of a resolution in pixels.

    Raises:
      ValueError: there is none.
    """
    self.check_resolution(height, width)
    factor = self.space_factor
    return self.scales_of((height // factor, width // factor))

  @property
  def space_factor(self) -> int:
    """Pixels per latent cell along height and width."""
    return self.patch * 2 ** (len(self.multipliers) - 1)

  @property
  def resolution(self) -> tuple[int, int]:
    """Height and width in pixels of the main schedule."""
    return self._pixels(self.scales)

  def _pixels(self, schedule: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    height, width = schedule[-1]
    return height * self.space_factor, width * self.space_factor

  @property
  def time_factor(self) -> int:
    """Frames per latent frame, after the first."""
    return 2**self.num_time_levels

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
    """Raises ValueError unless a schedule's finest scale is the latent grid."""
    sizes = [self._pixels(schedule) for schedule in self.schedules]
    if (height, width) not in sizes:
      raise ValueError(
        f'height×width={height}×{width}: the finest scale {self.scales[-1]} '
        f'at {self.space_factor}× compression needs '
        f'{" or ".join(f"{h}×{w}" for h, w in sizes)}; change data.height and '
        'data.width, or the scales'
      )
