"""Rotary positions: hand-written goldens and what they must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core import rope


def test_pairs_belong_to_axes_in_turn_over_one_table():
  got = rope.angles(jnp.asarray([[1, 10, 100]]), 10, base=10_000.0)
  table = 10_000.0 ** (-np.arange(5) / 5)
  expected = np.asarray([1, 10, 100, 1, 10]) * table
  np.testing.assert_allclose(got[0], expected, rtol=1e-5)


def test_equal_axes_are_ordinary_rotary_embedding():
  n = jnp.arange(6)
  three = rope.angles(jnp.stack([n, n, n], -1), 16)
  one = rope.angles(n[:, None], 16)
  np.testing.assert_array_equal(three, one)


def test_products_depend_on_the_offset_alone():
  q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 2, 12))

  def score(first, second):
    turned = [
      rope.rotate(x, rope.turn(rope.angles(jnp.asarray([p]), 12)))
      for x, p in ((q, first), (k, second))
    ]
    return jnp.einsum('blnk,blnk->n', *turned)

  near = score((3, 1, 2), (1, 4, 0))
  np.testing.assert_allclose(
    near, score((8, 6, 7), (6, 9, 5)), rtol=1e-4, atol=1e-5
  )
  assert np.abs(near - score((3, 1, 2), (1, 4, 1))).max() > 1e-3


def test_odd_head_width_is_refused():
  with pytest.raises(ValueError, match='head_width=7'):
    rope.frequencies(7)
