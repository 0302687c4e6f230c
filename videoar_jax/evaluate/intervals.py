"""95% intervals of shares and of distances, where videos come in units.

A unit (see `clips`) is what was drawn independently: its videos are kept or
left out together. Bootstraps draw as many units as there are, with repetition.
"""

import math
from typing import NamedTuple

import numpy as np

from videoar_jax.core import archive
from videoar_jax.evaluate import frechet

_Z = 1.959964  # of the normal distribution, 2.5% in each tail
_TAILS = (2.5, 97.5)
_ROWS = 1024  # of a kernel at a time
_SHARES, _DISTANCES = 2000, 200  # draws of a bootstrap


class Interval(NamedTuple):
  """Ends of a 95% interval."""

  low: float
  high: float


def wilson(right: float, count: float) -> Interval:
  """Wilson's interval of a share of independent trials.

  Source: Wilson (JASA 1927). (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) /
  (1 + z^2/n).

  Args:
    right: trials that succeeded.
    count: of all trials, at least 1.
  """
  if count < 1 or not 0 <= right <= count:
    raise ValueError(f'{right} of {count}: wanted 0 to count, at least 1')
  share, more = float(right) / count, _Z**2 / count
  middle = (share + more / 2) / (1 + more)
  half = _Z * math.sqrt(share * (1 - share) / count + more / (4 * count))
  half /= 1 + more
  return Interval(max(0.0, middle - half), min(1.0, middle + half))


def by_unit(right_n: np.ndarray, units_n: np.ndarray, *, seed=0) -> Interval:
  """Interval of a share by a bootstrap over units.

  Where all units have the same share, a bootstrap would find no spread: there
  it is Wilson's interval with one trial for each unit.

  Args:
    right_n: bool, of each video.
    units_n: unit of each video.
    seed: of the draws.
  """
  _, unit_n = np.unique(units_n, return_inverse=True)
  total_u = np.bincount(unit_n)
  right_u = np.bincount(unit_n, weights=right_n)
  if len(np.unique(right_u / total_u)) == 1:
    count = len(total_u)
    return wilson(count * float(np.mean(right_n)), count)
  rng = np.random.default_rng(seed)
  drawn_ku = rng.integers(len(total_u), size=(_SHARES, len(total_u)))
  share_k = right_u[drawn_ku].sum(axis=1) / total_u[drawn_ku].sum(axis=1)
  return Interval(*np.percentile(share_k, _TAILS).tolist())


def distances(
  real_nd: np.ndarray,
  other_md: np.ndarray,
  *,
  units_n: np.ndarray,
  other_units_m: np.ndarray | None = None,
  covariance: frechet.Covariance = frechet.Covariance.UNBIASED,
  seed: int = 0,
) -> dict:
  """FVD and a kernel distance of units, with intervals by a bootstrap.

  The kernel is that of `frechet.kvd`. Pairs within a unit are left out, as two
  windows of a clip are nearly the same: so it has no bias where units are
  independent, as `frechet.kvd` has none where videos are. A set drawn with
  repetition holds fewer different clips, which raises its FVD: an interval is
  the spread of the draws, put around the figure itself.

  Args:
    real_nd: features of the real clips.
    other_md: of the other videos.
    units_n: unit of each real clip, a number or a name.
    other_units_m: unit of each other video, named as in `units_n`: units of
      both sets are drawn together. None: each video is its own.
    covariance: divide by N - 1 or by N.
    seed: of the draws.
  Returns:
    `fvd` and `kvd`, each `value`, `low` and `high`; `units` of the real clips.
  Raises:
    ValueError: a set of one unit, or more units than memory holds.
  """
  shared = other_units_m is not None
  names_u = np.unique(units_n)
  if shared:
    names_u = names_v = np.unique(np.concatenate([units_n, other_units_m]))
  else:
    other_units_m = names_v = np.arange(len(other_md))
  if min(len(np.unique(x)) for x in (units_n, other_units_m)) < 2:
    raise ValueError(
      'all clips are of one unit (one group of a class): an interval needs at '
      'least 2; leave intervals out'
    )
  u, v = len(names_u), len(names_v)
  # Sums and counts of all pairs of units, in float64.
  archive.check_memory(
    16 * (u * u + v * v + u * v),
    f'intervals over {u} and {v} units; leave intervals out',
  )
  of_unit = [np.asarray(units_n)[:, None] == names_u]
  of_unit.append(np.asarray(other_units_m)[:, None] == names_v)
  sums = _UnitSums(real_nd, other_md, *of_unit, shared=shared)
  rng, drawn = np.random.default_rng(seed), []
  for _ in range(_DISTANCES):
    weight_u = _draw_weights(rng, of_unit if shared else of_unit[:1])
    weight_v = weight_u if shared else _draw_weights(rng, of_unit[1:])
    sets = [
      np.repeat(rows, (of @ weight).astype(int), axis=0)
      for rows, of, weight in zip(
        (real_nd, other_md), of_unit, (weight_u, weight_v)
      )
    ]
    fvd = frechet.fvd(*sets, covariance=covariance)
    drawn.append((fvd, sums.distance(weight_u, weight_v)))
  whole = (
    frechet.fvd(real_nd, other_md, covariance=covariance),
    sums.distance(np.ones(len(names_u)), np.ones(len(names_v))),
  )
  found = map(_around, whole, np.transpose(drawn))
  return {
    **dict(zip(('fvd', 'kvd'), found)),
    'units': len(np.unique(units_n)),
  }


