"""Measures speed and memory on this machine, with made-up weights.

  python -m videoar_jax.benchmark tokenizer \\
    --config=configs/ucf9_cpu.py:tokenizer [--frames=65,1025] [--out=FILE.json]
  python -m videoar_jax.benchmark sample \\
    --config=configs/videoar_ucf101.py:L \\
    --tokenizer=configs/tokenizer_ucf101.py [--batch_sizes=1,8] \\
    [--uncast] [--out=FILE.json]
  python -m videoar_jax.benchmark sample --frames=1001 --window=4 \\
    --config=configs/ucf9_cpu.py:generator \\
    --tokenizer=configs/ucf9_cpu.py:tokenizer [--plot=FILE.svg]

  python -m videoar_jax.benchmark train \\
    --config=configs/videoar_ucf101.py:L \\
    --tokenizer=configs/tokenizer_ucf101.py [--batch_sizes=8] \\
    [--attention=prefix,xla] [--remat=none,dots,full]
  python -m videoar_jax.benchmark sample --beside=torch \\
    --config=configs/quickstart.py:generator \\
    --tokenizer=configs/quickstart.py:tokenizer \\
    [--parts=rollout,decoder] [--rounds=5]
  python -m videoar_jax.benchmark optimizer \\
    --config=configs/quickstart.py:tokenizer
  python -m videoar_jax.benchmark data --config=configs/ucf9_cpu.py:tokenizer \\
    [--workers=0,2]
  python -m videoar_jax.benchmark shards --config=configs/videoar_ucf101.py:L \\
    --config.data.source=features:gs://… --step_s=0.5 [--hosts=16]
  python -m videoar_jax.benchmark fvd --config=configs/ucf9_cpu.py:tokenizer \\
    [--num_videos=16]

  python -m videoar_jax.benchmark traffic --topology=v5e:1x1 \\
    --config=configs/videoar_ucf101.py:L \\
    --tokenizer=configs/tokenizer_ucf101.py [--batch_sizes=1,16]
  python -m videoar_jax.benchmark compile --topology=v5e:4x4 \\
    --config=configs/videoar_ucf101.py:L \\
    --tokenizer=configs/tokenizer_ucf101.py \\
    [--attention=prefix,xla] [--remat=none,dots,full]

  python -m videoar_jax.benchmark params --config=configs/tokenizer_ucf101.py
  python -m videoar_jax.benchmark params --config=configs/videoar_ucf101.py:L \\
    --tokenizer=configs/tokenizer_ucf101.py

`tokenizer` encodes and decodes videos of so many frames as streams: the peak
memory should not grow with the length. `sample` times the program of whole
videos, beside what reading the transformer's weights for each unit takes at the
device's own copy bandwidth, and its two parts alone; with --frames, a stream of
one long video. `train` times a generator's step by attention kernel and
rematerialisation, and gives the share of the device's own rate of products of
matrices (MFU). `optimizer` times an update of a tokenizer's parameters with
AdamW, Muon, and Muon as optax has it. `data` times a run's batches, `shards`
records of prepared shards beside what the run needs, `fvd` I3D and the
distance. Each measurement has a process of its own.

With --beside, `sample` and `train` take turns with another side: a plain
PyTorch twin (extra `parity`, float32), or an older checkout, given by its
folder. Seconds are medians of the rounds; a ratio below 1 says that this side
is the faster; results are compared. PyTorch needs a quiet machine.

`traffic` and `compile` run nothing: they compile ahead of time, for TPUs of a
topology that need not be there (extra `plan`) or for this machine. `traffic`
counts the bytes that a guided rollout moves, beside those of reading the
weights for each unit; `compile` times the compilation of a generator's step, on
the run's own batch and mesh, and says what memory it needs. `params` counts the
parameters of each network, none of which is made; of 101 classes, where a
generator's config leaves their number to the data.
"""

import os
import sys
from typing import Any

import jax

from videoar_jax.benchmark import (
  ahead,
  beside,
  compiling,
  counting,
  inputs,
  optimizing,
  process,
  reading,
  rows,
  sampling,
  sections,
  streaming,
  traffic,
  training,
)
from videoar_jax.core import command, files, topology
from videoar_jax.core.attention import AttentionKernel
from videoar_jax.core.config import from_section
from videoar_jax.evaluate import compare, provenance
from videoar_jax.report import chart
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.transformer.config import Remat, TransformerConfig

FLAGS = command.Flags()

