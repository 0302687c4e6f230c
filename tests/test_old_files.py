"""What an earlier commit wrote still loads, and gives the same.

goldens/old_files.zip was made by goldens/make_old_files.py: an export of a
tokenizer, a generator's workdir after two steps, prepared clips and features, a
token file, and what that commit made of them.
"""

import hashlib
import itertools
import json
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

import videoar_jax as va
from videoar_jax import media
from videoar_jax.data.config import DataConfig
from videoar_jax.data.pipeline import make_batches

ROOT = pathlib.Path(__file__).parents[1]
# Of a source and the frames of its clips: SHA-256 of the first two batches.
BATCHES = {
  ('features:features', 5): (
    '6f0eb32fc13ad9fc52924282830bdbb4fdcfbd69970a9e526757a54214ce1b5e',
    'dd71309067aac6478f92e57a6c5c37044f04ae2eb46b793658301bacd1654f17',
  ),
  ('array_record:clips', 17): (
    '0a575a3caeb90e29690d00808869327b676f3216e5fd62cafecb62f832ba9849',
    '0a575a3caeb90e29690d00808869327b676f3216e5fd62cafecb62f832ba9849',
  ),
}
# Two steps from the first parameters: variant, what is set, losses of either
# step and the held-out one after them.
_SIZE = (
  *('data.height=16', 'data.width=16', 'data.num_frames=5'),
  *('data.batch_size=2', 'optimizer.warmup_steps=0', 'train.sample_every=0'),
  *('train.eval_batches=1', 'train.log_every=1'),
)
_GENERATOR = (
  *('transformer.num_layers=1', 'transformer.width=8'),
  *('transformer.num_heads=2', 'tokenizer=tokenizer'),
)
RUNS = {
  'gan': (
    'tokenizer',
    (
      *('tokenizer.base_width=4', 'tokenizer.latent_width=4'),
      *('tokenizer.multipliers=(1,1)', 'tokenizer.scales=((1,1),(4,4))'),
      *('adversarial.weight=0.3', 'adversarial.start=0'),
      *('adversarial.lecam=0.001', 'discriminator.base_width=4'),
      *('discriminator.norm_groups=2', 'discriminator.multipliers=(1,2)'),
      'discriminator_optimizer.warmup_steps=0',
    ),
    (1.6840139627, 1.5834707022, 1.6090739965),
  ),
  'clip pyramid, text': (
    'generator',
    (
      *(*_GENERATOR, 'transformer.plan=clip_pyramid'),
      *('corruption.inherit=False', 'transformer.condition=text'),
      *('transformer.vocabulary=300', 'transformer.prefix_length=16'),
    ),
    (0.6896430254, 0.6810245514, 0.6936939958),
  ),
  'from the last frame, masked': (
    'generator',
    (
      *(*_GENERATOR, 'transformer.plan=next_scale_from_last'),
      'frame_mask.window=1',
    ),
    (0.6857057810, 0.6796979308, 0.6699956059),
  ),
}


@pytest.fixture(scope='module')
def old(tmp_path_factory):
  folder = tmp_path_factory.mktemp('old')
  path = ROOT / 'tests' / 'goldens' / 'old_files.zip'
  with zipfile.ZipFile(path) as file:
    file.extractall(folder)
  return folder


def test_tokens_decode_to_the_same_video(old, shell, tmp_path):
  out = tmp_path / 'decoded.mp4'
  done = shell.run(
    'tokenizer',
    'decode',
    f'--checkpoint={old / "tokenizer"}',
    f'--tokens={old / "tokens.npz"}',
    f'--out={out}',
  )
  assert done.returncode == 0, done.stderr
  wanted, found = (media.read_video(x) for x in (old / 'decoded.mp4', out))
  assert wanted.shape == found.shape == (17, 16, 16, 3)
  assert np.abs(wanted.astype(int) - found).mean() < 0.5 < wanted.std()


def test_a_generator_samples_the_same_videos(old):
  with np.load(old / 'samples' / 'samples.npz') as file:
    wanted, classes, labels = file['videos'], file['classes'], file['labels']
  model = va.load(old / 'generator')
  names = [str(classes[label]) for label in labels]
  found = np.asarray(model.sample(names, temperature=0))
  # Elsewhere sums are rounded otherwise, and a bit may turn.
  assert found.shape == wanted.shape and wanted.std() > 1
  assert (np.abs(found.astype(int) - wanted) <= 1).mean() > 0.95


@pytest.mark.parametrize(('source', 'frames'), BATCHES)
def test_prepared_data_gives_the_same_batches(old, source, frames):
  kind, _, name = source.partition(':')
  config = DataConfig(
    source=f'{kind}:{old / name}',
    num_frames=frames,
    height=16,
    width=16,
    batch_size=2,
  )
  found = []
  for batch in itertools.islice(make_batches(config, seed=3, train=True), 2):
    digest = hashlib.sha256()
    for key in sorted(batch):
      digest.update(key.encode() + np.ascontiguousarray(batch[key]).tobytes())
    found.append(digest.hexdigest())
  assert tuple(found) == BATCHES[source, frames]


def losses(shell, variant, folder, workdir, words):
  """Trains, and gives the losses of each line of metrics, by their steps."""
  done = shell.run(
    'train',
    f'--config={ROOT}/configs/quickstart.py:{variant}',
    f'--workdir={workdir}',
    *(f'--config.{word}' for word in (*_SIZE, *words)),
    cwd=folder,
  )
  assert done.returncode == 0, done.stderr
  lines = (folder / workdir / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  names = ('loss', 'autoencoder/loss')
  found = [(row['step'], *(row[x] for x in names if x in row)) for row in rows]
  return found, done.stdout


def test_a_run_goes_on_with_the_same_losses(old, shell):
  config = json.loads((old / 'generator' / 'config.json').read_text())
  assert config['train']['num_steps'] == 2
  words = ('data.source=features:features', *_GENERATOR)
  words += ('train.num_steps=4', 'train.eval_every=9', 'train.eval_batches=8')
  shutil.copytree(old / 'generator', old / 'gone_on')  # others sample it
  found, said = losses(shell, 'generator', old, 'gone_on', words)
  assert 'resumed from checkpoint 2' in said
  wanted = json.loads((old / 'losses.json').read_text())
  found = [loss for step, loss in found if step > 2]
  np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize('run', RUNS)
def test_a_run_from_the_start_loses_what_it_lost(old, shell, run):
  variant, words, wanted = RUNS[run]
  words = (*words, 'train.num_steps=2', 'train.eval_every=2')
  found, _ = losses(shell, variant, old, run.replace(' ', '_'), words)
  np.testing.assert_allclose([x for _, x in found], wanted, rtol=1e-4)
