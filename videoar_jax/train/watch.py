"""Notices that a run hangs, and says where."""

import faulthandler
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import jax
from absl import logging
from etils import epath

from videoar_jax.core.peers import LOST
from videoar_jax.train.clock import DATA, STEPS, Clock

HUNG = LOST  # exit status: the same command goes on
# What takes long by itself (the first step, an evaluation, a save) may take
# so many times as long as a step.
_PATIENCE = 10
_TICKS = 20  # looks in one period
_LAST_WORD_S = 5.0  # to say that the process ends


class Watch:
  """Within `with`, a thread that watches a clock whose events are a run's.

  Where nothing happens for so long, it writes the stacks of all threads to
  stderr and to hang-PROCESS.txt in the workdir. Where nothing happens for as
  long again, it ends the process with status `HUNG`: a run that is started
  again goes on from its last checkpoint, one that hangs does not.
  """

  def __init__(self, clock: Clock, workdir: Any, *, after_s: float):
    """Args:
    clock: of the run.
    workdir: of the run.
    after_s: of nothing while steps are done; 0 watches nothing.
    """
    self._clock, self._after_s = clock, after_s
    self._path = epath.Path(workdir) / f'hang-{jax.process_index()}.txt'
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self) -> Self:
    if self._after_s:
      self._thread.start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._ended.set()

  def _watch(self) -> None:
    # Looks are counted, not seconds: a process that was halted did not hang.
    tick_s, looks, seen = self._after_s / _TICKS, 0, -1
    while not self._ended.wait(tick_s):
      if self._clock.events != seen:
        looks, seen = 0, self._clock.events
        continue
      looks += 1
      quick = self._clock.kind in (STEPS, DATA)
      most = _TICKS if quick else _TICKS * _PATIENCE
      if looks == most:
        _aside(self._tell, looks * tick_s)
      if looks == 2 * most:
        _aside(self._tell_end, looks * tick_s).join(_LAST_WORD_S)
        os._exit(HUNG)

  def _tell(self, seconds: float) -> None:
    with tempfile.TemporaryFile('w+') as file:  # faulthandler wants a real one
      faulthandler.dump_traceback(file, all_threads=True)
      file.seek(0)
      stacks = file.read()
    text = (
      f'nothing happened for {seconds:.0f} s while busy with '
      f'{self._clock.kind!r} (train.hang_after_s={self._after_s:g}); where all '
      'threads are'
    )
    print(f'{text}:\n{stacks}', file=sys.stderr, flush=True)
    try:
      self._path.write_text(f'{text}:\n{stacks}')
    except Exception as error:  # whatever a bucket's client raises
      logging.error('%s: %s', self._path, error)

  def _tell_end(self, seconds: float) -> None:
    logging.error(
      'nothing happened for %.0f s: ends with status %d; the same command '
      'resumes',
      seconds,
      HUNG,
    )
    logging.flush()


def _aside(tell: Callable[[float], None], seconds: float) -> threading.Thread:
  """Tells something in a thread of its own: what hangs may be the disk."""
  thread = threading.Thread(target=tell, args=(seconds,), daemon=True)
  thread.start()
  return thread
