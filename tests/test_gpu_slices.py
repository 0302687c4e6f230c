"""Slices of a lent GPU: what is brought, run in time, and brought back."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from test_repository import load_config

from videoar_jax import media
from videoar_jax.benchmark import sampling
from videoar_jax.commands import lease
from videoar_jax.core import command, manifest, pretrained
from videoar_jax.core.config import from_section
from videoar_jax.data.folder import Listing
from videoar_jax.evaluate import i3d, real_features
from videoar_jax.lease import bundle, returns, running, slices
from videoar_jax.lease.slices import Slice
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig

ROOT = pathlib.Path(__file__).parents[1]
SHELL = ROOT / 'launch' / 'gpu_slices.sh'
MIB = returns.MIB
CLASSES = tuple(f'Class{i}' for i in range(9))


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
  """A folder of nine classes of three clips, and its list for training."""
  root, rng = tmp_path_factory.mktemp('clips'), np.random.default_rng(0)
  for name in CLASSES:
    (root / name).mkdir()
    for i in range(3):
      video = rng.integers(0, 256, (17, 16, 16, 3), np.uint8)
      media.write_mp4(root / name / f'{i}.mp4', video, fps=8)
  lines = [f'{name}/{i}.avi 1\n' for name in CLASSES for i in (0, 1)]
  (root / 'train.txt').write_text(''.join(lines))
  return root


@pytest.fixture
def no_network(monkeypatch):
  """An installer that writes a package of its own; returns what it was told."""
  told = []

  def install(packages, *, python, target):
    told.append((packages, python))
    pathlib.Path(target, 'brought.py').write_text('x = 1\n')

  monkeypatch.setattr(bundle, 'run_installer', install)
  return told


def _run(*words):
  for flag in lease.FLAGS.values:  # each command line begins anew
    lease.FLAGS.values[flag].unparse()
  return command.run(lease, ['lease', *map(str, words)])


def _pack(name, tmp, *words):
  places = f'--bundle={tmp / "bundle"}', f'--back={tmp / "back"}'
  return _run('pack', name, *places, *words)


# What is brought.


def test_a_smaller_choice_of_clips_begins_a_larger_one_of_all_classes():
  names = [f'{name}/{i}.mp4' for name in CLASSES for i in range(20)]
  listings = (
    Listing(CLASSES, tuple(names[::2]), ()),
    Listing(CLASSES, tuple(names[1::2]), ()),
  )
  sizes = {name: 10 + len(name) for name in names}
  few = bundle.choose_clips(listings, sizes, 30 * 20)
  many = bundle.choose_clips(listings, sizes, 90 * 20)
  assert len(few) < len(many) < len(names)
  assert many[: len(few)] == few
  assert sum(sizes[name] for name in many) <= 90 * 20
  counts = [sum(x.startswith(f'{name}/') for x in few) for name in CLASSES]
  assert max(counts) - min(counts) <= 1


def test_a_bundle_is_filled_with_clips_beside_the_room_of_a_state(
  clips, tmp_path, no_network, capsys
):
  data = f'--data={clips}', f'--split_file={clips / "train.txt"}'
  assert _pack('tokenizer', tmp_path, *data) is None
  out = tmp_path / 'bundle'
  assert '27 of 27 clips, 18 of them' in capsys.readouterr().out
  about = json.loads((out / bundle.ABOUT).read_text())
  assert about['bytes']['back'] == 16 * MIB
  assert len((out / slices.TRAIN_LIST).read_text().splitlines()) == 18
  assert len(list((out / 'clips').rglob('*.mp4'))) == 27
  ((packages, python),) = no_network
  assert 'av' in packages and python == '3.12'
  # A third of the clips: the size decides, and says so.
  spent = sum(about['bytes'].values()) - about['bytes']['clips']
  third = spent + bundle._SPARE + about['bytes']['clips'] * 0.6
  assert _pack('tokenizer', tmp_path, *data, f'--limit_mib={third / MIB}') is (
    None
  )
  kept = list((out / 'clips').rglob('*.mp4'))
  assert 9 < len(kept) < 27
  with pytest.raises(SystemExit, match=r'room for 0 of 27 clips .*back 16.0'):
    _pack('tokenizer', tmp_path, *data, '--limit_mib=17')


def test_a_bundle_that_is_too_large_is_refused_with_its_sizes(
  tmp_path, no_network, monkeypatch
):
  monkeypatch.setattr(bundle, '_bring_i3d', lambda *_, **__: None)
  with pytest.raises(SystemExit, match=r'takes .* MiB, wanted .*: code [0-9.]'):
    _pack('kernels', tmp_path, '--limit_mib=0.1')
  assert not (tmp_path / 'bundle' / bundle.ABOUT).exists()


def test_two_large_parts_are_never_brought_together():
  for smoke in (False, True):
    for slice_ in slices.make_slices(smoke=smoke).values():
      assert len({'i3d', 'clips'} & {*slice_.brings, *slice_.may_bring}) < 2
  with pytest.raises(ValueError, match='do not fit together'):
    Slice((), brings=('clips', 'i3d'))


def test_what_is_no_bundle_is_not_removed(tmp_path, no_network):
  (tmp_path / 'bundle').mkdir()
  mine = tmp_path / 'bundle' / 'thesis.txt'
  mine.write_text('mine')
  with pytest.raises(SystemExit, match='holds thesis.txt'):
    _pack('kernels', tmp_path)
  assert mine.read_text() == 'mine'


@pytest.mark.parametrize(
  'name,word',
  [
    ('tokenizer', '--data'),
    ('generator', '--data'),
    ('gfvd', '--generator'),
    ('nonsense', 'use one of kernels, tokenizer, generator, gfvd'),
  ],
)
def test_a_missing_source_is_told_before_anything_is_made(tmp_path, name, word):
  with pytest.raises(SystemExit, match=word):
    _pack(name, tmp_path)
  assert not (tmp_path / 'bundle').exists()


def test_a_failed_installation_is_told_in_a_line(tmp_path):
  with pytest.raises(ValueError, match='no_such_package: not installed'):
    bundle.run_installer(
      ['--no-index', 'no_such_package'], python='3.12', target=str(tmp_path)
    )


@pytest.mark.parametrize('half', ['tokenizer', 'generator'])
def test_a_state_fits_the_room_that_is_kept_for_it(half):
  path = ROOT / 'configs' / 'ucf9_gpu.py'
  shape = from_section(
    TokenizerConfig, load_config(path, 'tokenizer').tokenizer
  )
  if half == 'tokenizer':
    clip = jax.numpy.zeros((1, 1, *shape.resolution, 3))
    init = functools.partial(make_tokenizer(shape).init, jax.random.key(0))
    found = jax.eval_shape(init, clip)['params']
  else:
    config = load_config(path, 'generator')
    found = jax.eval_shape(
      lambda: sampling.made_up(config, {**shape.__dict__}).nets['transformer']
    )
  # Parameters, their average and the two moments of Adam, in float32.
  state = 16 * sum(x.size for x in jax.tree.leaves(found)) / MIB
  room = slices.find_slice(half).state_mib
  assert 0.8 * room < state < room - 0.3


# The whole way, in a few steps on a CPU.


def _smoke(home, name, *words, shell=False):
  """Packs a slice, runs it, and returns its rows by name."""
  assert _pack(name, home, *words) is None
  places = [f'--bundle={home / "bundle"}', f'--work={home / "work"}']
  places.append(f'--out={home / "back" / name}')
  if shell:
    done = subprocess.run(
      ['bash', SHELL, 'run', name, '--smoke', *places],
      env={**os.environ, 'PYTHON': sys.executable},
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stderr
  else:
    assert _run('run', name, '--smoke', *places) is None
  found = running.read_rows(home / 'back' / name / returns.ROWS)
  assert all(row['status'] == 'done' for row in found)
  return {row['name']: row['result'] for row in found}


@pytest.fixture
def quick_compiler(monkeypatch):
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')


def test_smoke_of_kernels(tmp_path, no_network, quick_compiler, monkeypatch):
  monkeypatch.setattr(bundle, '_bring_i3d', lambda *_, **__: None)
  found = _smoke(tmp_path, 'kernels', shell=True)
  assert found['sample_tiny']['sample'][0]['floor_s'] > 0
  assert found['train_tiny_prefix']['train'][0]['mfu'] > 0


def test_smoke_from_clips_to_gfvd(tmp_path, clips, no_network, quick_compiler):
  """One test: each slice takes what the one before brought back."""
  home, back = tmp_path, f'--back={tmp_path / "back"}'
  data = f'--data={clips}', f'--split_file={clips / "train.txt"}'
  tokenizer = f'--tokenizer={home / "tokenizer"}'

  found = _smoke(home, 'tokenizer', *data)
  assert found['train_tokenizer']['training']['step'] == 4
  assert found['evaluate_tokenizer']['evaluate']['psnr'] > 0
  _check_that_it_goes_on(home, 'tokenizer', *data)

  opened = ('open', 'tokenizer', back, f'--workdir={home / "tokenizer"}')
  assert _run(*opened) is None
  with pytest.raises(SystemExit, match='not empty'):
    _run(*opened)
  found = _smoke(home, 'generator', *data, tokenizer)
  assert found['train_generator']['training']['step'] == 4
  assert (home / 'back' / 'generator' / 'grid.png').is_file()
  _check_that_it_goes_on(home, 'generator', *data, tokenizer)

  opened = ('open', 'generator', back, f'--workdir={home / "generator"}')
  with pytest.raises(SystemExit, match='give --tokenizer'):
    _run(*opened)
  assert not (home / 'generator').exists()
  assert _run(*opened, tokenizer) is None
  _smoke_of_gfvd(home)


def _check_that_it_goes_on(home, name, *words):
  """The next slice begins with the state that came back."""
  assert _pack(name, home, *words) is None
  places = running.Places(home / 'bundle', home / 'next', home / 'out')
  running._restore(slices.find_slice(name), places)
  assert manifest.list_steps(home / 'next' / 'run' / 'checkpoints') == [4]
  kept = home / 'next' / 'run' / 'tokenizer' / 'autoencoder.safetensors'
  assert kept.is_file() == (name == 'generator')


def _smoke_of_gfvd(home):
  try:
    pretrained.load_weights(pretrained.I3D_KINETICS_400)
  except pretrained.MissingWeightsError:
    return
  about = {
    'classes': list(CLASSES),
    'protocol': None,
    'frames': 17,
    'resolution': [16, 16],
    'weights_sha256': pretrained.I3D_KINETICS_400.sha256,
  }
  rng = np.random.default_rng(0)
  rows_nd = rng.standard_normal((4, i3d.NUM_CLASSES), np.float32)
  path = home / 'real.npz'
  real_features.write(
    path, [real_features.RealFeatures(rows_nd, np.arange(4), about)]
  )
  words = f'--generator={home / "generator"}', f'--features={path}'
  found = _smoke(home, 'gfvd', *words)
  assert found['gfvd']['evaluate']['gfvd'] > 0
