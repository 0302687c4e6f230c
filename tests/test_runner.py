"""Steps without waiting: what is fetched when, and how far the host runs on."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from toy import compile_cache  # noqa: F401

from videoar_jax.core import manifest
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.core.placement import replicate
from videoar_jax.train import clock as clock_lib
from videoar_jax.train import runner
from videoar_jax.train.heldout import make_heldout
from videoar_jax.train.metrics import read_metrics
from videoar_jax.train.observed import TrainingError


def _mesh(devices=1):
  return make_mesh(MeshConfig(), jax.devices()[:devices])


def _slow_update():
  """A toy whose steps take some tens of milliseconds."""
  update = toy.make_update()

  def objective(params, batch, context):
    loss, metrics = update.objective(params, batch, context)
    square = jnp.full((256, 256), loss)
    slow = jax.lax.fori_loop(0, 30, lambda _, x: jnp.tanh(x @ x), square)
    return loss, {**metrics, 'slow': jax.lax.stop_gradient(slow[0, 0])}

  return dataclasses.replace(update, objective=objective)


@pytest.mark.parametrize(('devices', 'most'), [(1, 2), (2, 1)])
def test_few_steps_are_under_way(tmp_path, monkeypatch, devices, most):
  """Counted where the host asks for a batch; several CPUs wait for each."""
  told, under_way = [], []

  def make_step(*args, **options):
    step = original(*args, **options)

    def run(*arrays):
      state, metrics = step(*arrays)
      told.append(metrics['slow'])
      return state, metrics

    return run

  def batches_from(step):
    for batch in toy.make_batches(step):
      under_way.append(sum(not x.is_ready() for x in told))
      yield batch

  original = runner.make_step
  monkeypatch.setattr(runner, 'make_step', make_step)
  toy.train(
    tmp_path,
    mesh=_mesh(devices),
    updates=[_slow_update()],
    batches_from=batches_from,
    log_every=12,
  )
  assert max(under_way) == most


def test_metrics_are_fetched_where_the_run_pauses(tmp_path, monkeypatch):
  fetch, fetched, steps = jax.device_get, [], []

  def device_get(tree):
    fetched.append((steps[-1], len(tree)))
    return fetch(tree)

  def batches_from(step):
    for done, batch in enumerate(toy.make_batches(step), step):
      steps.append(done)  # none is asked for after the last step
      yield batch

  monkeypatch.setattr(jax, 'device_get', device_get)
  toy.train(tmp_path, batches_from=batches_from, log_every=4, eval_every=6)
  monkeypatch.undo()
  wanted = [(1, 1), (4, 3), (6, 2), (8, 2), (11, 4)]
  assert [x for x in fetched if x[1]] == wanted
  toy.train(tmp_path / 'each', log_every=1)
  each = [line['loss'] for line in read_metrics(tmp_path / 'each')]
  means = [line['loss'] for line in read_metrics(tmp_path)]
  np.testing.assert_array_equal(means, np.reshape(each, (3, 4)).mean(1))


def test_bad_updates_are_counted_late_and_never_saved(tmp_path):
  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      asked.append(index)
      if index in (5, 6, 7):
        batch['x'][:] = np.inf
      yield batch

  options = {'batches_from': batches_from, 'max_bad_updates': 3}
  for every, seen_at in ((0, 12), (5, 10), (4, 8)):
    asked = []
    workdir = tmp_path / str(every)
    with pytest.raises(TrainingError, match='3 steps in a row, the last .* 8;'):
      toy.train(workdir, log_every=12, checkpoint_every=every, **options)
    assert len(asked) == min(seen_at + 1, 12)
    saved = manifest.list_steps(workdir / 'checkpoints')
    assert saved == {0: [], 5: [5], 4: [4]}[every]


def test_nothing_passes_to_the_devices_unasked(tmp_path):
  held_out = make_heldout(
    [toy.make_update()], mesh=_mesh(), batches=lambda: [toy.make_batch(99)]
  )
  host = {'f': {'w_out': np.ones((3, 3), np.float32)}}
  frozen = replicate(host, _mesh())
  seen = []

  def train(name, **options):
    options = {'frozen': frozen, 'evaluate': held_out, **options}
    toy.train(tmp_path / name, eval_every=6, sample_every=6, **options)

  def place(state, *_):
    seen.append(float(jnp.add(state.step, np.arange(3)).sum()))

  train('guarded', visualise=place)
  assert seen == [6 * 3 + 3, 12 * 3 + 3]
  for name, options in (
    ('frozen', {'frozen': host}),
    ('evaluate', {'evaluate': place}),
  ):
    with pytest.raises(Exception, match='Disallowed host-to-device transfer'):
      train(name, **options)


def test_a_batch_of_new_shapes_is_compiled_for(tmp_path, monkeypatch):
  """Which may take long: not the time of a step, nor a hang."""
  make_step, watch, clocks, kinds = runner.make_step, runner.Watch, [], []

  def watching(clock, *args, **options):
    clocks.append(clock)
    return watch(clock, *args, **options)

  def making(*args, **options):
    step = make_step(*args, **options)

    def run(*arrays):
      kinds.append(clocks[0].kind)
      return step(*arrays)

    return run

  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      yield batch if index % 2 else {k: x[:8] for k, x in batch.items()}

  monkeypatch.setattr(runner, 'Watch', watching)
  monkeypatch.setattr(runner, 'make_step', making)
  toy.train(tmp_path, num_steps=5, batches_from=batches_from)
  assert kinds == [clock_lib.COMPILE] * 2 + [clock_lib.STEPS] * 3


def test_a_failed_save_hides_no_error_of_the_data(tmp_path, monkeypatch):
  def batches_from(step):
    yield from [toy.make_batch(0)] * 3
    raise ValueError('clip 7 is damaged')

  def save(*_, **__):
    raise OSError('the disk is full')

  monkeypatch.setattr(Checkpoints, 'save', save)
  with pytest.raises(ValueError, match='clip 7 is damaged'):
    toy.train(tmp_path / 'data', batches_from=batches_from)
  with pytest.raises(OSError, match='the disk is full'):
    toy.train(tmp_path / 'disk')


@pytest.mark.parametrize('name', ['evaluate', 'visualise'])
@pytest.mark.parametrize('at', [8, 12])
def test_what_fails_beside_training_ends_it_saved(tmp_path, name, at):
  calls = []

  def fail(*_):
    calls.append(1)
    if len(calls) == at // 4:
      raise OSError('the disk is full')
    return {'loss': 1.0}

  with pytest.raises(OSError, match='the disk is full'):
    toy.train(tmp_path, eval_every=4, sample_every=4, **{name: fail})
  assert manifest.list_steps(tmp_path / 'checkpoints')[-1] == at


def test_checkpoints_are_closed_whatever_else_fails(tmp_path, monkeypatch):
  def close(self):
    raise OSError('the disk is full')

  closed, original = [], Checkpoints.close
  monkeypatch.setattr(runner.metrics_lib.MetricWriter, 'close', close)
  monkeypatch.setattr(
    Checkpoints, 'close', lambda self: closed.append(original(self))
  )
  with pytest.raises(OSError, match='the disk is full'):
    toy.train(tmp_path)
  assert closed


def test_a_signal_at_the_last_step_stops_nothing(tmp_path):
  def evaluate(state):
    os.kill(os.getpid(), signal.SIGTERM)
    return {'loss': 1.0}

  toy.train(tmp_path, eval_every=12, evaluate=evaluate)
  assert manifest.list_steps(tmp_path / 'checkpoints')[-1] == 12
