"""The benchmark command: what it measures and what it refuses."""

import importlib.util
import json
import operator
import os
import subprocess
import sys
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_config import write_config

from videoar_jax.benchmark import (
  ahead,
  ceilings,
  compiling,
  process,
  training,
)
from videoar_jax.commands import benchmark
from videoar_jax.core import command, mesh
from videoar_jax.evaluate import i3d


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  return write_config(
    tmp_path_factory.mktemp('benchmark') / 'tiny.py',
    data={'num_frames': 9, 'height': 8, 'width': 8},
    tokenizer={
      'multipliers': (1, 1, 1),
      'num_time_levels': 2,
      'encoder_blocks': 1,
      'decoder_blocks': 1,
    },
    transformer={'num_layers': 2, 'width': 16},
  )


@pytest.fixture
def generator(config):
  return f'--config={config}:generator', f'--tokenizer={config}:tokenizer'


@pytest.fixture
def measured(tmp_path, monkeypatch):
  """measured(*arguments): the result, all measured in this process."""
  monkeypatch.setattr(process, 'run_alone', lambda f, *values, **_: f(*values))
  # What the device can do at most is not looked at here.
  monkeypatch.setattr(ceilings, '_BYTES', {'cpu': 2**20})
  monkeypatch.setattr(ceilings, '_SIDE', {'cpu': 64})
  one = mesh.make_mesh(devices=jax.devices()[:1])
  monkeypatch.setattr(training, 'make_mesh', lambda config: one)
  out = tmp_path / 'x.json'

  def run(*arguments):
    argv = ['benchmark', *arguments, f'--out={out}']
    assert command.run(benchmark, argv) is None
    return json.loads(out.read_text())

  return run


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


def test_a_process_that_dies_is_named_with_its_measurement():
  with pytest.raises(ValueError, match=r'_exit\(9\): .*status 9.*memory'):
    process.run_alone(os._exit, 9)


def test_an_error_in_a_process_is_told_as_its_kind():
  with pytest.raises(ValueError, match='^invalid literal'):
    process.run_alone(int, 'x')
  with pytest.raises(RuntimeError, match='(?s)Traceback.*ZeroDivisionError'):
    process.run_alone(operator.truediv, 1, 0)


def test_streams_are_measured_length_by_length(config, measured, capsys):
  result = measured(
    'tokenizer', f'--config={config}:tokenizer', '--frames=5,101'
  )
  few, many = result['tokenizer']
  assert (few['frames'], many['frames']) == (5, 101)
  assert few['steady_ms_per_frame'] is None
  assert many['steady_ms_per_frame'] > 0
  assert many['first_s'] > 0
  assert result['device'] and result['jax']
  said = capsys.readouterr().out
  assert 'peak_host_bytes' in said and 'MiB' in said


def test_whole_videos_are_measured_by_batch_size(generator, measured):
  result = measured('sample', *generator, '--batch_sizes=2', '--uncast')
  row, whole = result['sample']
  assert (row['cast'], whole['cast']) == (True, False)
  assert row['rollout_s'] > 0 and row['decoder_s'] > 0
  assert row['units'] == 3 * 2
  assert row['videos_per_s'] == pytest.approx(2 / row['steady_s'])
  floor = row['units'] * row['weight_bytes'] / row['copy_bytes_per_s']
  assert row['floor_s'] == pytest.approx(floor)
  assert row['steady_s'] < row['compile_s'] + row['first_s']


def test_steps_are_measured_by_kernel_and_rematerialisation(
  generator, measured
):
  result = measured('train', *generator, '--batch_sizes=2', '--remat=none,full')
  none, full = result['train']
  assert (none['remat'], full['remat']) == ('none', 'full')
  assert none['flops'] == full['flops'] > 0
  rate = full['flops'] / full['step_s']
  assert full['mfu'] == pytest.approx(rate / full['flops_per_s_device'])


def test_a_rollout_moves_at_least_what_its_units_read(generator, measured):
  (row,) = measured('traffic', *generator, '--batch_sizes=2')['traffic']
  assert row['units'] == 3 * 2
  # 16 D² numbers a layer of width 16, and a little more.
  layers = 4 * 2 * 16 * 16**2
  assert layers < row['weight_bytes'] < 1.2 * layers
  assert row['floor_bytes'] == row['units'] * row['weight_bytes']
  assert row['ratio'] == row['traffic_bytes'] / row['floor_bytes'] > 1
  kinds = dict(row['kinds'])
  assert sum(kinds.values()) == pytest.approx(row['traffic_bytes'])
  assert kinds['weights'] > 0.8 * row['floor_bytes'] and kinds['cache'] > 0
  assert 0.2 < sum(part['share'] for part in row['parts']) <= 1
  assert row['traffic_s'] is None and row['compile_cpu_s'] > 0
  assert not row['unknown_loops']


