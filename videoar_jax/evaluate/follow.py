"""A run's checkpoints measured as they appear: the curve of its distance.

The run may train on another machine: only committed, verified steps of its
workdir are read, which may lie in a bucket. A step that is gone before it was
read is skipped and named.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

from absl import logging
from etils import epath

from videoar_jax.core import console, export, files, processes, structure
from videoar_jax.core import manifest as manifest_lib
from videoar_jax.core.manifest import CheckpointError
from videoar_jax.evaluate import comparable, compare, protocols
from videoar_jax.evaluate.checkpoint import evaluate_checkpoint
from videoar_jax.evaluate.request import Request

LOOK_S = 10.0  # between two looks for a new checkpoint
_FIX = 'give another --out, or the old options'
# What a row says of a step.
_ROW = (
  *('step', 'digest', 'fvd', 'fvd_sd', 'fvd_inf', 'kvd', 'kvd_stderr'),
  *('gfvd', 'rfvd', 'psnr', 'ssim', 'lpips', 'class_accuracy', 'repeats'),
)
# What the whole curve says: it is the same for all rows.
_HEAD = (
  *('protocol', 'rules', 'num_real', 'num_generated', 'frames', 'resolution'),
  *('source', 'split', 'recipe', 'tokenizer_digest', 'guidance', 'temperature'),
  *('top_p', 'captions', 'weights_sha256', 'seeds'),
)
_CURVE = {
  'run': str,
  'asked': dict,
  'rows': [{'step': structure.at_least(0), 'fvd': (float, type(None))}],
  'skipped': [{'step': structure.at_least(0), 'why': str}],
}
# Of a request: what decides no figure.
_FREE = ('checkpoint', 'batch_size', 'mesh', 'parts', 'pictures', 'save')


def follow(
  request: Request, out: epath.Path, clear: Callable[[], None]
) -> dict:
  """Measures each checkpoint of a run, those to come as well, to its end.

  The curve is written after each step, and gone on with where it is there.

  Args:
    request: what is measured; its checkpoint is a workdir, or the folder of
      its checkpoints.
    out: the curve's file.
    clear: removes what was kept until a step's row was written.
  Returns:
    The curve: `rows`, one for each step that was measured; `best`, the step of
    the least distance; `skipped`, the steps that could not be read; and what
    all rows were measured with.
  Raises:
    ValueError: the file is the curve of another run, protocol or options; see
      `evaluate_checkpoint`.
  """
  run = _Run(request.checkpoint)
  curve = _begin(request, run, out)
  seen, waits = {row['step'] for row in curve['rows']}, False
  while True:
    # Before it is looked for steps: the last one may come in between.
    curve['finished'] = run.is_finished()
    steps = [step for step in run.steps() if step not in seen]
    for step in steps:
      _measure(request, run, step, curve)
      _write(out, curve)
      clear()
      seen.add(step)
    if curve['finished']:
      _write(out, curve)
      return curve
    if not steps:
      if not waits and processes.is_first():
        console.note(f'{run.folder}: waiting for the next checkpoint')
      time.sleep(LOOK_S)
    waits = not steps


class _Run:
  """The checkpoints of a run, as far as they are committed."""

  def __init__(self, path: Any):
    found = export.locate(path)
    self.home = found.parent if found.name == export.CHECKPOINTS else found
    self.folder = self.home / export.CHECKPOINTS
    config = self.home / export.CONFIG
    about = files.read_json(config, dict) if config.exists() else {}
    if manifest_lib.is_step(found) or about.get('format') == export.FORMAT:
      raise ValueError(
        f'--checkpoint={path}: nothing more comes there; give the workdir of a '
        'run to follow, or leave --follow out'
      )

  def steps(self) -> list[int]:
    """The committed steps, the same on all processes."""
    text = processes.from_first(
      lambda: json.dumps(manifest_lib.list_steps(self.folder))
    )
    return json.loads(text)

  def is_finished(self) -> bool:
    """Whether the last step of the run is committed: no other is to come."""

    def last() -> str:
      if not (self.home / export.CONFIG).exists():
        return 'false'
      train = export.read_config(self.home).get('train') or {}
      steps = manifest_lib.list_steps(self.folder)
      return json.dumps(bool(steps) and steps[-1] >= train['num_steps'])

    return json.loads(processes.from_first(last))


def _begin(request: Request, run: _Run, out: epath.Path) -> dict:
  """The curve that is there, or an empty one."""
  asked = {
    field.name: getattr(request, field.name)
    for field in dataclasses.fields(request)
    if field.name not in _FREE
  }
  if request.protocol:
    asked['protocol'] = protocols.get_protocol(request.protocol).name
  asked = json.loads(json.dumps(asked, default=str))
  curve = {'run': str(run.home), 'asked': asked, 'rows': [], 'skipped': []}
  if not out.exists():
    return curve
  found = files.read_json(out, _CURVE, fix=_FIX)
  for name, value in (('run', str(run.home)), *asked.items()):
    there = found['run'] if name == 'run' else found['asked'].get(name)
    if there != value:
      raise ValueError(
        f'{out} is a curve of {name}={there}, asked for is {value}; {_FIX}'
      )
  return found


def _measure(request: Request, run: _Run, step: int, curve: dict) -> None:
  """Adds a row, or says why there is none."""
  path = run.folder / str(step)

  def load() -> export.Loaded:
    try:
      return export.load_weights(path)
    except (CheckpointError, OSError) as error:
      gone = '' if manifest_lib.is_step(path) else 'gone before it was read: '
      raise ValueError(f'{gone}{manifest_lib.brief(error)}') from None

  loaded, reason = processes.attempt(load)
  # One that was damaged may have been put back since.
  curve['skipped'] = [x for x in curve['skipped'] if x['step'] != step]
  if reason:
    logging.warning('checkpoint %s is skipped: %s', path, reason)
    curve['skipped'].append({'step': step, 'why': reason})
    return
  if processes.is_first():
    console.note(f'checkpoint {step} of {run.home}')
  own = dataclasses.replace(request, checkpoint=str(path))
  result = evaluate_checkpoint(own, loaded)
  head = {name: result[name] for name in _HEAD if name in result}
  head = json.loads(json.dumps(head))
  if curve['rows']:
    comparable.check_comparable({'the curve': curve, f'step {step}': head})
    if differ := [x for x in head if curve.get(x) != head[x]]:
      raise ValueError(
        f'step {step} differs from the rows before in {", ".join(differ)}; '
        f'{_FIX}'
      )
  row = {name: result[name] for name in _ROW if name in result}
  row['seconds'] = sum(result['seconds'].values())
  curve |= head | {x: result[x] for x in ('versions', 'device')}
  curve['rows'] = sorted([*curve['rows'], row], key=lambda x: x['step'])
  curve['best'] = _best(curve['rows'])
  if processes.is_first():
    _tell(row, curve['best'])


def _best(rows: list[dict]) -> dict | None:
  """The step of the least distance."""
  known = [row for row in rows if row['fvd'] is not None]
  if not known:
    return None
  best = min(known, key=lambda row: row['fvd'])
  return {'step': best['step'], 'fvd': best['fvd']}


def _tell(row: dict, best: dict | None) -> None:
  words = [
    f'{name} {row[name]:.2f}'
    for name in ('fvd', 'fvd_inf', 'kvd', 'psnr')
    if row.get(name) is not None
  ]
  if best is not None:
    words.append(f'best so far: step {best["step"]}')
  console.say(f'step {row["step"]}: {", ".join(words)}')


def _write(out: epath.Path, curve: dict) -> None:
  if processes.is_first():
    compare.write_json(out, curve)
