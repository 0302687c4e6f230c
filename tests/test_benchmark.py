"""The benchmark command: what it measures and what it refuses."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from videoar_jax.benchmark import process, training
from videoar_jax.core.pretrained import MissingWeightsError
from videoar_jax.evaluate import i3d
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.transformer.config import TransformerConfig

_CONFIG = """
'''Tiny networks.'''

from videoar_jax.train import defaults


def get_config(variant=''):
  config = getattr(defaults, f'{variant}_config')()
  config.data.update(num_frames=9, height=8, width=8)
  if variant == 'tokenizer':
    config.tokenizer.update(
      base_width=4,
      multipliers=(1, 1, 1),
      num_time_levels=2,
      encoder_blocks=1,
      decoder_blocks=1,
      latent_width=4,
      scales=((1, 1), (2, 2)),
      norm_groups=1,
      dtype='float32',
    )
  else:
    config.transformer.update(
      num_layers=2, width=16, num_heads=2, num_classes=3, dtype='float32'
    )
  return config.lock()
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp('benchmark') / 'tiny.py'
  path.write_text(_CONFIG)
  return path


@pytest.fixture
def generator(config):
  return (
    'sample',
    f'--config={config}:generator',
    f'--tokenizer={config}:tokenizer',
  )


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


def test_streams_are_measured_length_by_length(config, tmp_path):
  out = tmp_path / 'x.json'
  done = _run(
    'tokenizer',
    f'--config={config}:tokenizer',
    '--frames=5,101',
    f'--out={out}',
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


def test_whole_videos_are_measured_by_batch_size(generator, tmp_path):
  out = tmp_path / 'x.json'
  done = _run(*generator, '--batch_sizes=2', '--uncast', f'--out={out}')
  assert done.returncode == 0, done.stderr
  row, whole = json.loads(out.read_text())['sample']
  assert (row['cast'], whole['cast']) == (True, False)
  assert row['rollout_s'] > 0 and row['decoder_s'] > 0
  assert row['units'] == 3 * 2
  assert row['videos_per_s'] == pytest.approx(2 / row['steady_s'])
  floor = row['units'] * row['weight_bytes'] / row['copy_bytes_per_s']
  assert row['floor_s'] == pytest.approx(floor)
  assert row['steady_s'] < row['compile_s'] + row['first_s']


def test_steps_are_measured_by_kernel_and_rematerialisation(
  generator, tmp_path
):
  out = tmp_path / 'x.json'
  done = _run(
    'train',
    *generator[1:],
    '--batch_sizes=2',
    '--remat=none,full',
    f'--out={out}',
  )
  assert done.returncode == 0, done.stderr
  none, full = json.loads(out.read_text())['train']
  assert (none['remat'], full['remat']) == ('none', 'full')
  assert none['flops'] == full['flops'] > 0
  rate = full['flops'] / full['step_s']
  assert full['mfu'] == pytest.approx(rate / full['flops_per_s_device'])


def test_operations_of_a_step_are_counted_by_hand():
  plan = next_scale_plan(2, ((1, 1), (1, 2)))
  config = TransformerConfig(num_layers=3, width=4, num_heads=1)
  params = {
    'layers': {'a': np.zeros((3, 4, 5)), 'b': np.zeros((3, 4))},
    'project': np.zeros((7, 4)),
    'head': np.zeros((4, 7, 2)),
  }
  # A prefix token and six others; who sees how many: 1 2 4 4 5 7 7.
  dense = 6 * ((60 + 12) * 7 + (28 + 56) * 6)
  pairs = 12 * 3 * 4 * (1 + 2 + 4 + 4 + 5 + 7 + 7)
  assert training.step_flops(config, plan, params) == dense + pairs


def test_batches_are_measured_by_the_number_of_workers(config, tmp_path):
  out = tmp_path / 'x.json'
  done = _run(
    'data', f'--config={config}:tokenizer', '--workers=0', f'--out={out}'
  )
  assert done.returncode == 0, done.stderr
  (row,) = json.loads(out.read_text())['data']
  assert row['clips_per_s'] > 0
  clip = 9 * 8 * 8 * 3 + 4 + 4  # frames, label and failed
  assert row['batch_bytes'] == 8 * clip


def test_i3d_and_the_distance_are_measured(config, tmp_path):
  try:
    i3d.load_i3d()
  except MissingWeightsError as error:
    pytest.skip(str(error))
  out = tmp_path / 'x.json'
  done = _run(
    'fvd', f'--config={config}:tokenizer', '--num_videos=2', f'--out={out}'
  )
  assert done.returncode == 0, done.stderr
  (row,) = json.loads(out.read_text())['fvd']
  assert row['i3d_videos_per_s'] > 0 and row['distance_s'] > 0


def test_the_course_of_a_long_video_is_measured_and_drawn(generator, tmp_path):
  out, plot = tmp_path / 'x.json', tmp_path / 'x.svg'
  done = _run(
    *generator, '--frames=41', '--window=2', f'--out={out}', f'--plot={plot}'
  )
  assert done.returncode == 0, done.stderr
  (row,) = json.loads(out.read_text())['stream']
  frames, spent, held = zip(*row['course'])
  assert frames == tuple(range(9, 42, 4))
  assert min(spent) > 0 and min(held) > 2**26
  drawing = ElementTree.parse(plot).getroot()
  assert len(drawing.findall('.//{*}polyline')) == 2


@pytest.mark.parametrize(
  'arguments,word',
  [
    ((), 'say one of tokenizer'),
    (('tokenizer',), '--config is missing'),
    (('sample', '--config={0}:generator'), '--tokenizer is missing'),
    (
      (
        'sample',
        '--config={0}:generator',
        '--tokenizer={0}:tokenizer',
        '--batch_sizes=0',
      ),
      '--batch_sizes=0: wanted',
    ),
    (
      ('tokenizer', '--config={0}:tokenizer', '--frames=0'),
      '--frames=0: wanted',
    ),
    (
      ('tokenizer', '--config={0}:tokenizer', '--out=/no/such/x.json'),
      'no folder /no/such',
    ),
  ],
)
def test_bad_options_are_refused_in_a_line(config, arguments, word):
  done = _run(*(x.format(config) for x in arguments))
  assert done.returncode != 0
  assert word in done.stdout + done.stderr
  assert 'Traceback' not in done.stderr
