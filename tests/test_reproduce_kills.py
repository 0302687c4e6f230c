"""The reproduction, killed in each stage and begun again: the same end."""

import dataclasses
import json
import os
import random
import re
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import stages
from test_reproduce import SCRIPT, SMALL, SMOKE

WORDS = ('--scale=smoke', '--num_processes=1', *SMALL)


@dataclasses.dataclass
class Script:
  """A run of the script in a session of its own, its output in a file."""

  process: subprocess.Popen
  log: object

  def stage(self) -> str:
    """The stage that it is at, or was at."""
    found = re.findall(r'^\[\d+/\d+\] (\w+):', self.log.read_text(), re.M)
    return found[-1] if found else ''

  def reached(self, name: str) -> bool:
    return name in self.log.read_text() and (
      SMOKE.index(self.stage() or SMOKE[0]) >= SMOKE.index(name)
    )

  def kill(self) -> None:
    """SIGKILL to all that it has begun."""
    os.killpg(self.process.pid, signal.SIGKILL)
    self.process.wait()


def begin(root, name, environment) -> Script:
  log = root / f'{name}.log'
  environment = {**environment, 'VIDEOAR_RUNS': str(root / name)}
  process = subprocess.Popen(
    ['bash', SCRIPT, *WORDS],
    env=environment,
    stdout=log.open('w'),
    stderr=subprocess.STDOUT,
    start_new_session=True,
  )
  return Script(process, log)


def end_of(run) -> dict:
  """What must be the same, however often a run was killed."""
  found = {}
  for half in ('tokenizer', 'generator'):
    result = json.loads((run / f'{half}.json').read_text())
    record = json.loads(
      (run / 'results' / f'quickstart_{half}_smoke.json').read_text()
    )
    found[half] = {
      key: result[key]
      for key in ('digest', 'tokenizer_digest', 'fvd', 'kvd', 'step')
    }
    found[f'{half} recorded'] = record['result'] == result
    found[f'{half} trained'] = [x['steps'] for x in record['trained']]
  for name in ('clips', 'features'):
    splits = json.loads((run / name / 'manifest.json').read_text())['splits']
    found[name] = [x['sha256'] for s in splits.values() for x in s['shards']]
  with np.load(run / 'samples' / 'samples.npz') as file:
    found['samples'] = file['videos'].tobytes()
  found['page'] = (run / 'report.html').exists()
  return found


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that nobody kills: its end, and how long each stage took."""
  root = tmp_path_factory.mktemp('whole')
  environment = {
    **stages.make_environment(root / 'venv'),
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    'VIDEOAR_CACHE': str(root / 'cache'),
  }
  script = begin(root, 'whole', environment)
  took = dict.fromkeys(SMOKE, 0.0)
  while script.process.poll() is None:
    time.sleep(0.1)
    took[script.stage() or SMOKE[0]] += 0.1
  assert script.process.returncode == 0, script.log.read_text()
  return root, environment, end_of(root / 'whole' / 'smoke'), took


@pytest.mark.slow
def test_killed_in_each_stage_it_comes_to_the_same_end(whole):
  root, environment, wanted, took = whole
  rng, name, killed = random.Random(0), 'killed', []
  for stage in SMOKE:
    script = begin(root, name, environment)
    while not script.reached(stage) and script.process.poll() is None:
      time.sleep(0.05)
    time.sleep(rng.uniform(0, took[stage]))
    if script.process.poll() is None:
      killed.append(script.stage())
      script.kill()
  script = begin(root, name, environment)
  assert script.process.wait() == 0, script.log.read_text()
  assert 'Traceback' not in script.log.read_text()
  assert len(killed) >= len(SMOKE) - 2, killed
  assert end_of(root / name / 'smoke') == wanted


@pytest.mark.slow
def test_two_processes_come_to_the_figures_of_one(whole, tmp_path):
  """On one folder; the clips are prepared before."""
  _, environment, wanted, _ = whole
  environment = {**environment, 'VIDEOAR_RUNS': str(tmp_path), 'NPROC': '16'}
  words = ['bash', SCRIPT, '--scale=smoke', *SMALL]
  subprocess.run(
    [*words, '--stage=prepare', '--num_processes=1'],
    env=environment,
    check=True,
  )
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  words += ['--num_processes=2', f'--coordinator=127.0.0.1:{port}']
  both = [
    subprocess.Popen(
      [*words, f'--process_id={i}'],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(2)
  ]
  said = [process.communicate(timeout=3000)[0] for process in both]
  assert [process.returncode for process in both] == [0, 0], '\n'.join(said)
  assert 'features: 32 videos' in said[0] and 'features: 32' not in said[1]
  found = end_of(tmp_path / 'smoke')
  assert found['page'] and found['generator trained'] == [4, 4, 4]
  for half in ('tokenizer', 'generator'):
    # Sums over two devices are rounded otherwise.
    distance = wanted[half]['fvd']
    assert found[half]['fvd'] == pytest.approx(distance, rel=0.05)
    result = json.loads((tmp_path / 'smoke' / f'{half}.json').read_text())
    assert result['num_devices'] == 2
