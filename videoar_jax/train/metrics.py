"""Where training writes its numbers: metrics.jsonl, TensorBoard, a line."""

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import tensorboardX
from absl import logging
from etils import epath

from videoar_jax.core import files, structure

FILE = 'metrics.jsonl'
_COUNTS = ('skipped_updates',)
_LINE = {'step': structure.at_least(0), 'kind': str}
_VALUES = structure.Each((float, type(None)))


class MetricWriter:
  """Appends to a run's metrics; only the first process writes."""

  def __init__(self, workdir: Any, *, start_step: int):
    """Opens the files; lines after `start_step` are cut from the JSON file.

    Args:
      workdir: of the run.
      start_step: steps done; a resumed run does the later ones again.
    """
    self._path = epath.Path(workdir) / FILE
    self._board = None
    self._failed = False
    if jax.process_index() == 0:
      _cut(self._path, start_step)
      self._board = tensorboardX.SummaryWriter(
        str(epath.Path(workdir) / 'tensorboard'),
        purge_step=start_step + 1,
        # A full disk ends its thread; a bounded queue would then block.
        max_queue=10**6,
      )

  def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
    """Writes one line `{"step": …, "kind": …, name: value, …}`.

    Args:
      step: steps done.
      kind: 'train' or 'heldout'; TensorBoard's names begin with it.
      values: numbers; what is not finite becomes null.

    A full disk is logged and stops nothing.
    """
    if self._board is None:
      return
    values = {name: float(value) for name, value in values.items()}
    line = {'step': step, 'kind': kind}
    for name, value in values.items():
      line[name] = value if math.isfinite(value) else None
    try:
      with self._path.open('a') as file:
        # After a line that was cut short, begin a new one.
        file.write('\n' * self._failed + json.dumps(line) + '\n')
      self._failed = False
    except OSError as error:
      self._failed = True
      logging.error(
        'metrics of step %d are not in %s: %s. Training goes on',
        step,
        self._path,
        error,
      )
      return
    for name, value in values.items():
      self._board.add_scalar(f'{kind}/{name}', value, step)

  def close(self) -> None:
    """Flushes and closes the files."""
    try:
      if self._board is not None:
        self._board.close()
    except OSError as error:
      logging.error("TensorBoard's file is incomplete: %s", error)


def read_metrics(workdir: Any) -> list[dict[str, Any]]:
  """The lines of a run's metrics.jsonl.

  An unfinished last one, cut short by a kill, is left out; others that are no
  metrics are, too, and are counted in a warning.
  """
  path = epath.Path(workdir) / FILE
  lines, bad = [], []
  data = path.read_bytes() if path.exists() else b''
  for number, text in enumerate(data.splitlines(keepends=True), 1):
    if not text.strip():
      continue
    where = f'line {number}'
    try:
      line = files.parse_json(text, _LINE, where=where)
      structure.check({**line, 'kind': None}, _VALUES, where=where)
      lines.append(line)
    except ValueError as error:
      if text.endswith(b'\n'):
        bad.append(str(error))
  if bad:
    logging.warning('%s: %d lines left out: %s', path, len(bad), bad[0])
  return lines


def _cut(path: epath.Path, last_step: int) -> None:
  if not path.exists():
    return
  kept = [x for x in read_metrics(path.parent) if x['step'] <= last_step]
  partial = path.parent / f'{FILE}.partial'
  partial.write_text(''.join(json.dumps(line) + '\n' for line in kept))
  partial.replace(path)


class Averages:
  """Means of metrics over the steps between two log lines.

  Values that are not finite are left out of a mean; the number of skipped
  updates, which says that there were some, is a sum.
  """

  def __init__(self):
    self._values: dict[str, list[float]] = {}

  def add(self, values: Mapping[str, float]) -> None:
    """Adds one step's metrics."""
    for name, value in values.items():
      self._values.setdefault(name, []).append(float(value))

  def take(self) -> dict[str, float]:
    """Returns the means and starts again."""
    values, self._values = self._values, {}
    means = {}
    for name, seen in values.items():
      finite = [x for x in seen if math.isfinite(x)]
      total = sum(finite)
      if name in _COUNTS:
        means[name] = total
      else:
        means[name] = total / len(finite) if finite else math.nan
    return means


def console_line(step: int, num_steps: int, values: Mapping[str, float]) -> str:
  """One line of progress: metrics, speed, and the time still to go.

  Args:
    step: steps done.
    num_steps: of the run.
    values: metrics, with `clips_per_s`, `step_s` and `data_wait_s`.
  """
  values = dict(values)
  clips, seconds = values.pop('clips_per_s'), values.pop('step_s')
  wait = values.pop('data_wait_s')
  if not values.get('skipped_updates'):
    values.pop('skipped_updates', None)
  names = sorted(values, key=lambda name: not name.endswith('loss'))
  shown = ' '.join(f'{name} {values[name]:.4g}' for name in names)
  eta = duration((num_steps - step) * seconds)
  return (
    f'step {step}/{num_steps} {shown} {clips:.1f} clips/s '
    f'{seconds:.3g} s/step data {wait:.2g} s eta {eta}'
  )


def duration(seconds: float) -> str:
  """Writes seconds as m:ss or h:mm:ss."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{seconds:02d}'
  return f'{minutes}:{seconds:02d}'
