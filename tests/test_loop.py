"""The loop: resuming bit for bit, kills, signals, full disks, the best."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import toy
from toy import compile_cache  # noqa: F401

from videoar_jax.core import manifest
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.export import load_weights
from videoar_jax.core.manifest import CheckpointError
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.objectives.context import Context
from videoar_jax.train.heldout import make_heldout
from videoar_jax.train.metrics import read_metrics
from videoar_jax.train.observed import TrainingError
from videoar_jax.train.preemption import Stopped

# Runs here are held against those of other processes, bit for bit.
pytestmark = pytest.mark.optimized

ROOT = pathlib.Path(__file__).parents[1]
SMALL_FILES = 300  # bytes; less than any checkpoint's arrays


def _start(workdir, **options):
  environment = {
    **os.environ,
    'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}',
    'JAX_PLATFORMS': 'cpu',
    **{name.upper(): str(getattr(jax.config, name)) for name in toy.CACHE},
  }
  return subprocess.Popen(
    [sys.executable, ROOT / 'tests/toy.py', workdir, json.dumps(options)],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def _assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def _stored(workdir):
  """Everything in the newest checkpoint that can be trusted."""
  restored = manifest.load_arrays(workdir / 'checkpoints')
  return restored.step, restored.tree


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
  """A run of 12 steps without interruption, and its workdir."""
  workdir = tmp_path_factory.mktemp('straight')
  return toy.train(workdir, checkpoint_every=1000), workdir


class _Crash(Exception):
  pass


def _crash_after(steps):
  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      if index == steps:
        raise _Crash
      yield batch

  return batches_from


def test_resumed_equals_uninterrupted_bit_for_bit(straight, tmp_path):
  state, workdir = straight
  for steps in (5, 10):
    with pytest.raises(_Crash):
      toy.train(tmp_path, batches_from=_crash_after(steps), checkpoint_every=4)
  resumed = toy.train(tmp_path, checkpoint_every=4)
  assert int(resumed.step) == 12
  _assert_same(resumed, state)
  _assert_same(_stored(tmp_path), _stored(workdir))
  lines = [line for line in read_metrics(tmp_path) if line['kind'] == 'train']
  whole = read_metrics(workdir)
  assert [x['step'] for x in lines] == [x['step'] for x in whole]


def test_resume_on_another_mesh(tmp_path, straight):
  with pytest.raises(_Crash):
    toy.train(tmp_path, batches_from=_crash_after(5))
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  resumed = toy.train(tmp_path, mesh=mesh)
  for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(straight[0])):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_run_without_averages_goes_on_from_one_that_kept_copies(tmp_path):
  """As runs with `ema_decay=0` did, in the place of averages."""
  updates = [toy.make_update(ema_decay=0.0)]
  state = toy.train(tmp_path / 'straight', updates=updates)
  workdir = tmp_path / 'run'
  with pytest.raises(_Crash):
    toy.train(workdir, updates=updates, batches_from=_crash_after(5))
  half = load_weights(workdir)
  checkpoints = Checkpoints(workdir / 'checkpoints')
  restored = manifest.load_arrays(workdir / 'checkpoints')
  net = restored.tree['nets']['toy']
  assert 'ema' not in net
  _assert_same(half.nets['toy'], net['params'])
  restored.tree['nets']['toy'] = {**net, 'ema': net['params']}
  shutil.rmtree(workdir / 'checkpoints/5')
  checkpoints.save(5, restored.tree, restored.meta, wait=True)
  checkpoints.close()
  assert load_weights(workdir).digests == half.digests
  _assert_same(toy.train(workdir, updates=updates), state)


def test_a_run_begun_before_goes_on(tmp_path):
  """Three steps of six, and the end, as commit 0be1941 wrote them."""
  shutil.unpack_archive(ROOT / 'tests/goldens/run.zip', tmp_path)
  later = {'every': 2, 'ema_decay': 0.0}
  updates = [toy.make_update(net='a'), toy.make_update(net='b', **later)]
  assert set(load_weights(tmp_path).nets) == {'a', 'b'}
  state = toy.train(tmp_path, updates=updates, num_steps=6, checkpoint_every=3)
  with np.load(tmp_path / 'end.npz') as end:
    for kind, net in (('params', 'a'), ('ema', 'a'), ('params', 'b')):
      for name, x in getattr(state.nets[net], kind).items():
        wanted = end[f'{net}/{kind}/{name}']
        np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)
  assert state.nets['b'].ema is None


def test_finished_run_returns_and_can_be_prolonged(straight, tmp_path, capsys):
  toy.train(tmp_path)
  toy.train(tmp_path)
  assert 'trained already' in capsys.readouterr().out
  state = toy.train(tmp_path, num_steps=14)
  assert int(state.step) == 14


def test_killed_at_random_times_equals_uninterrupted(straight, tmp_path):
  # A checkpoint after each step, so that many kills fall in the middle of one.
  rng = random.Random(0)
  options = {'checkpoint_every': 1, 'log_every': 1, 'pause_s': 0.15}
  for _ in range(3):
    process = _start(tmp_path, **options)
    while not re.match('step (4|7|10)/', process.stdout.readline()):
      assert process.poll() is None
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    process.wait()
    process.stdout.close()
  assert manifest.list_steps(tmp_path / 'checkpoints')
  state = toy.train(tmp_path, checkpoint_every=1, log_every=1)
  _assert_same(state, straight[0])
  _assert_same(_stored(tmp_path), _stored(straight[1]))


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_finishes_the_step_and_saves(straight, tmp_path, number):
  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      if index == 6:
        os.kill(os.getpid(), number)
      yield batch

  before = signal.getsignal(number)  # SIGINT is ignored in the background
  with pytest.raises(Stopped) as stopped:
    toy.train(tmp_path, batches_from=batches_from)
  assert stopped.value.code == 128 + number
  assert _stored(tmp_path)[0] == stopped.value.step == 6
  assert signal.getsignal(number) == before
  _assert_same(toy.train(tmp_path), straight[0])


def test_second_signal_stops_at_once(tmp_path):
  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      if index == 6:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
      yield batch

  with pytest.raises(KeyboardInterrupt):
    toy.train(tmp_path, batches_from=batches_from)


def test_full_disk_is_named_and_loses_nothing(straight, tmp_path):
  process = _start(
    tmp_path, checkpoint_every=2, full_at=5, file_bytes=SMALL_FILES
  )
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 1, output
  assert 'ERROR checkpoint' in output
  assert 'free some disk space' in output
  assert '/orbax/' not in output  # its tracebacks of the same error
  # Checkpoint 4 may be complete or not when the disk fills up.
  steps = manifest.list_steps(tmp_path / 'checkpoints')
  assert steps in ([2], [2, 4])
  assert f'are intact: {", ".join(map(str, steps))}' in output
  assert 'step 12/12' in output  # training went on
  _assert_same(toy.train(tmp_path), straight[0])


def test_no_room_is_named_before_writing(
  straight, tmp_path, monkeypatch, caplog
):
  usage = shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    shutil, 'disk_usage', lambda _: usage._replace(free=SMALL_FILES)
  )
  with pytest.raises(CheckpointError, match='the disk is full'):
    toy.train(tmp_path, checkpoint_every=5)
  assert 'checkpoint 5' in caplog.text and 'Training goes on' in caplog.text
  assert manifest.list_steps(tmp_path / 'checkpoints') == []
  monkeypatch.undo()
  _assert_same(toy.train(tmp_path), straight[0])


def test_other_config_is_refused_and_names_the_keys(tmp_path):
  toy.train(tmp_path, config={'model': {'width': 8}})
  toy.train(tmp_path, config={'model': {'width': 8}}, log_every=5)
  with pytest.raises(ValueError, match=r'model\.width: 8 there, 9 now'):
    toy.train(tmp_path, config={'model': {'width': 9}})


def test_every_stream_may_change_what_batches_do_not_depend_on(tmp_path):
  def config(width=8, **changes):
    options = {'num_workers': 0, 'max_bad_share': 0.05, **changes}
    stream = {'width': width, **options}
    return {'data': stream, 'more_data': {'image': dict(stream)}}

  toy.train(tmp_path, config=config())
  toy.train(tmp_path, config=config(num_workers=2, max_bad_share=0.5))
  with pytest.raises(ValueError) as refusal:
    toy.train(tmp_path, config=config(width=9, num_workers=1))
  assert [x.strip() for x in str(refusal.value).splitlines()[1:]] == [
    'data.width: 8 there, 9 now',
    'more_data.image.width: 8 there, 9 now',
  ]


def test_heldout_uses_ema_and_keeps_the_best(tmp_path):
  updates = [toy.make_update(noise=0.0)]
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  heldout = make_heldout(
    updates, mesh=mesh, batches=lambda: [toy.make_batch(99)]
  )
  losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
  measured = []

  def evaluate(state):
    measured.append((heldout(state)['loss'], state.nets['toy']))
    return {'loss': next(losses)}

  toy.train(
    tmp_path,
    mesh=mesh,
    updates=updates,
    evaluate=evaluate,
    eval_every=2,
    checkpoint_every=2,
    keep=1,
  )
  assert manifest.list_steps(tmp_path / 'checkpoints') == [4, 12]
  loss, net = measured[-1]
  batch = toy.make_batch(99)
  for params, equal in ((net.ema, True), (net.params, False)):
    expected, _ = updates[0].objective(
      params, batch, Context(jax.random.key(0))
    )
    assert (abs(float(expected) - loss) < 1e-5) == equal
  lines = [x for x in read_metrics(tmp_path) if x['kind'] == 'heldout']
  assert [x['step'] for x in lines] == [2, 4, 6, 8, 10, 12]


def test_stops_after_bad_updates_in_a_row(tmp_path):
  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      if index in (2, 5, 6, 7):
        batch['x'][:] = np.inf
      yield batch

  with pytest.raises(TrainingError, match='3 steps in a row, the last .* 8'):
    toy.train(tmp_path, batches_from=batches_from, max_bad_updates=3)
  state = toy.train(
    tmp_path, batches_from=batches_from, max_bad_updates=4, log_every=1
  )
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.nets))
  lines = read_metrics(tmp_path)
  assert sum(x['skipped_updates'] for x in lines) == 4


def test_metrics_line_cut_short_by_a_kill_is_dropped(tmp_path):
  toy.train(tmp_path)
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 13, "lo')
  toy.train(tmp_path, num_steps=15)
  steps = [line['step'] for line in read_metrics(tmp_path)]
  assert steps == [3, 6, 9, 12, 15]
