"""What of a slice of a lent GPU runs in time, comes back, and is told."""

import json
import os
import pathlib
import sys
import tarfile
import time

import numpy as np
import pytest

from videoar_jax.commands import lease
from videoar_jax.core import command
from videoar_jax.lease import bundle, returns, rows, running, slices
from videoar_jax.lease.slices import Slice, Step


def _run(*words):
  for flag in lease.FLAGS.values:  # each command line begins anew
    lease.FLAGS.values[flag].unparse()
  return command.run(lease, ['lease', *map(str, words)])


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