_CONFIG = FLAGS.config('config', 'Whose model to measure.')
_TOKENIZER = FLAGS.config('tokenizer', "Config of a generator's tokenizer.")
_FRAMES = FLAGS.counts(
  'frames', None, 'Lengths of the videos.', least=1, most=10**7
)
_BATCH_SIZES = FLAGS.counts(
  'batch_sizes', '1,8', 'Videos at a time.', least=1, most=10**5
)
_UNCAST = FLAGS.switch(
  'uncast', False, '`sample`: also with the weights left in float32.'
)
_WINDOW = FLAGS.count(
  'window', 4, 'Latent frames that a frame of a long video sees before its own.'
)
_ATTENTION = FLAGS.choices(
  'attention',
  None,
  AttentionKernel,
  "Kernels of `train` and `compile`; default: the config's.",
)
_REMAT = FLAGS.choices(
  'remat', None, Remat, "What a step computes again; default: the config's."
)
_WORKERS = FLAGS.counts(
  'workers', '0', 'Decoding processes of `data`.', least=0, most=10**3
)
_STEP_S = FLAGS.number(
  'step_s', None, '`shards`: seconds of a step of the run.', above=0
)
_HOSTS = FLAGS.count('hosts', 1, '`shards`: machines that share a batch.')
_NUM_VIDEOS = FLAGS.counts(
  'num_videos', '16', 'Videos of `fvd`.', least=2, most=10**6
)
_TOPOLOGY = FLAGS.text(
  'topology', None, 'TPUs to compile for, as v5e:4x4; default: this machine.'
)
_BESIDE = FLAGS.text('beside', None, "'torch', or another checkout's folder.")
_ROUNDS = FLAGS.count('rounds', 5, 'Turns of each side with --beside.')
_PARTS = FLAGS.choices(
  'parts',
  'sample,rollout,decoder',
  beside.SAMPLE_PARTS,
  'What of `sample` is timed with --beside.',
)
_OUT = FLAGS.text('out', None, 'JSON file of the result.')
_PLOT = FLAGS.text(
  'plot', None, 'SVG file of the time and memory of a long video.'
)

_DEFAULT_FRAMES = (65, 1025)
_STREAM = 'sample --frames'
_BOTH = {x: f'{x} --beside' for x in ('sample', 'train')}
# What each action reads.
_READ = {
  'tokenizer': (_FRAMES,),
  'sample': (_TOKENIZER, _BATCH_SIZES, _UNCAST),
  _STREAM: (_TOKENIZER, _FRAMES, _WINDOW, _PLOT),
  'train': (_TOKENIZER, _BATCH_SIZES, _ATTENTION, _REMAT),
  _BOTH['sample']: (_TOKENIZER, _BATCH_SIZES, _BESIDE, _ROUNDS, _PARTS),
  _BOTH['train']: (_TOKENIZER, _BATCH_SIZES, _BESIDE, _ROUNDS, _REMAT),
  'optimizer': (),
  'data': (_WORKERS,),
  'shards': (_STEP_S, _HOSTS),
  'fvd': (_NUM_VIDEOS,),
  'traffic': (_TOKENIZER, _BATCH_SIZES, _TOPOLOGY),
  'compile': (_TOKENIZER, _ATTENTION, _REMAT, _TOPOLOGY),
  'params': (_TOKENIZER,),
}
_OF_GENERATORS = ('sample', 'train', 'traffic', 'compile')


def main(words: list[str]) -> None:
  actions = {
    'tokenizer': tokenizer,
    'sample': sample,
    'train': train,
    'optimizer': optimizer,
    'data': data,
    'shards': shards,
    'fvd': fvd,
    'traffic': moved,
    'compile': compiled,
    'params': params,
  }
  action = command.chosen_action(words, actions)
  needed = (_CONFIG,)
  if action in _OF_GENERATORS:
    needed += (_TOKENIZER,)
  command.check_arguments(words[1:], needed)
  use = _BOTH.get(action, action) if _BESIDE.value else action
  use = _STREAM if action == 'sample' and _FRAMES.value else use
  FLAGS.check_read((_CONFIG, _OUT, *_READ[use]), by=use)
  check_outputs()
  result = actions[action]()
  result |= {
    'command': ' '.join(sys.argv[1:]),
    'device': _TOPOLOGY.value or jax.devices()[0].device_kind,
    **provenance.versions(),
  }
  if _OUT.value:
    compare.write_json(_OUT.value, result)


def check_outputs() -> None:
  """Raises a ValueError where --out or --plot cannot be written."""
  inputs = [FLAGS.config_file(name) for name in FLAGS.configs]
  given = [flag for flag in (_OUT, _PLOT) if flag.value]
  for flag in given:
    files.output_file(flag.value, inputs=inputs, flag=flag.name)
  if len({os.path.realpath(flag.value) for flag in given}) < len(given):
    raise ValueError(f'--plot={_PLOT.value}: is --out, too; give another name')


def tokenizer() -> dict:
  """Memory and time of streams, by their length."""
  section = _tokenizer_section('config')
  return {
    'tokenizer': [
      _measure(streaming.measure_stream, section, length)
      for length in _FRAMES.value or _DEFAULT_FRAMES
    ]
  }


def sample() -> dict:
  """Time of whole videos by batch size, or the course of a long one."""
  networks = _generator_config(), _tokenizer_section('tokenizer')
  if _BESIDE.value:
    return _beside('sample', networks, [{'parts': _PARTS.value}])
  if _FRAMES.value is None:
    return {
      'sample': [
        _measure(sampling.measure_program, *networks, size, cast)
        for size in _BATCH_SIZES.value
        for cast in ((True, False) if _UNCAST.value else (True,))
      ]
    }
  shape = from_section(TokenizerConfig, networks[1])
  for length in _FRAMES.value:
    shape.latent_frames(length)
  found = [
    _measure(sampling.measure_stream, *networks, length, _WINDOW.value)
    for length in _FRAMES.value
  ]
  if _PLOT.value:
    with files.replacing(_PLOT.value) as partial:
      page = chart.stream_course(found[-1]['course'])
      partial.write_text(page, encoding='utf-8')
  return {'stream': found}


