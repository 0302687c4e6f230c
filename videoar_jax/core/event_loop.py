"""Keeps Orbax from printing tracebacks: its error is told once, by its caller.

Orbax closes its event loop as soon as one of many reads or writes fails. The
others go on in threads of TensorStore, which then find the loop closed, and
each prints a traceback of its own above the message that says what is wrong.
Its own threads log tracebacks of errors that they raise as well.
"""

import asyncio
import functools
import logging

_WAIT_S = 30.0


class _PatientLoop(asyncio.SelectorEventLoop):
  def close(self) -> None:
    if not (self.is_closed() or self.is_running()):
      tasks = asyncio.all_tasks(self)
      if tasks:
        self.run_until_complete(asyncio.wait(tasks, timeout=_WAIT_S))
      for task in tasks:
        if task.done() and not task.cancelled():
          task.exception()  # marks it as seen: the first was raised
    super().close()


class _Policy(asyncio.DefaultEventLoopPolicy):
  _loop_factory = _PatientLoop


def _is_news(record: logging.LogRecord) -> bool:
  """False for a log record of an error that Orbax raises as well."""
  return record.exc_info is None or '/orbax/' not in record.pathname


@functools.cache
def let_fail_in_peace() -> None:
  """Makes event loops, when they close, wait for the tasks that they began.

  A process that has set a policy for its loops keeps it.
  """
  logging.getLogger('absl').addFilter(_is_news)
  if type(asyncio.get_event_loop_policy()) is asyncio.DefaultEventLoopPolicy:
    asyncio.set_event_loop_policy(_Policy())
