"""One job at a time in a folder: who is refused, and who takes over."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

from videoar_jax.core import lock

ROOT = pathlib.Path(__file__).parents[1]
BEAT_S = 0.03
SLOW_S = 0.3  # where a busy machine must not make a holder look dead
HOLD = """
import sys, time
from videoar_jax.core import lock
with lock.hold(sys.argv[1], what='train'):
  print('held', flush=True)
  time.sleep(60)
"""


@contextlib.contextmanager
def held_elsewhere(folder):
  """Another process that holds a folder."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(folder)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout.readline() == 'held\n'
    yield process
  finally:
    process.kill()
    process.communicate()


def holder(token='theirs', **changes):
  """What the lock of a job on another machine says."""
  about = {
    'what': 'train',
    'owner': 'ada@far',
    'machine': 'far',
    'process': 7,
    'since': '2026-01-02T03:04:05+00:00',
    'token': token,
    'beat': 0,
  }
  return {**about, **changes}


def take(folder, token='mine', *, beat_s=BEAT_S, lost=lambda: None):
  return lock.take_by_beats(
    epath.Path(folder) / lock.NAME,
    holder(token, machine='here'),
    beat_s=beat_s,
    lost=lost,
  )


def read(folder):
  """What the lock says; on a disk it is empty while a sign is written."""
  ends = time.monotonic() + 10
  while time.monotonic() < ends:
    with contextlib.suppress(ValueError):
      return json.loads((folder / lock.NAME).read_text())
  raise AssertionError(f'{folder / lock.NAME}: never whole')


def leave(folder, about):
  text = about if isinstance(about, str) else json.dumps(about)
  (folder / lock.NAME).write_text(text)


def test_the_second_job_is_told_who_holds_the_folder(tmp_path):
  folder = tmp_path / 'made' / 'for_it'
  with lock.hold(folder, what='train'):
    with (
      pytest.raises(lock.LockedError) as error,
      lock.hold(folder, what='sample'),
    ):
      pass
    message = str(error.value)
    assert message.startswith(f'{folder}: in use, by train of ')
    assert f'@{socket.gethostname()}, process {os.getpid()}, ' in message
    stated = re.search(r'since (\S+), (\d+) s ago; wait', message)
    since = datetime.datetime.fromisoformat(stated[1])
    age = datetime.datetime.now(datetime.UTC) - since
    assert 0 <= age.total_seconds() < 60 and int(stated[2]) < 60
  with lock.hold(folder, what='sample'):
    pass
  assert list(folder.iterdir()) == []


def test_a_job_that_fails_gives_the_folder_back(tmp_path):
  with pytest.raises(KeyError), lock.hold(tmp_path, what='train'):
    raise KeyError
  with lock.hold(tmp_path, what='train'):
    pass


def test_a_killed_job_leaves_no_lock(tmp_path):
  with held_elsewhere(tmp_path) as process:
    with (
      pytest.raises(lock.LockedError, match=f'process {process.pid}, since'),
      lock.hold(tmp_path, what='train'),
    ):
      pass
    process.send_signal(signal.SIGKILL)
    process.wait()
  with lock.hold(tmp_path, what='train'):
    pass


def test_of_many_at_once_one_holds_the_folder(tmp_path):
  inside, most, refused = [], [], []

  def work():
    for _ in range(30):
      try:
        with lock.hold(tmp_path, what='train'):
          inside.append(1)
          most.append(len(inside))
          time.sleep(1e-3)
          inside.pop()
      except lock.LockedError:
        refused.append(1)

  run_together(work, work, work)
  assert max(most) == 1 and len(most) + len(refused) == 90


def test_a_lock_that_was_given_back_meanwhile_is_not_held(
  tmp_path, monkeypatch
):
  path, flock, calls = tmp_path / lock.NAME, fcntl.flock, []

  def late(descriptor, operation):
    if not calls:  # its holder removes the file, and the next one makes another
      path.unlink()
      path.write_text('')
    calls.append(1)
    flock(descriptor, operation)

  monkeypatch.setattr(fcntl, 'flock', late)
  with (
    lock.hold(tmp_path, what='train'),
    pytest.raises(lock.LockedError),
    lock.hold(tmp_path, what='train'),
  ):
    pass
  assert len(calls) == 3


def run_together(*functions):
  threads = [threading.Thread(target=function) for function in functions]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()


