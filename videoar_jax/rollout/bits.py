"""Drawing bits from logits."""

from typing import Annotated

import jax
import jax.numpy as jnp

from videoar_jax.core import fields

# See `draw_bits`; a bit has two values, the likelier at least one half.
Temperature = fields.NonNegative
TopP = Annotated[float, fields.Range(least=0.5, most=1)]


def sample_keys(seed: jax.Array | int, index_b: jax.Array) -> jax.Array:
  """One key per sample, from the seed and the sample's own index."""
  return jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(seed), jnp.asarray(index_b)
  )


def draw_bits(
  logits_blq2: jax.Array,
  uniform_blq: jax.Array,
  *,
  temperature: jax.Array | float,
  top_p: jax.Array | float = 1.0,
) -> jax.Array:
  """Draws each bit from softmax(logits / temperature).

  Args:
    logits_blq2: logits of 0 and of 1, float32.
    uniform_blq: what decides them, see `draw_uniform`.
    temperature: 0 takes the likelier bit; 1 samples the model. This and top_p
      may be traced.
    top_p: a bit whose likelier value has this probability or more takes it;
      1 draws them all.

  Returns:
    Bits {0, 1}, float32 (b, l, q).
  """
  margin = logits_blq2[..., 1] - logits_blq2[..., 0]
  one = jax.nn.sigmoid(margin / jnp.where(temperature > 0.0, temperature, 1.0))
  # Of two values the smaller set that holds top_p is the likelier alone.
  sure = jnp.where(one >= top_p, 1.0, jnp.where(1.0 - one >= top_p, 0.0, one))
  one = jnp.where(top_p < 1.0, sure, one)
  drawn = uniform_blq < one
  return jnp.where(temperature > 0.0, drawn, margin > 0.0).astype(jnp.float32)


def draw_uniform(
  key_b: jax.Array, block: jax.Array | int, shape: tuple[int, int]
) -> jax.Array:
  """Numbers in [0, 1) that decide bits, each sample's from its own key.

  Args:
    key_b: one key per sample.
    block: whose bits they decide; each has its own numbers.
    shape: (l, q), tokens and bits.

  Returns:
    float32 (b, l, q).
  """
  key_b = jax.vmap(jax.random.fold_in, (0, None))(key_b, block)
  return jax.vmap(lambda key: jax.random.uniform(key, shape))(key_b)
