"""Multi-scale residual bit quantiser; every latent frame alone, in float32.

A bit is one where the residual is positive; a token of d bits stands for the
vector with entries ±1/√d. Source: Infinity (arXiv:2412.04431) alg. 1 with
binary spherical codes, applied to each latent frame as in VideoAR
(arXiv:2601.05966) §4.1.
"""

from collections.abc import Callable, Sequence

import flax.struct
import jax
import jax.numpy as jnp

from videoar_jax.core import resize

Scales = Sequence[tuple[int, int]]


@flax.struct.dataclass
class ScaleCode:
  """One scale of a frame's code.

  Attributes:
    unit_bthwd: the residual at this scale, scaled to length one.
    bits_bthwq: its bits {0, 1}, float32: what is to be predicted.
    total_bthwd: sum of the upsampled codes up to this scale, at full size,
      with the straight-through gradient; made of the altered bits if any.
  """

  unit_bthwd: jax.Array
  bits_bthwq: jax.Array
  total_bthwd: jax.Array


def bits_to_code(bits_xq: jax.Array) -> jax.Array:
  """Bits {0, 1} to the vectors they stand for, entries ±1/√d, float32."""
  bits = bits_xq.astype(jnp.float32)
  return (2.0 * bits - 1.0) * bits_xq.shape[-1] ** -0.5


def unit_vector(z_xd: jax.Array) -> jax.Array:
  """z / ‖z‖; a zero vector stays zero, with a finite gradient."""
  square = jnp.sum(z_xd * z_xd, axis=-1, keepdims=True)
  return z_xd * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def encode_scales(
  f_bthwd: jax.Array,
  scales: Scales,
  *,
  alter: Callable[[int, jax.Array], jax.Array] | None = None,
  keep_bs: jax.Array | None = None,
) -> list[ScaleCode]:
  """Codes each scale from what the coarser ones left over.

  Args:
    f_bthwd: latents; made float32.
    scales: ((h_1, w_1), …, (h_K, w_K)), the last equals (h, w).
    alter: (scale, bits) -> bits that are accumulated in their place; later
      scales then code what the altered ones left over.
    keep_bs: which scales of which clip add their code to the sum; later scales
      code what the kept ones left over. None keeps all.

  Returns:
    One ScaleCode per scale.

  Raises:
    ValueError: the last size is not (h, w).
  """
  f = f_bthwd.astype(jnp.float32)
  size = f.shape[-3:-1]
  if tuple(scales[-1]) != size:
    raise ValueError(
      f'latents of {size[0]}×{size[1]}: the last scale is {scales[-1]}; '
      'it must equal the latent grid'
    )
  codes, total = [], jnp.zeros_like(f)
  for k, scale in enumerate(scales):
    residual = f - jax.lax.stop_gradient(total)
    unit = unit_vector(resize.area(residual, scale))
    bits = (unit > 0).astype(jnp.float32)
    used = bits if alter is None else alter(k, bits)
    # Written so that the value is the code itself, to the last bit.
    code = bits_to_code(used) + (unit - jax.lax.stop_gradient(unit))
    code = resize.bilinear(code, size)
    if keep_bs is not None:
      code = jnp.where(keep_bs[:, k, None, None, None, None], code, 0.0)
    total = total + code
    codes.append(ScaleCode(unit, jax.lax.stop_gradient(bits), total))
  return codes


def accumulate(total_bthwd: jax.Array, bits_bthwq: jax.Array) -> jax.Array:
  """Adds the upsampled code of one scale's bits to the sum so far."""
  return total_bthwd + resize.bilinear(
    bits_to_code(bits_bthwq), total_bthwd.shape[-3:-1]
  )


def decode_scales(bits: Sequence[jax.Array], scales: Scales) -> jax.Array:
  """The features that the bits of all scales stand for.

  Args:
    bits: per scale (b, t, h_k, w_k, q), {0, 1}; a prefix of the scales is
      accepted.
    scales: all sizes.

  Returns:
    f_bthwd at the size of the last scale, float32.
  """
  b, t = bits[0].shape[:2]
  total = jnp.zeros((b, t, *scales[-1], bits[0].shape[-1]), jnp.float32)
  for scale_bits in bits:
    total = accumulate(total, scale_bits)
  return total