@pytest.mark.parametrize('kind', ['link', 'fifo', 'folder'])
def test_what_is_no_lock_is_neither_followed_nor_waited_for(tmp_path, kind):
  path, outside = tmp_path / 'run' / lock.NAME, tmp_path / 'outside'
  path.parent.mkdir()
  outside.write_text('mine')
  if kind == 'link':
    path.symlink_to(outside)
  elif kind == 'fifo':
    os.mkfifo(path)
  else:
    path.mkdir()
  with (
    pytest.raises(lock.LockedError, match='no plain file'),
    lock.hold(path.parent, what='train'),
  ):
    pass
  assert outside.read_text() == 'mine'


@pytest.mark.parametrize('text', ['', '{', '[]', '[' * 10**5, '{"owner": 3}'])
def test_a_damaged_lock_of_nobody_is_no_obstacle(tmp_path, text):
  leave(tmp_path, text)
  with lock.hold(tmp_path, what='train'):
    pass
  leave(tmp_path, text)
  take(tmp_path)()
  assert not (tmp_path / lock.NAME).exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_all(tmp_path):
  (tmp_path / 'file').write_text('')
  told = []

  def agree(reason):
    told.append(reason)
    return reason

  with (
    pytest.raises(OSError),
    lock.hold(tmp_path / 'file' / 'run', what='train', agree=agree),
  ):
    pass
  assert len(told) == 1 and told[0]


def test_the_first_process_takes_the_lock_and_all_refuse_together(tmp_path):
  def hold(*, first, reason):
    with lock.hold(tmp_path, what='train', first=first, agree=lambda _: reason):
      assert (tmp_path / lock.NAME).exists() == first

  hold(first=False, reason='')
  hold(first=True, reason='')
  with pytest.raises(lock.LockedError, match='elsewhere'):
    hold(first=False, reason='in use elsewhere')
  assert not (tmp_path / lock.NAME).exists()


# By signs of life, as in a bucket.


def test_a_living_holder_is_not_disturbed(tmp_path):
  give_back = take(tmp_path, beat_s=SLOW_S)
  for _ in range(2):
    with pytest.raises(lock.LockedError, match='by train of ada@far'):
      take(tmp_path, 'second', beat_s=SLOW_S)
  found = read(tmp_path)
  assert found['token'] == 'mine' and found['beat'] > 0
  give_back()
  assert not (tmp_path / lock.NAME).exists()
  take(tmp_path, 'second')()


def test_a_silent_holder_is_taken_over_after_a_while(tmp_path, capsys):
  leave(tmp_path, holder())
  began = time.monotonic()
  give_back = take(tmp_path)
  assert time.monotonic() - began > 2 * BEAT_S
  assert 'no sign of life, taken over' in capsys.readouterr().err
  give_back()


def test_a_holder_that_died_here_is_taken_over_at_once(tmp_path, capsys):
  process = subprocess.Popen([sys.executable, '-c', ''])
  process.wait()
  machine = lock._machine()
  leave(tmp_path, holder(machine=machine, process=process.pid))
  take(tmp_path)()
  assert not capsys.readouterr().err
  # The same number on another machine, or in a container, means nothing.
  leave(tmp_path, holder(machine='far', process=process.pid))
  take(tmp_path)()
  assert 'waiting whether it still lives' in capsys.readouterr().err


def test_a_lock_given_back_while_one_waits_is_taken(tmp_path):
  leave(tmp_path, holder())
  timer = threading.Timer(BEAT_S, (tmp_path / lock.NAME).unlink)
  timer.start()
  take(tmp_path)()


def test_of_two_at_once_one_wins(tmp_path, monkeypatch):
  both = threading.Barrier(2)
  monkeypatch.setattr(lock, '_wait_for_silence', lambda *_: both.wait())
  for _ in range(2):
    won, lost = [], []

    def work(token, won=won, lost=lost):
      try:
        won.append(take(tmp_path, token, beat_s=SLOW_S))
      except lock.LockedError:
        lost.append(token)

    run_together(lambda: work('a'), lambda: work('b'))
    assert len(won) == 1 and len(lost) == 1
    won[0]()
    assert not (tmp_path / lock.NAME).exists()


def test_a_holder_that_was_taken_over_ends_and_takes_nothing_back(tmp_path):
  ended = threading.Event()
  give_back = take(tmp_path, lost=ended.set)
  leave(tmp_path, holder())
  assert ended.wait(50 * BEAT_S)
  give_back()
  assert read(tmp_path)['token'] == 'theirs'
