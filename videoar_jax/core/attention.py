"""Attention: the one place that picks a kernel."""

import enum
import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from videoar_jax.core.kv_cache import KVCache, in_order
from videoar_jax.core.mask import GroupMask, Run, UnitMask, take
from videoar_jax.core.mesh import platform
from videoar_jax.core.precision import precision_of

_LONG = 512  # tokens from which on SPLASH is chosen by itself


class AttentionKernel(enum.StrEnum):
  """How masked attention is computed; all give the same result.

  AUTO: SPLASH for long sequences on TPU, else PREFIX.
  XLA: one product over all queries and keys.
  PREFIX: one product per run of queries over the keys that any of them sees;
    exact, any backend.
  CUDNN: the same products, by cuDNN; NVIDIA GPUs, bfloat16 or float16. Not run
    on a GPU yet.
  SPLASH: blocks of queries and keys in one kernel that skips what is not seen
    and keeps no scores; TPU.
  """

  AUTO = 'auto'
  XLA = 'xla'
  PREFIX = 'prefix'
  CUDNN = 'cudnn'
  SPLASH = 'splash'


class Keys(NamedTuple):
  """Keys and values that queries meet, and which query sees which.

  Attributes:
    k_bnmk: keys.
    v_bnmk: values.
    allowed_blm: bool, to be broadcast to (b, l, m); None: all see all.
  """

  k_bnmk: jax.Array
  v_bnmk: jax.Array
  allowed_blm: jax.Array | None = None


def attend(q_blnk: jax.Array, parts: Sequence[Keys]) -> jax.Array:
  """Softmax attention over several arrays of keys, softmax in float32.

  Args:
    q_blnk: queries.
    parts: what they meet; the softmax is over all of it.

  Returns:
    (b, l, n, k) in the dtype of the values.
  """
  q_bnlk = (q_blnk * q_blnk.shape[-1] ** -0.5).swapaxes(1, 2)
  scores = [_scores(q_bnlk, part) for part in parts]
  highest = functools.reduce(
    jnp.maximum, [jnp.max(x, axis=-1, keepdims=True) for x in scores]
  )
  weights = [jnp.exp(x - jax.lax.stop_gradient(highest)) for x in scores]
  # Divided at last: there are fewer outputs than weights.
  total = sum(jnp.sum(x, axis=-1, keepdims=True) for x in weights)
  out = sum(map(_weighted, weights, parts)) / total
  return out.swapaxes(1, 2).astype(parts[0].v_bnmk.dtype)


def cached_attention(
  q_blnk: jax.Array,
  own: Keys,
  *,
  layer: jax.Array | int,
  cache: KVCache,
  seen_bm: jax.Array,
  reaches: Sequence[int],
  reach: jax.Array | int,
) -> jax.Array:
  """Attention of one unit's tokens to what a cache holds and to themselves.

  On accelerators, where reading is what takes the time, the cache is read as
  far as it is filled: there is one product for each of `reaches`. On CPU, where
  a part of an array is copied before it is used, it is read whole.

  Args:
    q_blnk: queries of the unit.
    own: its keys and values.
    layer: whose part of the cache is read.
    cache: keys and values before the unit.
    seen_bm: which of the cache each example sees, bool; b may be 1.
    reaches: up to where the cache may have to be read, ascending.
    reach: which of these is far enough.

  Returns:
    (b, l, n, k).
  """

  def upto(tokens: int) -> jax.Array:
    kept = cache.layer(layer, tokens)
    return attend(q_blnk, [Keys(*kept, seen_bm[:, None, :tokens]), own])

  if platform() == 'cpu':
    return upto(cache.tokens)
  branches = [functools.partial(upto, tokens) for tokens in reaches]
  return jax.lax.switch(reach, branches)


def _scores(q_bnlk: jax.Array, part: Keys) -> jax.Array:
  product = functools.partial(
    jnp.einsum,
    precision=precision_of(q_bnlk.dtype),
    preferred_element_type=jnp.float32,
  )
  lowest = jnp.finfo(jnp.float32).min
  allowed_blm = part.allowed_blm
  if platform() == 'cpu' and allowed_blm is not None:
    # Many keys on the right would be packed for each product, which takes
    # longer than the product. Masked before it is turned back, and held in that
    # order, or the compiler would turn the product, and each reader its copy.
    scores = product('bnmk,bnlk->bnml', part.k_bnmk, q_bnlk)
    allowed_bml = allowed_blm.swapaxes(1, 2)
    scores = jnp.where(allowed_bml[:, None], scores, lowest)
    return in_order(
      scores.swapaxes(2, 3), 'batch', 'attention_heads', None, None
    )
  scores = product('bnlk,bnmk->bnlm', q_bnlk, part.k_bnmk)
  if allowed_blm is None:
    return scores
  return jnp.where(allowed_blm[:, None], scores, lowest)


def _weighted(weights_bnlm: jax.Array, part: Keys) -> jax.Array:
  dtype = part.v_bnmk.dtype
  return jnp.einsum(
    'bnlm,bnmk->bnlk',
    weights_bnlm.astype(dtype),
    part.v_bnmk,
    precision=precision_of(dtype),
    preferred_element_type=jnp.float32,
  )


