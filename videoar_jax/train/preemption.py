"""A signal asks training to finish its step and save; a second one kills."""

import signal
from types import FrameType, TracebackType
from typing import Self

from absl import logging

from videoar_jax.core.processes import AgreedExit

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(AgreedExit):
  """Training stopped at a signal, saved; exit status 128 + its number.

  All processes of a job stop after the same step, whichever got the signal.
  """

  def __init__(self, number: int, step: int):
    super().__init__(128 + number)
    self.step = step


class StopRequest:
  """Within `with`, remembers the first SIGTERM or SIGINT (Ctrl-C).

  Attributes:
    number: of the signal that came, or None.
  """

  def __init__(self):
    self.number: int | None = None
    self._previous: dict[int, object] = {}

  def __enter__(self) -> Self:
    for number in SIGNALS:
      try:
        self._previous[number] = signal.signal(number, self._handle)
      except ValueError:  # only a process's main thread may handle signals
        break
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._restore()

  def _restore(self) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler or signal.SIG_DFL)
    self._previous = {}

  def _handle(self, number: int, frame: FrameType | None) -> None:
    if self.number is not None:
      self._restore()
      raise KeyboardInterrupt
    self.number = number
    logging.warning(
      '%s: finishing this step, then saving; once more stops at once',
      signal.Signals(number).name,
    )
