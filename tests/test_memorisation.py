"""Are samples copies? Distances to training windows."""

import numpy as np
import pytest
from PIL import Image

from videoar_jax.evaluate import memorisation
from videoar_jax.evaluate.clips import ClipWindows

GROUPS, EACH = 6, 5


def _training_set(rng, width=20) -> memorisation.TrainingSet:
  """Clips of groups of their own kind, and their mirror images elsewhere."""
  count = GROUPS * EACH
  windows = ClipWindows(
    videos_nTHWc=rng.integers(0, 256, (count, 9, 16, 16, 3), np.uint8),
    labels_n=np.arange(count) % 2,
    clips_n=np.repeat(np.arange(GROUPS), EACH),
    starts_n=np.tile(9 * np.arange(EACH), GROUPS),
    names=tuple(f'a/v_a_g{i:02d}_c01.mp4' for i in range(GROUPS)),
    classes=('a', 'b'),
    cut=False,
    failed=0,
  )
  kind = 9 * rng.standard_normal((GROUPS, width))
  rows = kind[windows.clips_n] + rng.standard_normal((count, width))
  return memorisation.TrainingSet(windows, rows, rows[:, ::-1] + 1)


def _measure(train, rng, samples) -> dict:
  width = train.rows_nd.shape[1]
  return memorisation.measure(
    train,
    samples_nd=samples,
    heldout_nd=9 * rng.standard_normal((900, width)),
    reconstructions_nd=train.rows_nd + 0.1,
  )


def test_copies_stand_out_and_strangers_do_not():
  rng = np.random.default_rng(0)
  train = _training_set(rng)
  copies = np.concatenate([train.mirrored_nd[3:5], train.rows_nd[7:9]])
  found = _measure(train, rng, copies + 0.01)
  for limit in found['nearer'].values():
    assert limit['share'] == 1 and limit['low'] > 0.5
  assert found['samples']['median'] < found['reconstructions']['median']
  named = {x['sample']: x['window'] for x in found['pairs']}
  assert named[0] == 'a/v_a_g00_c01.mp4, frame 27, mirrored'
  assert named[2] == 'a/v_a_g01_c01.mp4, frame 18'
  strangers = _measure(train, rng, 9 * rng.standard_normal((60, 20)))
  nearer = strangers['nearer']
  own = nearer['heldout below 5%']
  assert own['low'] <= 0.05 <= own['high']
  assert nearer['train below 5%']['share'] < 0.2
  assert nearer['reconstructions below 95%']['share'] == 0


def test_distances_equal_plain_loops():
  rng = np.random.default_rng(1)
  train = _training_set(rng, width=7)
  rows = np.float32(rng.standard_normal((300, 7)))
  both = np.concatenate([train.rows_nd, train.mirrored_nd])
  gaps = np.linalg.norm(rows[:, None] - both, axis=-1)
  distance, index = train.nearest(rows)
  np.testing.assert_array_equal(index, gaps.argmin(axis=1))
  np.testing.assert_allclose(distance, gaps.min(axis=1))
  group = np.tile(train.windows.groups_n, 2)
  gaps = np.linalg.norm(train.rows_nd[:, None] - both, axis=-1)
  gaps[train.windows.groups_n[:, None] == group] = np.inf
  np.testing.assert_allclose(train.apart(), gaps.min(axis=1))


def test_one_group_is_refused():
  rng = np.random.default_rng(2)
  train = _training_set(rng)
  windows = train.windows
  vars(windows)['names'] = tuple(f'a/v_a_g01_c{i}.mp4' for i in range(GROUPS))
  with pytest.raises(ValueError, match='are of one group'):
    _measure(train, rng, train.rows_nd)


def test_the_picture_shows_pairs_the_nearest_first(tmp_path):
  rng = np.random.default_rng(3)
  train = _training_set(rng)
  samples = train.windows.videos_nTHWc[:3] // 2
  rows = train.rows_nd[[7, 11]] + np.array([[0.2], [0.1]])
  rows = np.concatenate([rows, train.mirrored_nd[4:5] + 0.3])
  shown = {i: samples[i] for i in memorisation.shown(train, rows)}
  memorisation.write_pairs(tmp_path, train, rows, shown)
  sheet = np.asarray(Image.open(tmp_path / 'nearest.png'))
  height = 16 + 2 * 16 + 2  # label, sample over window, gap
  assert len(sheet) == 3 * height
  first, last = sheet[16:height], sheet[2 * height + 16 :]
  np.testing.assert_array_equal(first[:16, :16], samples[1, 0])
  np.testing.assert_array_equal(
    first[16:32, :16], train.windows.videos_nTHWc[11, 0]
  )
  np.testing.assert_array_equal(
    last[16:32, :16], train.windows.videos_nTHWc[4, 0, :, ::-1]
  )
  with Image.open(tmp_path / 'nearest.webp') as movie:
    assert movie.n_frames == 9
