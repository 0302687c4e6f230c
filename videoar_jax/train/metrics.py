"""Where training writes its numbers: metrics.jsonl, boards, a line."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import tensorboardX
from absl import logging
from etils import epath

from videoar_jax.core import files, structure
from videoar_jax.train import boards
from videoar_jax.train.tracking import Tracker

FILE = 'metrics.jsonl'
_COUNTS = ('skipped_updates', 'spikes')
_LINE = {'step': structure.at_least(0), 'kind': str}
_VALUES = structure.Each((float, type(None)))


class MetricWriter:
  """Appends to a run's metrics; only the first process writes."""

  def __init__(
    self,
    workdir: Any,
    *,
    start_step: int,
    project: str = '',
    config: Mapping[str, Any] | None = None,
  ):
    """Opens the files; lines after `start_step` are cut from the JSON file.

    Args:
      workdir: of the run.
      start_step: steps done; a resumed run does the later ones again.
      project: of Weights & Biases, see `tracking`; '': none.
      config: what it shows as the run's settings.
    Raises:
      ValueError: the run of Weights & Biases cannot begin.
    """
    self._path = epath.Path(workdir) / FILE
    self._board = self._tracker = None
    self._failed = False
    if jax.process_index() == 0:
      if project:
        self._tracker = Tracker(project, workdir=workdir, config=config or {})
      _cut(self._path, start_step)
      boards.register()
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
      kind: 'train' or 'heldout'; names on boards begin with it.
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
      # After a line that was cut short, begin a new one.
      files.append(self._path, '\n' * self._failed + json.dumps(line) + '\n')
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
    named = {f'{kind}/{name}': value for name, value in values.items()}
    for name, value in named.items():
      self._board.add_scalar(name, value, step)
    if self._tracker is not None:
      self._tracker.write(step, named)

  def close(self) -> None:
    """Flushes and closes the files."""
    try:
      if self._board is not None:
        self._board.close()
    except OSError as error:
      logging.error("TensorBoard's file is incomplete: %s", error)
    if self._tracker is not None:
      self._tracker.close()


def read_metrics(workdir: Any) -> list[dict[str, Any]]:
  """The lines of a run's metrics.jsonl; see `read_lines`."""

  def check(line: dict[str, Any], where: str) -> None:
    structure.check(line, _LINE, where=where)
    structure.check({**line, 'kind': None}, _VALUES, where=where)

  return read_lines(epath.Path(workdir) / FILE, check)


def read_lines(
  path: Any, check: Callable[[dict[str, Any], str], None]
) -> list[dict[str, Any]]:
  """The lines of a file of JSON to which a run appends.

  An unfinished last one, cut short by a kill, is left out; others that are no
  such lines are, too, and are counted in a warning.

  Args:
    path: of the file; where there is none, it has no lines.
    check: `(line, what to call it)` raises a ValueError for one of another
      structure.
  """
  path = epath.Path(path)
  lines, bad = [], []
  data = path.read_bytes() if path.exists() else b''
  for number, text in enumerate(data.splitlines(keepends=True), 1):
    if not text.strip():
      continue
    where = f'line {number}'
    try:
      line = files.parse_json(text, dict, where=where)
      check(line, where)
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
  with files.replacing(path) as partial:
    partial.write_text(''.join(json.dumps(line) + '\n' for line in kept))


class Averages:
  """Means of metrics over the steps between two log lines.

  Values that are not finite are left out of a mean; the numbers of skipped
  updates, which say that there were some, and of spikes are sums.
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


@dataclasses.dataclass(frozen=True)
class Telling:
  """The one figure, beside the loss, that says how well a network does.

  Attributes:
    name: of the metric.
    label: what a line of progress calls it.
  """

  name: str
  label: str


def quality(
  values: Mapping[str, float], telling: Telling | None, *, prefix: str = ''
) -> str:
  """The loss and the telling figure, as 'loss 0.0262 PSNR 31.7'.

  Args:
    values: metrics; what they lack is left out.
    telling: besides the loss.
    prefix: of the metrics' names, where several networks train.
  """
  shown = [('loss', 'loss')]
  shown += [(telling.name, telling.label)] if telling else []
  return ' '.join(
    f'{label} {values[prefix + name]:.4g}'
    for name, label in shown
    if prefix + name in values
  )


def speed(values: Mapping[str, float], *, steps_left: int) -> str:
  """Clips and seconds, the share of waiting for data, the time still to go.

  Args:
    values: with `clips_per_s`, `step_s` and `data_wait_s`; the share of the
      chips' rate is told where it is known (`mfu`).
    steps_left: of the run.
  """
  seconds = values['step_s']
  share = values['data_wait_s'] / seconds if seconds else 0.0
  used = f'mfu {values["mfu"]:.0%} ' if 'mfu' in values else ''
  return (
    f'{_brief(values["clips_per_s"])} clips/s {_brief(seconds)} s/step '
    f'data {share:.0%} {used}eta {duration(steps_left * seconds)}'
  )


def _brief(value: float) -> str:
  """Three digits, and no exponent where it is large."""
  return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def duration(seconds: float) -> str:
  """Writes seconds as 0:42, 5:01, 3h05 or 2d03h."""
  if seconds < 3600 - 0.5:
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes}:{rest:02d}'
  hours, minutes = divmod(round(seconds / 60), 60)
  days, rest = divmod(hours, 24)
  return f'{days}d{rest:02d}h' if days else f'{hours}h{minutes:02d}'
