"""The stages of an evaluation: seconds spent, and progress."""

import contextlib
import time
from collections.abc import Iterator

from videoar_jax.core import console
from videoar_jax.core.processes import is_first
from videoar_jax.data.work import Progress


class Stages:
  """Times named stages.

  Attributes:
    seconds: name -> wall-clock seconds, in the order the stages began.
  """

  def __init__(self):
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def spent(self, name: str) -> Iterator[None]:
    """Adds the time until the block ends to the stage."""
    begin = time.monotonic()
    try:
      yield
    finally:
      spent = time.monotonic() - begin
      self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)

  @contextlib.contextmanager
  def timed(self, name: str) -> Iterator[None]:
    """As `spent`, and says what begins and that it goes on."""
    with self.spent(name), console.waiting(name):
      yield

  @contextlib.contextmanager
  def counted(self, name: str, total: int) -> Iterator[Progress]:
    """As `timed`, with a progress bar (or lines) with ETA over videos.

    Of several processes the first one shows its own.
    """
    with self.timed(name):
      progress = Progress(total, 'video') if is_first() else _Silent()
      try:
        yield progress
      finally:
        progress.close()


class _Silent:
  """In place of progress that another process shows."""

  def add(self, count: int, *, worked: bool = True) -> None:
    del count, worked

  def close(self) -> None:
    pass
