"""The benchmark command: what it measures and what it refuses."""

import json
import subprocess
import sys

import pytest

from videoar_jax.benchmark import process

_CONFIG = 'configs/ucf9_cpu.py:tokenizer,smoke'


def _run(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'videoar_jax.benchmark', *arguments],
    capture_output=True,
    text=True,
  )


def _hold(num_bytes):
  held = bytearray(b'x') * num_bytes
  return len(held) and process.peak_host_bytes()


def test_a_process_of_its_own_has_a_peak_of_its_own():
  held = bytearray(b'x') * 2**29
  little = process.run_alone(_hold, 1)
  much = process.run_alone(_hold, 2**28)
  del held
  assert much - little == pytest.approx(2**28, rel=0.1)
  assert little < 2**29


def test_streams_are_measured_length_by_length(tmp_path):
  out = tmp_path / 'x.json'
  done = _run(
    'tokenizer', f'--config={_CONFIG}', '--frames=5,101', f'--out={out}'
  )
  assert done.returncode == 0, done.stderr
  result = json.loads(out.read_text())
  few, many = result['tokenizer']
  assert (few['frames'], many['frames']) == (5, 101)
  assert few['steady_ms_per_frame'] is None
  assert many['steady_ms_per_frame'] > 0
  assert many['first_s'] > 0
  assert result['device'] and result['jax']
  assert 'peak_host_bytes' in done.stdout and 'MiB' in done.stdout


@pytest.mark.parametrize(
  'arguments,word',
  [
    ((), 'say one of tokenizer'),
    (('teapot',), "not 'teapot'"),
    (('tokenizer',), '--config is missing'),
    (('tokenizer', f'--config={_CONFIG}', '--frames=0'), '--frames=0: wanted'),
    (('tokenizer', f'--config={_CONFIG}', '--frames=x'), '--frames=x: wanted'),
    (
      ('tokenizer', f'--config={_CONFIG}', '--out=/no/such/x.json'),
      'no folder /no/such',
    ),
  ],
)
def test_bad_options_are_refused_in_a_line(arguments, word):
  done = _run(*arguments)
  assert done.returncode != 0
  assert word in done.stdout + done.stderr
  assert 'Traceback' not in done.stderr
