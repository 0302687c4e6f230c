"""Prefix tokens: what the video is conditioned on, in the same sequence.

A condition is an array with one row for each video: the class, an int32, or the
tokens of a prompt, int32, filled up with `PADDING`. No token attends to that,
and the video's positions begin right after the prompt.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.layers import logical
from videoar_jax.data.prompts import PADDING
from videoar_jax.transformer.config import Condition, TransformerConfig


class Prefix(nn.Module):
  """Learned tokens of a condition, the unconditional one among them.

  Attributes:
    config: of the transformer.
  """

  config: TransformerConfig

  @nn.compact
  def __call__(self, condition_bx: jax.Array) -> jax.Array:
    """Conditions to tokens (b, prefix_length, d), float32."""
    config = self.config
    length, width = config.prefix_length, config.width
    init = nn.initializers.normal(0.5)
    if config.condition == Condition.CLASS:
      table = self.param(
        'table',
        logical(init, None, None, 'embed'),
        (config.num_classes + 1, length, width),
      )
      return jnp.take(table, condition_bx, axis=0)
    words = self.param(
      'words', logical(init, None, 'embed'), (config.vocabulary, width)
    )
    # Without a prompt, its place is taken by as many of these.
    nothing = self.param(
      'unconditional', logical(init, None, 'embed'), (length, width)
    )
    known = jnp.clip(condition_bx, 0, config.vocabulary - 1)
    dropped = (condition_bx == config.vocabulary)[..., None]
    return jnp.where(dropped, nothing, jnp.take(words, known, axis=0))


def condition_shape(config: TransformerConfig) -> tuple[int, ...]:
  """Shape of one video's condition."""
  text = config.condition == Condition.TEXT
  return (config.prefix_length,) if text else ()


def prefix_lengths(
  config: TransformerConfig, condition_bx: jax.Array
) -> jax.Array | None:
  """Prefix tokens that are seen: int32 (b,); None where it is all of them."""
  if config.condition == Condition.CLASS:
    return None
  return jnp.sum(condition_bx != PADDING, axis=-1, dtype=jnp.int32)


def unconditional(
  config: TransformerConfig, condition_bx: jax.Array
) -> jax.Array:
  """The condition "none" in the place of others, of their lengths."""
  if config.condition == Condition.CLASS:
    return jnp.full_like(condition_bx, config.num_classes)
  return jnp.where(condition_bx == PADDING, PADDING, config.vocabulary)


def drop_condition(
  config: TransformerConfig,
  condition_bx: jax.Array,
  rng: jax.Array,
  *,
  share: float,
) -> jax.Array:
  """Replaces a share of the conditions by "none", each by its own draw."""
  drop = jax.random.bernoulli(rng, share, condition_bx.shape[:1])
  drop = drop.reshape(-1, *(1,) * (condition_bx.ndim - 1))
  return jnp.where(drop, unconditional(config, condition_bx), condition_bx)


def blank_condition(config: TransformerConfig, batch: int) -> np.ndarray:
  """Any valid condition, where only its shape matters."""
  return np.zeros((batch, *condition_shape(config)), np.int32)
