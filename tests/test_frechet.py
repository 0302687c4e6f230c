"""Distances between feature sets: exactness, bias, and its removal."""

import numpy as np
import pytest

from videoar_jax.evaluate import frechet


def _by_eigenvalues(a, b, divisor_of) -> float:
  """The textbook's way: eigenvalues of S_a^(1/2) S_b S_a^(1/2)."""
  s_a = np.cov(a.T, ddof=divisor_of)
  s_b = np.cov(b.T, ddof=divisor_of)
  values, vectors = np.linalg.eigh(s_a)
  root = vectors * np.sqrt(values.clip(0)) @ vectors.T
  cross = np.sqrt(np.linalg.eigvalsh(root @ s_b @ root).clip(0)).sum()
  gap = a.mean(0) - b.mean(0)
  return gap @ gap + np.trace(s_a) + np.trace(s_b) - 2 * cross


@pytest.mark.parametrize('rows', ((61, 47), (7, 5), (61, 5)))
@pytest.mark.parametrize('covariance,ddof', zip(frechet.Covariance, (1, 0)))
def test_distance_equals_the_eigendecomposition(rows, covariance, ddof):
  rng = np.random.default_rng(0)
  a = rng.standard_normal((rows[0], 19)) @ rng.standard_normal((19, 19))
  b = rng.standard_normal((rows[1], 19)) * rng.random(19) + 1
  value = frechet.fvd(a, b, covariance=covariance)
  np.testing.assert_allclose(value, _by_eigenvalues(a, b, ddof), rtol=1e-6)


def test_distance_of_a_set_from_itself_is_zero():
  a = np.random.default_rng(1).standard_normal((11, 400))
  assert abs(frechet.fvd(a, a)) < 1e-9


def test_distance_of_known_gaussians_is_reached():
  rng = np.random.default_rng(2)
  a = rng.standard_normal((200_000, 3))
  b = rng.standard_normal((200_000, 3)) * 2 + 1
  # |1|^2 in three dimensions, and (2 - 1)^2 for each deviation.
  assert abs(frechet.fvd(a, b) - 6) < 0.1


def _pair(rng, *, n: int, shift: float = 0.0):
  return rng.standard_normal((n, 40)), rng.standard_normal((n, 40)) + shift


def test_extrapolation_removes_most_of_the_bias():
  rng = np.random.default_rng(3)
  a, b = _pair(rng, n=512, shift=0.2)
  truth = 40 * 0.2**2
  bias = frechet.fvd(a, b) - truth
  left = frechet.fvd_inf(a, b) - truth
  assert bias > 1
  assert abs(left) < 0.25 * bias


def test_extrapolation_is_none_for_small_sets_and_seeded():
  rng = np.random.default_rng(4)
  a, b = _pair(rng, n=256)
  assert frechet.fvd_inf(a[:255], b) is None
  assert frechet.fvd_inf(a, b, seed=1) == frechet.fvd_inf(a, b, seed=1)
  assert frechet.fvd_inf(a, b, seed=1) != frechet.fvd_inf(a, b, seed=2)


def test_extrapolation_of_paired_sets_cuts_the_same_rows():
  rng = np.random.default_rng(5)
  a, _ = _pair(rng, n=256)
  assert abs(frechet.fvd_inf(a, a, paired=True)) < 1e-6
  assert abs(frechet.fvd_inf(a, a)) > 0.1


def _kernel(u, v) -> float:
  return (u @ v / len(u) + 1) ** 3


