"""The steps of a slice, one process after the other, within its time.

After each step its row lies where it is fetched from, so that even a slice that
is cut short brings back what it measured.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from videoar_jax.core import files
from videoar_jax.core.console import note
from videoar_jax.lease import bundle as bundle_lib
from videoar_jax.lease import returns
from videoar_jax.lease.slices import CONTENTS, Slice, Step
from videoar_jax.train.metrics import read_metrics

ROOT = pathlib.Path(__file__).parents[2]
DONE, STOPPED, FAILED = 'done', 'stopped', 'failed'
NO_TIME, OUT_OF_TIME, SKIPPED = 'no time', 'out of time', 'skipped'
_GOOD = (DONE, STOPPED)
_GRACE_S = 20.0  # for training to finish its step and save
_RETURN_S = 15.0  # to pack what comes back
_MOST_LOG = returns.MIB
_ROW = {
  'name': str,
  'slice': str,
  'command': str,
  'commit': (str, type(None)),
  'device': str,
  'status': str,
  'seconds': float,
  'why': str,
  'result': dict,
}
_DEVICE = """
import jax
import videoar_jax.commands.benchmark, videoar_jax.commands.train
devices = jax.devices()
print(len(devices), devices[0].platform, devices[0].device_kind, sep='|')
"""


@dataclasses.dataclass(frozen=True)
class Places:
  """Folders of a run.

  Attributes:
    bundle: what was brought.
    work: where steps write.
    out: what lies there comes back.
  """

  bundle: pathlib.Path
  work: pathlib.Path
  out: pathlib.Path


def run(
  name: str,
  slice_: Slice,
  places: Places,
  *,
  seconds: float,
  smoke: bool = False,
) -> list[dict]:
  """Runs what there is time for, and brings it back.

  Args:
    name: of the slice.
    slice_: its steps.
    places: its folders; the work folder is emptied.
    seconds: from now on, for everything.
    smoke: a CPU will do.
  Returns:
    Rows, one for each step, and those of the slice before that stand.
  Raises:
    ValueError: no bundle, no GPU, a package is missing, or the state that was
      brought is damaged. TooLargeError: not everything could come back.
  """
  deadline = time.monotonic() + seconds
  about = bundle_lib.read_about(places.bundle, name)
  shutil.rmtree(places.work, ignore_errors=True)
  places.work.mkdir(parents=True)
  earlier = _restore(slice_, places)
  environment = _environment(places)
  device = _find_device(environment, smoke=smoke)
  log, rows = places.work / returns.LOG, places.work / returns.ROWS
  log.touch()
  found = []
  for i, step in enumerate(slice_.steps):
    later = slice_.steps[i + 1 :] if step.trains else ()
    spare = _RETURN_S + sum(x.least_s for x in later)
    left = deadline - time.monotonic() - spare - _GRACE_S * step.trains
    row = _row(step, places, slice_name=name, about=about, device=device)
    old = None if slice_.state_mib else earlier.get(step.name)
    if old and all(old[key] == row[key] for key in ('commit', 'device')):
      row = old
    elif step.needs and not (places.bundle / CONTENTS[step.needs]).exists():
      row |= {'status': SKIPPED, 'why': f'no {step.needs} was brought'}
    elif left < (5.0 if smoke else step.least_s):
      row |= {'status': NO_TIME, 'why': f'{max(left, 0):.0f} s were left'}
    else:
      row |= _run_step(step, places, environment, seconds=left)
    print(f'{step.name}: {row["status"]} {row["why"]}'.rstrip(), flush=True)
    found.append(row)
    rows.write_text(''.join(json.dumps(x) + '\n' for x in found))
    returns.bring_back([rows, _tail(log)], places.out)
  _bring_back(slice_, places)
  return found


def read_rows(path: pathlib.Path) -> list[dict]:
  """Reads rows that came back.

  Raises:
    ValueError: a line is no row.
  """
  lines = files.read_text(path).splitlines()
  return [
    files.parse_json(line, _ROW, where=f'{path}, line {i}')
    for i, line in enumerate(lines, 1)
  ]


def is_good(row: dict) -> bool:
  """Whether a step did what it could."""
  return row['status'] in _GOOD


def _row(step: Step, places: Places, *, slice_name, about, device) -> dict:
  words = ' '.join(_words(step, places))
  return {
    'name': step.name,
    'slice': slice_name,
    'command': f'python -m videoar_jax.{words}',
    'commit': about['commit'],
    'device': device,
    'status': NO_TIME,
    'seconds': 0.0,
    'why': '',
    'result': {},
  }


def _words(step: Step, places: Places) -> list[str]:
  folders = {'bundle': _shown(places.bundle), 'work': _shown(places.work)}
  return [
    word.format(**folders) if '{' in word else word for word in step.words
  ]


def _shown(path: pathlib.Path) -> str:
  """A path as commands are given it: from the root, if it lies below."""
  path = path.resolve()
  return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _restore(slice_: Slice, places: Places) -> dict[str, dict]:
  """Opens the state of the slice before; its rows that stand, by name."""
  back = places.bundle / bundle_lib.BACK
  told = returns.returned(back)
  if slice_.state_mib and returns.STATE in told:
    tokenizer = places.bundle / CONTENTS['tokenizer']
    returns.open_state(
      back,
      places.work / 'run',
      tokenizer=str(tokenizer) if tokenizer.is_dir() else '',
    )
    note('going on from the state that was brought')
  if returns.ROWS not in told:
    return {}
  rows = read_rows(back / returns.ROWS)
  return {row['name']: row for row in rows if row['status'] == DONE}


def _environment(places: Places) -> dict[str, str]:
  paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
  own = {'PYTHONPATH': os.pathsep.join(filter(None, paths))}
  cache = places.bundle / CONTENTS['i3d']
  if cache.is_dir():
    own['VIDEOAR_CACHE'] = str(cache.resolve())
  programs = {'JAX_COMPILATION_CACHE_DIR': str(places.work / 'programs')}
  return {**programs, **os.environ, **own}


def _find_device(environment: dict[str, str], *, smoke: bool) -> str:
  """The device's kind, found in a process that gives it back."""
  done = subprocess.run(
    [sys.executable, '-c', _DEVICE],
    env=environment,
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ['no message']
    raise ValueError(
      f'{sys.executable} does not serve ({lines[-1]}); it needs jax, flax, '
      'optax, orbax-checkpoint and what the bundle brings'
    )
  count, platform, kind = done.stdout.strip().splitlines()[-1].split('|')
  if platform == 'cpu' and not smoke:
    raise ValueError(
      'JAX sees no accelerator here, only a CPU; --smoke runs on one'
    )
  return kind if count == '1' else f'{count} × {kind}'


def _run_step(
  step: Step, places: Places, environment: dict[str, str], *, seconds: float
) -> dict:
  """Runs one step; what its row says of it."""
  words = _words(step, places)
  command = [sys.executable, '-m', f'videoar_jax.{words[0]}', *words[1:]]
  log = places.work / f'{step.name}.log'
  started = time.monotonic()
  code = run_command(
    command,
    seconds=seconds,
    log=log,
    environment=environment,
    gently=step.trains,
  )
  with open(places.work / returns.LOG, 'ab') as whole:
    whole.write(f'\n$ {" ".join(command)}\n'.encode() + log.read_bytes())
  status, why = _status(step, code, log)
  return {
    'status': status,
    'why': why,
    'seconds': round(time.monotonic() - started, 1),
    'result': _result(step, places.work),
  }


def run_command(
  command: Sequence[str],
  *,
  seconds: float,
  log: pathlib.Path,
  environment: dict[str, str],
  gently: bool,
  grace_s: float = _GRACE_S,
) -> int | None:
  """Runs a command and all it starts, for so long.

  Args:
    command: words.
    seconds: that it is given.
    log: file of what it prints.
    environment: its variables.
    gently: at the end it gets a SIGTERM and `grace_s` to save.
    grace_s: seconds.
  Returns:
    Its exit status; None where it had to be killed.
  """
  with open(log, 'wb') as file:
    process = subprocess.Popen(
      command,
      stdout=file,
      stderr=subprocess.STDOUT,
      cwd=ROOT,
      env=environment,
      start_new_session=True,
    )
    try:
      if not _wait(process, seconds) and gently:
        process.terminate()
        _wait(process, grace_s)
      return process.poll()
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()


def _wait(process: subprocess.Popen, seconds: float) -> bool:
  """Whether a process ends in time."""
  try:
    process.wait(max(seconds, 0))
  except subprocess.TimeoutExpired:
    return False
  return True


def _status(step: Step, code: int | None, log: pathlib.Path) -> tuple[str, str]:
  if code == 0:
    return DONE, ''
  if code is None:
    return OUT_OF_TIME, ''
  if step.trains and code == 128 + signal.SIGTERM:
    return STOPPED, 'saved; the next slice goes on'
  lines = log.read_text(errors='replace').strip().splitlines()
  told = [x for x in lines if x.startswith('error:')] or lines or ['']
  return FAILED, f'({code}) {told[-1][:300]}'


def _result(step: Step, work: pathlib.Path) -> dict[str, Any]:
  """What a step measured."""
  path = work / f'{step.name}.json'
  if path.is_file():
    found = files.read_json(path, dict)
    return {'evaluate': found} if step.words[0] == 'evaluate' else found
  if not step.trains or not (work / 'run').is_dir():
    return {}
  last = {line['kind']: line for line in read_metrics(work / 'run')}
  names = {'train': 'training', 'heldout': 'heldout'}
  return {names[kind]: line for kind, line in last.items()}


def _tail(log: pathlib.Path) -> pathlib.Path:
  """The log, or its end where it is too long to come back."""
  size = log.stat().st_size
  if size > _MOST_LOG:
    data = log.read_bytes()[-_MOST_LOG:]
    log.write_bytes(f'({size - _MOST_LOG} bytes left out)\n'.encode() + data)
  return log


def _bring_back(slice_: Slice, places: Places) -> None:
  """Everything that comes back, what matters most first."""
  work = places.work
  wanted: list[pathlib.Path] = [work / returns.ROWS, work / returns.LOG]
  if slice_.state_mib and returns.pack_state(
    work / 'run', work / returns.STATE
  ):
    wanted.append(work / returns.STATE)
  pictures = [work / name for name in slice_.pictures]
  returns.bring_back(
    [*wanted, *filter(pathlib.Path.is_file, pictures)], places.out
  )
