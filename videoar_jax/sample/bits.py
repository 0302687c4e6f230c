"""Drawing bits from logits."""

import jax
import jax.numpy as jnp


def sample_keys(seed: jax.Array | int, index_b: jax.Array) -> jax.Array:
  """One key per sample, from the seed and the sample's own index."""
  return jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(seed), jnp.asarray(index_b)
  )


def draw_bits(
  logits_blq2: jax.Array,
  key_b: jax.Array,
  *,
  temperature: float,
) -> jax.Array:
  """Draws each bit from softmax(logits / temperature).

  Args:
    logits_blq2: logits of 0 and of 1, float32.
    key_b: one key per sample, used nowhere else.
    temperature: 0 takes the likelier bit; 1 samples the model.

  Returns:
    Bits {0, 1}, float32 (b, l, q).
  """
  margin = logits_blq2[..., 1] - logits_blq2[..., 0]
  if temperature == 0.0:
    return (margin > 0).astype(jnp.float32)
  uniform = jax.vmap(lambda key: jax.random.uniform(key, margin.shape[1:]))(
    key_b
  )
  return (uniform < jax.nn.sigmoid(margin / temperature)).astype(jnp.float32)


def check_temperature(temperature: float) -> None:
  """Raises ValueError unless 0 <= temperature < infinity."""
  if not 0.0 <= temperature < float('inf'):
    raise ValueError(
      f'temperature={temperature}: use 0 (likeliest bits) or a positive number'
    )