def _by_loops(x, y) -> float:
  n, m = len(x), len(y)
  xx = sum(_kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
  yy = sum(_kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
  xy = sum(_kernel(u, v) for u in x for v in y)
  return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def _paired_by_loops(x, y) -> float:
  n = len(x)
  total = 0.0
  for i in range(n):
    for j in range(n):
      if i != j:
        total += _kernel(x[i], x[j]) + _kernel(y[i], y[j])
        total -= _kernel(x[i], y[j]) + _kernel(x[j], y[i])
  return total / (n * (n - 1))


def _without(z, row: int):
  return np.delete(z, row, axis=0)


@pytest.mark.parametrize('paired', (False, True))
def test_kernel_distance_and_jackknife_equal_plain_loops(paired):
  rng = np.random.default_rng(6)
  x, y = rng.standard_normal((7, 5)), rng.standard_normal((7, 5)) + 0.5
  y = y if paired else y[:5]
  plain = _paired_by_loops if paired else _by_loops
  result = frechet.kvd(x, y, paired=paired)
  np.testing.assert_allclose(result.value, plain(x, y))
  if paired:
    sets = [[plain(_without(x, i), _without(y, i)) for i in range(7)]]
  else:
    sets = [
      [plain(_without(x, i), y) for i in range(7)],
      [plain(x, _without(y, i)) for i in range(5)],
    ]
  variance = sum((len(s) - 1) * np.var(s) for s in sets)
  np.testing.assert_allclose(result.stderr, np.sqrt(variance))


@pytest.mark.parametrize('paired', (False, True))
def test_kernel_distance_is_unbiased_at_every_size(paired):
  rng = np.random.default_rng(7)
  truth = _true_distance(shift=0.3)
  for n in (8, 64):
    values, errors = [], []
    for _ in range(600):
      x, y = _pair(rng, n=n, shift=0.3)
      y = x + 0.3 if paired else y
      result = frechet.kvd(x, y, paired=paired)
      values.append(result.value)
      errors.append(result.stderr)
    spread = np.std(values)
    assert abs(np.mean(values) - truth) < 4 * spread / np.sqrt(600)
    assert 0.8 < np.sqrt(np.mean(np.square(errors))) / spread < 1.5


def _true_distance(*, shift: float) -> float:
  """E k of two independent Gaussians N(u, I), N(v, I) in 40 dimensions.

  With z = x . y / 40: E z = u.v / 40, E z^2 = ((u.v)^2 + |u|^2 + |v|^2 + 40) /
  1600, and E z^3 from the moments of a bilinear form.
  """

  def expected(uv, uu, vv, d=40):
    z1 = uv / d
    z2 = (uv**2 + uu + vv + d) / d**2
    z3 = (uv**3 + 3 * uv * (uu + vv) + 3 * uv * d + 6 * uv) / d**3
    return z3 + 3 * z2 + 3 * z1 + 1

  square = 40 * shift**2
  same = expected(0, 0, 0) + expected(square, square, square)
  return same - 2 * expected(0, 0, square)


@pytest.mark.parametrize('paired', (False, True))
def test_gap_and_its_jackknife_equal_plain_loops(paired):
  rng = np.random.default_rng(9)
  x, near = rng.standard_normal((6, 5)), rng.standard_normal((6, 5)) + 0.2
  near = near if paired else near[:5]
  far = rng.standard_normal((4, 5)) + 0.9
  plain = _paired_by_loops if paired else _by_loops

  def gap(x, near, far):
    return _by_loops(x, far) - plain(x, near)

  result = frechet.kvd_gap(x, near, far, near_paired=paired)
  np.testing.assert_allclose(result.value, gap(x, near, far))
  sets = [[gap(x, near, _without(far, i)) for i in range(4)]]
  if paired:
    both = [(_without(x, i), _without(near, i)) for i in range(6)]
    sets.append([gap(*rows, far) for rows in both])
  else:
    sets.append([gap(_without(x, i), near, far) for i in range(6)])
    sets.append([gap(x, _without(near, i), far) for i in range(5)])
  variance = sum((len(s) - 1) * np.var(s) for s in sets)
  np.testing.assert_allclose(result.stderr, np.sqrt(variance))
  assert np.isnan(frechet.kvd_gap(x[:2], near, far[:2]).stderr)


def test_error_of_a_gap_is_its_spread():
  rng = np.random.default_rng(10)
  gaps, errors = [], []
  for _ in range(600):
    x, far = _pair(rng, n=32, shift=0.8)
    result = frechet.kvd_gap(x, x + 0.6, far, near_paired=True)
    gaps.append(result.value)
    errors.append(result.stderr)
  spread = np.std(gaps)
  truth = _true_distance(shift=0.8) - _true_distance(shift=0.6)
  assert abs(np.mean(gaps) - truth) < 4 * spread / np.sqrt(600)
  assert 0.8 < np.sqrt(np.mean(np.square(errors))) / spread < 1.5


def test_gap_leaves_out_what_both_errors_share():
  rng = np.random.default_rng(11)
  x, (near, far) = rng.standard_normal((64, 40)), _pair(rng, n=64, shift=0)
  near, far = near / 10 + 0.5, far / 10 + 0.6
  gap = frechet.kvd_gap(x, near, far)
  errors = [frechet.kvd(x, y).stderr for y in (near, far)]
  assert gap.stderr < min(errors) / 2


def test_kernel_distance_of_equal_distributions_is_about_zero():
  rng = np.random.default_rng(8)
  values = [frechet.kvd(*_pair(rng, n=16)).value for _ in range(400)]
  assert abs(np.mean(values)) < 4 * np.std(values) / 20
  assert min(values) < 0


@pytest.mark.parametrize(
  'a,b,word',
  (
    (np.ones((1, 4)), np.ones((3, 4)), 'at least 2'),
    (np.ones((3, 4)), np.ones((3, 5)), 'shapes'),
    (np.full((3, 4), np.nan), np.ones((3, 4)), 'NaN'),
  ),
)
def test_unfit_features_are_refused(a, b, word):
  for distance in (frechet.fvd, frechet.fvd_inf, frechet.kvd):
    with pytest.raises(ValueError, match=word):
      distance(a, b)


def test_paired_sets_need_equal_numbers():
  with pytest.raises(ValueError, match='equal'):
    frechet.kvd(np.ones((3, 4)), np.ones((4, 4)), paired=True)
