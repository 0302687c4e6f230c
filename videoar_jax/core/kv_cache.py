"""The cache of keys and values that a rollout reads and extends."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


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

  def room(self, tokens: int) -> 'KVCache':
    """These tokens, then zeros, in a cache of so many tokens."""

    def widen(x: jax.Array) -> jax.Array:
      more = [(0, 0)] * x.ndim
      more[-2] = (0, tokens - x.shape[-2])
      return jnp.pad(x, more)

    return jax.tree.map(widen, self)

  def write(self, unit: 'KVCache', offset: jax.Array | int) -> 'KVCache':
    """The cache with a unit's keys and values from token `offset` on."""
    return jax.tree.map(
      lambda old, new: jax.lax.dynamic_update_slice_in_dim(
        old, new.astype(old.dtype), offset, axis=old.ndim - 2
      ),
      self,
      unit,
    )