def kvd(
  real_nd: np.ndarray,
  other_md: np.ndarray,
  *,
  units_n: np.ndarray,
  other_units_m: np.ndarray,
) -> float:
  """The kernel distance of `distances`, of sets without a unit in common.

  Raises:
    ValueError: a set of one unit.
  """
  of_unit = [x[:, None] == np.unique(x) for x in (units_n, other_units_m)]
  counts = [x.shape[1] for x in of_unit]
  if min(counts) < 2:
    raise ValueError(
      'half of the clips are of one unit (one group of a class): a distance '
      'needs at least 2; leave intervals out, or add videos'
    )
  sums = _UnitSums(real_nd, other_md, *of_unit, shared=False)
  return sums.distance(*map(np.ones, counts))


class _UnitSums:
  """Sums of a kernel over pairs of units, and the numbers of pairs."""

  def __init__(self, real_nd, other_md, of_nu, of_mv, *, shared: bool):
    a, b = of_nu.astype(np.float64), of_mv.astype(np.float64)
    x, y = np.asarray(real_nd, np.float64), np.asarray(other_md, np.float64)
    pairs = ((x, a, x, a, True), (y, b, y, b, True), (x, a, y, b, shared))
    self._parts = [self._sums(*parts) for parts in pairs]

  @staticmethod
  def _sums(x, a, y, b, apart: bool):
    sums = sum(
      a[i : i + _ROWS].T @ frechet.kernel(x[i : i + _ROWS], y) @ b
      for i in range(0, len(x), _ROWS)
    )
    counts = np.outer(a.sum(axis=0), b.sum(axis=0))
    if apart:
      np.fill_diagonal(sums, 0)
      np.fill_diagonal(counts, 0)
    return sums, counts

  def distance(self, weight_u: np.ndarray, weight_v: np.ndarray) -> float:
    weights = (weight_u, weight_u), (weight_v, weight_v), (weight_u, weight_v)
    xx, yy, xy = (
      (a @ sums @ b) / (a @ counts @ b)
      for (sums, counts), (a, b) in zip(self._parts, weights)
    )
    return float(xx + yy - 2 * xy)


def _draw_weights(rng: np.random.Generator, sets: list) -> np.ndarray:
  """How often each unit is drawn; of each set never one unit alone."""
  count = sets[0].shape[1]
  there = [of_unit.any(axis=0) for of_unit in sets]
  while True:
    weights = rng.multinomial(count, np.full(count, 1 / count))
    if all(np.count_nonzero(weights[known]) > 1 for known in there):
      return weights.astype(np.float64)


def _around(value: float, drawn: np.ndarray) -> dict:
  low, high = np.percentile(drawn, _TAILS) - np.mean(drawn)
  ends = {'low': float(value + low), 'high': float(value + high)}
  return {'value': float(value), **ends}
