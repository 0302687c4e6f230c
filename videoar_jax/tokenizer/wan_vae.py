"""The Wan VAE: clips to a Gaussian over latents, latents to clips.

Source: Wan 2.1 (arXiv:2503.20314); its layers are those of the published
weights (docs/paper.md, Wan VAE). Deviation: none.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer.conv import CausalConv3d, Stream, StreamState
from videoar_jax.tokenizer.wan_config import WanVaeConfig
from videoar_jax.tokenizer.wan_layers import (
  ChannelNorm,
  Doubling,
  FrameAttention,
  Halving,
  WanResBlock,
)


class Gaussian(NamedTuple):
  """A normal distribution over latents, each number by itself; float32.

  Attributes:
    mean_bthwd: the latents that generators are trained on.
    logvar_bthwd: logarithm of the variance, unbounded.
  """

  mean_bthwd: jax.Array
  logvar_bthwd: jax.Array


class WanEncoder(nn.Module):
  """Pixels to mean and logvar: (b, 1 + kτ, H, W, 3) to (b, 1 + k, h, w, 2d)."""

  config: WanVaeConfig

  @nn.compact
  def __call__(self, x_bTHWc: jax.Array, stream: Stream | None) -> jax.Array:
    config = self.config
    options = {'conv': config.conv, 'dtype': jnp.dtype(config.encoder_dtype)}
    widths, d = config.widths, config.latent_width
    x = CausalConv3d(widths[0], name='conv_in', **options)(x_bTHWc, stream)
    for level, width in enumerate(widths):
      for i in range(config.num_res_blocks):
        x = WanResBlock(width, name=f'level{level}_block{i}', **options)(
          x, stream
        )
      if level < len(widths) - 1:
        x = Halving(
          config.halves_time[level], name=f'level{level}_down', **options
        )(x, stream)
    x = _middle(x, stream, options)
    x = nn.silu(ChannelNorm(name='norm_out')(x))
    x = CausalConv3d(2 * d, name='conv_out', **options)(x, stream)
    x = CausalConv3d(2 * d, kernel=(1, 1, 1), name='moments', **options)(
      x, stream
    )
    return x.astype(jnp.float32)


class WanDecoder(nn.Module):
  """Latents to pixels: (b, 1 + k, h, w, d) to (b, 1 + kτ, H, W, 3)."""

  config: WanVaeConfig

  @nn.compact
  def __call__(self, f_bthwd: jax.Array, stream: Stream | None) -> jax.Array:
    config = self.config
    options = {'conv': config.conv, 'dtype': jnp.dtype(config.decoder_dtype)}
    widths = config.widths
    x = CausalConv3d(
      config.latent_width, kernel=(1, 1, 1), name='latents', **options
    )(f_bthwd, stream)
    x = CausalConv3d(widths[-1], name='conv_in', **options)(x, stream)
    x = _middle(x, stream, options)
    for level in reversed(range(len(widths))):
      for i in range(config.num_res_blocks + 1):
        x = WanResBlock(
          widths[level], name=f'level{level}_block{i}', **options
        )(x, stream)
      if level > 0:
        x = Doubling(
          config.halves_time[level - 1], name=f'level{level}_up', **options
        )(x, stream)
    x = nn.silu(ChannelNorm(name='norm_out')(x))
    x = CausalConv3d(3, name='conv_out', **options)(x, stream)
    return x.astype(jnp.float32)


def _middle(
  x_bthwc: jax.Array, stream: Stream | None, options: dict[str, Any]
) -> jax.Array:
  """Attention between two residual blocks, of the network being built."""
  width = x_bthwc.shape[-1]
  x = WanResBlock(width, name='middle_block0', **options)(x_bthwc, stream)
  x = FrameAttention(options['dtype'], name='middle_attention')(x)
  return WanResBlock(width, name='middle_block1', **options)(x, stream)


class WanVae(nn.Module):
  """Encoder and decoder, on whole clips or chunk by chunk."""

  config: WanVaeConfig

  def setup(self):
    self.encoder = WanEncoder(self.config)
    self.decoder = WanDecoder(self.config)

  def __call__(self, video_bTHWc: jax.Array) -> jax.Array:
    """Decodes the mean of what it encoded: used to initialise."""
    return self.decode(self.encode(video_bTHWc).mean_bthwd)

  def encode(self, video_bTHWc: jax.Array) -> Gaussian:
    """Pixels in [-1, 1], 1 + kτ frames, to latents.

    These are the network's own; generators see `WanVaeConfig.normalised`.
    """
    return _gaussian(self.encoder(video_bTHWc, None))

  def decode(self, f_bthwd: jax.Array) -> jax.Array:
    """Latents to pixels, about [-1, 1], float32; not clipped.

    Args:
      f_bthwd: as `encode` gives them, not normalised.
    """
    return self.decoder(f_bthwd, None)

  def reconstruct(self, video_bTHWc: jax.Array) -> jax.Array:
    """What is left of clips after the way through the mean latents.

    Args:
      video_bTHWc: pixels in [-1, 1], 1 + kτ frames.

    Returns:
      Pixels, clipped to [-1, 1], float32.
    """
    return jnp.clip(self(video_bTHWc), -1.0, 1.0)

  def encode_chunk(
    self, video_bTHWc: jax.Array, state: StreamState | None
  ) -> tuple[Gaussian, StreamState]:
    """Encodes the next frames of a clip.

    Args:
      video_bTHWc: in the first call 1 + kτ frames, later kτ frames.
      state: what the call before returned; None in the first call.

    Returns:
      Latents of these frames, and the state for the next call.
    """
    stream = Stream(state)
    return _gaussian(self.encoder(video_bTHWc, stream)), stream.new

  def decode_chunk(
    self, f_bthwd: jax.Array, state: StreamState | None
  ) -> tuple[jax.Array, StreamState]:
    """Decodes the next latent frames; see `encode_chunk`."""
    stream = Stream(state)
    return self.decoder(f_bthwd, stream), stream.new


def _gaussian(moments_bthwd: jax.Array) -> Gaussian:
  return Gaussian(*jnp.split(moments_bthwd, 2, axis=-1))


def make_wan_vae(config: WanVaeConfig) -> WanVae:
  """Builds the VAE of a config; parameters come from init or a file."""
  return WanVae(config)


def param_shapes(config: WanVaeConfig) -> Any:
  """Shapes and dtypes of the parameters; nothing is computed."""
  return unbox(boxed_shapes(config))


@functools.cache
def boxed_shapes(config: WanVaeConfig) -> Any:
  """The same in boxes with their logical axes."""
  side = config.space_factor
  clip = jax.ShapeDtypeStruct((1, 1, side, side, 3), jnp.float32)
  init = make_wan_vae(config).init
  return jax.eval_shape(init, jax.random.key(0), clip)['params']
