"""`train` on bad workdirs and configs: one line, and nothing done."""

import importlib
import pathlib
import sys

import numpy as np
import pytest

from videoar_jax.commands import train
from videoar_jax.core import command, lock
from videoar_jax.core.checkpoint import Checkpoints

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = (
  f'--config={ROOT}/configs/quickstart.py:tokenizer,smoke',
  '--config.data.batch_size=8',
)


@pytest.fixture
def refused(monkeypatch):
  """refused(words…) -> the line with which `train` ends."""

  def run(*words):
    argv = ['train', *map(str, words)]
    monkeypatch.setattr(sys, 'argv', argv)  # config_flags look there, too
    with pytest.raises(SystemExit) as end:
      command.run(importlib.reload(train), argv)
    line = end.value.code
    assert isinstance(line, str) and line.startswith('error: ')
    return line.removeprefix('error: ')

  return run


@pytest.fixture
def workdir(tmp_path):
  """Of a run that has a checkpoint."""
  checkpoints = Checkpoints(tmp_path / 'run' / 'checkpoints')
  checkpoints.save(1, {'x': np.ones(3)}, {}, wait=True)
  checkpoints.close()
  return tmp_path / 'run'


@pytest.mark.parametrize(
  ('place', 'words'),
  [
    ('file', 'file: a file; give a folder'),
    ('file/run', 'file is a file; give another folder'),
    ('/proc/run', '/proc: '),
    ('/dev/null', 'a file; give a folder'),
    ('n' * 300, 'too long a name'),
  ],
)
def test_a_workdir_that_does_not_serve_is_one_line(
  refused, tmp_path, place, words
):
  (tmp_path / 'file').write_text('mine')
  line = refused(*CONFIG, f'--workdir={tmp_path / place}')
  assert words in line and '\n' not in line
  assert (tmp_path / 'file').read_text() == 'mine'


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('[1]', 'it is [1]; wanted an object'),
    ('', 'not JSON'),
    ('{"seed": NaN}', 'NaN is no number'),
    ('{', 'not JSON'),
    (None, 'a folder; wanted a file'),
  ],
)
def test_a_damaged_config_of_a_run_is_one_line(refused, workdir, text, words):
  path = workdir / 'config.json'
  path.mkdir() if text is None else path.write_text(text)
  line = refused(*CONFIG, f'--workdir={workdir}')
  assert line.startswith(f'{path}: ') and words in line and '\n' not in line


def test_a_config_of_a_run_that_lacks_keys_is_another_config(refused, workdir):
  (workdir / 'config.json').write_text('{"optimizer": 3}')
  line = refused(*CONFIG, f'--workdir={workdir}')
  assert 'holds a run of another config' in line
  assert 'seed: None there, 0 now' in line


def test_a_checkpoint_of_other_arrays_is_named(refused, workdir):
  assert 'is a checkpoint of another config' in refused(
    *CONFIG, f'--workdir={workdir}'
  )
  assert not (workdir / 'config.json').exists()


@pytest.mark.parametrize(
  ('made', 'words'),
  [
    ('ConfigDict({"recipe": "tokenizer"})', 'data: the config has no such sec'),
    ('{"recipe": "tokenizer"}', 'wanted a ConfigDict'),
    ('ConfigDict({"seed": 1})', 'recipe=None: use tokenizer or generator'),
  ],
)
def test_a_config_that_lacks_sections_is_one_line(
  refused, tmp_path, made, words
):
  path = tmp_path / 'own.py'
  path.write_text(
    'from ml_collections import ConfigDict\n\n\n'
    f'def get_config():\n  return {made}\n'
  )
  line = refused(f'--config={path}', f'--workdir={tmp_path / "run"}')
  assert words in line and '\n' not in line
  assert not (tmp_path / 'run').exists()


def test_networks_larger_than_the_memory_are_refused(refused, tmp_path):
  line = refused(
    *CONFIG, f'--workdir={tmp_path}', '--config.tokenizer.base_width=65536'
  )
  assert 'GB of memory' in line and 'smaller' in line
  assert list(tmp_path.iterdir()) == []


def test_a_batch_that_does_not_split_is_told_before_any_work(refused, tmp_path):
  line = refused(
    *CONFIG, f'--workdir={tmp_path / "run"}', '--config.data.batch_size=7'
  )
  assert line.startswith('data.batch_size=7: does not divide')
  assert not (tmp_path / 'run').exists()


def test_a_second_train_in_one_workdir_is_told_of_the_first(refused, tmp_path):
  with lock.hold(tmp_path, what='train'):
    line = refused(*CONFIG, f'--workdir={tmp_path}')
  assert line.startswith(f'{tmp_path}: in use, by train of ')
  assert list(tmp_path.iterdir()) == []
