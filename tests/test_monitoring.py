"""What a run tells of its speed, of bad updates, spikes and hangs."""

import dataclasses
import json
import math
import subprocess
import sys
import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from test_loop import ROOT
from toy import compile_cache  # noqa: F401

from videoar_jax.core import flops
from videoar_jax.core.chips import CHIPS
from videoar_jax.core.mesh import make_mesh
from videoar_jax.train import clock as clock_lib
from videoar_jax.train import goodput, profile, watch
from videoar_jax.train.clock import Clock, Pace
from videoar_jax.train.metrics import read_metrics
from videoar_jax.train.observed import TrainingError
from videoar_jax.train.spikes import Spikes


def _batches(change):
  """The toy's batches; `change(index, batch)` alters them in place."""

  def batches_from(step):
    for index, batch in enumerate(toy.make_batches(step), step):
      change(index, batch)
      yield batch

  return batches_from


def test_metrics_tell_operations_counted_once_per_kind(tmp_path, monkeypatch):
  counted, count = [], flops.count

  def counting(*arguments):
    counted.append(count(*arguments))
    return counted[-1]

  monkeypatch.setattr(flops, 'count', counting)
  updates = [toy.make_update(net='a'), toy.make_update(net='b', every=2)]
  toy.train(tmp_path, updates=updates, log_every=4)
  both, one = counted
  assert both == 2 * one > 0
  (_, *lines) = read_metrics(tmp_path)
  for line in lines:
    done = line['tflops_per_chip'] * 1e12 * line['step_s']
    assert done == pytest.approx((both + one) / 2)
    assert not {'mfu', 'bad_input', 'a/bad_gradient'} & line.keys()


def test_the_share_of_a_chips_rate_is_of_all_its_devices(monkeypatch):
  chip = dataclasses.replace(CHIPS['tpu7x'], flops_per_s=8e12)
  monkeypatch.setattr(clock_lib, 'chip_of', lambda device: chip)
  pace = Pace(Clock(), make_mesh(devices=jax.devices()[:4]))
  monkeypatch.setattr(pace._clock, 'training_s', lambda: pace._began_s + 2.0)
  for _ in range(4):
    pace.add(clips=3, flops=2e12)
  found = pace.figures()
  # Eight in two seconds on two chips of two devices each.
  assert found['tflops_per_chip'] == 2.0 and found['mfu'] == 0.25
  assert found['clips_per_s'] == 6.0 and found['step_s'] == 0.5


def _line(start, step, time, **seconds):
  return {'start': start, 'step': step, 'time': time, 'seconds': seconds}


def test_goodput_is_of_steps_that_counted():
  lines = [
    _line(0, 0, 1000.0),
    _line(0, 10, 1030.0, begin=5.0, compile=15.0, steps=10.0),
    _line(0, 30, 1050.0, begin=5.0, compile=15.0, steps=30.0),
    # Ten seconds later, from the checkpoint of step 20; killed at once.
    _line(1, 20, 1060.0),
    # And from the one of step 5, as that one was damaged.
    _line(2, 5, 1080.0),
    _line(2, 40, 1160.0, begin=2.0, compile=8.0, steps=60.0, data=10.0),
  ]
  found = goodput.spent(lines)
  assert {k: v for k, v in found.items() if v} == {
    'begin': 7.0,
    'compile': 23.0,
    'steps': 65.0,
    'lost': 25.0,
    'data': 10.0,
    'between': 30.0,
  }
  told = goodput.describe(lines)
  assert told.startswith('41% of 2:40 in 3 starts: steps 1:05, between runs')
  assert goodput.describe([]) == ''


def test_a_run_keeps_where_its_time_went(tmp_path, capsys):
  def slow(index, batch):
    time.sleep(0.05 if index > 8 else 0.0)

  def evaluate(state):
    time.sleep(0.3)
    return {'loss': 1.0}

  options = {'batches_from': _batches(slow), 'evaluate': evaluate}
  toy.train(tmp_path, num_steps=9, **options)
  toy.train(tmp_path, num_steps=29, eval_every=29, **options)
  lines = goodput.read_times(tmp_path)
  assert {line['start'] for line in lines} == {0, 1}
  found = goodput.spent(lines)
  assert 0.3 <= found['evaluate'] < 3.0
  # The devices had nothing to do while most of twenty batches were made.
  assert 0.5 < found['data'] < 5.0 and found['compile'] > 0.01
  assert found['lost'] == 0.0
  told = capsys.readouterr().out.splitlines()[-1]
  assert told.startswith('goodput ') and ' in 2 starts: steps ' in told


