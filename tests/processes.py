"""Processes that tests begin and watch."""

import pathlib
import time


def wait_for(condition, what, limit_s=30):
  """Returns once the condition holds, within the limit."""
  end = time.monotonic() + limit_s
  while not condition():
    assert time.monotonic() < end, f'{what} took too long'
    time.sleep(0.05)


def children(process):
  """The ids of a process's own processes."""
  path = f'/proc/{process.pid}/task/{process.pid}/children'
  return pathlib.Path(path).read_text().split()
