"""Causal convolution over time, per-frame norm, and streaming state.

A stream carries, for every convolution, the last input frames that the next
chunk still needs. Chunk by chunk then equals the whole clip. Chunks start
with the clip's first frame alone or together with whole latent frames.
"""

import dataclasses

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core.layers import fan_in_normal, logical

StreamState = dict[str, jax.Array]


@dataclasses.dataclass
class Stream:
  """State on the way through one call: read from `old`, written to `new`.

  Attributes:
    old: state after the chunk before; None at the start of a clip.
    new: filled during the call.
  """

  old: StreamState | None
  new: StreamState = dataclasses.field(default_factory=dict)


def conv3d(
  x_bthwc: jax.Array,
  kernel: jax.Array,
  *,
  zeros: int = 0,
  strides: tuple[int, int, int],
  space_padding: tuple[tuple[int, int], tuple[int, int]],
  conv: str,
) -> jax.Array:
  """3D convolution with zero frames before the first one and none after.

  Args:
    x_bthwc: input.
    kernel: (kt, kh, kw, in, out).
    zeros: frames of zeros before x, fewer than kt.
    strides: (t, h, w).
    space_padding: zeros before and after, for height and for width.
    conv: 'native', 'taps' (sum over the kernel's time steps of 2D
      convolutions: equal, and much faster on CPU) or 'auto'.

  Returns:
    The output, bthwc.
  """
  if conv == 'auto':
    conv = 'taps' if jax.default_backend() == 'cpu' else 'native'
  if conv == 'native':
    return jax.lax.conv_general_dilated(
      x_bthwc,
      kernel,
      strides,
      [(zeros, 0), *space_padding],
      dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
    )
  b, t = x_bthwc.shape[:2]
  kt, stride = kernel.shape[0], strides[0]
  t_out = (zeros + t - kt) // stride + 1
  total = None
  for i in reversed(range(kt)):
    # Output j reads frame j * stride + i - zeros: earlier taps meet nothing
    # but zeros in the first outputs, and leave those out.
    first = max(0, -((i - zeros) // stride))
    if first >= t_out:
      break
    begin = first * stride + i - zeros
    tap = x_bthwc[:, begin : begin + (t_out - first - 1) * stride + 1 : stride]
    out = jax.lax.conv_general_dilated(
      einops.rearrange(tap, 'b t h w c -> (b t) h w c'),
      kernel[i],
      strides[1:],
      space_padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    out = einops.rearrange(out, '(b t) h w c -> b t h w c', b=b)
    total = out if total is None else total.at[:, first:].add(out)
  return total


def last_slice_normal(*, gain: float = 1.0):
  """Initialises a (kt, kh, kw, in, out) kernel in its last time slice alone.

  The network starts as an image network on each frame, which learns what a
  frame looks like far sooner, and takes up the past from there: the paper's
  inflation (VideoAR App. A, with zeros elsewhere) of an untrained image model.
  """

  def init(key, shape, dtype=jnp.float32):
    _, kh, kw, width_in, _ = shape
    normal = fan_in_normal(kh * kw * width_in, gain=gain)
    return jnp.zeros(shape, dtype).at[-1].set(normal(key, shape[1:], dtype))

  return init


class CausalConv3d(nn.Module):
  """3D convolution that sees no later frame; zeros before the first.

  Attributes:
    width: output channels.
    kernel: (kt, kh, kw).
    strides: (t, h, w); space padding keeps the size, or halves it with the
      one row and column of zeros at the end (as image autoencoders do).
    double_time: repeat each frame twice first, so that T frames become
      2T - 1.
    gain: gain of the kernel at initialisation.
    conv: see `conv3d`.
    dtype: dtype of the computation.
  """

  width: int
  kernel: tuple[int, int, int] = (3, 3, 3)
  strides: tuple[int, int, int] = (1, 1, 1)
  double_time: bool = False
  gain: float = 1.0
  conv: str = 'auto'
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_bthwc: jax.Array, stream: Stream | None) -> jax.Array:
    width_in = x_bthwc.shape[-1]
    kt, kh, kw = self.kernel
    kernel = self.param(
      'kernel',
      logical(
        last_slice_normal(gain=self.gain),
        *('taps', 'taps', 'taps', 'conv_in', 'conv_out'),
      ),
      (kt, kh, kw, width_in, self.width),
    )
    bias = self.param(
      'bias', logical(nn.initializers.zeros, 'conv_out'), (self.width,)
    )
    x = x_bthwc.astype(self.dtype)
    if self.double_time:
      x = jnp.repeat(x, 2, axis=1)
    x, zeros = self._with_past(x, stream)
    halves = self.strides[1] == 2
    padding = [(0, 1) if halves else ((k - 1) // 2, k // 2) for k in (kh, kw)]
    out = conv3d(
      x,
      kernel.astype(self.dtype),
      zeros=zeros,
      strides=self.strides,
      space_padding=tuple(padding),
      conv=self.conv,
    )
    return out + bias.astype(self.dtype)

  def _with_past(self, x_bthwc, stream):
    """Prepends the stream's frames; at a clip's start counts zeros instead."""
    kt = self.kernel[0]
    if kt == 1:
      return x_bthwc, 0
    name = '/'.join(self.path)
    if stream is None or stream.old is None:
      # A doubled frame brings one frame of its own: T becomes 2T - 1.
      x, zeros = x_bthwc, kt - 1 - int(self.double_time)
    else:
      x, zeros = jnp.concatenate([stream.old[name], x_bthwc], axis=1), 0
    if stream is not None:
      past = kt - self.strides[0]
      padded = jnp.pad(x, ((0, 0), (zeros, 0), (0, 0), (0, 0), (0, 0)))
      stream.new[name] = padded[:, padded.shape[1] - past :]
    return x, zeros


class FrameNorm(nn.Module):
  """Group norm of each frame alone, in float32.

  Attributes:
    groups: number of groups.
    epsilon: added to the variance.
  """

  groups: int
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x_bthwc: jax.Array) -> jax.Array:
    c = x_bthwc.shape[-1]
    scale = self.param('scale', logical(nn.initializers.ones, 'norm'), (c,))
    bias = self.param('bias', logical(nn.initializers.zeros, 'norm'), (c,))
    x = einops.rearrange(
      x_bthwc.astype(jnp.float32), '... (g c) -> ... g c', g=self.groups
    )
    mean = jnp.mean(x, axis=(2, 3, 5), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(2, 3, 5), keepdims=True)
    x = (x - mean) * jax.lax.rsqrt(variance + self.epsilon)
    x = einops.rearrange(x, '... g c -> ... (g c)')
    return (x * scale + bias).astype(x_bthwc.dtype)
