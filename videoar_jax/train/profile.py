"""Traces of some steps of a run, for XProf."""

import contextlib
import pathlib
import re
import tempfile
from typing import Any

import jax
from absl import logging
from etils import epath

from videoar_jax.core import console, processes

FOLDER = 'profile'
_FORM = re.compile(r'([1-9]\d{0,9}):([1-9]\d{0,9})')


def parse_steps(text: str, *, num_steps: int) -> tuple[int, int] | None:
  """The first and the last step to trace, counted from 1; of '' none.

  Raises:
    ValueError: no such range, or the run has no such steps.
  """
  if not text:
    return None
  match = _FORM.fullmatch(text)
  first, last = map(int, match.groups()) if match else (0, -1)
  if first > last:
    raise ValueError(
      f'profile_steps={text}: wanted FIRST:LAST, counted from 1, as 101:105'
    )
  if last > num_steps:
    raise ValueError(
      f'profile_steps={text}: the run has {num_steps} steps (train.num_steps)'
    )
  return first, last


class Profile:
  """Traces a range of steps into WORKDIR/profile, in the first process."""

  def __init__(self, workdir: Any, steps: tuple[int, int] | None, *, done: int):
    """Args:
    workdir: of the run.
    steps: the first and the last; None traces nothing.
    done: steps done before; those are not traced.
    """
    self._folder = epath.Path(workdir) / FOLDER
    self._steps = steps if processes.is_first() else None
    self._local: tempfile.TemporaryDirectory | None = None
    if self._steps and self._steps[1] <= done:
      console.note(
        f'profile_steps={steps[0]}:{steps[1]}: {done} steps are done already; '
        'nothing is traced'
      )
      self._steps = None

  def step(self, number: int) -> contextlib.AbstractContextManager:
    """A context for handing out a step; begins the trace where it is time."""
    if not self._steps or not self._steps[0] <= number <= self._steps[1]:
      return contextlib.nullcontext()
    if self._local is None:
      self._local = tempfile.TemporaryDirectory()
      jax.profiler.start_trace(self._local.name)
    return jax.profiler.StepTraceAnnotation('train', step_num=number)

  def end(self, number: int, metrics: Any) -> None:
    """Ends the trace after its last step, once the devices are done with it."""
    if self._local is not None and number >= self._steps[1]:
      jax.block_until_ready(metrics)
      self.close()

  def close(self) -> None:
    """Writes the trace, if one was begun."""
    if self._local is None:
      return
    folder, self._local, self._steps = self._local, None, None
    try:
      with folder as local:
        jax.profiler.stop_trace()
        self._copy(pathlib.Path(local))
    except (OSError, RuntimeError) as error:
      logging.error('no trace in %s: %s. Training goes on', self._folder, error)
      return
    console.say(
      f'trace in {self._folder}; pip install xprof, then xprof '
      f'--logdir={self._folder}'
    )

  def _copy(self, local: pathlib.Path) -> None:
    for path in local.rglob('*'):
      if path.is_file():
        target = self._folder / path.relative_to(local)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