def _told(capsys):
  lines = capsys.readouterr().out.splitlines()
  return [line for line in lines if 'left out' in line]


def test_a_bad_batch_is_named_with_its_clips(tmp_path, capsys):
  def spoil(index, batch):
    if index in (4, 5):
      batch['y'][3] = np.nan

  def clips_of(step):
    return [f'clip {step}/{row}' for row in range(16)]

  toy.train(tmp_path, batches_from=_batches(spoil), clips_of=clips_of)
  (told,) = _told(capsys)
  assert "step 5: the batch's y is not finite; its clips are clip 4/0" in told
  assert 'clip 4/7 and 8 more, see ' in told
  toy.train(
    tmp_path / 'unnamed', batches_from=_batches(spoil), clips_of=lambda _: 1 / 0
  )
  (told,) = _told(capsys)
  assert "step 5: the batch's y is not finite" in told and 'clip' not in told
  (line,) = map(json.loads, (tmp_path / 'bad_updates.jsonl').open())
  assert line['step'] == 5 and line['clips'] == clips_of(4)
  with pytest.raises(TrainingError, match="in 1 .* 5; .*the batch's y"):
    toy.train(
      tmp_path / 'stop', batches_from=_batches(spoil), max_bad_updates=1
    )


@pytest.mark.parametrize(
  ('more', 'words'),
  [
    # The root of 0 is finite, its slope is not.
    (lambda w: jnp.sqrt(0.0 * w.sum()), 'gradient of toy/w_out is not finite'),
    (lambda w: 1 / (0.0 * w.sum() ** 2), 'loss of toy is inf'),
  ],
)
def test_the_first_bad_tensor_is_named(tmp_path, capsys, more, words):
  sound = toy.make_update()

  def objective(params, batch, context):
    loss, metrics = sound.objective(params, batch, context)
    bad = jax.lax.cond(
      context.step == 4, more, lambda w: 0.0 * w.sum(), params['w_out']
    )
    return loss + bad, metrics

  update = dataclasses.replace(sound, objective=objective)
  toy.train(tmp_path, updates=[update])
  (told,) = _told(capsys)
  assert f'step 5: the {words}' in told


def test_a_bad_parameter_is_named(tmp_path, capsys):
  sound = toy.make_update()

  def init(key):
    params = sound.init(key)
    return jax.tree_util.tree_map_with_path(
      lambda path, x: x * math.nan if 'w_out' in str(path) else x, params
    )

  update = dataclasses.replace(sound, init=init)
  toy.train(tmp_path, updates=[update])
  told = _told(capsys)
  assert len(told) == 4 and all('the parameter toy/w_out is' in x for x in told)


def test_a_spike_is_far_above_what_is_usual():
  spikes, rng = Spikes(8.0), np.random.default_rng(0)
  for value in rng.normal(10.0, 0.5, 300):
    assert spikes.see('loss', value) is None
  assert spikes.see('loss', 13.0) is None
  assert spikes.see('loss', 16.0) == pytest.approx(10.0, abs=0.2)
  assert spikes.see('loss', 1.0) is None
  assert spikes.see('loss', math.nan) is None
  assert spikes.see('grad_norm', 16.0) is None
  silent = Spikes(0.0)
  assert not any(silent.see('loss', x) for x in [1.0] * 60 + [99.0])


def test_spikes_are_told_and_counted(tmp_path, capsys):
  def jump(index, batch):
    batch['y'] *= 1e3 if index == 100 else 1.0

  toy.train(tmp_path, num_steps=120, log_every=20, batches_from=_batches(jump))
  (told,) = [x for x in capsys.readouterr().out.splitlines() if 'spike' in x]
  assert told.startswith('step 120/120 2 spikes in the last 20 steps; step 101')
  counts = {line['step']: line['spikes'] for line in read_metrics(tmp_path)}
  assert counts == {20: 0, 40: 0, 60: 0, 80: 0, 100: 0, 120: 2}


