"""On what machine and with what versions a run was begun, and begun again."""

import json
import os
import pathlib
import platform
import time
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from videoar_jax.core import files, structure
from videoar_jax.evaluate import provenance
from videoar_jax.train.metrics import read_lines

FILE = 'starts.jsonl'
_CPU = pathlib.Path('/proc/cpuinfo')
_LINE = {
  'step': structure.at_least(0),
  'time': str,
  'device': str,
  'num_devices': structure.at_least(1),
  'num_processes': structure.at_least(1),
  'processor': str,
  'cores': structure.at_least(1),
  'parameters': structure.Each(structure.at_least(0)),
  'versions': structure.Each((str, type(None))),
}


def write_start(
  workdir: Any, *, step: int, parameters: Mapping[str, int]
) -> None:
  """Appends a line on this machine to the run's starts.jsonl.

  Args:
    workdir: of the run.
    step: steps done before.
    parameters: of each network, how many.
  """
  if jax.process_index():
    return
  line = {
    'step': step,
    'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    'device': jax.devices()[0].device_kind,
    'num_devices': jax.device_count(),
    'num_processes': jax.process_count(),
    'processor': processor(),
    'cores': cores(),
    'parameters': dict(parameters),
    'versions': provenance.versions(),
  }
  files.append(epath.Path(workdir) / FILE, json.dumps(line) + '\n')


def read_starts(workdir: Any) -> list[dict[str, Any]]:
  """The lines of a run's starts.jsonl; see `metrics.read_lines`."""

  def check(line: dict[str, Any], where: str) -> None:
    structure.check(line, _LINE, where=where)

  return read_lines(epath.Path(workdir) / FILE, check)


def processor() -> str:
  """The name of this machine's processor, as it gives it itself."""
  if _CPU.exists():
    text = _CPU.read_text(encoding='utf-8', errors='replace')
    for line in text.splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return platform.processor() or platform.machine()


def cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
