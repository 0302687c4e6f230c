"""Commands as processes: they speak first, and only they speak."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = (
  *('train', 'sample', 'evaluate', 'tokenizer', 'benchmark', 'report'),
  'demo',
  'data.prepare',
)


def start(name, *arguments, path=ROOT):
  return subprocess.Popen(
    [sys.executable, '-m', f'videoar_jax.{name}', *arguments],
    env={**os.environ, 'PYTHONPATH': str(path)},
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.parametrize('name', COMMANDS)
def test_a_command_speaks_before_it_imports_jax(tmp_path, name):
  # Where importing JAX ends the program, what was said before is all.
  (tmp_path / 'jax.py').write_text('raise SystemExit("JAX is imported")')
  process = start(name, '--out=x', path=f'{tmp_path}:{ROOT}')
  _, said = process.communicate(timeout=60)
  lines = said.splitlines()
  assert lines[0] == f'note: videoar_jax.{name}: starting'
  # Decoding videos does without JAX.
  assert ('JAX is imported' in lines[1:]) == (name != 'data.prepare')


def test_help_is_no_error():
  out, said = start('data.prepare', '--help').communicate(timeout=60)
  assert '--max_bad_share' in out and 'array_record:PATH' in out and not said
  process = start('data.prepare', '-h')
  process.communicate(timeout=60)
  assert process.returncode == 0


def test_interrupted_at_its_start_it_says_so(tmp_path):
  # JAX takes its time here, as it does on a cold disk.
  (tmp_path / 'jax.py').write_text('import time\ntime.sleep(60)')
  process = start('sample', path=f'{tmp_path}:{ROOT}')
  assert 'starting' in process.stderr.readline()
  time.sleep(0.5)
  process.send_signal(signal.SIGINT)
  _, said = process.communicate(timeout=20)
  assert process.returncode == 130
  assert 'stopped' in said and 'Traceback' not in said
