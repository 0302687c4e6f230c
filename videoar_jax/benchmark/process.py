"""A measurement in a process of its own, so that its memory is its own."""

import contextlib
import multiprocessing
import os
import pathlib
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from videoar_jax.core import command

_END_S = 30.0  # for the process to end those that it began
_STATUS = pathlib.Path('/proc/self/status')


def run_alone(
  function: Callable,
  *arguments: Any,
  environment: Mapping[str, str] | None = None,
) -> Any:
  """Calls a function of a module in a fresh process, and returns its result.

  Args:
    function: what to call.
    *arguments: what it is given.
    environment: what the process finds in its environment besides.

  Raises:
    ValueError: what a user is told of the function's error; or the process was
      killed, as where there is no memory left.
    RuntimeError: any other error, with its traceback.
  """
  context = multiprocessing.get_context('spawn')
  answer, told = context.Pipe(duplex=False)
  process = context.Process(target=_call, args=(told, function, arguments))
  with _environment(environment or {}):
    process.start()
  told.close()  # so that reading ends when the child does
  try:
    result, refusal, fault = answer.recv()
    process.join(_END_S)
  except EOFError:
    process.join()
    values = ', '.join(str(x) for x in arguments if isinstance(x, int | str))
    raise ValueError(
      f'{function.__name__}({values}): its process ended with status '
      f'{process.exitcode}, perhaps for want of memory; ask for less'
    ) from None
  finally:
    process.terminate()
    process.join()
  if refusal:
    raise ValueError(refusal)
  if fault:
    raise RuntimeError(fault)
  return result


@contextlib.contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
  """Adds to the environment of this process, for a time."""
  before = dict(os.environ)
  os.environ.update(added)
  try:
    yield
  finally:
    os.environ.clear()
    os.environ.update(before)


def _call(told: Any, function: Callable, arguments: tuple) -> None:
  """Sends a function's result, or what is to be said of its error."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
  try:
    told.send((function(*arguments), None, None))
  except Exception as error:
    refusal = command.describe(error)
    told.send((None, refusal, traceback.format_exc()))


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
