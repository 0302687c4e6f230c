"""How the processes of a job commit a checkpoint: all of them, or none.

Each process writes its part in a thread of Orbax. The threads meet before the
first process commits the whole, and once more after it. A thread that failed
would not come, and the others would wait twenty minutes for it; here its
process comes in its place and says so, and all give the checkpoint up.
"""

import contextlib
import itertools

import jax
from jax._src import distributed  # the store of the job's coordinator

_MEETINGS = 2  # in one save
_PATIENCE_MS = 20 * 60 * 1000  # as long as Orbax waits for a slow disk
_saves = itertools.count()


class Meetings:
  """Takes the place of Orbax's barrier for the saves of one writer."""

  def __init__(self):
    self._save, self._left = '', 0

  def begin(self) -> None:
    """Begins a save, on all processes before any of them writes."""
    self._save, self._left = f'videoar_jax/save/{next(_saves)}', _MEETINGS

  def __call__(self, *, key: str, timeout_ms: int) -> None:
    """Waits for all processes.

    Raises:
      OSError: one of them failed.
      RuntimeError: one did not come in time.
    """
    # Where this raises, all processes know, and none waits for another one.
    left, self._left = self._left, 0
    client = distributed.global_state.client
    client.wait_at_barrier(f'{self._save}/{left}', timeout_ms)
    if client.key_value_dir_get(f'{self._save}/failed'):
      raise OSError('another process could not write its part; it says why')
    self._left = left - 1

  def give_up(self) -> None:
    """Tells the others, which wait or will, that this process failed."""
    if jax.process_count() == 1 or not self._left:
      return
    process = jax.process_index()
    client = distributed.global_state.client
    client.key_value_set(f'{self._save}/failed/{process}', 'yes')
    with contextlib.suppress(OSError, RuntimeError):
      self(key='', timeout_ms=_PATIENCE_MS)
