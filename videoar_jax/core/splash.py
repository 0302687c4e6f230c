"""Attention in blocks that skip what is not seen, by JAX's kernel for TPU.

The mask is worked out within the kernel from one number for each query, where
every query sees the first keys up to its own; only for other masks the blocks
that are seen in part are arrays. A sequence is padded to whole blocks.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)

from videoar_jax.core.mask import GroupMask, UnitMask
from videoar_jax.core.mesh import over_shards, platform

_LANES = 128
_BLOCK = 512
_HALF = 16  # bits of either number that is packed into a query's own


def splash_attention(
  q_blnk: jax.Array,
  k_blnk: jax.Array,
  v_blnk: jax.Array,
  *,
  mask: UnitMask,
  groups: GroupMask | None = None,
  seen_bl: jax.Array | None = None,
) -> jax.Array:
  """One of the kernels of `attention.self_attention`; see there.

  Off TPU it is interpreted, which serves tests alone.
  """
  batch, length, _, width = q_blnk.shape
  block = best_block(length)
  padded = _rounded_up(length, block)
  tokens = [(0, 0), (0, padded - length), (0, 0), (0, 0)]
  q, k, v = (
    jnp.pad(x, tokens).swapaxes(1, 2)
    for x in (q_blnk * width**-0.5, k_blnk, v_blnk)
  )
  hidden_bm = None
  if seen_bl is not None:
    hidden_bm = jnp.pad(~seen_bl, tokens[:2])
  if groups is None:
    lazy = _first_keys(mask, padded)
  else:
    # Keys twice: as later groups see them, and as their own group does.
    k, v = (jnp.concatenate([x, x], axis=2) for x in (k, v))
    none = jnp.zeros((batch, padded), bool) if hidden_bm is None else hidden_bm
    later = none | jnp.pad(~groups.kept(), tokens[:2])
    hidden_bm = jnp.concatenate([later, none], axis=1)
    lazy = _keys_twice(mask, groups, padded)

  def attend(q, k, v, hidden_bm):
    kernel = kernels.make_splash_mha(
      masks.MultiHeadMask([lazy] * q.shape[1]),
      head_shards=1,
      q_seq_shards=1,
      block_sizes=_blocks(block),
      interpret=platform() != 'tpu',
    )
    if hidden_bm is None:
      return jax.vmap(kernel)(q, k, v)
    segments = kernels.SegmentIds(
      jnp.zeros((q.shape[0], padded), jnp.int32), hidden_bm.astype(jnp.int32)
    )
    return jax.vmap(kernel)(q, k, v, segments)

  heads = ('batch', 'attention_heads', None, None)
  axes = (heads, heads, heads, ('batch', None))
  out = over_shards(attend, (q, k, v, hidden_bm), axes=axes, out_axes=heads)
  return out.swapaxes(1, 2)[:, :length].astype(v_blnk.dtype)


def best_block(length: int) -> int:
  """The block of 128 to 512 with the least padding, the largest of such."""
  blocks = range(_LANES, _BLOCK + 1, _LANES)
  return min(blocks, key=lambda x: (_rounded_up(length, x), -x))


def _rounded_up(length: int, block: int) -> int:
  return -(-length // block) * block


def _blocks(block: int) -> kernels.BlockSizes:
  names = ('block_q', 'block_kv', 'block_kv_compute')
  backward = ('block_q_dkv', 'block_kv_dkv', 'block_kv_dkv_compute')
  sizes = dict.fromkeys((*names, *backward, 'block_q_dq', 'block_kv_dq'), block)
  return kernels.BlockSizes(**sizes)


class _Lazy(masks.Mask):
  """A mask as the kernel's builder asks for it: block by block, of no array.

  Attributes:
    shape: (queries, keys).
    part: bool (queries, keys) of two slices.
  """

  def __init__(self, shape, part):
    self._shape, self._part = shape, part

  @property
  def shape(self) -> tuple[int, int]:
    return self._shape

  def __getitem__(self, index) -> np.ndarray:
    queries, keys = (np.arange(size)[x] for size, x in zip(self.shape, index))
    return self._part(queries, keys)


class _Worked(_Lazy):
  """A mask that the kernel works out: of a number of the query, and the key.

  Attributes:
    q_sequence: the number of each query, int32.
    mask_function: (numbers, keys) -> bool.
  """

  def __init__(self, shape, numbers_l: np.ndarray, mask_function):
    super().__init__(
      shape,
      lambda q, k: np.asarray(mask_function(numbers_l[q][:, None], k[None])),
    )
    self.q_sequence = numbers_l.astype(np.int32)
    self.mask_function = mask_function


def _first_keys(mask: UnitMask, padded: int) -> _Lazy:
  """The mask of a sequence padded to whole blocks."""
  shape = (padded, padded)
  stops_l = _stops(mask, padded)
  if stops_l is not None:
    return _Worked(shape, stops_l, lambda stop, key: key < stop)
  return _Lazy(shape, lambda q, k: _part(mask, q, k))


def _keys_twice(mask: UnitMask, groups: GroupMask, padded: int) -> _Lazy:
  """The mask over [keys of groups before | keys of the own group]."""
  shape = (padded, 2 * padded)
  stops_l, group_l = _stops(mask, padded), groups.group_l
  always, counts = int((group_l < 0).sum()), np.bincount(group_l[group_l >= 0])
  even = (counts == counts[0]).all() and (np.diff(group_l) >= 0).all()
  if stops_l is None or not even or padded >= 1 << _HALF:
    return _Lazy(shape, lambda q, k: _part_twice(mask, groups, padded, q, k))
  start_l = np.zeros(padded, np.int64)
  start_l[: len(group_l)] = np.where(
    group_l < 0, 0, always + group_l * counts[0]
  )
  reach = groups.window * int(counts[0])
  low = (1 << _HALF) - 1

  def sees(number, key):
    start, own = (number >> _HALF) & low, number & low
    past = key < start
    if reach:
      past = past & ((key >= start - reach) | (key < always))
    return past | ((key >= padded + start) & (key < padded + start + own))

  numbers_l = (start_l << _HALF) | (stops_l - start_l)
  return _Worked(shape, numbers_l.astype(np.uint32).view(np.int32), sees)


def _stops(mask: UnitMask, padded: int) -> np.ndarray | None:
  """How many keys each query sees, if these are the first; padding sees one."""
  whole = mask.whole
  stops = whole.stops
  if stops is None or whole.keys != ((0, whole.stop),):
    return None
  stops_l = np.ones(padded, np.int32)
  stops_l[: whole.stop] = np.repeat(stops, mask.lengths)
  return stops_l


def _part(mask: UnitMask, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
  """The mask with padding, whose queries see the first key."""
  length = mask.offsets[-1]
  inside = mask.part(
    np.minimum(queries, length - 1), np.minimum(keys, length - 1)
  )
  padding = queries[:, None] >= length
  return np.where(padding, keys == 0, inside & (keys < length))


def _part_twice(mask, groups, padded, queries, keys) -> np.ndarray:
  length = mask.offsets[-1]
  of_token, own = keys % padded, keys >= padded
  group_q, group_k = (
    groups.group_l[np.minimum(x, length - 1)] for x in (queries, of_token)
  )
  group_q = group_q[:, None]
  near = group_k < group_q
  if groups.window:
    near &= (group_k >= group_q - groups.window) | (group_k < 0)
  right = np.where(own, group_k == group_q, near)
  padding = (queries[:, None] >= length) & own
  return _part(mask, queries, of_token) & (right | padding)
