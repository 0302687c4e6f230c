"""Norms, layers and parameter initialisers with logical axes."""

import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core.mesh import constrain, platform
from videoar_jax.core.precision import precision_of


def logical(init, *axes: str | None):
  """An initialiser whose parameter carries the names of its axes."""
  return nn.with_logical_partitioning(init, axes)


def fan_in_normal(fan_in: int, *, gain: float = 1.0):
  """Normal initialiser of standard deviation gain / sqrt(fan_in)."""
  return nn.initializers.normal(gain / math.sqrt(fan_in))


def rms_norm(x_xd: jax.Array, scale_d: jax.Array, *, epsilon: float = 1e-6):
  """x / rms(x) · scale over the last axis, in float32, in x's dtype again."""
  x = x_xd.astype(jnp.float32)
  x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon)
  return (x * scale_d).astype(x_xd.dtype)


def layer_norm(x_xd: jax.Array, *, epsilon: float = 1e-6) -> jax.Array:
  """(x - mean) / deviation over the last axis, float32."""
  x = x_xd.astype(jnp.float32)
  x = x - jnp.mean(x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon)


class RMSNorm(nn.Module):
  """Root-mean-square norm over the last axis, computed in float32."""

  @nn.compact
  def __call__(self, x_xd: jax.Array) -> jax.Array:
    init = logical(nn.initializers.ones, 'norm')
    return rms_norm(x_xd, self.param('scale', init, (x_xd.shape[-1],)))


def weights_apart(
  module: nn.Module, name: str, init, shape: tuple[int, ...], dtype
) -> Sequence[jax.Array]:
  """Weights of several products of one input, which a checkpoint holds as one.

  Each product is one of its own: all at once, the compiler would turn round
  the weights at each use.

  Args:
    module: whose parameter they are.
    name: of the parameter; it may be given as a tuple, which spares a copy at
      each use.
    init: its initialiser.
    shape: its shape, the products first.
    dtype: of the weights that are returned.
  """
  if module.has_variable('params', name):
    found = module.get_variable('params', name)
    if isinstance(found, tuple):
      return [x.astype(dtype) for x in found]
  return list(module.param(name, init, shape).astype(dtype))


def project(x: jax.Array, kernel: jax.Array, *, axes: int = 1) -> jax.Array:
  """The product of an array's last axes and a kernel's first ones.

  On CPU the array's other axes become one for it: over several of them the
  kernel's gradient would be a product of arrays turned round, which takes
  longer than the product.

  Args:
    x: of the kernel's dtype.
    kernel: its first axes are x's last.
    axes: how many.

  Returns:
    x's other axes, then the kernel's.
  """
  others, outputs = x.shape[:-axes], kernel.shape[axes:]
  product = functools.partial(
    jnp.tensordot, precision=precision_of(kernel.dtype)
  )
  if platform() != 'cpu':
    return product(x, kernel, axes=axes)
  out = product(
    x.reshape(math.prod(others), -1),
    kernel.reshape(-1, math.prod(outputs)),
    axes=1,
  )
  return out.reshape(*others, *outputs)


class Affine(nn.Module):
  """x · kernel + bias.

  Attributes:
    outputs: sizes of the axes that it makes.
    axes: logical names of the kernel's axes: those it sums over, x's last ones,
      then those that it makes.
    gain: of the kernel at initialisation; the bias begins at zero.
    dtype: dtype of the computation.
  """

  outputs: tuple[int, ...]
  axes: tuple[str | None, ...]
  gain: float = 1.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    summed = len(self.axes) - len(self.outputs)
    inputs = x.shape[-summed:]
    kernel = self.param(
      'kernel',
      logical(fan_in_normal(math.prod(inputs), gain=self.gain), *self.axes),
      (*inputs, *self.outputs),
    )
    # One axis, by which an optimiser knows that it is no matrix.
    bias = self.param(
      'bias',
      logical(nn.initializers.zeros, self.axes[summed]),
      (math.prod(self.outputs),),
    )
    x, kernel, bias = (y.astype(self.dtype) for y in (x, kernel, bias))
    return project(x, kernel, axes=summed) + bias.reshape(self.outputs)


class SwiGLU(nn.Module):
  """silu(x·gate) * (x·up) · down.

  Attributes:
    hidden: width of the gate and of the product.
    out_gain: gain of the last matrix at initialisation.
    dtype: dtype of the computation.
  """

  hidden: int
  out_gain: float = 1.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_bld: jax.Array) -> jax.Array:
    d = x_bld.shape[-1]
    gate, up = weights_apart(
      self,
      'gate_up',
      logical(fan_in_normal(d), None, 'embed', 'mlp'),
      (2, d, self.hidden),
      self.dtype,
    )
    down = self.param(
      'down',
      logical(fan_in_normal(self.hidden, gain=self.out_gain), 'mlp', 'embed'),
      (self.hidden, d),
    ).astype(self.dtype)
    hidden = nn.silu(project(x_bld, gate)) * project(x_bld, up)
    hidden = constrain(hidden, 'batch', 'length', 'mlp')
    return project(hidden, down)
