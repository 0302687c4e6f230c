"""launch/chaos.py: a run survives what it does, and it sees what does not."""

import importlib.util
import json
import pathlib
import random
import sys

import pytest
import test_checkpoint as whole
from absl import logging

from videoar_jax.core import manifest
from videoar_jax.core.checkpoint import Checkpoints

HERE = pathlib.Path(__file__).parent
_OPTIONS = {'num_steps': '{steps}', 'checkpoint_every': '{every}'}
WORDS = (
  *(sys.executable, str(HERE / 'toy.py'), '{workdir}'),
  json.dumps({**_OPTIONS, 'pause_s': 0.05})
  .replace('"{', '{')
  .replace('}"', '}'),
)


@pytest.fixture(autouse=True)
def _verbosity():
  """The script changes it for its process."""
  before = logging.get_verbosity()
  yield
  logging.set_verbosity(before)


@pytest.fixture(scope='module')
def chaos():
  path = HERE.parent / 'launch' / 'chaos.py'
  spec = importlib.util.spec_from_file_location('chaos', path)
  module = importlib.util.module_from_spec(spec)
  sys.modules['chaos'] = module  # where its dataclasses look
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def run(chaos, tmp_path):
  """Of checkpoints 3 and 5."""
  checkpoints = Checkpoints(tmp_path / 'run' / 'checkpoints')
  for step in (3, 5):
    checkpoints.save(step, whole._tree(step), {}, wait=True)
  checkpoints.close()
  return chaos.Run(WORDS, tmp_path / 'run', steps=5)


def test_a_small_run_survives_kills_and_flips(chaos, tmp_path, capsys):
  faults = chaos.survive(WORDS, tmp_path, kills=2, flips=8, seed=0)
  told = capsys.readouterr().out
  assert faults == [], told
  assert '2 kills, ' in told and ' 0 inside a write' not in told
  assert 'the last checkpoint is the uninterrupted one' in told
  assert '8 flips: ' in told


@pytest.mark.parametrize(
  ('before', 'out', 'errors', 'fault'),
  [
    (5, 'parameters: 3\n', '', '5 was committed, and it said'),
    (3, 'resumed from checkpoint 5 \nparameters: 3\n', '', '3 was committed'),
    (None, 'resumed from checkpoint 0 \n', 'Traceback (most', 'a traceback'),
    (7, 'stopped sooner\n', '', 'step 7 was committed, and now 5 is'),
  ],
)
def test_a_restart_that_lost_something_is_a_fault(
  run, before, out, errors, fault
):
  run._look(5, 'resumed from checkpoint 5 \nparameters: 3\n', '')
  assert run.faults == [] and run.resumed == 1
  run._look(before, out, errors)
  assert run.faults[0].startswith(fault)


def test_each_flip_is_judged(chaos, run, monkeypatch):
  rng = random.Random(0)
  hit, harmless = chaos.flip_bits(run, 1, wanted=run, rng=rng, command_every=0)
  assert hit.total() == 1 and run.faults == []
  monkeypatch.setattr(chaos, 'flip_bit', lambda *_: None)
  _, harmless = chaos.flip_bits(run, 3, wanted=run, rng=rng, command_every=0)
  assert harmless.total() == 3 and run.faults == []


@pytest.mark.parametrize('what', ['values', 'step', 'nothing'])
def test_a_restart_with_other_values_is_a_fault(chaos, run, monkeypatch, what):
  before = Checkpoints.restore

  def restore(self, tree, **options):
    restored = before(self, tree, **options)
    if what == 'nothing':
      raise manifest.CheckpointError('none')
    if what == 'step':  # nothing was damaged, and it goes back
      return manifest.restored(manifest.read_manifest(self.directory / '3'), {})
    net = restored.tree['nets']['toy']['params']
    net['w'] = net['w'].at[0, 0].add(1)
    return restored

  monkeypatch.setattr(Checkpoints, 'restore', restore)
  monkeypatch.setattr(chaos, 'flip_bit', lambda *_: None)
  chaos.flip_bits(run, 1, wanted=run, rng=random.Random(0), command_every=0)
  assert len(run.faults) == 1
