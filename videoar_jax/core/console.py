"""What a command tells: what goes on, and that long work still goes on."""

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

REMIND_S = 20.0


def note(text: str) -> None:
  """Tells what goes on, or what was done that was not asked for."""
  print(f'note: {text}', file=sys.stderr, flush=True)


@contextlib.contextmanager
def waiting(
  what: str, *, every_s: float = REMIND_S, quiet: bool = False
) -> Iterator[None]:
  """Says what begins and takes long, and now and then that it goes on.

  Args:
    what: it is, as "compiling the training step".
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
