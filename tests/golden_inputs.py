"""Random inputs of the parity tests, the same for both implementations."""

import numpy as np

# Coarse to fine; square and not, divisible by the finest and not.
SCHEDULES = (
  ((1, 1), (2, 2), (4, 4), (8, 8)),
  ((1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (8, 8)),
  ((1, 1), (2, 2), (4, 4), (5, 5), (6, 6), (8, 8)),
  ((1, 1), (3, 3), (5, 5), (7, 7)),
  ((5, 5),),
  ((1, 1), (2, 3), (4, 6)),
  ((1, 1), (2, 2), (3, 3), (4, 7), (6, 11)),
  ((1, 2), (3, 5), (9, 16)),
  ((2, 1), (5, 3), (13, 7)),
  ((1, 1), (3, 5), (8, 14), (12, 21)),
)
LATENT_WIDTH = 11
LPIPS_SIZES = ((64, 64), (37, 50), (128, 96))


def features(index: int) -> np.ndarray:
  """Latents for schedule `index`, bthwd float32, lengths of about 3."""
  rng = np.random.default_rng([17, index])
  shape = (2, 3, *SCHEDULES[index][-1], LATENT_WIDTH)
  return rng.standard_normal(shape).astype(np.float32)


def pictures(index: int) -> tuple[np.ndarray, np.ndarray]:
  """Two pairs of pictures, nHWc float32 in [-1, 1]: one close, one not."""
  rng = np.random.default_rng([23, index])
  shape = (2, *LPIPS_SIZES[index], 3)
  a = np.cumsum(rng.uniform(-0.3, 0.3, shape), axis=1)
  b = a + rng.normal(size=shape) * np.float64([0.02, 0.5])[:, None, None, None]
  return np.tanh(a).astype(np.float32), np.tanh(b).astype(np.float32)
