"""Causal 3D encoder and decoder.

Source: VideoAR (arXiv:2601.05966) §4.1; its layers are not stated and are those
of Infinity's causal CNN (docs/paper.md, Tokenizer).
"""

import functools
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core.layers import RMSNorm
from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.conv import (
  CausalConv3d,
  FrameNorm,
  Stream,
  StreamState,
)

_MIDDLE_BLOCKS = 2


def _norm(config: TokenizerConfig, *, name: str) -> nn.Module:
  if config.norm == 'rms':
    return RMSNorm(name=name)
  return FrameNorm(config.norm_groups, name=name)


class ResBlock(nn.Module):
  """Twice norm, silu and conv, added to a shortcut."""

  width: int
  config: TokenizerConfig

  @nn.compact
  def __call__(self, x_bthwc: jax.Array, stream: Stream | None) -> jax.Array:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    h = nn.silu(_norm(config, name='norm1')(x_bthwc))
    h = CausalConv3d(self.width, conv=config.conv, dtype=dtype, name='conv1')(
      h, stream
    )
    h = nn.silu(_norm(config, name='norm2')(h))
    h = CausalConv3d(
      self.width,
      kernel=(3 if config.block == 'full' else 1, 3, 3),
      conv=config.conv,
      dtype=dtype,
      name='conv2',
    )(h, stream)
    if x_bthwc.shape[-1] != self.width:
      x_bthwc = CausalConv3d(
        self.width,
        kernel=(1, 1, 1),
        conv=config.conv,
        dtype=dtype,
        name='shortcut',
      )(x_bthwc, stream)
    return x_bthwc + h


class Encoder(nn.Module):
  """Pixels to latents: (b, 1 + kτ, H, W, 3) to (b, 1 + k, h, w, d)."""

  config: TokenizerConfig

  @nn.compact
  def __call__(self, x_bTHWc: jax.Array, stream: Stream | None) -> jax.Array:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    widths = [config.base_width * m for m in config.multipliers]
    halvings = len(widths) - 1
    x = einops.rearrange(
      x_bTHWc,
      'b t (h hh) (w ww) c -> b t h w (hh ww c)',
      hh=config.patch,
      ww=config.patch,
    )
    x = CausalConv3d(widths[0], conv=config.conv, dtype=dtype, name='conv_in')(
      x, stream
    )
    for level, width in enumerate(widths):
      for i in range(config.encoder_blocks):
        x = ResBlock(width, config, name=f'level{level}_block{i}')(x, stream)
      if level < halvings:
        in_time = level >= halvings - config.num_time_levels
        x = CausalConv3d(
          width,
          strides=(2 if in_time else 1, 2, 2),
          conv=config.conv,
          dtype=dtype,
          name=f'level{level}_down',
        )(x, stream)
    for i in range(_MIDDLE_BLOCKS):
      x = ResBlock(widths[-1], config, name=f'middle_block{i}')(x, stream)
    x = nn.silu(_norm(config, name='norm_out')(x))
    # The codes of a scale have length one: start the latents near that length.
    x = CausalConv3d(
      config.latent_width,
      gain=2.0 * config.latent_width**-0.5,
      conv=config.conv,
      dtype=dtype,
      name='conv_out',
    )(x, stream)
    return x.astype(jnp.float32)


class Decoder(nn.Module):
  """Latents to pixels: (b, 1 + k, h, w, d) to (b, 1 + kτ, H, W, 3)."""

  config: TokenizerConfig

  @nn.compact
  def __call__(self, f_bthwd: jax.Array, stream: Stream | None) -> jax.Array:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    widths = [config.base_width * m for m in config.multipliers]
    # Latents are sums of unit vectors; bring each channel to order one.
    x = f_bthwd * config.latent_width**0.5
    x = CausalConv3d(widths[-1], conv=config.conv, dtype=dtype, name='conv_in')(
      x, stream
    )
    for i in range(_MIDDLE_BLOCKS):
      x = ResBlock(widths[-1], config, name=f'middle_block{i}')(x, stream)
    for level in reversed(range(len(widths))):
      for i in range(config.decoder_blocks):
        name = f'level{level}_block{i}'
        x = ResBlock(widths[level], config, name=name)(x, stream)
      if level > 0:
        in_time = level >= len(widths) - config.num_time_levels
        x = CausalConv3d(
          widths[level],
          double=True,
          double_time=in_time,
          conv=config.conv,
          dtype=dtype,
          name=f'level{level}_up',
        )(x, stream)
    x = nn.silu(_norm(config, name='norm_out')(x))
    x = CausalConv3d(
      3 * config.patch**2, conv=config.conv, dtype=dtype, name='conv_out'
    )(x, stream)
    return einops.rearrange(
      x.astype(jnp.float32),
      'b t h w (hh ww c) -> b t (h hh) (w ww) c',
      hh=config.patch,
      ww=config.patch,
    )


class Autoencoder(nn.Module):
  """Encoder and decoder; the quantiser between them has no parameters."""

  config: TokenizerConfig

  def setup(self):
    self.encoder = Encoder(self.config)
    self.decoder = Decoder(self.config)

  def __call__(self, video_bTHWc: jax.Array) -> jax.Array:
    """Decodes what it encoded, unquantised: used to initialise."""
    return self.decode(self.encode(video_bTHWc))

  def encode(self, video_bTHWc: jax.Array) -> jax.Array:
    """Pixels in [-1, 1] to latents, f_bthwd float32."""
    return self.encoder(video_bTHWc, None)

  def decode(self, f_bthwd: jax.Array) -> jax.Array:
    """Latents to pixels, about [-1, 1], float32; not clipped."""
    return self.decoder(f_bthwd, None)

  def encode_chunk(
    self, video_bTHWc: jax.Array, state: StreamState | None
  ) -> tuple[jax.Array, StreamState]:
    """Encodes the next frames of a clip.

    Args:
      video_bTHWc: in the first call 1 + kτ frames, later kτ frames.
      state: what the call before returned; None in the first call.

    Returns:
      Latents of these frames, and the state for the next call.
    """
    stream = Stream(state)
    return self.encoder(video_bTHWc, stream), stream.new

  def decode_chunk(
    self, f_bthwd: jax.Array, state: StreamState | None
  ) -> tuple[jax.Array, StreamState]:
    """Decodes the next latent frames; see `encode_chunk`."""
    stream = Stream(state)
    return self.decoder(f_bthwd, stream), stream.new


def make_tokenizer(config: TokenizerConfig) -> Autoencoder:
  """Builds the autoencoder of a config; parameters come from init or a file."""
  return Autoencoder(config)


def param_shapes(config: TokenizerConfig) -> Any:
  """Shapes and dtypes of the parameters; nothing is computed."""
  return unbox(boxed_shapes(config))


@functools.cache
def boxed_shapes(config: TokenizerConfig) -> Any:
  """The same in boxes with their logical axes."""
  side = config.space_factor
  clip = jax.ShapeDtypeStruct((1, 1, side, side, 3), jnp.float32)
  init = make_tokenizer(config).init
  return jax.eval_shape(init, jax.random.key(0), clip)['params']


def to_float(video_bTHWc: jax.Array) -> jax.Array:
  """uint8 pixels to float32 in [-1, 1]."""
  return video_bTHWc.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(video_bTHWc: jax.Array) -> jax.Array:
  """Pixels in [-1, 1] to uint8; values outside are saturated."""
  return jnp.clip(jnp.round((video_bTHWc + 1.0) * 127.5), 0, 255).astype(
    jnp.uint8
  )
