"""A measurement in a process of its own, so that its memory is its own."""

import multiprocessing
import pathlib
import resource
import sys
from collections.abc import Callable
from typing import Any

import jax

_STATUS = pathlib.Path('/proc/self/status')


def run_alone(function: Callable, *arguments: Any) -> Any:
  """Calls a function of a module in a fresh process, and returns its result.

  Raises:
    Whatever the function does.
  """
  context = multiprocessing.get_context('spawn')
  with context.Pool(1) as pool:
    return pool.apply(function, arguments)


def peak_host_bytes() -> int:
  """The most memory this process has held at a time."""
  # getrusage counts what the parent held when it began this process, too.
  told = _told_by_system('VmHWM')
  if told is not None:
    return told
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else peak * 1024


def held_host_bytes() -> int | None:
  """The memory this process holds now; None where that is not told."""
  return _told_by_system('VmRSS')


def peak_device_bytes() -> int | None:
  """The same of the first device; None where it is the host."""
  statistics = jax.devices()[0].memory_stats()
  return statistics and statistics.get('peak_bytes_in_use')


def _told_by_system(name: str) -> int | None:
  """A size in Linux's account of this process, bytes; None without one."""
  if not _STATUS.exists():
    return None
  for line in _STATUS.read_text().splitlines():
    if line.startswith(f'{name}:'):
      return int(line.split()[1]) * 1024
  return None
