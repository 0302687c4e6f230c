"""Distances between two sets of features, in float64 on the host.

FVD (Unterthiner et al., arXiv:1812.01717) is the Fréchet distance between the
Gaussians fitted to the features of two sets of videos. With N videos it is
biased upwards by about c / N: the distance of a set of 256 real clips from
another 256 real clips is in the hundreds. So two more figures stand beside it:
`fvd_inf`, extrapolated to infinite sets (Chong and Forsyth, arXiv:1911.07023),
and `kvd`, a kernel distance without bias (Bińkowski et al., arXiv:1801.01401).
"""

import dataclasses
import enum
from typing import NamedTuple

import numpy as np

MIN_EXTRAPOLATED = 256
# Sizes of the sub-sampled sets as N over these, evenly spaced in 1 / N.
_DIVISORS = (4.0, 3.25, 2.5, 1.75, 1.0)
_UNKNOWN = np.full(1, np.nan)
_HELD = 2**22  # values of a kernel at a time


class Covariance(enum.Enum):
  """What the sum of squares is divided by."""

  UNBIASED = 'n-1'
  BIASED = 'n'


@dataclasses.dataclass(frozen=True)
class KernelDistance:
  """A squared kernel distance and its standard error."""

  value: float
  stderr: float


def frechet_distance(
  a_nd: np.ndarray,
  b_md: np.ndarray,
  *,
  covariance: Covariance = Covariance.UNBIASED,
) -> float:
  """Fréchet distance between Gaussians fitted to two sets of features.

  |mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)). With centred features A
  and B scaled so that S = A^T A, the last trace is the sum of the singular
  values of A B^T, and stays so after a QR decomposition of each: no square
  root of a singular matrix is taken, and any number of rows is exact.

  Args:
    a_nd: features of one set, any float dtype.
    b_md: features of the other.
    covariance: divide by N - 1 or by N.
  Returns:
    The distance, computed in float64.
  Raises:
    ValueError: fewer than two rows, different widths, or not finite.
  """
  a, b = _check(a_nd, b_md)
  mean_a, root_a, trace_a = _moments(a, covariance)
  mean_b, root_b, trace_b = _moments(b, covariance)
  cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
  gap = np.square(mean_a - mean_b).sum()
  return float(gap + trace_a + trace_b - 2 * cross)


def fvd(
  real_nd: np.ndarray,
  generated_md: np.ndarray,
  *,
  covariance: Covariance = Covariance.UNBIASED,
) -> float:
  """FVD from I3D logits: `frechet_distance` under the field's name."""
  return frechet_distance(real_nd, generated_md, covariance=covariance)


def fvd_inf(
  real_nd: np.ndarray,
  generated_md: np.ndarray,
  *,
  paired: bool = False,
  covariance: Covariance = Covariance.UNBIASED,
  subsets: int = 4,
  seed: int = 0,
) -> float | None:
  """FVD extrapolated to infinitely many videos.

  Both sets are cut to the same share of their size, at five sizes from N / 4
  to N; a least-squares line in 1 / N through the distances meets 1 / N = 0 at
  the answer. Each size weighs the same; below N it is the mean over `subsets`
  draws. The answer is an estimate and can be slightly negative.

  Args:
    real_nd: features of the real videos.
    generated_md: features of the generated ones.
    paired: row i of both sets belongs together, so that both are cut to the
      same rows; else the line would mix paired and unpaired distances.
    covariance: divide by N - 1 or by N.
    subsets: draws for each size.
    seed: of the draws.
  Returns:
    The extrapolated distance, or None below 256 videos in either set, where
    the line misleads.
  Raises:
    ValueError: as `frechet_distance`, or `paired` with different counts.
  """
  a, b = _check(real_nd, generated_md)
  _check_paired(a, b, paired)
  smaller = min(len(a), len(b))
  if smaller < MIN_EXTRAPOLATED:
    return None
  rng = np.random.default_rng(seed)
  inverse, distance = [], []
  for divisor in _DIVISORS:
    size_a, size_b = round(len(a) / divisor), round(len(b) / divisor)
    values = []
    for _ in range(1 if divisor == 1 else subsets):
      rows_a = rng.permutation(len(a))[:size_a]
      rows_b = rows_a if paired else rng.permutation(len(b))[:size_b]
      values.append(
        frechet_distance(a[rows_a], b[rows_b], covariance=covariance)
      )
    inverse.append(1 / min(size_a, size_b))
    distance.append(np.mean(values))
  return float(np.polynomial.polynomial.polyfit(inverse, distance, 1)[0])


def kvd(
  real_nd: np.ndarray,
  generated_md: np.ndarray,
  *,
  paired: bool = False,
) -> KernelDistance:
  """Unbiased squared maximum mean discrepancy under a cubic kernel.

  k(x, y) = (x . y / d + 1)^3 over features of width d. Nothing is multiplied by
  1,000, as some papers do: with I3D logits hundreds are as usual as they are
  for FVD. The mean over pairs of different rows is unbiased (Gretton et al.,
  JMLR 2012, eq. 3), and so may be negative. Where the sets are paired, row i of
  one set depends on row i of the other; the pairs (i, i) are then left out as
  well (eq. 4).

  The standard error is the jackknife's, over rows. Where both sets have one
  distribution it errs on the high side (by about the square root of two).

  Args:
    real_nd: features of the real videos.
    generated_md: features of the generated ones.
    paired: row i of both sets belongs together.
  Returns:
    The distance and its standard error, in float64; the error is NaN where a
    set has two rows.
  Raises:
    ValueError: as `frechet_distance`, or `paired` with different counts.
  """
  found = _kernel_jackknife(real_nd, generated_md, paired)
  variance = _variance(found.without_real) + _variance(found.without_other)
  return KernelDistance(found.value, float(np.sqrt(variance)))


