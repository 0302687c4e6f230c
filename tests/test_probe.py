"""A linear probe on features, and its figures."""

import os
import pathlib

import numpy as np
import pytest

from videoar_jax.core import pretrained
from videoar_jax.data.config import DataConfig
from videoar_jax.evaluate import i3d, probe
from videoar_jax.evaluate.clips import read_windows

SHARED = pathlib.Path(
  os.environ.get('VIDEOAR_SHARED', pathlib.Path(__file__).parents[2] / 'shared')
)


def _clips(rng, *, groups: int, each: int = 6, noise=1.0, width=40):
  """Rows of 3 classes: a weak common signal, and a strong one of the group."""
  signal = np.eye(3, width) * 2.0
  of_group = 4 * rng.standard_normal((groups, width)) * (np.arange(width) > 2)
  labels = np.tile(np.arange(3), groups * each)
  group = np.repeat(np.arange(groups), 3 * each)
  rows = signal[labels] + of_group[group]
  return rows + noise * rng.standard_normal(rows.shape), labels, group


def test_a_fit_is_the_least_of_its_penalised_error():
  rng = np.random.default_rng(0)
  rows, labels, _ = _clips(rng, groups=3, width=5)
  found = probe.fit(rows, labels, num_classes=3, ridge=0.3)
  x = (rows - rows.mean(0)) / rows.std(0)

  def error(weight, offset):
    gap = x @ weight + offset - np.eye(3)[labels]
    return np.square(gap).sum() / len(x) + 0.3 * np.square(weight).sum()

  least = error(found.weight_dc, found.offset_c)
  for _ in range(50):
    step = 1e-3 * rng.standard_normal(found.weight_dc.shape)
    shift = 1e-3 * rng.standard_normal(3)
    assert error(found.weight_dc + step, found.offset_c + shift) > least


def test_the_ridge_is_that_which_serves_other_groups():
  rng = np.random.default_rng(1)
  rows, labels, group = _clips(rng, groups=6, each=3)
  new_rows, new_labels, _ = _clips(rng, groups=40, each=3)

  def accuracy(found):
    return (found.named(new_rows) == new_labels).mean()

  best = probe.fit_best(rows, labels, group, num_classes=3)
  fits = [
    probe.fit(rows, labels, num_classes=3, ridge=ridge)
    for ridge in probe.RIDGES
  ]
  assert best.ridge in probe.RIDGES
  assert accuracy(best) >= max(map(accuracy, fits)) - 0.05
  assert abs(best.fold_accuracy - accuracy(best)) < 0.2
  # By windows of the groups themselves any ridge looks better than it is.
  own = (best.named(rows) == labels).mean()
  assert own > best.fold_accuracy


def test_a_feature_that_never_varies_is_left_out():
  rng = np.random.default_rng(2)
  rows, labels, group = _clips(rng, groups=4)
  wider = np.concatenate([rows, np.full((len(rows), 2), 7.0)], axis=1)
  a = probe.fit_best(rows, labels, group, num_classes=3)
  b = probe.fit_best(wider, labels, group, num_classes=3)
  np.testing.assert_array_equal(a.named(rows), b.named(wider))


def test_figures_are_of_the_videos_there_are():
  rng = np.random.default_rng(3)
  rows, labels, group = _clips(rng, groups=5, noise=0.1)
  found = probe.fit(rows, labels, num_classes=4, ridge=0.1)
  wrong = labels.copy()
  wrong[labels == 2] = 0  # asked for another class than is shown
  classes = ('walk', 'run', 'jump', 'absent')
  right = probe.accuracy(found, rows, labels, classes)
  assert right['accuracy'] == 1 and right['windows'] == len(rows)
  figures = probe.accuracy(found, rows, wrong, classes, units_n=group)
  assert figures['by_class'] == {'walk': 0.5, 'run': 1.0}
  assert figures['accuracy'] == pytest.approx(2 / 3)
  assert figures['units'] == 5
  assert figures['low'] < 2 / 3 < figures['high']


def test_what_cannot_be_fitted_is_refused():
  rows = np.random.default_rng(4).standard_normal((6, 3))
  one = np.zeros(6, int)
  with pytest.raises(ValueError, match='1 class'):
    probe.fit(rows, one, num_classes=2, ridge=1.0)
  with pytest.raises(ValueError, match='one group'):
    probe.fit_best(rows, np.arange(6) % 2, one, num_classes=2)


@pytest.mark.optimized
def test_actors_never_seen_are_named_by_their_motion():
  """A part of the recorded figure, small enough for a test: two actions."""
  folder = SHARED / 'data/weizmann4_64'
  if not folder.is_dir():
    pytest.skip(f'no Weizmann clips in {SHARED}; set VIDEOAR_SHARED')
  try:
    model = i3d.load_i3d()
  except pretrained.MissingWeightsError as error:
    pytest.skip(str(error))
  config = DataConfig(
    source=f'folder:{folder}',
    split_file=str(folder / 'trainlist.txt'),
    num_frames=9,
  )
  kinds = {}
  for train, most in ((True, 56), (False, 16)):
    windows = read_windows(config, train=train, most=most)
    assert windows.num_clips == most and windows.cut
    # Of each film the first way it is shown; of four training actors.
    first = np.array([name.endswith('c01.mp4') for name in windows.names])
    chosen = np.isin(windows.labels_n, (1, 3)) & first[windows.clips_n]
    if train:
      chosen &= windows.groups_n < 4
    kinds[train] = windows, np.flatnonzero(chosen)
  windows, chosen = kinds[True]
  assert len(chosen) == 8
  found = probe.fit_best(
    i3d.logits(model, windows.videos_nTHWc[chosen]),
    windows.labels_n[chosen],
    windows.groups_n[chosen],
    num_classes=4,
  )
  windows, chosen = kinds[False]
  assert len(chosen) == 4 and len(set(windows.groups_n[chosen])) == 2
  named = found.named(i3d.logits(model, windows.videos_nTHWc[chosen]))
  assert (named == windows.labels_n[chosen]).mean() >= 0.75
