"""Which share of a run's time went into steps that counted.

Each start appends its seconds to times.jsonl in the workdir, at its beginning,
at each line of metrics and at its end, so that a kill loses no more than what
came after the last line; that, and the time in which no start was at work,
counts as time between runs.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from videoar_jax.core import files, processes, structure
from videoar_jax.train.clock import BEGIN, KINDS, STEPS, Clock
from videoar_jax.train.metrics import duration, read_lines

FILE = 'times.jsonl'
LOST, BETWEEN = 'lost', 'between'
_LINE = {
  'start': structure.at_least(0),
  'step': structure.at_least(0),
  'time': structure.positive,
  'seconds': structure.Each(float, key=structure.one_of(*KINDS)),
}
_NAMES = {BEGIN: 'start-up', LOST: 'lost steps', BETWEEN: 'between runs'}
_LEAST = 0.005  # share of the time that is worth a word


class Times:
  """Appends one start's seconds; only the first process writes."""

  def __init__(self, workdir: Any, clock: Clock, *, step: int):
    """Begins with a line of its own.

    Args:
      workdir: of the run.
      clock: of this start, since when it is at work.
      step: steps done before.
    """
    self._path, self._clock = epath.Path(workdir) / FILE, clock
    self._start = 0
    if processes.is_first():
      earlier = read_times(workdir)
      self._start = 1 + max((x['start'] for x in earlier), default=-1)
    self._write(step, time.time() - sum(clock.seconds().values()), {})

  def write(self, step: int) -> None:
    """Appends what was spent up to now, `step` steps done."""
    self._write(step, time.time(), self._clock.seconds())

  def _write(self, step: int, now: float, seconds: Mapping[str, float]) -> None:
    if not processes.is_first():
      return
    line = {
      'start': self._start,
      'step': step,
      'time': round(now, 3),
      'seconds': {kind: round(x, 3) for kind, x in seconds.items()},
    }
    try:
      # The line before may have been cut short by a kill.
      files.append(self._path, '\n' * (not seconds) + json.dumps(line) + '\n')
    except OSError as error:
      logging.error('%s: %s. Training goes on', self._path, error)


def read_times(workdir: Any) -> list[dict[str, Any]]:
  """The lines of a run's times.jsonl; see `metrics.read_lines`."""

  def check(line: dict[str, Any], where: str) -> None:
    structure.check(line, _LINE, where=where)

  return read_lines(epath.Path(workdir) / FILE, check)


def spent(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Seconds of a run by what they went into, those it did not run included.

  Args:
    lines: of `read_times`.
  Returns:
    Those of `clock.KINDS`, of all starts; of steps only those that counted,
    `lost` being those that a later start did again; `between` all the rest of
    the time from the first start to the last line. Without lines, nothing.
  """
  starts: dict[int, list[Mapping[str, Any]]] = {}
  for line in lines:
    starts.setdefault(line['start'], []).append(line)
  if not starts:
    return {}
  total = dict.fromkeys((*KINDS, LOST, BETWEEN), 0.0)
  later = np.inf  # the first step that a later start did
  for own in reversed(starts.values()):
    for kind, seconds in own[-1]['seconds'].items():
      total[kind] += seconds
    done = [line['step'] for line in own]
    seconds = [line['seconds'].get(STEPS, 0.0) for line in own]
    lost = seconds[-1] - np.interp(min(later, done[-1]), done, seconds)
    total[STEPS] -= lost
    total[LOST] += lost
    later = min(later, done[0])
  whole = lines[-1]['time'] - lines[0]['time']
  # Starts on several machines may differ in what time it is.
  total[BETWEEN] = max(0.0, whole - sum(total.values()))
  return total


def describe(lines: Sequence[Mapping[str, Any]]) -> str:
  """A run's share, and where the rest went: '83% of 3h05: steps …'; or ''."""
  seconds = spent(lines)
  whole = sum(seconds.values())
  if not whole:
    return ''
  parts = [
    f'{_NAMES.get(kind, kind)} {duration(seconds[kind])}'
    for kind in sorted(seconds, key=lambda x: (x != STEPS, -seconds[x]))
    if seconds[kind] >= _LEAST * whole
  ]
  starts = len({line['start'] for line in lines})
  when = f' in {starts} starts' if starts > 1 else ''
  share = seconds[STEPS] / whole
  return f'{share:.0%} of {duration(whole)}{when}: {", ".join(parts)}'
