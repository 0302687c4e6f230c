"""One layer of Wan's transformer.

Self-attention and MLP, both shifted, scaled and gated by the time, and between
them cross-attention to the text, which is not (docs/paper.md, Wan).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core import rope
from videoar_jax.core.attention import AttentionKernel, cross_attention
from videoar_jax.core.layers import Affine, RMSNorm, layer_norm, logical
from videoar_jax.core.mesh import constrain
from videoar_jax.transformer.block import Attend
from videoar_jax.transformer.wan_config import WanConfig

# A head attends to all tokens: shards are of heads.
_HEADS = ('batch', None, 'attention_heads', 'head_dim')


class Times(NamedTuple):
  """What layers read of the times of tokens, float32.

  Attributes:
    shifts_bu6d: of each time, what is added to a layer's own table.
    unit_l: which of the times each token has; None: there is one.
  """

  shifts_bu6d: jax.Array
  unit_l: jax.Array | None

  def per_token(self, x_bud: jax.Array) -> jax.Array:
    """What belongs to each time, for each token: (b, l, d) or (b, 1, d)."""
    return x_bud if self.unit_l is None else jnp.take(x_bud, self.unit_l, 1)


class WanBlock(nn.Module):
  """Self-attention, cross-attention, MLP, each added to the stream.

  Attributes:
    config: shape of the transformer.
    attend: how queries meet keys and values in self-attention.
  """

  config: WanConfig
  attend: Attend

  @nn.compact
  def __call__(
    self,
    x_bld: jax.Array,
    times: Times,
    text_bmd: jax.Array,
    turn: rope.Turn,
    layer: jax.Array | int,
  ):
    """Applies the layer.

    Args:
      x_bld: tokens, of `stream_dtype`.
      times: of the tokens.
      text_bmd: rows of the text, all of which are seen.
      turn: of the tokens.
      layer: its number; may be traced.

    Returns:
      Tokens, and what `attend` returned as their own keys and values.
    """
    config = self.config
    width, dtype = config.width, jnp.dtype(config.dtype)
    # 'norm': the table is no matrix, and does not decay.
    init = logical(nn.initializers.normal(width**-0.5), 'norm', 'embed')
    table_6d = self.param('modulation', init, (6, width))
    rows = jnp.moveaxis(times.shifts_bu6d + table_6d, 2, 0)
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = map(
      times.per_token, rows
    )
    h = layer_norm(x_bld) * (1 + scale) + shift
    attend = SelfAttention(config, self.attend, name='attention')
    attended, own = attend(h.astype(dtype), turn, layer)
    x_bld = _added(x_bld, attended * gate)
    h = Norm(name='cross_norm')(x_bld).astype(dtype)
    h = CrossAttention(config, name='cross_attention')(h, text_bmd)
    x_bld = _added(x_bld, h)
    h = layer_norm(x_bld) * (1 + mlp_scale) + mlp_shift
    h = MLP(config.hidden, dtype, name='mlp')(h.astype(dtype))
    return _added(x_bld, h * mlp_gate), own


def _added(x_bld: jax.Array, branch_bld: jax.Array) -> jax.Array:
  """The sum, worked out in float32, in x's dtype again."""
  out = x_bld.astype(jnp.float32) + branch_bld.astype(jnp.float32)
  return constrain(out.astype(x_bld.dtype), 'batch', 'length', 'channels')


class SelfAttention(nn.Module):
  """Attention of tokens to tokens, with rotary positions.

  Attributes:
    config: shape of the transformer.
    attend: see `WanBlock`.
  """

  config: WanConfig
  attend: Attend

  @nn.compact
  def __call__(self, x_bld: jax.Array, turn: rope.Turn, layer):
    config = self.config
    q, k, v = (
      _heads(config, name)(x_bld) for name in ('query', 'key', 'value')
    )
    q = rope.rotate(_normed(q, 'query_norm'), turn)
    k = rope.rotate(_normed(k, 'key_norm'), turn)
    q, k, v = (constrain(x, *_HEADS) for x in (q, k, v))
    attended, own = self.attend(q, k, v, layer)
    return _joined(config)(constrain(attended, *_HEADS)), own


class CrossAttention(nn.Module):
  """Attention of tokens to the rows of a text, without positions."""

  config: WanConfig

  @nn.compact
  def __call__(self, x_bld: jax.Array, text_bmd: jax.Array) -> jax.Array:
    config = self.config
    q = _normed(_heads(config, 'query')(x_bld), 'query_norm')
    k = _normed(_heads(config, 'key')(text_bmd), 'key_norm')
    v = _heads(config, 'value')(text_bmd)
    q, k, v = (constrain(x, *_HEADS) for x in (q, k, v))
    kernel = AttentionKernel(config.attention)
    attended = cross_attention(q, k, v, kernel=kernel)
    return _joined(config)(constrain(attended, *_HEADS))


class MLP(nn.Module):
  """gelu(x · up) · down, with GELU's approximation by tanh.

  Attributes:
    hidden: width between the two.
    dtype: of the computation.
  """

  hidden: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_bld: jax.Array) -> jax.Array:
    width = x_bld.shape[-1]
    up = Affine((self.hidden,), ('embed', 'mlp'), dtype=self.dtype, name='up')
    down = Affine((width,), ('mlp', 'embed'), dtype=self.dtype, name='down')
    hidden = nn.gelu(up(x_bld), approximate=True)
    return down(constrain(hidden, 'batch', 'length', 'mlp'))


class Norm(nn.Module):
  """Layer norm with a gain and a bias, float32."""

  @nn.compact
  def __call__(self, x_bld: jax.Array) -> jax.Array:
    shape = x_bld.shape[-1:]
    ones, zeros = nn.initializers.ones, nn.initializers.zeros
    scale = self.param('scale', logical(ones, 'norm'), shape)
    bias = self.param('bias', logical(zeros, 'norm'), shape)
    return layer_norm(x_bld) * scale + bias


def _heads(config: WanConfig, name: str) -> Affine:
  """The layer from the model's width to heads (b, l, n, k)."""
  return Affine(
    (config.num_heads, config.head_width),
    ('embed', 'heads', None),
    dtype=jnp.dtype(config.dtype),
    name=name,
  )


def _joined(config: WanConfig) -> Affine:
  """The layer from heads to the model's width."""
  axes = ('heads', None, 'embed')
  dtype = jnp.dtype(config.dtype)
  return Affine((config.width,), axes, dtype=dtype, name='out')


def _normed(x_blnk: jax.Array, name: str) -> jax.Array:
  """RMS norm over the channels of all heads together."""
  flat = x_blnk.reshape(*x_blnk.shape[:2], -1)
  return RMSNorm(name=name)(flat).reshape(x_blnk.shape)
