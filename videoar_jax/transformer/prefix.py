"""Prefix tokens: what the video is conditioned on, in the same sequence."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core.layers import logical


class ClassPrefix(nn.Module):
  """Learned tokens of each class; the last class is "unconditional".

  Attributes:
    num_classes: classes without the unconditional one.
    length: tokens of a class.
    width: model width.
  """

  num_classes: int
  length: int
  width: int

  @nn.compact
  def __call__(self, label_b: jax.Array) -> jax.Array:
    """Labels 0 … num_classes (= unconditional) to tokens (b, length, d)."""
    table = self.param(
      'table',
      logical(nn.initializers.normal(0.5), None, None, 'embed'),
      (self.num_classes + 1, self.length, self.width),
    )
    return jnp.take(table, label_b, axis=0)


def drop_condition(
  label_b: jax.Array, rng: jax.Array, *, share: float, num_classes: int
) -> jax.Array:
  """Replaces a share of the labels by "unconditional", each by its own draw."""
  drop = jax.random.bernoulli(rng, share, label_b.shape)
  return jnp.where(drop, num_classes, label_b)
