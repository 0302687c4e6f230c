"""Area and bilinear resizing of latent grids as explicit matrices.

Both are linear and separable, so a resize is two small matrix products. They
equal PyTorch's `interpolate(mode='area')` (adaptive average pooling, with
overlapping windows where sizes do not divide) and `mode='bilinear'` with
`align_corners=False`, without antialias.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.precision import HIGHEST


@functools.cache
def area_matrix(size_in: int, size_out: int) -> np.ndarray:
  """Row i averages the input cells that output cell i touches.

  Args:
    size_in: cells before.
    size_out: cells after.

  Returns:
    float32 (size_out, size_in), rows summing to one.
  """
  matrix = np.zeros((size_out, size_in), np.float32)
  for i in range(size_out):
    start = (i * size_in) // size_out
    stop = -(-((i + 1) * size_in) // size_out)
    matrix[i, start:stop] = 1.0 / (stop - start)
  return matrix


@functools.cache
def bilinear_matrix(size_in: int, size_out: int) -> np.ndarray:
  """Row i interpolates between the two input cells nearest to output cell i.

  Half-pixel centres, edges clamped, no antialias.

  Args:
    size_in: cells before.
    size_out: cells after.

  Returns:
    float32 (size_out, size_in), rows summing to one.
  """
  matrix = np.zeros((size_out, size_in), np.float32)
  for i in range(size_out):
    centre = max((i + 0.5) * size_in / size_out - 0.5, 0.0)
    low = min(int(centre), size_in - 1)
    high = min(low + 1, size_in - 1)
    weight = centre - low
    matrix[i, low] += 1.0 - weight
    matrix[i, high] += weight
  return matrix


def _resize(f_xhwd: jax.Array, rows: np.ndarray, columns: np.ndarray):
  return jnp.einsum(
    'Hh,Ww,...hwd->...HWd',
    rows,
    columns,
    f_xhwd,
    precision=HIGHEST,
  )


def area(f_xhwd: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Averages a grid (..., h, w, d) down to (..., *size, d)."""
  h, w = f_xhwd.shape[-3:-1]
  if (h, w) == tuple(size):
    return f_xhwd
  return _resize(f_xhwd, area_matrix(h, size[0]), area_matrix(w, size[1]))


def bilinear(f_xhwd: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Interpolates a grid (..., h, w, d) up or down to (..., *size, d)."""
  h, w = f_xhwd.shape[-3:-1]
  if (h, w) == tuple(size):
    return f_xhwd
  return _resize(
    f_xhwd, bilinear_matrix(h, size[0]), bilinear_matrix(w, size[1])
  )
