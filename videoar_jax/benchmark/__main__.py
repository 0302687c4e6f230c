"""Measures speed and memory on this machine.

  python -m videoar_jax.benchmark tokenizer \\
    --config=configs/ucf9_cpu.py:tokenizer [--frames=65,1025] [--out=FILE.json]

`tokenizer` encodes and decodes videos of so many frames as streams, each in a
process of its own, with random weights: the peak memory should not grow with
the length.
"""

import json
import sys

import jax
from absl import app, flags
from ml_collections import config_flags

from videoar_jax.benchmark import process, streaming
from videoar_jax.core import command
from videoar_jax.evaluate import provenance

config_flags.DEFINE_config_file('config', None, 'Whose model to measure.')
_FRAMES = flags.DEFINE_list('frames', '65,1025', 'Lengths of the videos.')
_OUT = flags.DEFINE_string('out', None, 'JSON file of the result.')


def main(argv: list[str]) -> None:
  actions = {'tokenizer': tokenizer}
  if len(argv) < 2 or argv[1] not in actions:
    given = f', not {argv[1]!r}' if len(argv) > 1 else ''
    raise app.UsageError(f'say one of {", ".join(actions)}{given}')
  command.check_arguments(argv[1:], (flags.FLAGS['config'],))
  with command.refusals():
    out = command.output_file(_OUT.value) if _OUT.value else None
    result = actions[argv[1]]()
  result |= {
    'command': ' '.join(sys.argv[1:]),
    'device': jax.devices()[0].device_kind,
    **provenance.versions(),
  }
  if out:
    out.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')


def tokenizer() -> dict:
  """Memory and time of streams, by their length."""
  section = flags.FLAGS.config.tokenizer
  rows = []
  for length in _lengths():
    row = process.run_alone(streaming.measure_stream, section, length)
    print('  '.join(f'{name} {_say(name, x)}' for name, x in row.items()))
    rows.append(row)
  return {'tokenizer': rows}


def _lengths() -> list[int]:
  try:
    lengths = [int(text) for text in _FRAMES.value]
  except ValueError:
    lengths = []
  if not lengths or min(lengths) < 1:
    raise ValueError(
      f'--frames={",".join(_FRAMES.value)}: wanted lengths such as 65,1025'
    )
  return lengths


def _say(name: str, value: float | None) -> str:
  if value is None:
    return '-'
  if name.endswith('_bytes'):
    return f'{value / 2**20:.0f} MiB'
  return f'{value:.4g}'


if __name__ == '__main__':
  app.run(main)
