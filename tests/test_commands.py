"""The commands as a user types them: the whole path, and bad input."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from shell import ROOT, SMALL, TINY

from videoar_jax.data import synthetic


@pytest.fixture(scope='module')
def run(shell):
  return shell.run


@pytest.fixture(scope='module')
def trained(run, tmp_path_factory):
  """Workdirs of a tokenizer and of a generator over cached features."""
  root = tmp_path_factory.mktemp('trained')
  tokenizer, features = root / 'tokenizer', root / 'features'
  image_tokenizer, generator = root / 'image_tokenizer', root / 'generator'
  steps = [
    (
      'train',
      '--config=configs/quickstart.py:image_tokenizer,smoke',
      f'--workdir={image_tokenizer}',
      *TINY,
    ),
    (
      'train',
      '--config=configs/quickstart.py:tokenizer,smoke',
      f'--config.init_from={image_tokenizer}',
      f'--workdir={tokenizer}',
      *TINY,
    ),
    (
      'data.prepare',
      '--features',
      '--source=synthetic',
      '--num_clips=40',
      '--num_frames=9',
      '--height=16',
      '--width=16',
      f'--checkpoint={tokenizer}',
      f'--out={features}',
    ),
    (
      'train',
      '--config=configs/quickstart.py:generator,smoke',
      f'--workdir={generator}',
      f'--config.tokenizer={tokenizer}',
      f'--config.data.source=features:{features}',
      *SMALL,
    ),
  ]
  for step in steps:
    done = run(*step)
    assert done.returncode == 0, done.stderr[-3000:]
  return {
    'image_tokenizer': image_tokenizer,
    'tokenizer': tokenizer,
    'generator': generator,
    'root': root,
  }


def test_training_leaves_what_a_workdir_holds(trained):
  for name in ('image_tokenizer', 'tokenizer', 'generator'):
    workdir = trained[name]
    assert (workdir / 'config.json').exists()
    assert (workdir / 'checkpoints' / '4').is_dir()
    assert list((workdir / 'samples').glob('*.png'))
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    kinds = {json.loads(line)['kind'] for line in lines}
    assert kinds == {'train', 'heldout'}
  config = json.loads((trained['generator'] / 'config.json').read_text())
  assert tuple(config['classes']) == synthetic.CLASSES


def test_samples_of_an_export_equal_those_of_the_workdir(run, trained):
  root, export = trained['root'], trained['root'] / 'export'
  done = run(
    'train', 'export', f'--workdir={trained["generator"]}', f'--out={export}'
  )
  assert done.returncode == 0, done.stderr[-3000:]
  videos = []
  for name, checkpoint, batch in (
    ('a', trained['generator'], 2),
    ('b', export, 3),
  ):
    done = run(
      'sample',
      f'--checkpoint={checkpoint}',
      '--class=all',
      '--num_videos=3',
      '--num_frames=5',
      '--guidance=ucf',
      '--seed=7',
      f'--batch_size={batch}',
      f'--out={root / name}',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = {path.suffix for path in (root / name).iterdir()}
    assert {'.mp4', '.npz', '.gif', '.webp', '.png'} <= made
    with np.load(root / name / 'samples.npz') as file:
      videos.append(file['videos'])
      assert file['labels'].tolist() == [0, 1, 2]
  assert videos[0].shape == (3, 5, 16, 16, 3)
  # Batches of two sizes are two programs, which may round a sum differently.
  apart = np.abs(videos[0].astype(int) - videos[1])
  assert apart.max() <= 1


def test_the_same_command_resumes_and_another_config_is_refused(run, trained):
  command = (
    'train',
    '--config=configs/quickstart.py:tokenizer,smoke',
    f'--config.init_from={trained["image_tokenizer"]}',
    f'--workdir={trained["tokenizer"]}',
    *TINY,
  )
  again = run(*command)
  assert again.returncode == 0 and 'trained already' in again.stdout
  other = run(*command, '--config.optimizer.learning_rate=0.5')
  assert other.returncode != 0
  assert 'optimizer.learning_rate' in other.stderr


BAD_TRAINING = [
  (['--config.optimizer.learning_rat=1'], 'learning_rate'),
  (['--config.data.num_frames=16'], 'use 17'),
  (['--config.data.source=folder:/no/such/place'], '/no/such/place'),
  (['--config.data.height=40'], '40×32'),
  (['--config.init_from=/no/such/run'], '/no/such/run: no such checkpoint'),
]


@pytest.mark.parametrize(('options', 'words'), BAD_TRAINING)
def test_bad_training_options_are_refused(run, tmp_path, options, words):
  done = run(
    'train',
    '--config=configs/quickstart.py:tokenizer,smoke',
    f'--workdir={tmp_path}',
    *options,
  )
  assert done.returncode not in (0, None)
  assert words in done.stderr and 'Traceback' not in done.stderr


BAD_SAMPLING = [
  (['--class=lefty'], 'did you mean left'),
  (['--num_frames=16'], 'use 17'),
  (['--guidance=strong'], "guidance='strong'"),
  (['--temperature=-1'], 'temperature=-1'),
  (['--num_videos=0'], 'num_videos=0'),
]


@pytest.mark.parametrize(('options', 'words'), BAD_SAMPLING)
def test_bad_sampling_options_are_refused(
  run, trained, tmp_path, options, words
):
  done = run(
    'sample',
    f'--checkpoint={trained["generator"]}',
    f'--out={tmp_path}',
    *options,
  )
  assert done.returncode not in (0, None)
  assert words in done.stderr and 'Traceback' not in done.stderr


def test_a_checkpoint_of_the_wrong_kind_is_refused(run, trained, tmp_path):
  done = run(
    'sample', f'--checkpoint={trained["tokenizer"]}', f'--out={tmp_path}'
  )
  assert done.returncode != 0 and 'wanted a generator' in done.stderr


def test_of_two_trains_in_one_workdir_the_first_goes_on(run, trained):
  workdir = trained['root'] / 'twice'
  command = (
    'train',
    '--config=configs/quickstart.py:image_tokenizer,smoke',
    f'--workdir={workdir}',
    *TINY,
  )
  name, *words = command
  first = subprocess.Popen(
    [sys.executable, '-m', f'videoar_jax.{name}', *words],
    cwd=ROOT,
    env={**os.environ, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  while not (workdir / '.lock').exists():
    assert first.poll() is None
    time.sleep(0.01)
  second = run(*command)
  assert second.returncode == 1
  line = second.stderr.splitlines()[-1]
  assert line.startswith(f'error: {workdir}: in use, by train of ')
  assert f'process {first.pid}, since ' in line
  said, _ = first.communicate(timeout=300)
  assert first.returncode == 0, said[-3000:]
  assert (workdir / 'checkpoints' / '4').is_dir()
  assert not (workdir / '.lock').exists()
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  steps = [json.loads(line)['step'] for line in lines if '"train"' in line]
  assert steps == [1, 2, 3, 4]
