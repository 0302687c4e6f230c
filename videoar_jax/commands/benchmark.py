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
    --tokenizer=configs/quickstart.py:tokenizer [--batch_sizes=1,8] \\
    [--parts=sample,rollout,decoder] [--rounds=5]
  python -m videoar_jax.benchmark train --beside=torch \\
    --config=configs/videoar_ucf101.py:S \\
    --config.transformer.dtype=float32 \\
    --tokenizer=configs/tokenizer_ucf101.py [--remat=none] [--rounds=5]
  python -m videoar_jax.benchmark optimizer \\
    --config=configs/quickstart.py:tokenizer
  python -m videoar_jax.benchmark data --config=configs/ucf9_cpu.py:tokenizer \\
    [--workers=0,2]
  python -m videoar_jax.benchmark fvd --config=configs/ucf9_cpu.py:tokenizer \\
    [--num_videos=16]

`tokenizer` encodes and decodes videos of so many frames as streams: the peak
memory should not grow with the length. `sample` times the program of whole
videos, beside what reading the transformer's weights for each unit takes at the
device's own copy bandwidth, and its two parts alone; with --frames, a stream of
one long video. `train` times a generator's step by attention kernel and
rematerialisation, and gives the share of the device's own rate of products of
matrices (MFU). `optimizer` times an update of a tokenizer's parameters with
AdamW, Muon, and Muon as optax has it. `sample` and `train` with --beside take
turns with another side: a plain PyTorch twin (extra `parity`), or an older
checkout of this project, given by its folder; seconds are medians of the
rounds, a ratio below 1 says that this one is faster, and results are compared.
Use a quiet machine: PyTorch's threads suffer most from a neighbour. `data`
times the batches of a run's data, `fvd` I3D and the distance. Each measurement
has a process of its own.
"""

import json
import os
import sys
from typing import Any

import jax
import ml_collections

from videoar_jax.benchmark import (
  beside,
  inputs,
  optimizing,
  process,
  sampling,
  streaming,
  training,
)
from videoar_jax.core import command, files
from videoar_jax.core.attention import AttentionKernel
from videoar_jax.core.config import from_section, to_json
from videoar_jax.data.config import DataConfig
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
  "Kernels of `train`; default: the config's.",
)
_REMAT = FLAGS.choices(
  'remat', None, Remat, "What `train` computes again; default: the config's."
)
_WORKERS = FLAGS.counts(
  'workers', '0', 'Decoding processes of `data`.', least=0, most=10**3
)
_NUM_VIDEOS = FLAGS.counts(
  'num_videos', '16', 'Videos of `fvd`.', least=2, most=10**6
)
_BESIDE = FLAGS.text(
  'beside',
  None,
  "`sample`, `train`: 'torch', or the folder of another checkout.",
)
_ROUNDS = FLAGS.count('rounds', 5, 'Turns of each side with --beside.')
_PARTS = FLAGS.choices(
  'parts',
  'sample,rollout,decoder',
  beside.SAMPLE_PARTS,
  'What of `sample` is measured with --beside.',
)
_OUT = FLAGS.text('out', None, 'JSON file of the result.')
_PLOT = FLAGS.text(
  'plot', None, 'SVG file of the time and memory of a long video.'
)

_DEFAULT_FRAMES = (65, 1025)
_STREAM = 'sample --frames'
_SAMPLE_BESIDE, _TRAIN_BESIDE = 'sample --beside', 'train --beside'
# What each action reads.
_READ = {
  'tokenizer': (_FRAMES,),
  'sample': (_TOKENIZER, _BATCH_SIZES, _UNCAST),
  _STREAM: (_TOKENIZER, _FRAMES, _WINDOW, _PLOT),
  _SAMPLE_BESIDE: (_TOKENIZER, _BATCH_SIZES, _BESIDE, _ROUNDS, _PARTS),
  'train': (_TOKENIZER, _BATCH_SIZES, _ATTENTION, _REMAT),
  _TRAIN_BESIDE: (_TOKENIZER, _BATCH_SIZES, _REMAT, _BESIDE, _ROUNDS),
  'optimizer': (),
  'data': (_WORKERS,),
  'fvd': (_NUM_VIDEOS,),
}
_SECTIONS = ('data', 'transformer', 'corruption', 'frame_mask', 'optimizer')
_SECTIONS += ('mesh', 'train', 'sampling')


def main(words: list[str]) -> None:
  actions = {
    'tokenizer': tokenizer,
    'sample': sample,
    'train': train,
    'optimizer': optimizer,
    'data': data,
    'fvd': fvd,
  }
  action = command.chosen_action(words, actions)
  needed = (_CONFIG,)
  if action in ('sample', 'train'):
    needed += (_TOKENIZER,)
  command.check_arguments(words[1:], needed)
  use = _use(action)
  FLAGS.check_read((_CONFIG, _OUT, *_READ[use]), by=use)
  check_outputs()
  result = actions[action]()
  result |= {
    'command': ' '.join(sys.argv[1:]),
    'device': jax.devices()[0].device_kind,
    **provenance.versions(),
  }
  if _OUT.value:
    compare.write_json(_OUT.value, result)


def _use(action: str) -> str:
  """What an action is used for, of `_READ`."""
  if action == 'sample' and _FRAMES.value:
    return _STREAM
  both = f'{action} --beside'
  return both if _BESIDE.value and both in _READ else action


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
  if _BESIDE.value and not _FRAMES.value:
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
  rows = [
    _measure(sampling.measure_stream, *networks, length, _WINDOW.value)
    for length in _FRAMES.value
  ]
  if _PLOT.value:
    _plot(rows[-1]['course'])
  return {'stream': rows}


def train() -> dict:
  """Time of a generator's step by kernel and rematerialisation."""
  networks = _generator_config(), _tokenizer_section('tokenizer')
  transformer = from_section(TransformerConfig, networks[0], 'transformer')
  if _BESIDE.value:
    remats = _REMAT.value or [transformer.remat]
    kinds = [{'parts': beside.TRAIN_PARTS, 'remat': kind} for kind in remats]
    return _beside('train', networks, kinds)
  kinds = [
    (attention, remat)
    for attention in _ATTENTION.value or [transformer.attention]
    for remat in _REMAT.value or [transformer.remat]
  ]
  return {
    'train': [
      _measure(training.measure_training, *networks, size, *kind)
      for size in _BATCH_SIZES.value
      for kind in kinds
    ]
  }


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


