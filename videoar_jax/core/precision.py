"""How exactly accelerators multiply: float32 means float32.

Left to themselves, TPUs round the factors of a float32 product to bfloat16 and
GPUs to TF32. What is float32 here is so because it must be: bits hang on the
sign of a residual, metrics are held against published figures. Products of
bfloat16 are exact as they are; they are left alone.
"""

import jax
import jax.numpy as jnp

# For products whose factors are always float32.
HIGHEST = jax.lax.Precision.HIGHEST


def precision_of(dtype: jnp.dtype) -> jax.lax.Precision | None:
  """The precision of a product whose factors have that dtype."""
  return HIGHEST if dtype == jnp.float32 else None
