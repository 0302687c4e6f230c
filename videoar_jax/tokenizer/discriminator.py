"""Networks that tell reconstructed clips from real ones, in training only.

`patch`: a 3D PatchGAN, one logit per patch (Open-MAGVIT2, arXiv:2409.04410,
after Isola et al., arXiv:1611.07004). Deviation: per-frame group norm in place
of batch norm, so that a clip's logits depend on no other clip.
`stylegan`: MAGVIT's 3D residual discriminator (arXiv:2212.05199), one logit
per clip. Deviation: the last grid is averaged, not flattened, so that one
network serves every resolution and length.

Neither is causal: a discriminator sees whole clips.
"""

import dataclasses
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core import fields
from videoar_jax.core.layers import fan_in_normal, logical
from videoar_jax.core.precision import HIGHEST
from videoar_jax.tokenizer.config import Conv
from videoar_jax.tokenizer.conv import FrameNorm, conv3d, named

_SLOPE = 0.2  # of the leaky ReLU


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
  """Shape of a discriminator.

  Attributes:
    kind: 'patch' or 'stylegan'.
    base_width: channels that the multipliers multiply.
    multipliers: channels of each level over base_width. Each level halves
      height, width and time, except the last one of `patch`.
    norm_groups: groups of the per-frame group norm; `patch` only.
    conv: see `tokenizer.conv.conv3d`.
    dtype: dtype of activations; logits are float32.
  """

  kind: Annotated[str, fields.Choice(('patch', 'stylegan'))] = 'patch'
  base_width: fields.Size = 64
  multipliers: tuple[fields.Size, ...] = (1, 2, 4, 8)
  norm_groups: fields.Size = 32
  conv: Conv = 'auto'
  dtype: fields.Dtype = 'bfloat16'

  def __post_init__(self):
    fields.check(self)
    if len(self.multipliers) < 2:
      raise ValueError(f'multipliers={self.multipliers}: wanted at least 2')
    for multiplier in self.multipliers[1:]:
      if self.kind == 'patch' and (
        self.base_width * multiplier % self.norm_groups
      ):
        raise ValueError(
          f'norm_groups={self.norm_groups} does not divide '
          f'{self.base_width * multiplier} channels of the discriminator; use '
          'a divisor'
        )

  @property
  def space_factor(self) -> int:
    """Pixels that a cell of the last grid stands for, along each side."""
    return 2 ** (len(self.multipliers) - (self.kind == 'patch'))

  def check_resolution(self, height: int, width: int) -> None:
    """Raises ValueError for clips that are halved to nothing."""
    if min(height, width) < 2 * self.space_factor:
      raise ValueError(
        f'height×width={height}×{width}: {len(self.multipliers)} levels of the '
        f'discriminator need at least {2 * self.space_factor} pixels a side; '
        'give it fewer multipliers'
      )


class Conv3d(nn.Module):
  """3D convolution padded on both sides, in time too.

  Attributes:
    width: output channels.
    kernel: side of the kernel, odd, along all three axes.
    stride: along all three axes; n becomes ceil(n / stride).
    config: conv and dtype.
  """

  width: int
  config: DiscriminatorConfig
  kernel: int = 3
  stride: int = 1

  @nn.compact
  def __call__(self, x_bthwc: jax.Array) -> jax.Array:
    side, c, dtype = self.kernel, x_bthwc.shape[-1], self.config.dtype
    kernel = self.param(
      'kernel',
      logical(
        fan_in_normal(side**3 * c),
        'taps',
        'taps',
        'taps',
        'conv_in',
        'conv_out',
      ),
      (side, side, side, c, self.width),
    )
    bias = self.param(
      'bias', logical(nn.initializers.zeros, 'conv_out'), (self.width,)
    )
    half = side // 2
    x = jnp.pad(
      x_bthwc.astype(dtype), ((0, 0), (half, half), (0, 0), (0, 0), (0, 0))
    )
    out = conv3d(
      x,
      kernel.astype(dtype),
      strides=(self.stride,) * 3,
      space_padding=((half, half), (half, half)),
      conv=self.config.conv,
    )
    return named(out + bias.astype(dtype))


class PatchDiscriminator(nn.Module):
  """A logit for each patch of a clip."""

  config: DiscriminatorConfig

  @nn.compact
  def __call__(self, video_bTHWc: jax.Array) -> jax.Array:
    """Clips in [-1, 1] to logits (b, t, h, w), float32."""
    config, x = self.config, video_bTHWc
    last = len(config.multipliers) - 1
    for i, multiplier in enumerate(config.multipliers):
      x = Conv3d(
        config.base_width * multiplier,
        config,
        stride=1 if i == last else 2,
        name=f'conv{i}',
      )(x)
      if i:
        x = FrameNorm(config.norm_groups, name=f'norm{i}')(x)
      x = nn.leaky_relu(x, _SLOPE)
    return Conv3d(1, config, name='conv_out')(x)[..., 0].astype(jnp.float32)


class StyleDiscriminator(nn.Module):
  """A logit for each clip, from residual blocks that halve it."""

  config: DiscriminatorConfig

  @nn.compact
  def __call__(self, video_bTHWc: jax.Array) -> jax.Array:
    """Clips in [-1, 1] to logits (b,), float32."""
    config, base = self.config, self.config.base_width
    x = Conv3d(base, config, name='conv_in')(video_bTHWc)
    x = nn.leaky_relu(x, _SLOPE)
    for i, multiplier in enumerate(config.multipliers):
      width = base * multiplier
      skip = Conv3d(width, config, kernel=1, name=f'level{i}_skip')(_halve(x))
      x = Conv3d(x.shape[-1], config, name=f'level{i}_conv1')(x)
      x = nn.leaky_relu(x, _SLOPE)
      x = Conv3d(width, config, name=f'level{i}_conv2')(x)
      x = _halve(nn.leaky_relu(x, _SLOPE))
      x = (x + skip) * 2**-0.5
    x = Conv3d(x.shape[-1], config, name='conv_out')(x)
    x = jnp.mean(nn.leaky_relu(x, _SLOPE).astype(jnp.float32), axis=(1, 2, 3))
    x = nn.leaky_relu(self._dense(x, x.shape[-1], name='hidden'), _SLOPE)
    return self._dense(x, 1, name='logit')[:, 0]

  def _dense(self, x_bd: jax.Array, width: int, *, name: str) -> jax.Array:
    d = x_bd.shape[-1]
    kernel = self.param(
      f'{name}_kernel',
      logical(fan_in_normal(d), 'conv_in', 'conv_out'),
      (d, width),
    )
    bias = self.param(
      f'{name}_bias', logical(nn.initializers.zeros, 'conv_out'), (width,)
    )
    return jnp.matmul(x_bd, kernel, precision=HIGHEST) + bias


def make_discriminator(config: DiscriminatorConfig) -> nn.Module:
  """Builds the discriminator of a config."""
  kinds = {'patch': PatchDiscriminator, 'stylegan': StyleDiscriminator}
  return kinds[config.kind](config)


def _halve(x_bthwc: jax.Array) -> jax.Array:
  """Averages 2×2×2 cells; an odd last cell is averaged alone."""
  return nn.avg_pool(
    x_bthwc, (2, 2, 2), (2, 2, 2), 'SAME', count_include_pad=False
  )
