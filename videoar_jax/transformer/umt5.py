"""The encoder of umT5: tokens of a prompt to one state for each.

Source: umT5 (arXiv:2304.09151) as Wan 2.1 uses it (docs/paper.md, Text
encoder). Deviation: none; products may be in bfloat16, all else is in float32.
"""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import fields
from videoar_jax.core.layers import RMSNorm, fan_in_normal, logical, project
from videoar_jax.core.mesh import unbox
from videoar_jax.core.precision import precision_of

PADDING, END = 0, 1  # tokens


@dataclasses.dataclass(frozen=True)
class Umt5Config:
  """Shape of the encoder; the defaults are umT5-XXL's.

  Attributes:
    num_layers: of attention and of the gated network after it.
    width: of a token's state.
    num_heads: of attention.
    head_width: of one head; all of them need not add up to `width`.
    hidden: width of the gated network.
    vocabulary: tokens.
    num_buckets: of relative positions, half of them for keys that come later.
    max_distance: positions as far apart as this, or farther, are one bucket.
    dtype: of the products; norms, softmax and the running sum are float32.
  """

  num_layers: fields.Size = 24
  width: fields.Size = 4096
  num_heads: fields.Size = 64
  head_width: fields.Size = 64
  hidden: fields.Size = 10240
  vocabulary: fields.Count = 256_384
  num_buckets: fields.Size = 32
  max_distance: fields.Size = 128
  dtype: fields.Dtype = 'bfloat16'

  def __post_init__(self):
    fields.check(self)
    if self.num_buckets % 4 or self.max_distance <= self.num_buckets // 4:
      raise ValueError(
        f'num_buckets={self.num_buckets}, max_distance={self.max_distance}: '
        'wanted a multiple of 4, and a distance above a quarter of it'
      )


class Umt5Layer(nn.Module):
  """x + attention(norm(x)), then x + gated(norm(x))."""

  config: Umt5Config

  @nn.compact
  def __call__(self, x_bld: jax.Array, length_b: jax.Array) -> jax.Array:
    """Applies the layer.

    Args:
      x_bld: states, float32.
      length_b: tokens of each example; keys from there on are not seen.
    """
    dtype = jnp.dtype(self.config.dtype)
    h = RMSNorm(name='attention_norm')(x_bld).astype(dtype)
    x_bld = x_bld + self._attention(h, length_b)
    h = RMSNorm(name='hidden_norm')(x_bld).astype(dtype)
    return x_bld + self._gated(h)

  def _attention(self, x_bld: jax.Array, length_b: jax.Array) -> jax.Array:
    """Every token meets every one before the length; scores are not scaled."""
    config = self.config
    d, n, k = config.width, config.num_heads, config.head_width
    init = logical(fan_in_normal(d), 'embed', 'heads', None)
    # Scores have no factor 1/√k, so that the queries begin as much smaller.
    small = logical(fan_in_normal(d * k), 'embed', 'heads', None)
    q = project(x_bld, self._weight('query', small, (d, n, k)))
    key = project(x_bld, self._weight('key', init, (d, n, k)))
    value = project(x_bld, self._weight('value', init, (d, n, k)))
    scores = _product('blnk,bmnk->bnlm', q, key)
    table = self.param(
      'bias',
      logical(fan_in_normal(d), None, 'heads'),
      (config.num_buckets, n),
    )
    scores += table[buckets(x_bld.shape[1], config)].transpose(2, 0, 1)
    seen_bm = jnp.arange(x_bld.shape[1]) < length_b[:, None]
    lowest = jnp.finfo(jnp.float32).min
    scores = jnp.where(seen_bm[:, None, None], scores, lowest)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    attended = _product('bnlm,bmnk->blnk', weights, value).astype(value.dtype)
    out = logical(fan_in_normal(n * k), 'heads', None, 'embed')
    return project(attended, self._weight('out', out, (n, k, d)), axes=2)

  def _gated(self, x_bld: jax.Array) -> jax.Array:
    """gelu(x·gate) * (x·up) · down."""
    d, hidden = self.config.width, self.config.hidden
    wide = logical(fan_in_normal(d), 'embed', 'mlp')
    gate = project(x_bld, self._weight('gate', wide, (d, hidden)))
    up = project(x_bld, self._weight('up', wide, (d, hidden)))
    down = logical(fan_in_normal(hidden), 'mlp', 'embed')
    return project(
      nn.gelu(gate, approximate=True) * up,
      self._weight('down', down, (hidden, d)),
    )

  def _weight(self, name: str, init, shape: tuple[int, ...]) -> jax.Array:
    return self.param(name, init, shape).astype(self.config.dtype)


class Umt5Encoder(nn.Module):
  """All layers, between the tokens' embeddings and a norm."""

  config: Umt5Config

  @nn.compact
  def __call__(self, tokens_bl: jax.Array, length_b: jax.Array) -> jax.Array:
    """Encodes prompts.

    Args:
      tokens_bl: int32.
      length_b: tokens of each prompt, END among them; what comes after them is
        neither seen nor encoded.

    Returns:
      States, (b, l, d) float32, 0 from the length on.
    """
    config = self.config
    table = self.param(
      'embedding',
      logical(nn.initializers.normal(1.0), None, 'embed'),
      (config.vocabulary, config.width),
    )
    x_bld = table[tokens_bl].astype(jnp.float32)
    for i in range(config.num_layers):
      x_bld = Umt5Layer(config, name=f'layer{i}')(x_bld, length_b)
    x_bld = RMSNorm(name='norm')(x_bld)
    inside_bl = jnp.arange(x_bld.shape[1]) < length_b[:, None]
    return jnp.where(inside_bl[..., None], x_bld, 0.0)


def _product(terms: str, *factors: jax.Array) -> jax.Array:
  """A product of many sums, float32."""
  return jnp.einsum(
    terms,
    *factors,
    precision=precision_of(factors[0].dtype),
    preferred_element_type=jnp.float32,
  )


@functools.cache
def buckets(length: int, config: Umt5Config) -> np.ndarray:
  """The bucket of each query's and key's relative position, int32 (l, m).

  Half the buckets are for keys that come later. Of either half the first half
  is one distance each, the others grow as its logarithm.
  """
  place = np.arange(length)
  gap_lm = place[None, :] - place[:, None]
  half = config.num_buckets // 2
  exact = half // 2
  # In float32 and in this order, as where bounds are rounded elsewhere.
  far = np.float32(np.maximum(np.abs(gap_lm), exact)) / np.float32(exact)
  far = np.log(far) / np.float32(math.log(config.max_distance / exact))
  far = exact + (far * np.float32(half - exact)).astype(np.int32)
  distance = np.abs(gap_lm)
  near = np.where(distance < exact, distance, np.minimum(far, half - 1))
  return np.int32(near + half * (gap_lm > 0))


def param_shapes(config: Umt5Config) -> Any:
  """Shapes and dtypes of the parameters; nothing is computed."""
  tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  length = jax.ShapeDtypeStruct((1,), jnp.int32)
  init = Umt5Encoder(config).init
  return unbox(jax.eval_shape(init, jax.random.key(0), tokens, length))[
    'params'
  ]