def train() -> dict:
  """Time of a generator's step by kernel and rematerialisation."""
  networks = _generator_config(), _tokenizer_section('tokenizer')
  if _BESIDE.value:
    remats = [{'remat': kind} for _, kind in _step_kinds(networks[0])]
    return _beside('train', networks, remats)
  return {
    'train': [
      _measure(training.measure_training, *networks, size, *kind)
      for size in _BATCH_SIZES.value
      for kind in _step_kinds(networks[0])
    ]
  }


def _beside(action: str, networks: tuple, kinds: list[dict]) -> dict:
  """Both sides' times by batch size and kind, and how far they agree."""
  requests = [
    beside.make_request(_BESIDE.value, action, *networks, size, **kind)
    for size in _BATCH_SIZES.value
    for kind in kinds
  ]
  found = {'beside': [], 'agreement': []}
  for request in requests:
    times, agreed = beside.measure(_BESIDE.value, request, _ROUNDS.value)
    found['beside'] += map(rows.show, times)
    found['agreement'].append(rows.show(agreed))
  return found


def _step_kinds(config: Any) -> list[tuple[str, str]]:
  """Kernels and rematerialisations that were asked for, else the config's."""
  transformer = from_section(TransformerConfig, config, 'transformer')
  return [
    (attention, remat)
    for attention in _ATTENTION.value or [transformer.attention]
    for remat in _REMAT.value or [transformer.remat]
  ]


def optimizer() -> dict:
  """Time of an update of a tokenizer's parameters by optimiser."""
  _tokenizer_section('config')
  config = FLAGS['config']
  from_section(OptimizerConfig, config, 'optimizer')
  return {
    'optimizer': [
      _measure(optimizing.measure_optimizer, config, kind)
      for kind in optimizing.KINDS
    ]
  }


def data() -> dict:
  """Time of batches by the number of decoding processes."""
  section = _data_section()
  return {
    'data': [
      _measure(inputs.measure_data, section, count) for count in _WORKERS.value
    ]
  }


def shards() -> dict:
  """Records a second of prepared shards, and how many a run needs."""
  command.check_arguments([], (_STEP_S,))
  need = _STEP_S.value, _HOSTS.value
  return {'shards': [_measure(reading.measure_shards, _data_section(), *need)]}


def fvd() -> dict:
  """Time of I3D and of the distance by the number of videos."""
  section = _data_section()
  inputs.check_videos(section, max(_NUM_VIDEOS.value))
  return {
    'fvd': [
      _measure(inputs.measure_fvd, section, count)
      for count in _NUM_VIDEOS.value
    ]
  }


def moved() -> dict:
  """Bytes that the rollout moves by batch size."""
  networks = _generator_config(), _tokenizer_section('tokenizer')
  return {
    'traffic': [
      _compile(traffic.measure_traffic, *networks, size, _topology())
      for size in _BATCH_SIZES.value
    ]
  }


def compiled() -> dict:
  """What compiling a generator's step takes."""
  networks = _generator_config(), _tokenizer_section('tokenizer')
  return {
    'compile': [
      _compile(compiling.measure_compile, *networks, *kind, _topology())
      for kind in _step_kinds(networks[0])
    ]
  }


def params() -> dict:
  """Parameters of each network of a config, counted."""
  config = FLAGS['config']
  if config.get('recipe') == 'tokenizer':
    FLAGS.check_read((_CONFIG, _OUT), by="params of a tokenizer's config")
    _tokenizer_section('config')
    found = counting.count_tokenizer(config)
  else:
    command.check_arguments([], (_TOKENIZER,))
    networks = _generator_config(), _tokenizer_section('tokenizer')
    found = counting.count_generator(*networks)
  return {'params': [counting.show(row) for row in found]}


def _topology() -> str | None:
  """The topology to compile for, which there is; None: this machine."""
  if _TOPOLOGY.value:
    topology.check_name(_TOPOLOGY.value)
    topology.check_installed()
  return _TOPOLOGY.value


def _tokenizer_section(flag: str) -> Any:
  return sections.tokenizer_section(FLAGS[flag], flag=flag)


def _generator_config() -> Any:
  return sections.generator_config(FLAGS['config'])


def _data_section() -> Any:
  return sections.data_section(FLAGS['config'])


def _measure(function, *arguments, **process_options) -> dict:
  return rows.show(process.run_alone(function, *arguments, **process_options))


def _compile(function, *arguments) -> dict:
  """As `_measure`, where the program is compiled and not run."""
  environment = ahead.environment(_TOPOLOGY.value)
  return _measure(function, *arguments, environment=environment)
