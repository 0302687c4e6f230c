"""The bit quantiser: identities, gradients, and Infinity's algorithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core import resize
from videoar_jax.tokenizer.quantizer import (
  bits_to_code,
  decode_scales,
  encode_scales,
)

SCALES = ((1, 1), (2, 3), (3, 5), (5, 7))


@jax.jit
def code_features(features):
  return encode_scales(features, SCALES)


@pytest.fixture(scope='module')
def features():
  return jax.random.normal(jax.random.key(0), (2, 3, 5, 7, 6))


def test_sum_of_codes_is_what_the_bits_decode_to(features):
  codes = code_features(features)
  decoded = decode_scales([code.bits_bthwq for code in codes], SCALES)
  # Two programs may round a sum differently, on some processors they do: one
  # unit in the last place of each of the four terms.
  np.testing.assert_allclose(
    codes[-1].total_bthwd, decoded, rtol=0, atol=len(SCALES) * 2**-23
  )


def test_coding_follows_the_residual_scale_by_scale(features):
  """Written again, in NumPy and float64, from the definition."""
  rest = np.asarray(features, np.float64)
  for code, (h, w) in zip(code_features(features), SCALES):
    down = np.einsum(
      'ih,jw,bthwd->btijd',
      resize.area_matrix(5, h),
      resize.area_matrix(7, w),
      rest,
    )
    np.testing.assert_array_equal(code.bits_bthwq, down > 0)
    vectors = np.where(down > 0, 1.0, -1.0) / np.sqrt(6)
    rest = rest - np.einsum(
      'hi,wj,btijd->bthwd',
      resize.bilinear_matrix(h, 5),
      resize.bilinear_matrix(w, 7),
      vectors,
    )


def test_codes_have_length_one_and_coded_codes_come_back():
  bits = jax.random.bernoulli(jax.random.key(1), 0.5, (2, 3, 4, 4, 5))
  code = bits_to_code(bits)
  np.testing.assert_allclose(jnp.linalg.norm(code, axis=-1), 1.0, rtol=1e-6)
  again = encode_scales(code, ((4, 4),))
  np.testing.assert_array_equal(again[0].bits_bthwq, bits)


def test_latent_frames_are_coded_alone(features):
  together = code_features(features)[-1].total_bthwd
  alone = code_features(features[:, 1:2])[-1].total_bthwd
  # Another batch shape sums the resize in another order.
  np.testing.assert_allclose(together[:, 1:2], alone, atol=1e-6)


def test_zero_is_coded_as_bit_zero_with_finite_gradients():
  zero = jnp.zeros((1, 1, 2, 2, 3))
  codes = encode_scales(zero, ((2, 2),))
  np.testing.assert_array_equal(codes[0].bits_bthwq, 0.0)
  grad = jax.grad(
    lambda f: jnp.sum(encode_scales(f, ((2, 2),))[0].total_bthwd ** 2)
  )(zero)
  assert np.isfinite(grad).all()


def test_gradient_is_that_of_the_unit_vectors(features):
  """Straight through: codes count as the unit vectors they came from."""
  weight = jax.random.normal(jax.random.key(2), features.shape)

  def straight_through(f):
    return jnp.sum(encode_scales(f, SCALES)[-1].total_bthwd * weight)

  totals = [jnp.zeros_like(features)]
  totals += [c.total_bthwd for c in code_features(features)[:-1]]

  def by_hand(f):
    out = 0.0
    for total, size in zip(totals, SCALES):
      z = resize.area(f - total, size)
      unit = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
      out += resize.bilinear(unit, (5, 7))
    return jnp.sum(out * weight)

  got = jax.jit(jax.grad(straight_through))(features)
  expected = jax.jit(jax.grad(by_hand))(features)
  assert jnp.abs(got).max() > 1e-2
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


def test_last_scale_must_be_the_latent_grid(features):
  with pytest.raises(ValueError, match='5×7'):
    encode_scales(features, SCALES[:-1])
