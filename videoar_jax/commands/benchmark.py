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
matrices (MFU). `data` times the batches of a run's data, `fvd` I3D and the
distance. Each measurement has a process of its own.
"""

import pathlib
import sys

import jax

from videoar_jax import chart
from videoar_jax.benchmark import (
  inputs,
  process,
  sampling,
  streaming,
  training,
)
from videoar_jax.core import command, files
from videoar_jax.evaluate import compare, provenance

FLAGS = command.Flags()

_CONFIG = FLAGS.config('config', 'Whose model to measure.')
_TOKENIZER = FLAGS.config('tokenizer', "Config of a generator's tokenizer.")
_FRAMES = FLAGS.listed('frames', None, 'Lengths of the videos.')
_BATCH_SIZES = FLAGS.listed('batch_sizes', '1,8', 'Videos at a time.')
_UNCAST = FLAGS.switch(
  'uncast', False, '`sample`: also with the weights left in float32.'
)
_WINDOW = FLAGS.count(
  'window', 4, 'Latent frames that a frame of a long video sees before its own.'
)
_ATTENTION = FLAGS.listed(
  'attention', None, "Kernels of `train`; default: the config's."
)
_REMAT = FLAGS.listed(
  'remat', None, "What `train` computes again; default: the config's."
)
_WORKERS = FLAGS.listed('workers', '0', 'Decoding processes of `data`.')
_NUM_VIDEOS = FLAGS.listed('num_videos', '16', 'Videos of `fvd`.')
_OUT = FLAGS.text('out', None, 'JSON file of the result.')
_PLOT = FLAGS.text(
  'plot', None, 'SVG file of the time and memory of a long video.'
)

_DEFAULT_FRAMES = ['65', '1025']


def main(words: list[str]) -> None:
  actions = {
    'tokenizer': tokenizer,
    'sample': sample,
    'train': train,
    'data': data,
    'fvd': fvd,
  }
  action = command.chosen_action(words, actions)
  needed = (_CONFIG,)
  if action in ('sample', 'train'):
    needed += (_TOKENIZER,)
  command.check_arguments(words[1:], needed)
  for path in filter(None, (_OUT.value, _PLOT.value)):
    files.output_file(path)
  result = actions[action]()
  result |= {
    'command': ' '.join(sys.argv[1:]),
    'device': jax.devices()[0].device_kind,
    **provenance.versions(),
  }
  if _OUT.value:
    compare.write_json(_OUT.value, result)


def tokenizer() -> dict:
  """Memory and time of streams, by their length."""
  section = FLAGS['config'].tokenizer
  return {
    'tokenizer': [
      _measure(streaming.measure_stream, section, length)
      for length in _numbers('frames', _FRAMES.value or _DEFAULT_FRAMES)
    ]
  }


def sample() -> dict:
  """Time of whole videos by batch size, or the course of a long one."""
  networks = FLAGS['config'], FLAGS['tokenizer'].tokenizer
  if _FRAMES.value is None:
    return {
      'sample': [
        _measure(sampling.measure_program, *networks, size, cast)
        for size in _numbers('batch_sizes', _BATCH_SIZES.value)
        for cast in ((True, False) if _UNCAST.value else (True,))
      ]
    }
  rows = [
    _measure(sampling.measure_stream, *networks, length, _WINDOW.value)
    for length in _numbers('frames', _FRAMES.value)
  ]
  if _PLOT.value:
    _plot(rows[-1]['course'])
  return {'stream': rows}


def train() -> dict:
  """Time of a generator's step by kernel and rematerialisation."""
  networks = FLAGS['config'], FLAGS['tokenizer'].tokenizer
  transformer = FLAGS['config'].transformer
  return {
    'train': [
      _measure(training.measure_training, *networks, size, attention, remat)
      for size in _numbers('batch_sizes', _BATCH_SIZES.value)
      for attention in _ATTENTION.value or [transformer.attention]
      for remat in _REMAT.value or [transformer.remat]
    ]
  }


def data() -> dict:
  """Time of batches by the number of decoding processes."""
  return {
    'data': [
      _measure(inputs.measure_data, FLAGS['config'].data, count)
      for count in _numbers('workers', _WORKERS.value, least=0)
    ]
  }


def fvd() -> dict:
  """Time of I3D and of the distance by the number of videos."""
  return {
    'fvd': [
      _measure(inputs.measure_fvd, FLAGS['config'].data, count)
      for count in _numbers('num_videos', _NUM_VIDEOS.value)
    ]
  }


def _measure(function, *arguments) -> dict:
  row = process.run_alone(function, *arguments)
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
  pathlib.Path(_PLOT.value).write_text(chart.document(charts), encoding='utf-8')


def _numbers(flag: str, texts: list[str], least: int = 1) -> list[int]:
  try:
    numbers = [int(text) for text in texts]
  except ValueError:
    numbers = []
  if not numbers or min(numbers) < least:
    raise ValueError(
      f'--{flag}={",".join(texts)}: wanted numbers such as '
      f'{FLAGS.values[flag].default or ",".join(_DEFAULT_FRAMES)}'
    )
  return numbers


def _say(name: str, value: float | str | None) -> str:
  if value is None:
    return '-'
  if isinstance(value, str):
    return value
  if name.endswith('_bytes'):
    return f'{value / 2**20:.0f} MiB'
  return f'{value:.4g}'
