"""Two processes: what befalls one of them at a checkpoint, both go by."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
TIMEOUT_S = 120


@pytest.fixture(scope='module')
def found(tmp_path_factory):
  """What both processes saw, case by case."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  folder = tmp_path_factory.mktemp('pair')
  environment = {
    **os.environ,
    'PYTHONPATH': f'{HERE.parent}:{HERE}',
    'JAX_PLATFORMS': 'cpu',
    'NPROC': '32',
  }
  pair = [
    subprocess.Popen(
      [sys.executable, HERE / 'checkpoint_pair.py', str(i), str(port), folder],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  try:
    said = [process.communicate(timeout=TIMEOUT_S) for process in pair]
  finally:
    for process in pair:
      process.kill()
  for process, (_, errors) in zip(pair, said):
    assert process.returncode == 0, errors
    assert 'Traceback' not in errors
  first, second = (json.loads(out.splitlines()[-1]) for out, _ in said)
  assert first == second
  return first


@pytest.mark.parametrize('where', ['shard', 'manifest', 'names'])
def test_damage_met_by_one_process_sends_both_to_the_step_before(found, where):
  assert found[where] == [2, [1, 2]]


@pytest.mark.parametrize('where', ['full first', 'full second', 'no start'])
def test_a_save_that_fails_in_one_process_fails_in_both(found, where):
  assert found[where] == [2, [1, 3]]
