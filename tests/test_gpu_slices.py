"""Slices of a lent GPU: what is brought, run in time, and brought back."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import time

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
from videoar_jax.lease import bundle, returns, rows, running, slices
from videoar_jax.lease.slices import Slice, Step
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


# What comes back.


def _file(path, size, seed=0):
  path.write_bytes(np.random.default_rng(seed).bytes(size))
  return path


def test_a_large_file_comes_back_in_parts_and_is_joined(tmp_path):
  large, small = _file(tmp_path / 'a.tar', 2500), _file(tmp_path / 'b', 10)
  out = tmp_path / 'out'
  returns.bring_back([small, large], out, most_bytes=1000)
  names = sorted(x.name for x in out.iterdir())
  assert names == ['a.tar.00', 'a.tar.01', 'a.tar.02', 'b', 'returns.json']
  assert max(x.stat().st_size for x in out.iterdir()) <= 1000
  returns.join(out, 'a.tar', tmp_path / 'whole')
  assert (tmp_path / 'whole').read_bytes() == large.read_bytes()
  (out / 'a.tar.01').write_bytes(b'x' * 1000)
  with pytest.raises(ValueError, match='a.tar is damaged'):
    returns.join(out, 'a.tar', tmp_path / 'whole')
  (out / 'a.tar.02').unlink()
  with pytest.raises(ValueError, match='a.tar.02: missing; fetch all parts'):
    returns.join(out, 'a.tar', tmp_path / 'whole')
  assert (tmp_path / 'whole').read_bytes() == large.read_bytes()


def test_what_is_over_the_limits_is_named_and_the_rest_comes_back(tmp_path):
  rows_, state = _file(tmp_path / 'rows', 10), _file(tmp_path / 'state', 7500)
  out = tmp_path / 'out'
  with pytest.raises(returns.TooLargeError, match=r'state \(.* in 8 files\)'):
    returns.bring_back([rows_, state], out, most_bytes=1000)
  assert sorted(x.name for x in out.iterdir()) == ['returns.json', 'rows']
  with pytest.raises(ValueError, match='its name may not come back'):
    returns.bring_back([_file(tmp_path / 'a b', 1)], out)


def test_a_tar_file_that_reaches_outside_is_refused(tmp_path):
  with tarfile.open(tmp_path / 'state.tar', 'w') as tar:
    tar.add(_file(tmp_path / 'x', 3), arcname='../escaped')
  returns.bring_back([tmp_path / 'state.tar'], tmp_path / 'out')
  with pytest.raises(ValueError, match='no such tar file'):
    returns.open_state(tmp_path / 'out', tmp_path / 'run' / 'it')
  assert not (tmp_path / 'run' / 'escaped').exists()


# In time.

_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(['sleep', '60'])
print(child.pid, flush=True)
time.sleep(60)
"""
_SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print('ready', flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize('script,code', [(_SAVES, 143), (_STUBBORN, None)])
def test_a_command_ends_in_time_whatever_it_does(tmp_path, script, code):
  log, started = tmp_path / 'log', time.monotonic()
  found = running.run_command(
    [sys.executable, '-c', script],
    seconds=1.5,
    log=log,
    environment=dict(os.environ),
    gently=True,
    grace_s=0.5,
  )
  assert found == code
  assert time.monotonic() - started < 20
  word = log.read_text().split()[0]
  if word.isdigit():  # the child it left behind
    deadline = time.monotonic() + 5
    while _lives(int(word)) and time.monotonic() < deadline:
      time.sleep(0.05)
    assert not _lives(int(word))


def _lives(pid: int) -> bool:
  stat = pathlib.Path(f'/proc/{pid}/stat')
  return stat.exists() and stat.read_text().split()[2] != 'Z'


@pytest.fixture
def steps(monkeypatch, tmp_path):
  """run(codes, …) -> rows, of commands that end with codes by their name."""
  ran = []
  about = {'slice': 'kernels', 'commit': 'abc', 'bytes': {}}
  places = running.Places(*(tmp_path / x for x in ('bundle', 'work', 'out')))
  places.bundle.mkdir()
  (places.bundle / bundle.ABOUT).write_text(json.dumps(about))
  monkeypatch.setattr(running, '_find_device', lambda *_, **__: 'H100')

  def run(codes, *, seconds=600, **options):
    def run_command(words, *, log, **_):
      name = words[-1].removeprefix('--out=').rpartition('/')[2]
      ran.append(name)
      log.write_text(f'starting\nerror: {name} broke\nmore')
      (places.work / f'{name}.json').write_text('{"fvd": [{"num_videos": 2}]}')
      return codes[name]

    monkeypatch.setattr(running, 'run_command', run_command)
    slice_ = Slice(
      tuple(
        Step(name, ('benchmark', f'--out={slices.WORK}/{name}'), **options)
        for name in codes
      )
    )
    return running.run('kernels', slice_, places, seconds=seconds)

  run.ran, run.places = ran, places
  return run


def test_a_step_that_fails_is_told_and_the_others_run(steps):
  good, bad, killed = steps({'a': 0, 'b': 1, 'c': None})
  assert [x['status'] for x in (good, bad, killed)] == [
    'done',
    'failed',
    'out of time',
  ]
  assert bad['why'] == '(1) error: b broke'
  assert good['device'] == 'H100' and good['commit'] == 'abc'
  assert good['result'] == {'fvd': [{'num_videos': 2}]}
  assert running.read_rows(steps.places.out / returns.ROWS) == [
    good,
    bad,
    killed,
  ]


def test_a_step_without_time_or_what_it_needs_does_not_begin(steps):
  (row,) = steps({'a': 0}, seconds=50)
  assert (row['status'], steps.ran) == ('no time', [])
  (row,) = steps({'a': 0}, needs='i3d')
  assert (row['status'], row['why']) == ('skipped', 'no i3d was brought')


def test_what_came_back_done_is_not_done_again(steps):
  steps({'a': 0, 'b': 1})
  back = steps.places.bundle / bundle.BACK
  returns.copy_again(steps.places.out, back, [returns.ROWS])
  rows_ = steps({'a': 0, 'b': 0})
  assert steps.ran == ['a', 'b', 'b']
  assert [x['status'] for x in rows_] == ['done', 'done']


def test_a_bundle_of_another_slice_or_none_is_refused(tmp_path, steps):
  for name, where, word in (
    ('gfvd', steps.places.bundle, 'of slice kernels'),
    ('kernels', tmp_path / 'none', 'no bundle there'),
  ):
    with pytest.raises(SystemExit, match=word):
      _run('run', name, f'--bundle={where}', f'--out={tmp_path / "o"}')


def test_a_cpu_serves_a_smoke_run_alone():
  with pytest.raises(ValueError, match='JAX sees no accelerator'):
    running._find_device(dict(os.environ), smoke=False)


# As tables.


def test_rows_become_tables_with_hardware_and_commit(tmp_path, capsys, steps):
  codes = {'a': 0, 'b': 1}
  steps(codes)
  back = tmp_path / 'back'
  back.mkdir()
  steps.places.out.rename(back / 'kernels')
  assert _run('rows', f'--back={back}') is None
  text = capsys.readouterr().out
  assert '### kernels' in text and 'H100, commit abc.' in text
  assert '| a | 2 | - | - |' in text
  assert '    python -m videoar_jax.benchmark' in text
  assert 'b: failed (1) error: b broke' in text
  with pytest.raises(SystemExit, match='put what came back'):
    _run('rows', f'--back={tmp_path / "none"}')


def test_the_floor_stands_beside_the_time():
  figures = {'rollout_s': 0.5, 'floor_s': 0.1, 'batch_size': 1}
  row = {'name': 'x', 'device': 'd', 'commit': 'c', 'command': 'k'}
  row |= {'status': 'done', 'why': '', 'result': {'sample': [figures]}}
  assert '| 0.5 | - | 0.1 | 5 | - |' in rows.tables([row])


# The whole way, in a few steps on a CPU.


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  return tmp_path_factory.mktemp('home')


def _smoke(home, name, *words, shell=False):
  """Packs a slice, runs it, and returns its rows by name."""
  os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
  assert _pack(name, home, *words) is None
  places = [f'--bundle={home / "bundle"}', f'--work={home / "work"}']
  places.append(f'--out={home / "back" / name}')
  try:
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
  finally:
    del os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS']
  found = running.read_rows(home / 'back' / name / returns.ROWS)
  assert all(row['status'] == 'done' for row in found)
  return {row['name']: row for row in found}


def _data(clips):
  return f'--data={clips}', f'--split_file={clips / "train.txt"}'


def test_smoke_of_kernels(home, no_network, monkeypatch):
  monkeypatch.setattr(bundle, '_bring_i3d', lambda *_, **__: None)
  found = _smoke(home, 'kernels', shell=True)
  assert found['sample_tiny']['result']['sample'][0]['floor_s'] > 0
  assert found['train_tiny_prefix']['result']['train'][0]['mfu'] > 0


def test_smoke_of_the_tokenizer(home, clips, no_network):
  found = _smoke(home, 'tokenizer', *_data(clips))
  assert found['train_tokenizer']['result']['training']['step'] == 4
  assert found['evaluate_tokenizer']['result']['evaluate']['psnr'] > 0
  assert _pack('tokenizer', home, *_data(clips)) is None
  # What the next slice begins with.
  places = running.Places(home / 'bundle', home / 'next', home / 'out')
  places.work.mkdir()
  running._restore(slices.find_slice('tokenizer'), places)
  assert manifest.list_steps(home / 'next' / 'run' / 'checkpoints') == [4]


def test_smoke_of_the_generator(home, clips, no_network):
  workdir = home / 'tokenizer'
  words = f'--back={home / "back"}', f'--workdir={workdir}'
  assert _run('open', 'tokenizer', *words) is None
  with pytest.raises(SystemExit, match='not empty'):
    _run('open', 'tokenizer', *words)
  found = _smoke(home, 'generator', *_data(clips), f'--tokenizer={workdir}')
  assert found['train_generator']['result']['training']['step'] == 4
  assert (home / 'back' / 'generator' / 'grid.png').is_file()


def test_smoke_of_gfvd(home, no_network):
  try:
    pretrained.load_weights(pretrained.I3D_KINETICS_400)
  except pretrained.MissingWeightsError as error:
    pytest.skip(str(error))
  words = f'--back={home / "back"}', f'--workdir={home / "generator"}'
  with pytest.raises(SystemExit, match='give --tokenizer'):
    _run('open', 'generator', *words)
  assert not (home / 'generator').exists()
  words = (*words, f'--tokenizer={home / "tokenizer"}')
  assert _run('open', 'generator', *words) is None
  rng, path = np.random.default_rng(0), home / 'real.npz'
  about = {
    'classes': list(CLASSES),
    'protocol': None,
    'frames': 17,
    'resolution': [16, 16],
    'weights_sha256': pretrained.I3D_KINETICS_400.sha256,
  }
  rows_nd = rng.standard_normal((4, i3d.NUM_CLASSES), np.float32)
  real = real_features.RealFeatures(rows_nd, np.arange(4), about)
  real_features.write(path, real)
  words = f'--generator={home / "generator"}', f'--features={path}'
  (row,) = _smoke(home, 'gfvd', *words).values()
  assert row['result']['evaluate']['gfvd'] > 0
