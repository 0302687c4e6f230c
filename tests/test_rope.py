"""Rotary positions: hand-written goldens and what they must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core import rope


def test_pairs_belong_to_axes_in_turn_over_one_table():
  got = rope.angles(jnp.asarray([[1, 10, 100]]), rope.interleaved(10, 3))
  table = 10_000.0 ** (-np.arange(5) / 5)
  expected = np.asarray([1, 10, 100, 1, 10]) * table
  np.testing.assert_allclose(got[0], expected, rtol=1e-5)


def test_equal_axes_are_ordinary_rotary_embedding():
  n = jnp.arange(6)
  three = rope.angles(jnp.stack([n, n, n], -1), rope.interleaved(16, 3))
  one = rope.angles(n[:, None], rope.interleaved(16, 1))
  np.testing.assert_array_equal(three, one)


def test_products_depend_on_the_offset_alone():
  pairs = rope.interleaved(12, 3)
  q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 2, 12))

  def score(first, second):
    turned = [
      rope.rotate(x, rope.turn(rope.angles(jnp.asarray([p]), pairs)))
      for x, p in ((q, first), (k, second))
    ]
    return jnp.einsum('blnk,blnk->n', *turned)

  near = score((3, 1, 2), (1, 4, 0))
  np.testing.assert_allclose(
    near, score((8, 6, 7), (6, 9, 5)), rtol=1e-4, atol=1e-5
  )
  assert np.abs(near - score((3, 1, 2), (1, 4, 1))).max() > 1e-3


def test_each_axis_may_have_neighbouring_pairs_and_a_table_of_its_own():
  pairs = rope.contiguous((22, 21, 21))
  got = rope.angles(jnp.asarray([[3.5, 1, 2]]), pairs)[0]
  for first, count, place in ((0, 22, 3.5), (22, 21, 1), (43, 21, 2)):
    wanted = place * 10_000.0 ** (-np.arange(count) / count)
    np.testing.assert_allclose(got[first : first + count], wanted, rtol=1e-6)


@pytest.mark.parametrize(
  'pairs', [rope.contiguous((5, 2, 3)), rope.interleaved(20, 3)]
)
def test_turns_of_known_places_are_those_of_float64(pairs):
  rng = np.random.default_rng(0)
  places = rng.uniform(0, 5000, (2, 7, 3)).round(1)
  places[:, 3:] = places[:, :4]
  known = rope.turn_at(places, pairs)
  traced = jax.jit(lambda x: rope.turn_at(x, pairs))(jnp.asarray(places))
  angles = places[..., pairs.axis_p] * np.float64(pairs.frequency_p)
  for found, near, wanted in zip(known, traced, (np.cos, np.sin)):
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted(angles), atol=1e-7)
    np.testing.assert_allclose(near, wanted(angles), atol=1e-3)


def test_odd_head_width_is_refused():
  with pytest.raises(ValueError, match='head_width=7'):
    rope.frequencies(7)
