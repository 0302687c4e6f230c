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
from videoar_jax.core.mesh import constrain, platform
from videoar_jax.core.precision import precision_of

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


def is_start(stream: Stream | None) -> bool:
  """Whether the frames of a call are the first of a clip."""
  return stream is None or stream.old is None


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
    kernel: (kt, kh, kw, in, out), of the input's dtype.
    zeros: frames of zeros before x, fewer than kt.
    strides: (t, h, w).
    space_padding: zeros before and after, for height and for width.
    conv: 'native', 'taps' (sum over the kernel's time steps of 2D
      convolutions: equal, and much faster on CPU) or 'auto', by
      `core.mesh.platform`.

  Returns:
    The output, bthwc; of no frames, where x and the zeros are fewer than kt.
  """
  if conv == 'auto':
    conv = _default_conv()
  b, t = x_bthwc.shape[:2]
  kt, stride = kernel.shape[0], strides[0]
  t_out = max(0, (zeros + t - kt) // stride + 1)
  if not t_out:
    axes = zip(
      x_bthwc.shape[2:4], space_padding, kernel.shape[1:3], strides[1:]
    )
    size = [(side + sum(pad) - k) // step + 1 for side, pad, k, step in axes]
    return jnp.zeros((b, 0, *size, kernel.shape[-1]), x_bthwc.dtype)
  if conv == 'native':
    return jax.lax.conv_general_dilated(
      x_bthwc,
      kernel,
      strides,
      [(zeros, 0), *space_padding],
      dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
      precision=precision_of(kernel.dtype),
    )
  total = None
  for i in reversed(range(kt)):
    # Output j reads frame j * stride + i - zeros. Below 0 that is a frame of
    # zeros, to which the tap adds nothing: these first outputs are left out.
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
      precision=precision_of(kernel.dtype),
    )
    out = einops.rearrange(out, '(b t) h w c -> b t h w c', b=b)
    total = out if total is None else total.at[:, first:].add(out)
  return total


def conv_doubled(
  x_bthwc: jax.Array,
  kernel: jax.Array,
  *,
  zeros: int,
  in_time: bool,
  conv: str,
) -> jax.Array:
  """`conv3d` after doubling each row and column, and in_time each frame.

  'taps' doubles nothing. Of three neighbours in a doubled row two are equal, so
  that every output is a sum over two cells, and two of the kernel's three taps
  are added up beforehand (8/27 of the products in_time, else 4/9). The outputs
  at a cell's copies are computed as channels of one convolution.

  Args:
    x_bthwc: the input, nothing doubled yet.
    kernel: (kt, 3, 3, in, out); in_time kt is 3.
    zeros: frames of zeros before x; in_time 0 or 1, else 0 to 2.
    in_time: double frames, too. At a clip's start (zeros=1) T frames become
      2T - 1; later, T frames and the one before them become 2T.
    conv: see `conv3d`.

  Returns:
    The output, bthwc, of twice the height and width.
  """
  if conv == 'auto':
    conv = _default_conv()
  if conv == 'native':
    for axis in (2, 3, *([1] if in_time else [])):
      x_bthwc = jnp.repeat(x_bthwc, 2, axis=axis)
    return conv3d(
      x_bthwc,
      kernel,
      zeros=zeros,
      strides=(1, 1, 1),
      space_padding=((1, 1), (1, 1)),
      conv=conv,
    )
  sums = _for_pairs(_for_pairs(kernel, axis=1), axis=2)
  sums = _for_pairs(sums, axis=0) if in_time else sums[None]
  places = sums.shape[:3]  # within a cell: time, width, height
  # Padded here: XLA is slow at the gradient of an even kernel with padding.
  out = conv3d(
    jnp.pad(x_bthwc, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))),
    einops.rearrange(sums, 't w h ... o -> ... (t w h o)'),
    zeros=zeros,
    strides=(1, 1, 1),
    space_padding=((0, 0), (0, 0)),
    conv=conv,
  )
  out = einops.rearrange(
    out,
    'b t h w (tt ww hh o) -> tt ww hh b t h w o',
    **dict(zip(('tt', 'ww', 'hh'), places)),
  )
  # Of a pair, place 0 lies in its right cell and place 1 in its left one: of
  # the first pair only the right cell is there, of the last only the left.
  out = jnp.stack([out[:, 0, ..., :-1, :], out[:, 1, ..., 1:, :]], axis=1)
  out = jnp.stack(
    [out[:, :, 0, ..., :-1, :, :], out[:, :, 1, ..., 1:, :, :]], axis=2
  )
  # The left frame of a pair comes first.
  out = einops.rearrange(
    out[::-1], 'tt ww hh b t h w o -> b (t tt) (h hh) (w ww) o'
  )
  return out[:, zeros if in_time else 0 :]


def _for_pairs(kernel: jax.Array, *, axis: int) -> jax.Array:
  """Turns three taps over copies into two over cells, on a new first axis.

  Index 0 gives the output at the right cell's first copy, index 1 that at the
  left cell's last. `axis` counts from the kernel's own axes (kt, kh, kw, in,
  out).
  """
  axis -= 5
  k0, k1, k2 = (jnp.take(kernel, i, axis=axis) for i in range(3))
  axis += 1
  return jnp.stack(
    [jnp.stack([k0, k1 + k2], axis - 1), jnp.stack([k0 + k1, k2], axis - 1)]
  )


def _default_conv() -> str:
  return 'taps' if platform() == 'cpu' else 'native'


def last_slice_normal(*, gain: float = 1.0):
  """Initialises a (kt, kh, kw, in, out) kernel in its last time slice alone.

  The network starts as one of single frames: an untrained image model, inflated
  with zeros (docs/paper.md, Inflation). So it learns far sooner what a frame
  looks like, and how to use the past after that.
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
    double: double each row and column first; only with kernel (kt, 3, 3).
    double_time: double each frame, too, so that T frames become 2T - 1.
    gain: gain of the kernel at initialisation.
    conv: see `conv3d`; with 'taps' nothing is doubled, see `conv_doubled`.
    dtype: dtype of the computation.
  """

  width: int
  kernel: tuple[int, int, int] = (3, 3, 3)
  strides: tuple[int, int, int] = (1, 1, 1)
  double: bool = False
  double_time: bool = False
  gain: float = 1.0
  conv: str = 'auto'
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    x_bthwc: jax.Array,
    stream: Stream | None,
    *,
    past_bthwc: jax.Array | None = None,
  ) -> jax.Array:
    """Applies the convolution.

    Args:
      x_bthwc: frames, which may be none.
      stream: state; None takes x for a whole clip.
      past_bthwc: at a clip's start the frames before x, in place of zeros.
    """
    width_in = x_bthwc.shape[-1]
    kt, kh, kw = self.kernel
    kernel = self.param(
      'kernel',
      logical(
        last_slice_normal(gain=self.gain),
        *('taps', 'taps', 'taps', 'conv_in', 'conv_out'),
      ),
      (kt, kh, kw, width_in, self.width),
    ).astype(self.dtype)
    bias = self.param(
      'bias', logical(nn.initializers.zeros, 'conv_out'), (self.width,)
    )
    x, zeros = self._with_past(x_bthwc.astype(self.dtype), stream, past_bthwc)
    if self.double:
      out = conv_doubled(
        x, kernel, zeros=zeros, in_time=self.double_time, conv=self.conv
      )
    else:
      halves = self.strides[1] == 2
      padding = [(0, 1) if halves else ((k - 1) // 2, k // 2) for k in (kh, kw)]
      out = conv3d(
        x,
        kernel,
        zeros=zeros,
        strides=self.strides,
        space_padding=tuple(padding),
        conv=self.conv,
      )
    return named(out + bias.astype(self.dtype))

  def _with_past(self, x_bthwc, stream, past_bthwc):
    """Prepends the frames before x, or counts zeros in their place."""
    if self.kernel[0] == 1:
      return x_bthwc, 0
    # Three neighbours among doubled frames are copies of two.
    kt = 2 if self.double_time else self.kernel[0]
    name = '/'.join(self.path)
    if not is_start(stream):
      past_bthwc = stream.old[name]
    if past_bthwc is None:
      x, zeros = x_bthwc, kt - 1
    else:
      x, zeros = jnp.concatenate([past_bthwc, x_bthwc], axis=1), 0
    if stream is not None:
      past = kt - self.strides[0]
      padded = jnp.pad(x, ((0, 0), (zeros, 0), (0, 0), (0, 0), (0, 0)))
      stream.new[name] = padded[:, padded.shape[1] - past :]
    return x, zeros


def named(x_bthwc: jax.Array) -> jax.Array:
  """Activations on a grid, with the names of their axes for the mesh."""
  return constrain(x_bthwc, 'batch', 'time', 'height', 'width', 'channels')


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
