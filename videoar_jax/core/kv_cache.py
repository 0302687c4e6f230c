"""The cache of keys and values that a rollout reads and extends.

Its axes are in one order, in which no product turns it round, and no layer
writes it: a unit's own keys and values are written once, for all layers.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from videoar_jax.core.mesh import constrain, over_shards, platform


@flax.struct.dataclass
class KVCache:
  """Keys (rotated) and values of all layers.

  Attributes:
    k: (layers, b, n, m, k) in one array; or, where layers lie apart, a tuple of
      (b, n, m, k) for each.
    v: likewise.
  """

  k: Any
  v: Any

  @property
  def tokens(self) -> int:
    """How many it holds, or has room for."""
    return jax.tree.leaves(self.k)[0].shape[-2]

  def layer(self, number: jax.Array | int, tokens: int) -> list[jax.Array]:
    """The first tokens' keys and values of one layer: (b, n, m, k) each."""
    if isinstance(self.k, tuple):
      return [x[number][..., :tokens, :] for x in (self.k, self.v)]
    size = (1, *self.k.shape[1:3], tokens, self.k.shape[4])
    start = (number, 0, 0, 0, 0)
    return [
      jax.lax.dynamic_slice(_pinned(x), start, size)[0]
      for x in (self.k, self.v)
    ]

  def room(self, tokens: int, *, zeros: bool) -> 'KVCache':
    """These tokens in a cache with room for so many.

    Args:
      tokens: how many.
      zeros: whether the rest may be read, under a mask, before it is written;
        else it is zeros on CPU and anything on accelerators.
    """
    fill = jnp.zeros if zeros else jax.lax.empty

    def widen(x: jax.Array) -> jax.Array:
      shape = (*x.shape[:-2], tokens, x.shape[-1])
      return _put(_pinned(fill(shape, x.dtype)), x, 0)

    return jax.tree.map(widen, self)

  def write(self, unit: 'KVCache', offset: jax.Array | int) -> 'KVCache':
    """The cache with a unit's keys and values from token `offset` on."""

    put = functools.partial(_put, offset=offset)
    return jax.tree.map(put, self, unit)


def _put(old: jax.Array, new: jax.Array, offset: jax.Array | int) -> jax.Array:
  new = new.astype(old.dtype)
  axis = old.ndim - 2
  out = jax.lax.dynamic_update_slice_in_dim(old, new, offset, axis=axis)
  return _pinned(constrain(out, *_axes(out)))


def in_order(x: jax.Array, *axes: str | None) -> jax.Array:
  """An array whose axes lie in memory in their order, on each device.

  Args:
    x: the array.
    *axes: logical ones; the compiler would gather an array whose layout is
      said to it as a whole.
  """
  order = Layout(tuple(range(x.ndim)))
  return over_shards(
    lambda part: with_layout_constraint(part, order),
    [x],
    axes=[axes],
    out_axes=axes,
  )


def _pinned(x: jax.Array) -> jax.Array:
  """An array that is `in_order` on TPU.

  Left to itself, the compiler has an order for writing and others for reading,
  and turns the whole cache round between them.
  """
  return in_order(x, *_axes(x)) if platform() == 'tpu' else x


def _axes(x: jax.Array) -> tuple[str | None, ...]:
  """Logical axes of keys or values, of all layers or of one."""
  layers = ('layers',) * (x.ndim - 4)
  return (*layers, 'batch', 'attention_heads', None, 'head_dim')
