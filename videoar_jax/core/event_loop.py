"""Event loops that close when all that they began has come to an end.

Orbax closes its loop as soon as one of many reads or writes fails. The others
go on in threads of TensorStore, which then find the loop closed, and each
prints a traceback of its own above the message that says what is wrong.
"""

import asyncio
import functools

_WAIT_S = 30.0


class _PatientLoop(asyncio.SelectorEventLoop):
  def close(self) -> None:
    if not (self.is_closed() or self.is_running()):
      tasks = asyncio.all_tasks(self)
      if tasks:
        self.run_until_complete(asyncio.wait(tasks, timeout=_WAIT_S))
      for task in tasks:
        if task.done() and not task.cancelled():
          task.exception()  # seen: the first one was raised already
    super().close()


class _Policy(asyncio.DefaultEventLoopPolicy):
  _loop_factory = _PatientLoop


@functools.cache
def be_patient() -> None:
  """Makes the loops of this process so, unless it has loops of its own."""
  if type(asyncio.get_event_loop_policy()) is asyncio.DefaultEventLoopPolicy:
    asyncio.set_event_loop_policy(_Policy())
