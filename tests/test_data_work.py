"""Long work: progress that is seen, workers that end however it ends."""

import io
import os
import pathlib
import subprocess
import sys

import pytest
from processes import children, wait_for

from videoar_jax.core import command
from videoar_jax.data import work

ROOT = pathlib.Path(__file__).parents[1]


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
  screen = io.StringIO()
  screen.isatty = lambda: True
  monkeypatch.setattr('sys.stderr', screen)
  watch = work.Watch(3, max_bad_share=1)
  list(watch.over([('x', 0, b'', '')]))
  watch.close()
  assert '| 1/3 [' in screen.getvalue() and screen.getvalue().endswith('\n')


def test_progress_is_a_line_now_and_then(capsys, monkeypatch):
  monkeypatch.setattr(work, '_LINE_EVERY_S', 0)
  watch = work.Watch(3, max_bad_share=1)
  watch.reuse(1, {})
  list(watch.over([('x', 0, b'', ''), ('y', 0, None, 'bad')]))
  said = capsys.readouterr().err
  assert '2/3 videos, ' in said and '3/3 videos, 0 s left' in said


def test_workers_stay_for_the_next_map_and_a_killed_one_is_one_line():
  with work.Workers(1) as workers:
    ids = [list(workers.map(_process_id, [i]))[0] for i in range(2)]
    assert ids[0] == ids[1] != os.getpid()
    with pytest.raises(ChildProcessError) as caught:
      list(workers.map(os._exit, [3, 3]))
  line = command.describe(caught.value)
  assert 'a worker process was killed' in line and '\n' not in line


def _process_id(_: int) -> int:
  return os.getpid()


def test_workers_end_with_a_parent_that_is_killed():
  code = (
    'import time\n'
    'from videoar_jax.data import work\n'
    'if __name__ == "__main__":\n'
    '  with work.Workers(2) as workers:\n'
    '    for _ in workers.map(time.sleep, [0] + [600] * 20):\n'
    '      print("begun", flush=True)\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE
  )
  assert process.stdout.readline() == b'begun\n'
  begun = children(process)
  assert len(begun) >= 3
  process.kill()
  process.wait()
  wait_for(
    lambda: not any(os.path.exists(f'/proc/{x}') for x in begun), 'the end'
  )