def kvd_gap(
  real_nd: np.ndarray,
  near_md: np.ndarray,
  far_kd: np.ndarray,
  *,
  near_paired: bool = False,
  far_paired: bool = False,
) -> KernelDistance:
  """How much farther `far` lies from the real videos than `near` does.

  kvd(real, far) - kvd(real, near), with the standard error of the difference:
  both distances are taken to the same real rows, whose share of the error
  largely cancels. Where each has an error of 60, their difference may have 15.

  Args:
    real_nd: features of the real videos.
    near_md: of the first set.
    far_kd: of the second, independent of the first.
    near_paired: row i of the first set belongs to real row i.
    far_paired: the same of the second.
  Returns:
    The difference, positive where `far` is farther, and its standard error.
  Raises:
    ValueError: as `kvd`.
  """
  near = _kernel_jackknife(real_nd, near_md, near_paired)
  far = _kernel_jackknife(real_nd, far_kd, far_paired)
  variance = (
    _variance(far.without_real - near.without_real)
    + _variance(far.without_other)
    + _variance(near.without_other)
  )
  return KernelDistance(far.value - near.value, float(np.sqrt(variance)))


class _Jackknife(NamedTuple):
  """A kernel distance, and what it is without each row of either set."""

  value: float
  without_real: np.ndarray  # (n,); of paired sets, without the pair
  without_other: np.ndarray  # (m,); of paired sets the value, (1,)


def _kernel_jackknife(
  real_nd: np.ndarray, other_md: np.ndarray, paired: bool
) -> _Jackknife:
  x, y = _check(real_nd, other_md)
  _check_paired(x, y, paired)
  xx, yy = _row_sums(x), _row_sums(y)
  xy, yx, pairs = _cross_sums(x, y)
  n, m = len(x), len(y)
  if paired:
    own = xx + yy - (xy - pairs) - (yx - pairs)
    total = own.sum()
    value = float(total / (n * (n - 1)))
    if n < 3:
      return _Jackknife(value, _UNKNOWN, _UNKNOWN)
    # A row takes part in its own sum and once in each other row's.
    without = (total - 2 * own) / ((n - 1) * (n - 2))
    return _Jackknife(value, without, np.full(1, value))
  sums = xx.sum(), yy.sum(), xy.sum()
  value = float(_mmd(*sums, n, m))
  if min(n, m) < 3:
    return _Jackknife(value, _UNKNOWN, _UNKNOWN)
  without_n = _mmd(sums[0] - 2 * xx, sums[1], sums[2] - xy, n - 1, m)
  without_m = _mmd(sums[0], sums[1] - 2 * yy, sums[2] - yx, n, m - 1)
  return _Jackknife(value, without_n, without_m)


def _mmd(xx, yy, xy, n: int, m: int):
  return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def _variance(left_out: np.ndarray) -> float:
  """The jackknife's variance from the values without each row."""
  n = len(left_out)
  return (n - 1) / n * np.square(left_out - left_out.mean()).sum()


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """k(x_i, y_j) of `kvd` for all rows of two sets of features."""
  return (x @ y.T / x.shape[1] + 1) ** 3


def _row_sums(x: np.ndarray) -> np.ndarray:
  """Sum of k(x_i, x_j) over j other than i."""
  own = (np.square(x).sum(axis=1) / x.shape[1] + 1) ** 3
  return (
    np.concatenate([kernel(r, x).sum(axis=1) for r in _blocks(x, len(x))]) - own
  )


def _cross_sums(x: np.ndarray, y: np.ndarray):
  """Sums of k(x_i, y_j) over j and over i, and k(x_i, y_i) where both are."""
  sums_n, sums_m = [], np.zeros(len(y))
  for rows in _blocks(x, len(y)):
    block = kernel(rows, y)
    sums_n.append(block.sum(axis=1))
    sums_m += block.sum(axis=0)
  shared = min(len(x), len(y))
  dots = (x[:shared] * y[:shared]).sum(axis=1)
  return np.concatenate(sums_n), sums_m, (dots / x.shape[1] + 1) ** 3


def _blocks(x: np.ndarray, count: int):
  """Rows in pieces, so that little of a kernel with `count` rows is held."""
  rows = min(1024, max(1, _HELD // count))
  return (x[i : i + rows] for i in range(0, len(x), rows))


def _moments(x: np.ndarray, covariance: Covariance):
  """Mean, R with R^T R = covariance up to a rotation, and the trace."""
  divisor = len(x) - (covariance is Covariance.UNBIASED)
  mean = x.mean(axis=0)
  centred = (x - mean) / np.sqrt(divisor)
  return mean, np.linalg.qr(centred, mode='r'), np.square(centred).sum()


def _check(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
    raise ValueError(
      f'features of shapes {a.shape} and {b.shape}: wanted (n, d) and (m, d)'
    )
  if min(len(a), len(b)) < 2:
    raise ValueError(
      f'sets of {len(a)} and {len(b)} videos: a distance between sets needs at '
      'least 2 in each'
    )
  if not (np.isfinite(a).all() and np.isfinite(b).all()):
    raise ValueError('features hold NaN or infinity; check the videos')
  return a, b


def _check_paired(a: np.ndarray, b: np.ndarray, paired: bool) -> None:
  if paired and len(a) != len(b):
    raise ValueError(
      f'paired sets of {len(a)} and {len(b)} videos: wanted equal numbers'
    )
