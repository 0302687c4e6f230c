"""Long work over many files: in parallel, in order, with progress."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import process
from multiprocessing import resource_tracker

import tqdm
from absl import logging

from videoar_jax.core import files
from videoar_jax.data.failures import SHOWN, check_share

_LINE_EVERY_S = 10


@dataclasses.dataclass(frozen=True)
class Crew:
  """The processes of a job that share work, and write to one folder.

  Attributes:
    index: which one this is, from 0.
    count: how many there are.
    meet: returns once all of them have called it.
  """

  index: int = 0
  count: int = 1
  meet: Callable[[], None] = lambda: None

  def own(self, jobs: Sequence) -> Sequence:
    """What of the jobs falls to this process."""
    return jobs[self.index :: self.count]


class Workers:
  """Processes that work in parallel, begun at the first map; a context manager.

  They stay for the next map: each imports for seconds.
  """

  def __init__(self, num_workers: int):
    """Args: num_workers: processes; 0 works in this one."""
    self._num_workers = num_workers
    self._pool = None
    self._strangers = set()

  def __enter__(self) -> Workers:
    return self

  def __exit__(self, *_) -> None:
    if self._pool is not None:
      self._pool.shutdown(cancel_futures=True)

  def map(self, function: Callable, items: Iterable) -> Iterator:
    """Yields function(item) in order; with workers, a few items ahead.

    Left before its end, the workers' time is over.

    Args:
      function: picklable where there are workers.
      items: its arguments.
    Raises:
      ChildProcessError: one of them was killed, or has crashed.
    """
    if not self._num_workers:
      yield from map(function, items)
      return
    pool, waiting = self._begun(), collections.deque()
    try:
      for item in items:
        with _interrupts_held():
          waiting.append(pool.submit(function, item))
        if len(waiting) >= 4 * self._num_workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    except process.BrokenProcessPool:
      raise ChildProcessError(
        'a worker process was killed or has crashed, as where memory runs out; '
        'run it again with fewer --num_workers, or 0'
      ) from None
    except BaseException:  # nobody waits for what is being decoded
      for worker in set(multiprocessing.active_children()) - self._strangers:
        worker.terminate()
      raise

  def _begun(self) -> concurrent.futures.ProcessPoolExecutor:
    if self._pool is None:
      # Its start would let interrupts through.
      resource_tracker.ensure_running()
      self._strangers = set(multiprocessing.active_children())
      # Spawned, not forked: the parent may hold threads of JAX.
      self._pool = concurrent.futures.ProcessPoolExecutor(
        self._num_workers,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_end_with_parent,
      )
    return self._pool


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
  """Lets Ctrl-C wait; processes begun meanwhile never see it.

  Those inherit that it is blocked. Here it may reach another thread, and would
  be raised in this one while a process is half begun.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  caught = []
  handler = signal.signal(signal.SIGINT, lambda *_: caught.append(True))
  mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGINT, handler)
    if caught:
      signal.raise_signal(signal.SIGINT)


def _end_with_parent() -> None:
  """Ends this worker when its parent does, which may be killed."""

  def wait() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


class Progress:
  """A bar with ETA on a terminal, a plain line now and then elsewhere."""

  def __init__(self, total: int, unit: str):
    self._total, self._unit = total, unit
    self._done, self._worked = 0, 0
    self._begin = self._last_line = time.monotonic()
    self._bar = None
    if sys.stderr.isatty():
      self._bar = tqdm.tqdm(total=total, unit=unit, dynamic_ncols=True)

  def add(self, count: int, *, worked: bool = True) -> None:
    """Notes that `count` more are done; worked: just now, not in a past run."""
    self._done += count
    self._worked += count * worked
    if self._bar is not None:
      self._bar.update(count)
      return
    now = time.monotonic()
    if now - self._last_line >= _LINE_EVERY_S and self._worked:
      self._last_line = now
      left_s = (self._total - self._done) * (now - self._begin) / self._worked
      print(
        f'{self._done}/{self._total} {self._unit}s, {left_s:.0f} s left',
        file=sys.stderr,
        flush=True,
      )

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()


class Watch:
  """Counts results as they come, and stops where too many failed.

  Attributes:
    failures: name -> reason.
  """

  def __init__(
    self, total: int, *, max_bad_share: float, missing: Sequence[str] = ()
  ):
    """Args:
    total: results that will come.
    max_bad_share: of them, and of the missing, that may fail.
    missing: names of what failed before it began.
    """
    self.failures: dict[str, str] = dict.fromkeys(missing, 'missing')
    self._total, self._max_bad_share = total + len(missing), max_bad_share
    self._progress = Progress(total, 'video')
    self._told = 0

  def over(self, results: Iterable[tuple]) -> Iterator[tuple]:
    """Passes on (name, label, payload or None, reason), noting failures.

    Raises:
      BadDataError: more than the allowed share has failed.
    """
    for result in results:
      name, _, payload, reason = result
      self._progress.add(1)
      if payload is None:
        self._tell(name, reason)
        self._fail({name: reason})
      yield result

  def _tell(self, name: str, reason: str) -> None:
    """Names the first on the screen; all of them are in the manifest."""
    self._told += 1
    if self._told <= SHOWN:
      logging.warning('skipped %s: %s', files.shown(name), reason)
    elif self._told == SHOWN + 1:
      logging.warning('skipped more; the manifest will name them all')

  def reuse(self, count: int, failures: dict[str, str]) -> None:
    """Counts what an earlier run did."""
    self._progress.add(count, worked=False)
    self._fail(failures)

  def _fail(self, failures: dict[str, str]) -> None:
    self.failures.update(failures)
    check_share(self.failures, self._total, self._max_bad_share)

  def close(self) -> None:
    self._progress.close()


def even_ranges(count: int, parts: Sequence) -> list[tuple]:
  """Deals 0..count to the parts: (part, range), in order, of about one size."""
  total = len(parts)
  return [
    (part, range(count * i // total, count * (i + 1) // total))
    for i, part in enumerate(parts)
  ]
