"""Layers of the Wan VAE: norm, residual block, attention, halving, doubling.

What they compute is in docs/paper.md, Wan VAE. Frames never meet but in causal
convolutions, whose past a stream carries; see `tokenizer.conv`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core.attention import Keys, attend
from videoar_jax.core.layers import fan_in_normal, logical, project
from videoar_jax.tokenizer.conv import CausalConv3d, Stream, is_start, named

_SHORTEST = 1e-12  # length that a vector of channels is taken to have at least


class ChannelNorm(nn.Module):
  """√c · x / ‖x‖ · scale over the channels of each position, in float32."""

  @nn.compact
  def __call__(self, x_bthwc: jax.Array) -> jax.Array:
    c = x_bthwc.shape[-1]
    scale = self.param('scale', logical(nn.initializers.ones, 'norm'), (c,))
    x = x_bthwc.astype(jnp.float32)
    # The bound is under the root, or the slope at 0 would be NaN.
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.maximum(square, _SHORTEST**2)) * (c**0.5 * scale)
    return x.astype(x_bthwc.dtype)


class WanResBlock(nn.Module):
  """Twice norm, silu and convolution, added to x or to a projection of it.

  Attributes:
    width: output channels.
    conv: see `conv.conv3d`.
    dtype: of the computation.
  """

  width: int
  conv: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_bthwc: jax.Array, stream: Stream | None) -> jax.Array:
    h = x_bthwc
    for i in ('1', '2'):
      h = nn.silu(ChannelNorm(name=f'norm{i}')(h))
      h = CausalConv3d(
        self.width, conv=self.conv, dtype=self.dtype, name=f'conv{i}'
      )(h, stream)
    if x_bthwc.shape[-1] != self.width:
      x_bthwc = CausalConv3d(
        self.width,
        kernel=(1, 1, 1),
        conv=self.conv,
        dtype=self.dtype,
        name='shortcut',
      )(x_bthwc, stream)
    return x_bthwc + h


class FrameAttention(nn.Module):
  """x + attention over the positions of each frame; one head, as wide as x.

  Attributes:
    dtype: of the computation; the softmax is in float32.
  """

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_bthwc: jax.Array) -> jax.Array:
    b, t, h, w, c = x_bthwc.shape
    normal = fan_in_normal(c)
    kernel = self.param(
      'qkv', logical(normal, 'conv_in', None, 'conv_out'), (c, 3, c)
    )
    zeros = nn.initializers.zeros
    bias = self.param('qkv_bias', logical(zeros, None, 'conv_out'), (3, c))
    out = self.param('out', logical(normal, 'conv_in', 'conv_out'), (c, c))
    out_bias = self.param('out_bias', logical(zeros, 'conv_out'), (c,))
    x = ChannelNorm(name='norm')(x_bthwc).reshape(b * t, h * w, c)
    qkv = project(x, kernel.astype(self.dtype)) + bias.astype(self.dtype)
    keys = Keys(qkv[:, None, :, 1], qkv[:, None, :, 2])
    attended = attend(qkv[:, :, 0, None], [keys])[:, :, 0]
    x = project(attended, out.astype(self.dtype)) + out_bias.astype(self.dtype)
    return named(x_bthwc + x.reshape(b, t, h, w, c))


class Halving(nn.Module):
  """Halves height and width, and of frames after a clip's first every two.

  Attributes:
    in_time: the latter, too: output j reads frames 2j - 2 to 2j, and the first
      frame passes as it is.
    conv: see `conv.conv3d`.
    dtype: of the computation.
  """

  in_time: bool
  conv: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_bthwc: jax.Array, stream: Stream | None) -> jax.Array:
    width = x_bthwc.shape[-1]
    x = CausalConv3d(
      width,
      kernel=(1, 3, 3),
      strides=(1, 2, 2),
      conv=self.conv,
      dtype=self.dtype,
      name='space',
    )(x_bthwc, stream)
    if not self.in_time:
      return x
    time = CausalConv3d(
      width,
      kernel=(3, 1, 1),
      strides=(2, 1, 1),
      conv=self.conv,
      dtype=self.dtype,
      name='time',
    )
    if not is_start(stream):
      return time(x, stream)
    first, rest = x[:, :1], x[:, 1:]
    return jnp.concatenate([first, time(rest, stream, past_bthwc=first)], 1)


class Doubling(nn.Module):
  """Doubles height and width, and each frame after a clip's first one.

  Half as many channels come out.

  Attributes:
    in_time: the latter, too: of 2c channels that a convolution over time makes,
      half are the earlier frame. It never sees the first frame, but zeros.
    conv: see `conv.conv3d`.
    dtype: of the computation.
  """

  in_time: bool
  conv: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_bthwc: jax.Array, stream: Stream | None) -> jax.Array:
    x = self._doubled(x_bthwc, stream) if self.in_time else x_bthwc
    return CausalConv3d(
      x.shape[-1] // 2,
      kernel=(1, 3, 3),
      double=True,
      conv=self.conv,
      dtype=self.dtype,
      name='space',
    )(x, stream)

  def _doubled(self, x_bthwc: jax.Array, stream: Stream | None) -> jax.Array:
    b, _, h, w, c = x_bthwc.shape
    time = CausalConv3d(
      2 * c, kernel=(3, 1, 1), conv=self.conv, dtype=self.dtype, name='time'
    )
    start = is_start(stream)
    pairs = time(x_bthwc[:, 1:] if start else x_bthwc, stream)
    pairs = pairs.reshape(b, -1, h, w, 2, c).swapaxes(3, 4).swapaxes(2, 3)
    frames = pairs.reshape(b, 2 * pairs.shape[1], h, w, c)
    return jnp.concatenate([x_bthwc[:, :1], frames], 1) if start else frames