def _beside(action: str, networks: tuple, kinds: list[dict]) -> dict:
  """Both sides' times by batch size, and how far their results agree."""
  config, tokenizer = (json.loads(to_json(x)) for x in networks)
  requests = [
    {
      'action': action,
      'config': config,
      'tokenizer': tokenizer,
      'batch_size': size,
      **kind,
    }
    for size in _BATCH_SIZES.value
    for kind in kinds
  ]
  for request in requests:
    beside.check_request(_BESIDE.value, request)
  rows, agreed = [], []
  for request in requests:
    found, same = beside.measure(_BESIDE.value, request, rounds=_ROUNDS.value)
    rows += map(_shown, found)
    agreed.append(_shown(same))
  return {'beside': rows, 'agreement': agreed}


def _recipe(flag: str, recipe: str) -> Any:
  """The config of a flag, of a recipe."""
  config = FLAGS[flag]
  if config.get('recipe') != recipe:
    raise ValueError(
      f'--{flag}: a config of recipe {config.get("recipe")!r}; give one of a '
      f'{recipe}'
    )
  return config


def _tokenizer_section(flag: str) -> Any:
  config = _recipe(flag, 'tokenizer')
  from_section(TokenizerConfig, config, 'tokenizer')
  return config.tokenizer


def _generator_config() -> Any:
  config = _recipe('config', 'generator')
  for name in _SECTIONS:
    if not isinstance(config.get(name), ml_collections.ConfigDict):
      raise ValueError(
        f'--config: no section {name}; start from a config of configs/'
      )
  from_section(TransformerConfig, config, 'transformer')
  from_section(DataConfig, config, 'data')
  return config


def _data_section() -> Any:
  config = FLAGS['config']
  from_section(DataConfig, config, 'data')
  return config.data


def _measure(function, *arguments) -> dict:
  return _shown(process.run_alone(function, *arguments))


def _shown(row: dict) -> dict:
  """The row, once it is on the screen."""
  shown = (
    f'{name} {_say(name, value)}'
    for name, value in row.items()
    if not isinstance(value, list)
  )
  print('  '.join(shown), flush=True)
  return row


def _plot(course: list) -> None:
  """Milliseconds and memory of a frame against its number."""
  charts = [
    chart.line_chart(
      [chart.Series(name, [(row[0], row[k] / unit) for row in course])],
      title=title,
      y_label=name,
      x_label='frame',
    )
    for k, unit, name, title in (
      (1, 1, 'milliseconds', 'time of a frame'),
      (2, 2**20, 'MiB', 'memory held by the process'),
    )
  ]
  with files.replacing(_PLOT.value) as partial:
    partial.write_text(chart.document(charts), encoding='utf-8')


def _say(name: str, value: float | str | None) -> str:
  if value is None:
    return '-'
  if isinstance(value, str):
    return value
  if name.endswith('_bytes'):
    return f'{value / 2**20:.0f} MiB'
  return f'{value:.4g}'
