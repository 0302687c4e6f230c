"""What the processes of one job agree on; each call is made by all of them.

A job has one process on each host. What one of them meets alone (a signal, a
damaged file) must not part it from the others, which would wait for it.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def is_first() -> bool:
  """Whether this process writes and says what is written and said once."""
  return jax.process_index() == 0


def agree(*flags: int) -> tuple[int, ...]:
  """The largest of each flag over all processes."""
  if jax.process_count() == 1:
    return flags
  with jax.transfer_guard('allow'):  # the flags pass through devices
    gathered = multihost_utils.process_allgather(np.array(flags, np.int32))
  return tuple(int(x) for x in gathered.max(0))


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
  if jax.process_count() == 1:
    return make()
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
  data = np.frombuffer(text.encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size)))
  data = np.resize(data, size) if data.size else np.zeros(size, np.uint8)
  return bytes(multihost_utils.broadcast_one_to_all(data)).decode()
