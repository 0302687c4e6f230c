"""Streams that take turns: which batch comes when, and failures of each."""

import itertools

import numpy as np
import pytest

from videoar_jax.data import mixture
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadDataError
from videoar_jax.data.pipeline import make_batches, make_source

VIDEOS = DataConfig(batch_size=4, num_frames=5, height=16, width=16, weight=2)
IMAGES = DataConfig(batch_size=8, num_frames=1, height=24, width=16)


def _take(streams, count, **options):
  return list(
    itertools.islice(mixture.make_mixture(streams, seed=3, **options), count)
  )


def test_streams_take_turns_by_their_weights():
  assert mixture.round_of([1]) == (0,)
  assert mixture.round_of([2, 1]) == (0, 1, 0)
  assert mixture.round_of([3, 2]) == (0, 1, 0, 1, 0)
  turns = mixture.round_of([5, 2, 1])
  assert [turns.count(i) for i in range(3)] == [5, 2, 1]
  order = [turns[step % 8] for step in range(40)]
  for step in range(40):
    for index in range(3):
      before = order[:step].count(index)
      assert mixture.batches_before(turns, index, step) == before


def test_each_stream_gives_its_own_batches_in_order():
  found = _take([VIDEOS, IMAGES], 7)
  shapes = [batch['video'].shape for batch in found]
  videos, images = (4, 5, 16, 16, 3), (8, 1, 24, 16, 3)
  assert shapes == [videos, images, videos, videos, images, videos, videos]
  alone = make_batches(VIDEOS, train=True, seed=3)
  for batch in (found[i] for i in (0, 2, 3, 5, 6)):
    np.testing.assert_array_equal(batch['video'], next(alone)['video'])
  alone = make_batches(IMAGES, train=True, seed=3)
  for batch in (found[i] for i in (1, 4)):
    np.testing.assert_array_equal(batch['video'], next(alone)['video'])


def test_a_restart_and_another_number_of_processes_see_the_same():
  streams = [VIDEOS, IMAGES]
  found = _take(streams, 6)
  for start in (1, 2, 3, 4):
    for batch, wanted in zip(
      _take(streams, 2, start_step=start), found[start:]
    ):
      np.testing.assert_array_equal(batch['video'], wanted['video'])
  parts = [
    _take(streams, 3, rows_of=lambda size, i=i: np.split(np.arange(size), 2)[i])
    for i in range(2)
  ]
  for *pair, wanted in zip(*parts, found):
    rows = np.concatenate([batch['video'] for batch in pair])
    np.testing.assert_array_equal(rows, wanted['video'])


def test_failures_are_counted_stream_by_stream(tmp_path):
  for i in range(9):
    (tmp_path / 'a').mkdir(exist_ok=True)
    (tmp_path / 'a' / f'{i}.avi').write_text('no video')
  bad = DataConfig(
    source=f'folder:{tmp_path}', num_frames=5, height=16, width=16
  )
  batches = mixture.make_mixture([VIDEOS, bad], seed=0)
  next(batches)
  with pytest.raises((BadDataError, ValueError), match='cannot be used'):
    next(batches)
  with pytest.raises(ValueError, match='weight=0'):
    next(mixture.make_mixture([DataConfig(weight=0)], seed=0))


def test_the_clips_of_a_step_are_named():
  sources = [make_source(x, train=True) for x in (VIDEOS, IMAGES)]
  for step, batch in enumerate(_take([VIDEOS, IMAGES], 5)):
    names = mixture.clips_of_step([VIDEOS, IMAGES], seed=3, step=step)
    source = sources[batch['video'].shape[1] == 1]
    known = {source.name(i): i for i in range(len(source))}
    for name, video in zip(names, batch['video'], strict=True):
      record = source.load(known[name], np.random.default_rng(0))
      np.testing.assert_array_equal(video, record['video'])
