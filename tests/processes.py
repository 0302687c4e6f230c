"""Processes that tests begin and watch."""

import pathlib
import time


def wait_for(condition, what):
  """Returns once the condition holds, within half a minute."""
  end = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < end, f'{what} took too long'
    time.sleep(0.05)


def children(process):
  """The ids of a process's own processes."""
  path = f'/proc/{process.pid}/task/{process.pid}/children'
  return pathlib.Path(path).read_text().split()