def test_a_step_is_compiled_and_not_run(generator, measured, monkeypatch):
  monkeypatch.setattr(ahead, 'devices', lambda name: jax.devices()[:2])
  (row,) = measured('compile', *generator, '--remat=none')['compile']
  assert (row['devices'], row['batch_size'], row['remat']) == (2, 8, 'none')
  assert row['instructions'] > 1000 and row['text_bytes'] > 10**5
  assert row['compile_cpu_s'] > 0 and row['refused'] is None
  assert 0 < row['constant_bytes'] < 2**20
  assert row['fits'] is None


def test_the_arrays_that_a_program_holds_are_counted_in_bytes():
  rng = np.random.default_rng(0)
  mask = rng.random((5, 7)) > 0.5
  some = rng.random((3, 5, 7), np.float32)

  def function(x):
    return jnp.where(mask, x + some, 2j)

  lowered = jax.jit(function).lower(jnp.zeros(7))
  size = compiling.constant_bytes(lowered)
  # And a complex number, perhaps more than once.
  assert 35 + 4 * 105 + 8 <= size < 35 + 4 * 105 + 32


@pytest.mark.parametrize(
  ('refusal', 'size'),
  [
    (
      'Ran out of memory in memory space hbm. Used 1.50G of 15.75G',
      1.5 * 2**30,
    ),
    ('HLO temporaries (157.5M) exceeds available HBM', 157.5 * 2**20),
    ('no room', None),
  ],
)
def test_the_bytes_that_a_compiler_lacks_are_read(refusal, size):
  assert ahead.named_bytes(refusal) == size


@pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='needs the extra plan'
)
@pytest.mark.parametrize(
  ('action', 'name'), [('traffic', 'v5e:1x1'), ('compile', 'v5e:2x2')]
)
def test_programs_are_compiled_for_a_tpu_that_is_not_there(
  generator, tmp_path, action, name
):
  out = tmp_path / 'x.json'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'videoar_jax.benchmark', action, *generator),
      *(f'--topology={name}', f'--out={out}'),
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  result = json.loads(out.read_text())
  row = result[action][0]
  assert result['device'] == name and row['peak_bytes'] > 0
  assert row.get('fits', True) and row.get('ratio', 2) > 1
  assert row.get('devices', 4) == 4


def test_parameters_are_counted_network_by_network(
  generator, config, measured, capsys, monkeypatch
):
  monkeypatch.setattr(
    process, 'run_alone', lambda *_, **__: pytest.fail('something was made')
  )
  transformer, tokenizer = measured('params', *generator)['params']
  assert (transformer['network'], tokenizer['network']) == (
    'transformer',
    'autoencoder',
  )
  parts = {x['part']: x['parameters'] for x in transformer['parts']}
  assert sum(parts.values()) == transformer['parameters']
  # Two layers of width 16: 16 D², two norms of D, two of half of it.
  assert parts['layers'] == 2 * (16 * 16**2 + 2 * 16 + 2 * 8)
  assert f'transformer: {transformer["parameters"]:,} parameters (' in (
    capsys.readouterr().out
  )
  found = measured('params', f'--config={config}:tokenizer')['params']
  assert found[0] == tokenizer


def test_updates_are_measured_by_optimiser(config, measured):
  result = measured('optimizer', f'--config={config}:tokenizer')
  rows = result['optimizer']
  assert [row['kind'] for row in rows] == ['adamw', 'muon', 'optax_muon']
  assert len({row['parameters'] for row in rows}) == 1
  assert all(row['update_s'] > 0 for row in rows)


def test_batches_are_measured_in_a_process_of_their_own(config, tmp_path):
  out = tmp_path / 'x.json'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'videoar_jax.benchmark', 'data'),
      *(f'--config={config}:tokenizer', '--workers=0', f'--out={out}'),
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  (row,) = json.loads(out.read_text())['data']
  assert row['clips_per_s'] > 0
  clip = 9 * 8 * 8 * 3 + 4 + 4  # frames, label and failed
  assert row['batch_bytes'] == 8 * clip


def test_i3d_and_the_distance_are_measured(config, measured, monkeypatch):
  seen = []

  def logits(model, videos):
    seen.append(videos.shape)
    return np.random.default_rng(len(videos)).standard_normal((len(videos), 5))

  monkeypatch.setattr(i3d, 'logits', logits)
  monkeypatch.setattr(i3d, 'load_i3d', lambda: None)
  result = measured('fvd', f'--config={config}:tokenizer', '--num_videos=3')
  (row,) = result['fvd']
  assert seen == [(1, 9, 8, 8, 3), (3, 9, 8, 8, 3)]
  assert row['i3d_videos_per_s'] > 0 and row['distance_s'] > 0


def test_the_course_of_a_long_video_is_measured_and_drawn(
  generator, measured, tmp_path
):
  plot = tmp_path / 'x.svg'
  result = measured(
    'sample', *generator, '--frames=41', '--window=2', f'--plot={plot}'
  )
  (row,) = result['stream']
  frames, spent, held = zip(*row['course'])
  assert frames == tuple(range(9, 42, 4))
  assert min(spent) > 0 and min(held) > 2**26
  drawing = ElementTree.parse(plot).getroot()
  assert len(drawing.findall('.//{*}polyline')) == 2