def _wait_for(condition):
  deadline = time.monotonic() + 60
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.01)


def test_a_hang_is_told_once_and_ends_the_process(tmp_path, monkeypatch, capfd):
  left = []
  monkeypatch.setattr(watch.os, '_exit', left.append)
  clock = Clock()
  with watch.Watch(clock, tmp_path, after_s=0.4):
    clock.begin(clock_lib.STEPS)
    for _ in range(10):
      time.sleep(0.1)
      clock.step()
    assert not (tmp_path / 'hang-0.txt').exists()
    clock.begin(clock_lib.EVALUATE)
    time.sleep(0.6)  # may take longer
    clock.begin(clock_lib.STEPS)
    assert not (tmp_path / 'hang-0.txt').exists()
    _wait_for((tmp_path / 'hang-0.txt').exists)
    assert not left
    _wait_for(lambda: left)
  assert left == [watch.HUNG]
  text = (tmp_path / 'hang-0.txt').read_text()
  assert "busy with 'steps' (train.hang_after_s=0.4)" in text
  assert 'in test_a_hang_is_told_once' in text
  assert capfd.readouterr().err.count('where all threads are') == 1


def test_a_disk_that_hangs_keeps_no_process(tmp_path, monkeypatch):
  left = []
  monkeypatch.setattr(watch.os, '_exit', left.append)
  with watch.Watch(Clock(), tmp_path, after_s=0.02) as watched:
    never = threading.Event()
    monkeypatch.setattr(
      watched, '_path', types.SimpleNamespace(write_text=lambda _: never.wait())
    )
    _wait_for(lambda: left)
  never.set()
  assert left[0] == watch.HUNG


@pytest.mark.slow
def test_a_run_that_hangs_ends_and_its_command_resumes(tmp_path):
  options = {'hang_after_s': 0.5, 'checkpoint_every': 1, 'hang_at': 4}
  words = [sys.executable, ROOT / 'tests' / 'toy.py', tmp_path]
  done = subprocess.run(
    [*words, json.dumps(options)], capture_output=True, text=True, timeout=120
  )
  assert done.returncode == watch.HUNG
  assert 'in batches_from' in done.stderr and 'status 75' in done.stderr
  assert (tmp_path / 'hang-0.txt').exists()
  toy.train(tmp_path, checkpoint_every=1)
  assert read_metrics(tmp_path)[-1]['step'] == 12


def test_some_steps_are_traced(tmp_path, capsys):
  toy.train(tmp_path, num_steps=4, profile_steps='2:3')
  (trace,) = (tmp_path / profile.FOLDER).rglob('*.xplane.pb')
  assert trace.stat().st_size > 0
  told = capsys.readouterr().out
  assert f'xprof --logdir={tmp_path / profile.FOLDER}' in told
  toy.train(tmp_path, num_steps=5, profile_steps='2:3')
  assert '4 steps are done already' in capsys.readouterr().err
  assert list((tmp_path / profile.FOLDER).rglob('*.xplane.pb')) == [trace]


def test_a_trace_that_cannot_be_written_ends_nothing(tmp_path, caplog):
  (tmp_path / profile.FOLDER).write_text('in the way')
  toy.train(tmp_path, num_steps=4, profile_steps='2:3')
  assert read_metrics(tmp_path)[-1]['step'] == 4
  assert 'Training goes on' in caplog.text


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('5', 'wanted FIRST:LAST'),
    ('0:3', 'wanted FIRST:LAST'),
    ('5:4', 'wanted FIRST:LAST'),
    ('2:13', 'the run has 12 steps'),
  ],
)
def test_steps_that_cannot_be_traced_are_refused(tmp_path, text, words):
  with pytest.raises(ValueError, match=f'profile_steps={text}: {words}'):
    toy.train(tmp_path, profile_steps=text)
