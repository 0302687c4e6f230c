"""Resizing matrices against an independent computation of their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core import resize

SIZES = [(1, 7), (7, 1), (8, 3), (3, 8), (5, 7), (7, 5), (8, 4), (6, 6)]


@pytest.mark.parametrize(('size_in', 'size_out'), SIZES)
def test_area_equals_means_over_adaptive_windows(size_in, size_out):
  x = np.random.default_rng(0).normal(size=size_in)
  expected = [
    x[
      int(np.floor(i * size_in / size_out)) : int(
        np.ceil((i + 1) * size_in / size_out)
      )
    ].mean()
    for i in range(size_out)
  ]
  got = resize.area_matrix(size_in, size_out) @ x
  np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(('size_in', 'size_out'), SIZES)
def test_bilinear_equals_jax_image_without_antialias(size_in, size_out):
  x = jax.random.normal(jax.random.key(0), (size_in,))
  expected = jax.image.resize(x, (size_out,), 'linear', antialias=False)
  got = resize.bilinear_matrix(size_in, size_out) @ x
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_input_of_scale_one_reads_the_four_centre_cells_of_eight():
  matrix = resize.bilinear_matrix(8, 1)
  np.testing.assert_allclose(matrix[0], [0, 0, 0, 0.5, 0.5, 0, 0, 0])
  np.testing.assert_allclose(resize.area_matrix(8, 1)[0], np.full(8, 1 / 8))


def test_two_dimensions_are_resized_apart():
  f = jax.random.normal(jax.random.key(1), (2, 5, 7, 3))
  down = resize.area(f, (2, 3))
  rows = jnp.asarray(resize.area_matrix(5, 2))
  columns = jnp.asarray(resize.area_matrix(7, 3))
  expected = jnp.einsum('ih,jw,bhwd->bijd', rows, columns, f)
  np.testing.assert_allclose(down, expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(resize.bilinear(f, (5, 7)), f)