CONFIG, TOKENIZER = '--config={0}:generator', '--tokenizer={0}:tokenizer'
SAMPLE = ('sample', CONFIG, TOKENIZER)
TRAIN = ('train', CONFIG, TOKENIZER)
TRAFFIC = ('traffic', CONFIG, TOKENIZER)
COMPILE = ('compile', CONFIG, TOKENIZER)
STREAM = ('tokenizer', '--config={0}:tokenizer')
FVD = ('fvd', '--config={0}:tokenizer')


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    ((), 'say one of tokenizer'),
    (('all',), "not 'all'"),
    (('tokenizer',), '--config is missing'),
    (('sample', CONFIG), '--tokenizer is missing'),
    *(
      ((*STREAM, f'--frames={text}'), 'frames')
      for text in ('0', '-1', 'a', '', ',', '5,', '1.5', '1e9', '9' * 30)
    ),
    ((*SAMPLE, '--batch_sizes=0'), 'wanted at least 1'),
    ((*SAMPLE, '--batch_sizes=1000000000'), 'at most'),
    (('data', CONFIG, '--workers=-1'), 'at least 0'),
    (('data', CONFIG, '--workers=1000000'), 'at most'),
    ((*FVD, '--num_videos=1'), 'at least 2'),
    ((*FVD, '--num_videos=2', '--frames=5'), '--frames is not read by fvd'),
    ((*SAMPLE, '--window=0'), 'at least 1'),
    ((*SAMPLE, '--window=2'), '--window is not read by sample'),
    ((*SAMPLE, '--plot=x.svg'), '--plot is not read by sample'),
    ((*SAMPLE, '--frames=9', '--uncast'), '--uncast is not read by sample --'),
    ((*STREAM, '--out=/no/such/x.json'), 'no folder /no/such'),
    ((*STREAM, '--out=/proc/x.json'), 'no file can be made there'),
    ((*STREAM, '--out={0}'), 'which is read'),
    ((*SAMPLE, '--frames=9', '--plot=/proc/x'), '/proc'),
    ((*SAMPLE, '--frames=9', '--plot=x', '--out=./x'), 'is --out, too'),
    (('optimizer', CONFIG), "recipe 'generator'; give one of a tokenizer"),
    (('optimizer', '--config={0}:bare'), 'no such section'),
    (('tokenizer', CONFIG), "recipe 'generator'; give one of a tokenizer"),
    (('sample', STREAM[1], TOKENIZER), "recipe 'tokenizer'"),
    (('sample', CONFIG, '--tokenizer={0}:generator'), "recipe 'generator'"),
    (('train', CONFIG, '--tokenizer={0}:bare'), 'no such section'),
    (('train', '--config={0}:half', TOKENIZER), 'no section'),
    (('fvd', '--config={0}:bare'), 'no such section'),
    ((*TRAFFIC, '--topology=v5p-128'), "write 'v5p:4x4x4'"),
    ((*TRAFFIC, '--topology='), 'it is empty'),
    ((*TRAFFIC, '--remat=full'), '--remat is not read by traffic'),
    ((*COMPILE, '--topology=v5e:four'), "wanted 'v5e:4x4'"),
    ((*COMPILE, '--batch_sizes=8'), '--batch_sizes is not read by compile'),
    (('compile', CONFIG), '--tokenizer is missing'),
    (('params', CONFIG), '--tokenizer is missing'),
    (('params', STREAM[1], TOKENIZER), '--tokenizer is not read by params of'),
    (('params', '--config={0}:half', TOKENIZER), 'no section'),
    (('params', '--config={0}:bare'), 'no such section'),
    ((*TRAIN, '--topology=v5e:4x4'), '--topology is not read by train'),
    ((*TRAIN, '--attention=magic'), '--attention=magic'),
    ((*TRAIN, '--attention='), '--attention='),
    ((*TRAIN, '--remat=full,some'), '--remat=full,some'),
    ((*SAMPLE, '--frames=9,10'), 'num_frames=10: the tokenizer needs'),
    ((*FVD, '--config.data.num_frames=8'), 'I3D needs at least 9'),
    ((*FVD, '--num_videos=1000000', '--config.data.height=65536'), 'GB of'),
  ],
)
def test_bad_options_are_refused_before_a_process_is_started(
  config, arguments, words, capsys, monkeypatch, tmp_path
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(
    process,
    'run_alone',
    lambda *_, **__: pytest.fail('a process was started'),
  )
  argv = ['benchmark', *(x.format(config) for x in arguments)]
  before = config.read_text()
  try:
    assert command.run(benchmark, argv) == 2
    said = capsys.readouterr().err
  except SystemExit as end:
    said = f'{end.code}\n'
  assert words in said and said.count('\n') == 1
  assert config.read_text() == before and not list(tmp_path.iterdir())
