"""What the processes of one job agree on; each call is made by all of them.

A job has one process on each host. What one of them meets alone (a signal, a
damaged file) must not part it from the others, which would wait for it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class AgreedExit(SystemExit):
  """All processes of a job end at the same place, with the same status."""


def is_first() -> bool:
  """Whether this process writes and says what is written and said once."""
  return jax.process_index() == 0


def agree(*flags: int) -> tuple[int, ...]:
  """The largest of each flag over all processes."""
  return ask(*flags)()


def ask(*flags: int) -> Callable[[], tuple[int, ...]]:
  """Begins to agree; what is returned waits for what `agree` returns.

  The devices do it after the work that they were given before, so that who
  waits later waits for nothing.
  """
  if jax.process_count() == 1:
    return lambda: flags
  spread, largest = _meeting()
  with jax.transfer_guard('allow'):  # the flags pass through devices
    own = np.array([flags], np.int32)
    found = largest(jax.make_array_from_process_local_data(spread, own))

  def answer() -> tuple[int, ...]:
    return tuple(int(x) for x in jax.device_get(found))

  return answer


@functools.cache
def _meeting() -> tuple[NamedSharding, Callable[[jax.Array], jax.Array]]:
  """How one row of each process is laid out, and what takes their maximum."""
  devices = sorted(jax.devices(), key=lambda x: (x.process_index, x.id))
  rows = np.array(devices).reshape(jax.process_count(), -1)
  mesh = Mesh(rows, ('process', 'device'))
  everywhere = NamedSharding(mesh, PartitionSpec())
  largest = jax.jit(lambda x: x.max(0), out_shardings=everywhere)
  return NamedSharding(mesh, PartitionSpec('process')), largest


def attempt(
  work: Callable[[], Any], describe: Callable[[Exception], str] = str
) -> tuple[Any, str]:
  """Does something on all processes: the result, or why one of them failed.

  Args:
    work: done by each process, without the others.
    describe: an error in few words.
  Returns:
    The result and '', or None and the reason, on all processes.
  """
  try:
    value, reason = work(), ''
  except Exception as error:  # the others must not wait for ever
    value, reason = None, describe(error) or type(error).__name__
  (failed,) = agree(int(bool(reason)))
  if failed:
    return None, reason or 'another process failed; it says why'
  return value, ''


def from_first(make: Callable[[], str]) -> str:
  """A text that the first process makes, on all of them.

  Raises:
    ValueError: on the other processes, where the first one failed.
  """
  text, failure = '', None
  if is_first():
    try:
      text = make()
    except Exception as error:  # the others must not wait for ever
      failure = error
  (failed,) = agree(int(failure is not None))
  if failure is not None:
    raise failure
  if failed:
    raise ValueError('the first process failed; it says why')
  return text_of(0, text)


def text_of(process: int, text: str) -> str:
  """The text of one process, on all of them."""
  return bytes_of(process, text.encode()).decode()


def bytes_of(process: int, data: bytes) -> bytes:
  """What one process has, on all of them."""
  if jax.process_count() == 1:
    return data
  speaks = jax.process_index() == process
  data = np.frombuffer(data, np.uint8)
  with jax.transfer_guard('allow'):
    size = int(
      multihost_utils.broadcast_one_to_all(np.int32(data.size), speaks)
    )
    data = np.resize(data, size) if data.size else np.zeros(size, np.uint8)
    data = multihost_utils.broadcast_one_to_all(data, speaks)
  return bytes(data)
