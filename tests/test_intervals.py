"""Intervals of shares and distances, over units of clips."""

import numpy as np
import pytest

from videoar_jax.evaluate import baselines, frechet, intervals


@pytest.mark.parametrize(
  'right,count,wanted',
  # Newcombe, Statistics in Medicine 1998, table I, method 3.
  (
    (81, 263, (0.2553, 0.3662)),
    (15, 148, (0.0624, 0.1605)),
    (0, 20, (0.0, 0.1611)),
    (1, 29, (0.0061, 0.1718)),
  ),
)
def test_wilson_equals_published_intervals(right, count, wanted):
  found = intervals.wilson(right, count)
  np.testing.assert_allclose(found, wanted, atol=5e-5)
  mirrored = intervals.wilson(count - right, count)
  np.testing.assert_allclose(mirrored, 1 - np.array(found)[::-1], atol=1e-12)


def test_wilson_of_nothing_is_refused():
  for right, count in ((0, 0), (3, 2), (-1, 4)):
    with pytest.raises(ValueError, match='wanted 0 to count'):
      intervals.wilson(right, count)


def test_a_share_over_units_covers_the_truth_where_windows_depend():
  """All windows of a clip are right or wrong together."""
  rng = np.random.default_rng(0)
  units = np.repeat(np.arange(30), 7)
  covered = naive = 0
  for seed in range(200):
    right = np.repeat(rng.random(30) < 0.7, 7)
    found = intervals.by_unit(right, units, seed=seed)
    covered += found.low <= 0.7 <= found.high
    alone = intervals.wilson(right.sum(), len(right))
    naive += alone.low <= 0.7 <= alone.high
  assert covered >= 180 and naive < 150


def test_where_no_unit_differs_one_trial_a_unit_is_counted():
  found = intervals.by_unit(np.ones(12, bool), np.repeat([5, 9, 11], 4))
  assert found == intervals.wilson(3, 3) and found.low < 0.5


def _kernel_by_loops(x, y, units_x, units_y) -> float:
  def mean(a, b, of_a, of_b):
    return np.mean(
      [
        (u @ v / len(u) + 1) ** 3
        for u, i in zip(a, of_a)
        for v, j in zip(b, of_b)
        if i != j
      ]
    )

  both = mean(x, y, units_x, units_y)
  return mean(x, x, units_x, units_x) + mean(y, y, units_y, units_y) - 2 * both


@pytest.mark.parametrize('shared', (False, True))
def test_kernel_distance_of_units_equals_plain_loops(shared):
  rng = np.random.default_rng(1)
  x, y = rng.standard_normal((11, 5)), rng.standard_normal((7, 5)) + 0.5
  units_x = np.array(list('aabbbccdeee'))
  units_y = np.array(list('abbcxxe')) if shared else None
  found = intervals.distances(x, y, units_n=units_x, other_units_m=units_y)
  own = units_y if shared else [f'y{i}' for i in range(7)]
  wanted = _kernel_by_loops(x, y, units_x, own)
  np.testing.assert_allclose(found['kvd']['value'], wanted)
  assert found['fvd']['value'] == pytest.approx(frechet.fvd(x, y))
  assert found['units'] == 5
  for name in ('fvd', 'kvd'):
    assert found[name]['low'] < found[name]['value'] < found[name]['high']


def _units_of_windows(rng, units: int, each: int, shift=0.0):
  centre = rng.standard_normal((units, 12)) + shift
  rows = np.repeat(centre, each, axis=0)
  return rows + 0.1 * rng.standard_normal(rows.shape)


def test_intervals_cover_and_windows_taken_for_clips_would_not():
  """Of a distance of zero: 16 units of 8 windows against single videos."""
  rng = np.random.default_rng(2)
  units, covered, biased = np.repeat(np.arange(16), 8), 0, []
  for seed in range(10):
    x, y = _units_of_windows(rng, 16, 8), _units_of_windows(rng, 96, 1)
    found = intervals.distances(x, y, units_n=units, seed=seed)['kvd']
    covered += found['low'] <= 0 <= found['high']
    biased.append(frechet.kvd(x, y).value - found['value'])
  assert covered >= 8 and np.mean(biased) > 0.3


def test_paired_sets_are_drawn_together():
  rng = np.random.default_rng(3)
  x = _units_of_windows(rng, 12, 3)
  units = np.repeat(np.arange(12), 3)
  near = x + 0.01 * rng.standard_normal(x.shape)
  pairs = intervals.distances(x, near, units_n=units, other_units_m=units)
  apart = intervals.distances(x, near, units_n=units)
  for name in ('fvd', 'kvd'):
    widths = [
      found[name]['high'] - found[name]['low'] for found in (pairs, apart)
    ]
    assert widths[0] < widths[1] / 5


def test_one_unit_is_refused():
  x = np.random.default_rng(4).standard_normal((4, 3))
  with pytest.raises(ValueError, match='one unit'):
    intervals.distances(x, x, units_n=np.zeros(4))
  rules = {'covariance': frechet.Covariance.UNBIASED, 'seed': 0}
  with pytest.raises(ValueError, match='one group'):
    baselines.between_groups(
      x, units_n=np.arange(4), groups_n=np.zeros(4), **rules
    )


@pytest.mark.parametrize('groups,ways', ((5, 10), (6, 10), (9, 35)))
def test_real_is_held_against_real_of_other_groups(groups, ways):
  rng = np.random.default_rng(5)
  groups_n = np.repeat(np.arange(groups), 6)
  units_n = np.arange(6 * groups) // 2
  rows = rng.standard_normal((len(groups_n), 9))
  rules = {'covariance': frechet.Covariance.UNBIASED, 'seed': 0}
  found = baselines.between_groups(
    rows, units_n=units_n, groups_n=groups_n, **rules
  )
  assert found['divisions'] == ways and found['groups'] == groups
  assert found['windows_least'] == groups // 2 * 6
  spread = found['kvd']
  assert spread['least'] < 0 < spread['most']
  rows = rows + 3 * (groups_n % 2)[:, None]  # of two kinds of films
  apart = baselines.between_groups(
    rows, units_n=units_n, groups_n=groups_n, **rules
  )
  assert apart['kvd']['most'] > 10 * spread['most']
