"""Disjoint windows of a split, and which clips belong together."""

import dataclasses

import numpy as np
import pytest

from videoar_jax import media
from videoar_jax.core.archive import free_memory
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadDataError
from videoar_jax.data.preparation import prepare_videos
from videoar_jax.evaluate import clips
from videoar_jax.evaluate.rules import Split
from videoar_jax.evaluate.windows import check_splits, draw_windows

LENGTHS = {
  'run/v_run_g01_c01': 9,
  'run/v_run_g01_c02': 27,
  'run/v_run_g02_c01': 31,
  'swim/v_swim_g01_c01': 45,
  'swim/v_swim_g02_c01': 19,
  'swim/v_swim_g03_c01': 9,
}
SIZE = {'num_frames': 9, 'height': 16, 'width': 16}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Videos whose frame t is of the grey 4t; the last two are held out."""
  root = tmp_path_factory.mktemp('clips')
  for name, length in LENGTHS.items():
    grey_T = 4 * np.arange(length, dtype=np.uint8)
    video = np.broadcast_to(grey_T[:, None, None, None], (length, 16, 16, 3))
    (root / 'set' / name).parent.mkdir(parents=True, exist_ok=True)
    media.write_mp4(root / 'set' / f'{name}.mp4', np.ascontiguousarray(video))
  (root / 'list.txt').write_text('\n'.join([*LENGTHS][:4]))
  return root


@pytest.fixture
def config(folder):
  return DataConfig(
    source=f'folder:{folder}/set', split_file=f'{folder}/list.txt', **SIZE
  )


def test_windows_are_all_there_are_and_apart(config):
  found = clips.read_windows(config, train=True, most=100)
  assert np.bincount(found.clips_n).tolist() == [1, 3, 3, 5]
  assert not found.cut and found.num_clips == 4
  assert found.names == tuple(f'{name}.mp4' for name in [*LENGTHS][:4])
  assert found.labels_n.tolist() == [0] * 7 + [1] * 5
  for clip, name in enumerate([*LENGTHS][:4]):
    starts = found.starts_n[found.clips_n == clip]
    assert starts[0] == 0 and (np.diff(starts) >= 9).all()
    if len(starts) > 1:
      assert starts[-1] == LENGTHS[name] - 9
  first = found.videos_nTHWc[:, 0].mean((1, 2, 3)) / 4
  np.testing.assert_allclose(first, found.starts_n, atol=1)
  assert found.units_n.tolist() == [0] * 4 + [1] * 3 + [2] * 5
  assert found.groups_n.tolist() == [0] * 4 + [1] * 3 + [0] * 5


def test_a_stride_spreads_a_window(config):
  config = dataclasses.replace(config, frame_stride=2)
  with pytest.raises(BadDataError, match='v_run_g01_c01.mp4: too short'):
    clips.read_windows(config, train=True, most=100)
  config = dataclasses.replace(config, max_bad_share=0.3)
  found = clips.read_windows(config, train=True, most=100)
  assert found.failed == 1 and np.bincount(found.clips_n).tolist() == [1, 1, 2]
  assert found.starts_n.tolist() == [0, 0, 0, 28]


def test_fewer_windows_are_spread_over_the_videos(config):
  some = clips.read_windows(config, train=True, most=9)
  assert np.bincount(some.clips_n).tolist() == [1, 2, 2, 2] and some.cut
  assert some.starts_n[-2:].tolist() == [0, 36]
  few = clips.read_windows(config, train=True, most=2)
  assert few.names == ('run/v_run_g01_c01.mp4', 'swim/v_swim_g01_c01.mp4')
  assert few.clips_n.tolist() == [0, 1] and few.cut


def test_more_windows_than_memory_are_refused(config, monkeypatch):
  monkeypatch.setattr(clips.archive, 'free_memory', lambda: 10**6)
  assert free_memory() > 10**6
  with pytest.raises(ValueError, match='512 windows of folder.*are free'):
    clips.read_windows(config, train=True, most=512)


def test_prepared_videos_give_the_same_windows(config, folder, tmp_path):
  prepare_videos(
    config.source,
    tmp_path / 'made',
    height=16,
    width=16,
    split_file=config.split_file,
    min_frames=9,
  )
  made = dataclasses.replace(
    config, source=f'array_record:{tmp_path}/made', split_file=''
  )
  a, b = (clips.read_windows(x, train=True, most=100) for x in (config, made))
  np.testing.assert_array_equal(a.videos_nTHWc, b.videos_nTHWc)
  np.testing.assert_array_equal(a.starts_n, b.starts_n)
  assert a.names == b.names


def test_names_that_say_nothing_stand_for_themselves():
  assert (
    clips.unit_of('Archery/v_Archery_g04_c02.avi') == 'Archery/v_Archery_g04'
  )
  for name in ('a/1.mp4', 'a/v_a_g1.mp4', 'a/c01_g02.mp4'):
    assert clips.unit_of(name) == name


@pytest.mark.parametrize(
  'split,num', ((Split.TRAIN, 11), (Split.VALIDATION, 5), (Split.ALL, 8))
)
def test_a_drawn_window_knows_its_video(config, split, num):
  drawn = draw_windows(config, num_videos=num, split=split, seed=3)
  names = {
    Split.TRAIN: [*LENGTHS][:4],
    Split.VALIDATION: [*LENGTHS][4:],
    Split.ALL: [*LENGTHS],
  }[split]
  for video, unit, clip, label in zip(
    drawn.videos_nTHWc,
    drawn.draw.units(),
    drawn.draw.clips_n,
    drawn.labels_n,
  ):
    name = names[clip]
    assert unit == name.rpartition('_')[0]
    assert label == (name.startswith('swim'))
    # Only long videos have frames as bright as their last.
    assert video[-1].mean() <= 4 * (LENGTHS[name] - 1) + 2
  assert len(set(drawn.draw.clips_n[: len(names)].tolist())) == len(names)


def test_splits_that_serve_no_probe_are_refused(config, folder, tmp_path):
  check_splits(config, several_classes=True)
  only = tmp_path / 'set'
  only.mkdir()
  (only / 'run').symlink_to(folder / 'set' / 'run')
  (tmp_path / 'list.txt').write_text('run/v_run_g01_c01\n')
  one = dataclasses.replace(
    config, source=f'folder:{only}', split_file=f'{tmp_path}/list.txt'
  )
  with pytest.raises(ValueError, match='1 video in the train split'):
    check_splits(one, several_classes=False)
  (tmp_path / 'list.txt').write_text('run/v_run_g01_c01\nrun/v_run_g01_c02\n')
  with pytest.raises(ValueError, match='1 video in the validation split'):
    check_splits(one, several_classes=False)
