"""Batches are a function of (seed, step), however they are made."""

import dataclasses
import itertools

import av
import numpy as np
import pytest

from videoar_jax.data import pipeline
from videoar_jax.data.config import DataConfig

_SMALL = DataConfig(batch_size=6, num_frames=5, height=16, width=16)


def _take(count, config=_SMALL, **options):
  options = {'train': True, 'seed': 3, **options}
  batches = pipeline.make_batches(config, **options)
  return list(itertools.islice(batches, count))


def _assert_equal(ours, theirs):
  assert len(ours) == len(theirs)
  for one, other in zip(ours, theirs):
    assert one.keys() == other.keys()
    for name in one:
      assert one[name].dtype == other[name].dtype
      np.testing.assert_array_equal(one[name], other[name])


@pytest.fixture(scope='module')
def folder_config(tmp_path_factory):
  """Nine noise videos of various lengths, and one that cannot be read."""
  root = tmp_path_factory.mktemp('videos')
  rng = np.random.default_rng(0)
  for i in range(9):
    path = root / 'abc'[i % 3] / f'v{i}.mp4'
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), 'w') as container:
      stream = container.add_stream('libx264', rate=25)
      stream.width, stream.height, stream.pix_fmt = 32, 24, 'yuv420p'
      for _ in range(12 + 3 * i):
        coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        frame = coarse.repeat(8, 0).repeat(8, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
      container.mux(stream.encode())
  (root / 'a' / 'bad.avi').write_text('no video')
  return DataConfig(
    source=f'folder:{root}',
    batch_size=6,
    num_frames=5,
    height=16,
    width=16,
    frame_stride=2,
    flip=True,
  )


def test_batches_have_the_promised_shapes_and_types():
  (batch,) = _take(1)
  assert set(batch) == {'video', 'label', 'failed'}
  assert batch['video'].shape == (6, 5, 16, 16, 3)
  assert batch['video'].dtype == np.uint8
  assert batch['label'].dtype == batch['failed'].dtype == np.int32
  assert (batch['failed'] == -1).all()


def test_a_seed_gives_the_same_batches_and_another_others(folder_config):
  for config in (_SMALL, folder_config):
    _assert_equal(_take(4, config), _take(4, config))
    other = _take(4, config, seed=4)
    assert not np.array_equal(other[0]['video'], _take(1, config)[0]['video'])


@pytest.mark.parametrize('start', [1, 5])
def test_starting_at_a_step_gives_exactly_that_batch(folder_config, start):
  for config in (_SMALL, folder_config):
    whole = _take(8, config)
    _assert_equal(whole[start:], _take(8 - start, config, start_step=start))


@pytest.mark.parametrize('rows', [(0, 1, 2), (3, 4, 5), (0, 5), (4,)])
def test_some_rows_are_those_of_the_whole_batch(folder_config, rows):
  whole = _take(4, folder_config)
  wanted = [{name: x[list(rows)] for name, x in step.items()} for step in whole]
  _assert_equal(_take(4, folder_config, rows=rows), wanted)


def test_worker_processes_change_nothing(folder_config):
  whole = _take(6, folder_config)
  config = dataclasses.replace(folder_config, num_workers=2)
  _assert_equal(whole[1:], _take(5, config, start_step=1))


def test_an_epoch_visits_every_video_once(folder_config, monkeypatch):
  config = dataclasses.replace(folder_config, batch_size=1)
  source = pipeline.make_source(config, train=True)
  count = len(source)
  seen = []
  load = type(source).load

  def spy(self, index, rng):
    seen.append(index)
    return load(self, index, rng)

  monkeypatch.setattr(type(source), 'load', spy)
  failed = np.concatenate([b['failed'] for b in _take(2 * count, config)])
  bad = source.listing.names.index('a/bad.avi')
  for epoch in (failed[:count], failed[count:]):
    assert list(epoch).count(bad) == 1
  # Each index twice, and one more for each of the two substitutes (reading
  # ahead may have begun the next epoch).
  assert min(seen.count(index) for index in range(count)) >= 2


def test_the_first_clips_come_from_distinct_videos_and_epochs_differ():
  config = dataclasses.replace(_SMALL, batch_size=50, num_frames=3)
  batches = _take(20, config, train=False)
  assert len(batches) == 20  # the held-out split ends: 1,000 clips
  videos = np.concatenate([batch['video'] for batch in batches])
  distinct = {video.tobytes() for video in videos}
  assert len(distinct) == len(videos) == 1_000
  labels = np.concatenate([batch['label'] for batch in batches])
  assert (np.bincount(labels) == 125).all()
  assert not np.array_equal(labels, np.arange(1_000) % 8)


def test_the_held_out_split_ends_with_a_whole_batch():
  config = dataclasses.replace(_SMALL, batch_size=384, num_frames=1)
  batches = list(pipeline.make_batches(config, train=False, seed=0))
  assert [len(batch['label']) for batch in batches] == [384] * 3


def test_windows_and_mirroring_vary_from_epoch_to_epoch(folder_config):
  config = dataclasses.replace(folder_config, batch_size=9)
  clips = [x for b in _take(8, config) for x in b['video']]
  assert len({clip.tobytes() for clip in clips}) > 40
  plain = dataclasses.replace(config, flip=False)
  straight = [x for b in _take(8, plain) for x in b['video']]
  same = [np.array_equal(a, b) for a, b in zip(clips, straight)]
  mirrored = [np.array_equal(a[:, :, ::-1], b) for a, b in zip(clips, straight)]
  assert all(s or m for s, m in zip(same, mirrored))
  assert 15 < sum(mirrored) < 57


def test_substitutes_are_the_same_however_the_row_is_reached(folder_config):
  whole = _take(6, folder_config)
  hit = [i for i, batch in enumerate(whole) if (batch['failed'] >= 0).any()]
  assert hit
  for step in hit:
    _assert_equal([whole[step]], _take(1, folder_config, start_step=step))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (dict(source='movies:/x'), "unknown kind 'movies'"),
    (dict(source='folder:'), 'needs a path'),
    (dict(source='synthetic:x'), 'takes no path'),
    (dict(flip=True), 'changes its class'),
    (dict(frame_stride=2), 'use frame_stride=1'),
    (dict(split_file='x.txt'), 'and ucf101:PATH read one'),
    (dict(num_frames=0), 'num_frames=0: wanted at least 1'),
    (dict(num_workers=-1), 'num_workers=-1'),
    (dict(max_bad_share=1.5), 'max_bad_share=1.5'),
  ],
)
def test_a_config_that_cannot_be_served_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    pipeline.make_source(dataclasses.replace(_SMALL, **changes), train=True)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(rows=()), r'rows=\(\): wanted some of 0..5'),
    (dict(rows=(2, 6)), r'rows=\(2, 6\)'),
    (dict(start_step=-1), 'start_step=-1'),
  ],
)
def test_a_split_of_the_batch_that_cannot_be_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    _take(1, **options)
