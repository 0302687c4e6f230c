"""One layer: attention with normed queries and keys, then SwiGLU.

Pre-RMSNorm, per-head RMS norm of queries and keys, rotary positions, SwiGLU of
hidden width 4D: 16·D² parameters (docs/paper.md, Transformer).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core import rope
from videoar_jax.core.layers import (
  RMSNorm,
  SwiGLU,
  fan_in_normal,
  logical,
  project,
  weights_apart,
)
from videoar_jax.core.mesh import constrain
from videoar_jax.transformer.config import TransformerConfig

# (q, k, v, number of the layer) -> (attended, the tokens' own keys and values,
# or None where nobody keeps them)
Attend = Callable


class Block(nn.Module):
  """x + attention(norm(x)), then x + swiglu(norm(x))."""

  config: TransformerConfig
  attend: Attend

  @nn.compact
  def __call__(self, x_bld: jax.Array, turn: rope.Turn, layer):
    """Applies the layer.

    Args:
      x_bld: tokens.
      turn: of the tokens.
      layer: its number; may be traced.

    Returns:
      Tokens, and what `attend` returned as their own keys and values.
    """
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    # Residual branches start small, so that depth does not add up.
    out_gain = (2 * config.num_layers) ** -0.5
    h = RMSNorm(name='attention_norm')(x_bld)
    attended, own = self._attention(h, turn, layer, out_gain)
    x_bld = constrain(x_bld + attended, 'batch', 'length', 'channels')
    h = RMSNorm(name='mlp_norm')(x_bld)
    h = SwiGLU(config.hidden, out_gain=out_gain, dtype=dtype, name='mlp')(h)
    return constrain(x_bld + h, 'batch', 'length', 'channels'), own

  def _attention(self, x_bld, turn, layer, out_gain):
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    d, n, k = config.width, config.num_heads, config.head_width
    weights = weights_apart(
      self,
      'qkv',
      logical(fan_in_normal(d), None, 'embed', 'heads', None),
      (3, d, n, k),
      dtype,
    )
    out = self.param(
      'out',
      logical(fan_in_normal(d, gain=out_gain), 'heads', None, 'embed'),
      (n, k, d),
    )
    q, k_, v = (project(x_bld, kernel) for kernel in weights)
    q = rope.rotate(RMSNorm(name='query_norm')(q), turn)
    k_ = rope.rotate(RMSNorm(name='key_norm')(k_), turn)
    # A head attends to all tokens: from here on shards are of heads.
    whole = ('batch', None, 'attention_heads', 'head_dim')
    q, k_, v = (constrain(x, *whole) for x in (q, k_, v))
    attended, own = self.attend(q, k_, v, layer)
    attended = constrain(attended, *whole)
    return project(attended, out.astype(dtype), axes=2), own