def self_attention(
  q_blnk: jax.Array,
  k_blnk: jax.Array,
  v_blnk: jax.Array,
  *,
  mask: UnitMask,
  groups: GroupMask | None = None,
  seen_bl: jax.Array | None = None,
  kernel: AttentionKernel = AttentionKernel.AUTO,
) -> jax.Array:
  """Attention of a whole sequence to itself under a static mask.

  Args:
    q_blnk: queries.
    k_blnk: keys.
    v_blnk: values.
    mask: which keys each query sees.
    groups: what of that each example hides.
    seen_bl: keys of each example that are seen at all; None: all.
    kernel: how it is computed.

  Returns:
    (b, l, n, k).

  Raises:
    ValueError: what the kernel cannot do.
  """
  kernel = choose_kernel(kernel, q_blnk)
  if kernel == AttentionKernel.SPLASH:
    # Imported where it is used: it takes long, and most never use it.
    from videoar_jax.core import splash

    return splash.splash_attention(
      q_blnk, k_blnk, v_blnk, mask=mask, groups=groups, seen_bl=seen_bl
    )
  product = attend
  if kernel == AttentionKernel.CUDNN:
    product = functools.partial(fused_attention, implementation='cudnn')
  k_bnlk, v_bnlk = k_blnk.swapaxes(1, 2), v_blnk.swapaxes(1, 2)
  runs = (mask.whole,) if kernel == AttentionKernel.XLA else mask.runs
  parts = [
    product(
      q_blnk[:, run.start : run.stop],
      [
        Keys(
          take(k_bnlk, run.keys, axis=2),
          take(v_bnlk, run.keys, axis=2),
          _allowed(run, groups, seen_bl),
        )
      ],
    )
    for run in runs
  ]
  return jnp.concatenate(parts, axis=1)


def cross_attention(
  q_blnk: jax.Array,
  k_bmnk: jax.Array,
  v_bmnk: jax.Array,
  *,
  kernel: AttentionKernel = AttentionKernel.AUTO,
) -> jax.Array:
  """Attention to keys of something else, all of which every query sees.

  Args:
    q_blnk: queries.
    k_bmnk: keys.
    v_bmnk: values.
    kernel: how it is computed; one product, but for CUDNN.

  Returns:
    (b, l, n, k).

  Raises:
    ValueError: the kernel does not run where the program does.
  """
  keys = [Keys(k_bmnk.swapaxes(1, 2), v_bmnk.swapaxes(1, 2))]
  if choose_kernel(kernel, q_blnk) == AttentionKernel.CUDNN:
    return fused_attention(q_blnk, keys, implementation='cudnn')
  return attend(q_blnk, keys)


def choose_kernel(
  kernel: AttentionKernel, q_blnk: jax.Array
) -> AttentionKernel:
  """The kernel that computes attention where a program runs.

  Raises:
    ValueError: the chosen one does not run there.
  """
  where = platform()
  if kernel == AttentionKernel.AUTO:
    long = where == 'tpu' and q_blnk.shape[1] >= _LONG
    return AttentionKernel.SPLASH if long else AttentionKernel.PREFIX
  if kernel == AttentionKernel.CUDNN:
    half = q_blnk.dtype in (jnp.bfloat16, jnp.float16)
    if where != 'gpu' or not half:
      raise ValueError(
        f"attention='cudnn': {q_blnk.dtype} on {where}; it needs bfloat16 on "
        "an NVIDIA GPU; use 'prefix'"
      )
  return kernel


def fused_attention(
  q_blnk: jax.Array, parts: Sequence[Keys], *, implementation: str
) -> jax.Array:
  """`attend` by `jax.nn.dot_product_attention`.

  cuDNN takes an even number of tokens: an odd number gets one more, which no
  query sees.

  Args:
    q_blnk: queries.
    parts: what they meet, one array of keys.
    implementation: 'cudnn' or 'xla'.

  Returns:
    (b, l, n, k).
  """
  ((k_bnmk, v_bnmk, allowed_blm),) = parts
  length, keys = q_blnk.shape[1], k_bnmk.shape[2]
  more_q, more_k = length % 2, keys % 2
  if allowed_blm is None:
    allowed_blm = jnp.ones((1, 1, 1), bool)
  allowed_blm = jnp.broadcast_to(
    allowed_blm, (allowed_blm.shape[0], length, keys)
  )
  allowed_blm = jnp.pad(allowed_blm, [(0, 0), (0, more_q), (0, more_k)])
  tokens = [(0, 0), (0, more_k), (0, 0), (0, 0)]
  out = jax.nn.dot_product_attention(
    jnp.pad(q_blnk, [(0, 0), (0, more_q), (0, 0), (0, 0)]),
    jnp.pad(k_bnmk.swapaxes(1, 2), tokens),
    jnp.pad(v_bnmk.swapaxes(1, 2), tokens),
    mask=allowed_blm[:, None],
    implementation=implementation,
  )
  return out[:, :length]


def _allowed(
  run: Run, groups: GroupMask | None, seen_bl: jax.Array | None
) -> jax.Array | None:
  """What a static mask and those of each example allow together, if any."""
  masks, static = [], run.allowed()
  if static is not None:
    masks.append(static[None])
  if groups is not None:
    masks.append(groups.allowed(slice(run.start, run.stop), run.keys))
  if seen_bl is not None:
    masks.append(take(seen_bl, run.keys, axis=1)[:, None])
  return functools.reduce(operator.and_, masks) if masks else None
