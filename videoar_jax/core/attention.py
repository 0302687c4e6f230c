"""Attention: the one place that picks a kernel, and the KV cache."""

import enum
import functools
import operator

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.mask import UnitMask
from videoar_jax.core.mesh import platform


class AttentionKernel(enum.StrEnum):
  """How masked attention is computed; all give the same result.

  AUTO: PREFIX.
  XLA: one product over the whole mask.
  PREFIX: one product per block of queries over the keys that any of them sees;
    exact, any backend.
  CUDNN: cuDNN's fused product over the whole mask; NVIDIA GPUs, bfloat16 or
    float16. Not run on a GPU yet.
  """

  AUTO = 'auto'
  XLA = 'xla'
  PREFIX = 'prefix'
  CUDNN = 'cudnn'


def attend(
  q_blnk: jax.Array,
  k_bmnk: jax.Array,
  v_bmnk: jax.Array,
  *,
  mask_blm: jax.Array | np.ndarray | None,
) -> jax.Array:
  """Softmax attention under a boolean mask, softmax in float32.

  Args:
    q_blnk: queries.
    k_bmnk: keys.
    v_bmnk: values.
    mask_blm: True where attention is allowed, broadcastable to (b, l, m); None:
      everywhere.

  Returns:
    (b, l, n, k) in the dtype of the values.
  """
  scale = q_blnk.shape[-1] ** -0.5
  scores = jnp.einsum(
    'blnk,bmnk->bnlm',
    q_blnk * scale,
    k_bmnk,
    preferred_element_type=jnp.float32,
  )
  if mask_blm is not None:
    mask = jnp.asarray(mask_blm)
    mask = mask[:, None] if mask.ndim == 3 else mask
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
  weights = jax.nn.softmax(scores, axis=-1).astype(v_bmnk.dtype)
  return jnp.einsum('bnlm,bmnk->blnk', weights, v_bmnk)


def fused_attention(
  q_blnk: jax.Array,
  k_blnk: jax.Array,
  v_blnk: jax.Array,
  *,
  mask_bll: jax.Array | np.ndarray,
  implementation: str = 'cudnn',
) -> jax.Array:
  """Self-attention by `jax.nn.dot_product_attention`.

  cuDNN takes an even number of tokens: an odd number gets one more, which no
  query sees.

  Args:
    q_blnk: queries.
    k_blnk: keys.
    v_blnk: values.
    mask_bll: True where attention is allowed, broadcastable to (b, l, l).
    implementation: 'cudnn' or 'xla'.

  Returns:
    (b, l, n, k).

  Raises:
    ValueError: what cuDNN cannot do.
  """
  length = q_blnk.shape[1]
  if implementation == 'cudnn':
    half = q_blnk.dtype in (jnp.bfloat16, jnp.float16)
    if platform() != 'gpu' or not half:
      raise ValueError(
        f"attention='cudnn': {q_blnk.dtype} on {platform()}; it needs bfloat16 "
        "on an NVIDIA GPU; use 'prefix'"
      )
  spare = length % 2
  tokens = [(0, 0), (0, spare), (0, 0), (0, 0)]
  mask_bll = jnp.asarray(mask_bll)
  mask_bll = mask_bll if mask_bll.ndim == 3 else mask_bll[None]
  mask_bll = jnp.pad(mask_bll, [(0, 0), (0, spare), (0, spare)])
  out = jax.nn.dot_product_attention(
    *(jnp.pad(x, tokens) for x in (q_blnk, k_blnk, v_blnk)),
    mask=mask_bll[:, None],
    implementation=implementation,
  )
  return out[:, :length]


def block_attention(
  q_blnk: jax.Array,
  k_blnk: jax.Array,
  v_blnk: jax.Array,
  *,
  mask: UnitMask,
  extra_mask_bll: jax.Array | None = None,
  key_mask_bl: jax.Array | None = None,
  kernel: AttentionKernel = AttentionKernel.AUTO,
) -> jax.Array:
  """Self-attention of a whole sequence under a static block-causal mask.

  Args:
    q_blnk: queries.
    k_blnk: keys.
    v_blnk: values.
    mask: which keys each query sees.
    extra_mask_bll: per-example boolean mask, combined by logical and.
    key_mask_bl: keys of each example that are seen at all, likewise.
    kernel: how it is computed.

  Returns:
    (b, l, n, k).
  """
  if kernel in (AttentionKernel.CUDNN, AttentionKernel.XLA):
    whole = _combined(mask.dense(), extra_mask_bll, key_mask_bl)
    if kernel == AttentionKernel.CUDNN:
      return fused_attention(q_blnk, k_blnk, v_blnk, mask_bll=whole)
    return attend(q_blnk, k_blnk, v_blnk, mask_blm=whole)
  parts = []
  for run in mask.runs:
    queries = slice(run.start, run.stop)
    seen = functools.partial(_slices, run.keys)
    extra, of_keys = extra_mask_bll, key_mask_bl
    part_mask = _combined(
      run.mask_lm,
      None if extra is None else seen(extra[:, queries], 2),
      None if of_keys is None else seen(of_keys, 1),
    )
    parts.append(
      attend(
        q_blnk[:, queries], seen(k_blnk, 1), seen(v_blnk, 1), mask_blm=part_mask
      )
    )
  return jnp.concatenate(parts, axis=1)


def _slices(ranges, x: jax.Array, axis: int) -> jax.Array:
  """Some ranges of an axis, side by side."""
  parts = [
    jax.lax.slice_in_dim(x, start, stop, axis=axis) for start, stop in ranges
  ]
  return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=axis)


def _combined(mask_lm, extra_mask_blm=None, key_mask_bm=None):
  """What a static mask and those of each example allow together, if any."""
  masks = [mask_lm, extra_mask_blm]
  masks.append(None if key_mask_bm is None else key_mask_bm[:, None])
  masks = [mask for mask in masks if mask is not None]
  return functools.reduce(operator.and_, masks) if masks else None


@flax.struct.dataclass
class KVCache:
  """Keys (rotated) and values of all layers, preallocated.

  Attributes:
    k_xbmnk: (layers, b, m, n, k).
    v_xbmnk: (layers, b, m, n, k).
  """

  k_xbmnk: jax.Array
  v_xbmnk: jax.Array

  @classmethod
  def zeros(cls, *, layers, batch, tokens, heads, head_width, dtype):
    """An empty cache for `tokens` tokens."""
    shape = (layers, batch, tokens, heads, head_width)
    return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def cached_attention(
  q_blnk: jax.Array,
  k_blnk: jax.Array,
  v_blnk: jax.Array,
  *,
  cache_bmnk: tuple[jax.Array, jax.Array],
  offset: jax.Array | int,
  visible_xm: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """Attention of one unit's tokens to what the cache holds and to themselves.

  Args:
    q_blnk: queries of the unit.
    k_blnk: keys of the unit.
    v_blnk: values of the unit.
    cache_bmnk: one layer's keys and values.
    offset: where in the cache the unit is written.
    visible_xm: which of the cache is seen, once the unit is written: (m,), or
      (b, m).

  Returns:
    (b, l, n, k), and the layer's cache with the unit written at `offset`.
  """
  k_cache, v_cache = (
    jax.lax.dynamic_update_slice_in_dim(
      old, new.astype(old.dtype), offset, axis=1
    )
    for old, new in zip(cache_bmnk, (k_blnk, v_blnk))
  )
  out = attend(q_blnk, k_cache, v_cache, mask_blm=visible_xm[..., None, :])
  return out, (k_cache, v_cache)
