"""What a command tells: what goes on, and that long work still goes on."""

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from absl import logging
from tqdm import tqdm

REMIND_S = 20.0
_BAR = 'step {n_fmt}/{total_fmt} {bar:12} {desc}'


def say(text: str) -> None:
  """Prints a line of results, above a progress bar if one is shown."""
  with tqdm.external_write_mode():
    print(text, flush=True)


def note(text: str) -> None:
  """Tells what goes on, or what was done unasked."""
  with tqdm.external_write_mode(file=sys.stderr):
    print(f'note: {text}', file=sys.stderr, flush=True)


class Progress:
  """How far long work is: a bar on a terminal, elsewhere a line now and then.

  A context manager.
  """

  def __init__(self, total: int, *, done: int = 0, quiet: bool = False):
    """Args:
    total: steps in all.
    done: of them before this.
    quiet: shows nothing, as processes other than the first do.
    """
    self._quiet, self._bar = quiet, None
    if not quiet and _has_columns():
      self._bar = tqdm(
        total=total,
        initial=done,
        bar_format=_BAR,
        dynamic_ncols=True,
        file=sys.stdout,
      )

  def __enter__(self) -> 'Progress':
    if self._bar is not None:
      logging.get_absl_handler().addFilter(self._make_room)
    return self

  def __exit__(self, *_) -> None:
    if self._bar is not None:
      logging.get_absl_handler().removeFilter(self._make_room)
      self._bar.close()

  def add(self, steps: int = 1) -> None:
    """Counts steps that are done."""
    if self._bar is not None:
      self._bar.update(steps)

  def show(self, where: str, figures: str) -> None:
    """Shows how the work goes: beside the bar, or in a line of its own.

    Args:
      where: how far it is, as 'step 3/10'; not printed beside a bar.
      figures: what is told.
    """
    if self._bar is not None:
      self._bar.set_description_str(figures)
    elif not self._quiet:
      say(f'{where} {figures}')

  def _make_room(self, _: Any) -> bool:
    """Takes the bar away from where a warning is about to be written."""
    self._bar.clear()
    return True


def _has_columns() -> bool:
  """Whether stdout is a terminal whose width is known."""
  try:
    return os.get_terminal_size(sys.stdout.fileno()).columns > 0
  except (OSError, ValueError, AttributeError):  # a file, a pipe, a notebook
    return False


@contextlib.contextmanager
def waiting(
  what: str, *, every_s: float = REMIND_S, quiet: bool = False
) -> Iterator[None]:
  """Says what begins and takes long, and now and then that it goes on.

  Args:
    what: what takes long, as "compiling the training step".
    every_s: seconds between two reminders.
    quiet: says nothing, as processes other than the first do.
  """
  if quiet:
    yield
    return
  note(f'{what} …')
  begin, done = time.monotonic(), threading.Event()

  def remind() -> None:
    while not done.wait(every_s):
      note(f'{what}: {time.monotonic() - begin:.0f} s so far')

  thread = threading.Thread(target=remind, name='waiting', daemon=True)
  thread.start()
  try:
    yield
  finally:
    done.set()
    thread.join()


def first_slow(items: Iterable[Any], what: str) -> Iterator[Any]:
  """Passes items on, and says `what` while the first is waited for."""
  rest = iter(items)
  with waiting(what):
    first = list(itertools.islice(rest, 1))
  yield from first
  yield from rest


def count(number: int) -> str:
  """A number for reading: 812, 3.1 k, 926 M, 2.2 G."""
  for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
    if number >= size:
      value = number / size
      return f'{value:.0f} {unit}' if value >= 100 else f'{value:.3g} {unit}'
  return str(number)
