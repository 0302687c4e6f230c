"""Whatever befalls a file of a checkpoint, values are right or refused."""

import asyncio
import functools
import pathlib
import random
import shutil
import threading
import time

import jax
import numpy as np
import pytest
import test_checkpoint as whole
from test_checkpoint import CONFIG

from videoar_jax.core import export, manifest
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.manifest import CheckpointError

STEPS = (1, 2)
SMALL = 300  # bytes; of these files every byte is damaged in the slow test


def _tree(seed):
  """With an array large enough for a file of its own, too."""
  large = np.random.default_rng(seed).normal(size=(60, 70)).astype(np.float32)
  return {**whole._tree(seed), 'large': large}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved')
  checkpoints = Checkpoints(folder)
  for step in STEPS:
    meta = {'config': CONFIG, 'best': None}
    checkpoints.save(step, _tree(step), meta, wait=True)
  checkpoints.close()
  return folder


@pytest.fixture
def damaged(saved, tmp_path, caplog):
  """damaged(name, change) -> which steps the readers took after a change."""

  def check(name, change):
    workdir = tmp_path / 'run'
    shutil.rmtree(workdir, ignore_errors=True)
    shutil.copytree(saved, workdir / 'checkpoints')
    path = workdir / 'checkpoints' / str(STEPS[-1]) / name
    data = change(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    return _loaded(workdir, caplog), _restored(workdir, caplog)

  return check


def _files(saved):
  folder = saved / str(STEPS[-1])
  return sorted(
    path.relative_to(folder) for path in folder.rglob('*') if path.is_file()
  )


def _loaded(workdir, caplog):
  caplog.clear()
  try:
    loaded = export.load_weights(workdir)
  except CheckpointError:
    return None
  wanted = whole._numpy_tree(loaded.step)['nets']['toy']['ema']
  whole._assert_same(loaded.nets['toy'], wanted)
  assert (loaded.step == STEPS[-1]) != ('is damaged' in caplog.text)
  return loaded.step


def _restored(workdir, caplog):
  caplog.clear()
  abstract = whole._abstract(_tree(0))
  try:
    restored = Checkpoints(workdir / 'checkpoints').restore(abstract)
  except CheckpointError:
    return None
  whole._assert_same(
    jax.device_get(restored.tree), jax.device_get(_tree(restored.step))
  )
  assert restored.meta['config']['tokenizer'] == CONFIG['tokenizer']
  good = restored.step == STEPS[-1]
  assert good != ('is damaged' in caplog.text)
  return restored.step


def _replace(data, *, key, other):
  return data.replace(key, other, 1)


def _flip(place, bit):
  def change(data):
    data = bytearray(data)
    data[place] ^= 1 << bit
    return bytes(data)

  return change


def test_a_flipped_bit_anywhere_reaches_no_value(saved, damaged):
  rng, used = random.Random(0), set()
  for name in _files(saved):
    size = (saved / str(STEPS[-1]) / name).stat().st_size
    # The description of the arrays is where most kinds of damage begin.
    for _ in range(12 if name.name == '_METADATA' else 3):
      used.update(damaged(name, _flip(rng.randrange(size), rng.randrange(8))))
  assert used == set(STEPS)


def test_names_lost_from_the_description_of_arrays_reach_no_value(damaged):
  for key in (b'key_metadata', b'"nets"', b'"key"', b'value_type'):
    other = key.replace(b'e', b'd', 1)
    used = damaged(
      'arrays/_METADATA', functools.partial(_replace, key=key, other=other)
    )
    assert STEPS[0] in used


def test_a_file_cut_short_emptied_or_lost_reaches_no_value(saved, damaged):
  used = set()
  for name in _files(saved):
    for change in (
      lambda _: None,
      lambda _: b'',
      lambda data: data[: len(data) // 2],
    ):
      used.update(damaged(name, change))
  assert used == set(STEPS)


@pytest.mark.slow
def test_a_flipped_bit_in_any_byte_reaches_no_value(saved, damaged):
  rng = random.Random(1)
  for name in _files(saved):
    size = (saved / str(STEPS[-1]) / name).stat().st_size
    places = range(size)
    if size > SMALL:
      ends = [*range(20), *range(size - 20, size)]
      places = sorted({*ends, *rng.sample(places, 80)})
    for place in places:
      damaged(name, _flip(place, rng.randrange(8)))


def test_what_reads_on_after_a_failure_finds_its_loop_open(saved):
  manifest.load_arrays(saved)  # all readers see to it
  faults, loop = [], asyncio.new_event_loop()
  answer = loop.create_future()

  def read_on():
    time.sleep(0.05)
    try:
      loop.call_soon_threadsafe(answer.set_result, 1)
    except RuntimeError as error:
      faults.append(error)

  async def fail():
    raise KeyError

  async def read():
    return await answer

  async def both():
    await asyncio.gather(read(), fail())

  thread = threading.Thread(target=read_on)
  thread.start()
  with pytest.raises(KeyError):
    loop.run_until_complete(both())
  loop.close()
  thread.join()
  assert not faults and answer.result() == 1


@pytest.mark.parametrize('name', ['²', '007', '٣', '-1', 'x'])
def test_a_folder_that_is_no_step_is_left_alone(saved, tmp_path, name):
  folder = tmp_path / 'checkpoints'
  shutil.copytree(saved, folder)
  (folder / name).mkdir()
  (folder / '9').write_text('a file')
  assert manifest.list_steps(folder) == list(STEPS)
  checkpoints = Checkpoints(folder)
  assert checkpoints.restore(whole._abstract(_tree(0))).step == STEPS[-1]
  assert (folder / name).is_dir() and (folder / '9').is_file()


def test_one_step_may_be_damaged_twice(saved, tmp_path):
  folder = tmp_path / 'checkpoints'
  for count in (1, 2):
    shutil.copytree(saved, folder)
    (folder / str(STEPS[-1]) / 'manifest' / 'metadata').write_text('')
    restored = Checkpoints(folder).restore(whole._abstract(_tree(0)))
    assert restored.step == STEPS[0]
    assert len(list((tmp_path / 'checkpoints_damaged').iterdir())) == count
    shutil.rmtree(folder)


@pytest.mark.parametrize(
  'change',
  [
    {'arrays': []},
    {'arrays': {'x': {'shape': [-1], 'dtype': 'float32', 'digest': ''}}},
    {'arrays': {'x': {'shape': [1], 'dtype': 'junk', 'digest': ''}}},
    {'step': 'two'},
    {'meta': None},
    {'format': 2},
  ],
)
def test_a_manifest_of_another_structure_is_refused(monkeypatch, saved, change):
  body = {
    'format': 1,
    'step': 2,
    'arrays': {},
    'best_value': None,
    'meta': {},
    **change,
  }
  whole_one = {**body, 'digest': manifest.digest_lib.text_digest(body)}
  path = pathlib.Path(saved) / str(STEPS[-1])

  class Reader:
    def __enter__(self):
      return self

    def __exit__(self, *_):
      pass

    def restore(self, path, args):
      return {'manifest': whole_one}

  monkeypatch.setattr(manifest, '_reader', Reader)
  with pytest.raises(CheckpointError):
    manifest.load_arrays(path)
