"""A measured figure with all that its row of a table says: a file of its own.

What `evaluate` wrote, the command of the whole run, and how long which machine
trained each part. Of these files in docs/results/ the tables of docs/results.md
are made, see `results`.
"""

import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from etils import epath

from videoar_jax.core import files, structure
from videoar_jax.report import facts
from videoar_jax.report.published import GFVD, RFVD
from videoar_jax.train import starts

FORMAT = 'videoar_jax.figure 1'
KINDS = {'tokenizer': RFVD, 'generator': GFVD}  # of a checkpoint's recipe
# Trained before a part, and for it.
_BEFORE = {
  facts.TOKENIZER: (facts.IMAGE_STAGE, 'short_tokenizer'),
  facts.GENERATOR: (facts.IMAGE_STAGE, 'short_tokenizer', facts.TOKENIZER),
  facts.TEXT_STAGE: (
    *(facts.IMAGE_STAGE, 'short_tokenizer', facts.TOKENIZER),
    facts.GENERATOR,
  ),
}
_NO_PROTOCOL = 'none: '
_NUMBER = (float, type(None))
_SHAPE = {
  'format': structure.one_of(FORMAT),
  'row': str,
  'command': str,
  'machine': str,
  'trained': [{'part': str, 'steps': int, 'hours': float, 'machine': str}],
  'result': {
    'recipe': structure.one_of(*KINDS),
    'protocol': str,
    'fvd': float,
    'fvd_inf': _NUMBER,
    'kvd': _NUMBER,
    'kvd_stderr': _NUMBER,
    'num_real': int,
    'frames': int,
    'resolution': [int],
    'device': str,
    'num_devices': int,
    'versions': {'commit': (str, type(None))},
  },
}


def make(run: pathlib.Path, half: str, *, config: str, command: str) -> dict:
  """The record of a run's evaluation.

  Args:
    run: its folder.
    half: of it: `tokenizer`, `generator` or `text_generator`.
    config: that it was trained by, which names the row.
    command: that makes the whole run again.
  Raises:
    ValueError: the evaluation is missing or damaged, or followed no protocol.
  """
  path = run / f'{half}.json'
  result = facts.read_json(path)
  if result is None:
    raise ValueError(f'{path}: no such file; measure the {half} first')
  parts = [name for name in (*_BEFORE[half], half) if (run / name).is_dir()]
  record = {
    'format': FORMAT,
    'row': config,
    'command': command,
    'machine': _measured_on(result),
    'trained': [_trained(name, run / name) for name in parts],
    'result': result,
  }
  check(record, where=str(path))
  return record


def check(record: Mapping[str, Any], *, where: str) -> None:
  """Raises a ValueError where a record lacks something, or has no protocol."""
  structure.check(record, _SHAPE, where=where)
  protocol = record['result']['protocol']
  if protocol.startswith(_NO_PROTOCOL):
    raise ValueError(
      f'{where}: protocol is {protocol!r}; what follows no protocol stands in '
      'no table; measure it with --protocol=NAME'
    )


def file_name(record: Mapping[str, Any]) -> str:
  """`ucf9_cpu_generator.json` of a record of configs/ucf9_cpu.py:generator."""
  stem = record['row'].removeprefix('configs/').replace('.py', '')
  return re.sub(r'\W+', '_', stem) + '.json'


def write(record: Mapping[str, Any], folder: Any) -> epath.Path:
  """Writes a record to a folder, on a disk or in a bucket; its path."""
  path = epath.Path(folder) / file_name(record)
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.replacing(path) as partial:
    partial.write_text(json.dumps(record, indent=1) + '\n')
  return path


def read_all(folder: pathlib.Path) -> dict[str, dict]:
  """The records of a folder by the names of their files, in their order.

  Raises:
    ValueError: one is damaged, or followed no protocol.
  """
  found = {}
  for path in sorted(folder.glob('*.json')):
    found[path.name] = files.read_json(path, dict, fix='collect it again')
    check(found[path.name], where=str(path))
  return found


def kind_of(record: Mapping[str, Any]) -> str:
  """`published.GFVD` or `RFVD`."""
  return KINDS[record['result']['recipe']]


def hours(record: Mapping[str, Any]) -> float:
  """Hours of training of all parts."""
  return sum(part['hours'] for part in record['trained'])


def _trained(name: str, workdir: pathlib.Path) -> dict:
  stage = facts.read_stage(name, workdir)
  machines = [
    _machine(x['device'], x['num_devices'], x['cores'], x['processor'])
    for x in stage.starts
  ]
  return {
    'part': name,
    'steps': stage.done,
    'hours': round(stage.trained_s / 3600, 3),
    'machine': '; '.join(dict.fromkeys(machines)),
  }


def _measured_on(result: Mapping[str, Any]) -> str:
  """The machine of an evaluation; its processor is that of this machine."""
  return _machine(
    result.get('device'),
    result.get('num_devices'),
    starts.cores(),
    starts.processor(),
  )


def _machine(device: Any, count: Any, cores: int, processor: str) -> str:
  if device == 'cpu':
    return f'{cores} cores of {processor}'
  return f'{count} × {device}'
