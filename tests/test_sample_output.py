"""The folder of samples: what of it is kept, and what room it takes."""

import errno
import os
import shutil

import numpy as np
import pytest
from etils import epath

from videoar_jax.core import files
from videoar_jax.sample.output import Output
from videoar_jax.sample.wanted import Wanted

SHAPE = (3, 16, 16, 3)
SIZE = int(np.prod(SHAPE))


def output(folder, **about):
  labels = np.arange(4)
  wanted = Wanted(['x'] * 4, labels, {'labels': labels})
  return Output(epath.Path(folder), wanted, about, SHAPE)


def write(chosen, indices):
  for index in indices:
    rng = np.random.default_rng(index)
    chosen.add(index, rng.integers(0, 256, SHAPE, np.uint8), fps=8)


@pytest.fixture
def cut_short(tmp_path):
  """A folder of four videos of which three are made."""
  chosen = output(tmp_path / 'out')
  assert chosen.begin().tolist() == [0, 1, 2, 3]
  write(chosen, range(3))
  return tmp_path / 'out'


def test_a_folder_that_cannot_be_read_is_left_as_it_is(cut_short, monkeypatch):
  def fail(*_):
    raise OSError(errno.EIO, 'Input/output error')

  before = sorted(cut_short.rglob('*'))
  with monkeypatch.context() as patch:
    patch.setattr(files, 'read_json', fail)
    with pytest.raises(OSError, match='Input/output'):
      output(cut_short).begin()
  assert sorted(cut_short.rglob('*')) == before
  assert output(cut_short).begin().tolist() == [3]


def test_pixels_that_are_cut_short_are_made_again(cut_short):
  part = cut_short / '.samples' / '00001.npy'
  os.truncate(part, part.stat().st_size - 1)
  chosen = output(cut_short)
  assert chosen.begin().tolist() == [1, 3]
  write(chosen, [1, 3])
  chosen.end(fps=8)
  assert not part.parent.exists()
  with np.load(cut_short / 'samples.npz') as found:
    rng = np.random.default_rng(1)
    expected = rng.integers(0, 256, SHAPE, np.uint8)
    np.testing.assert_array_equal(found['videos'][1], expected)


def test_videos_that_are_there_take_no_more_room(cut_short, monkeypatch):
  usage = shutil.disk_usage(cut_short)

  def check(free, **about):
    left = usage._replace(free=free)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: left)
    output(cut_short, **about).check(())

  check(5 * SIZE)
  with pytest.raises(ValueError, match='until all are written'):
    check(4 * SIZE)
  chosen = output(cut_short)
  chosen.begin()
  write(chosen, [3])
  chosen.end(fps=8)
  check(0)
  with pytest.raises(ValueError, match='until all are written'):
    check(0, seed=1)  # of other videos
