"""One job at a time in a folder: who holds it, since when, and is it alive.

On a local disk the kernel keeps the lock and drops it when its holder dies,
however it dies. In a bucket, and on disks without such locks, the holder
writes its sign of life every few seconds; who comes later waits to see whether
there is another one, and takes over where there is none.
"""

import contextlib
import datetime
import errno
import fcntl
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging
from etils import epath

from videoar_jax.core.console import note

NAME = '.lock'
BEAT_S = 10.0
_SILENT_BEATS = 3
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class LockedError(ValueError):
  """Another job holds the folder."""


@contextlib.contextmanager
def hold(
  folder: Any,
  *,
  what: str,
  first: bool = True,
  agree: Callable[[str], str] = lambda reason: reason,
) -> Iterator[None]:
  """Holds a folder for one job; all processes of a job hold it together.

  Args:
    folder: made where it does not exist; local or in a bucket.
    what: the job, for whoever comes second: "train".
    first: whether this is the job's first process, which takes the lock.
    agree: gives all processes the first one's reason to refuse, or ''.
  Raises:
    LockedError: another job holds it; the message says which.
  """
  taken, reason = None, ''
  if first:
    try:
      taken = _take(epath.Path(folder), what)
    except LockedError as error:
      reason = str(error)
  reason = agree(reason)
  if reason:
    if taken is not None:
      taken()
    raise LockedError(reason)
  try:
    yield
  finally:
    if taken is not None:
      taken()


def _take(folder: epath.Path, what: str) -> Callable[[], None]:
  """Takes the lock; returns what gives it back."""
  folder.mkdir(parents=True, exist_ok=True)
  about = {
    'what': what,
    'owner': f'{_user()}@{socket.gethostname()}',
    'process': os.getpid(),
    'since': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'token': uuid.uuid4().hex,
    'beat': 0,
  }
  if '://' not in str(folder):
    try:
      return _take_local(folder / NAME, about)
    except OSError as error:
      if error.errno not in _UNSUPPORTED:
        raise
  return take_by_beats(folder / NAME, about, beat_s=BEAT_S)


def _take_local(path: epath.Path, about: dict) -> Callable[[], None]:
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      os.close(descriptor)
      raise LockedError(_refusal(path, _read(path))) from None
    except OSError:
      os.close(descriptor)
      raise
    # The file may have been given back, and removed, in between.
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(os.fstat(descriptor), os.stat(path)):
        break
    os.close(descriptor)
  os.truncate(descriptor, 0)
  os.write(descriptor, json.dumps(about).encode())

  def give_back() -> None:
    with contextlib.suppress(OSError):
      os.unlink(path)
    os.close(descriptor)

  return give_back


def take_by_beats(
  path: epath.Path, about: dict, *, beat_s: float
) -> Callable[[], None]:
  """Takes a lock that lives by signs of life; returns what gives it back.

  Args:
    path: of the lock.
    about: its holder, with `token` and `beat`.
    beat_s: seconds between two signs.
  Raises:
    LockedError: its holder is alive, or another one was faster.
  """
  _wait_for_silence(path, beat_s)
  _write(path, about)
  time.sleep(beat_s / 5)  # whoever wrote in the same moment sees who was last
  if (_read(path) or {}).get('token') != about['token']:
    raise LockedError(_refusal(path, _read(path)))
  ended = threading.Event()

  def beat() -> None:
    while not ended.wait(beat_s):
      about['beat'] += 1
      try:
        if (_read(path) or about).get('token') != about['token']:
          logging.error('%s: another job took this lock over', path)
          return
        _write(path, about)
      except OSError as error:
        logging.warning('%s: no sign of life written: %s', path, error)

  thread = threading.Thread(target=beat, name='lock', daemon=True)
  thread.start()

  def give_back() -> None:
    ended.set()
    thread.join()
    if (_read(path) or {}).get('token') == about['token']:
      path.unlink(missing_ok=True)

  return give_back


def _wait_for_silence(path: epath.Path, beat_s: float) -> None:
  """Returns once nobody holds the lock; raises where someone is alive."""
  seen = _read(path)
  if seen is None or _died_here(seen):
    return
  note(f'{path}: {_described(seen)}; waiting whether it still lives …')
  for _ in range(2 * _SILENT_BEATS):
    time.sleep(beat_s / 2)
    now = _read(path)
    if now is None:
      return
    if (now.get('token'), now.get('beat')) != (
      seen.get('token'),
      seen.get('beat'),
    ):
      raise LockedError(_refusal(path, now))
  note(f'{path}: no sign of life, taken over')


def _died_here(about: dict) -> bool:
  """Whether the holder was a process of this machine that is no more."""
  _, _, host = str(about.get('owner')).rpartition('@')
  number = about.get('process')
  if host != socket.gethostname() or type(number) is not int or number < 1:
    return False
  try:
    os.kill(number, 0)
  except ProcessLookupError:
    return True
  except OSError:  # alive, and of another user
    pass
  return False


def _refusal(path: epath.Path, about: dict | None) -> str:
  return (
    f'{path.parent}: in use, {_described(about or {})}; wait until it ends, '
    'stop it, or use another folder'
  )


def _described(about: dict) -> str:
  """Who holds a lock, and for how long."""
  if 'owner' not in about:
    return 'by a job that is just starting'
  since = str(about.get('since'))
  try:
    began = datetime.datetime.fromisoformat(since)
    age = datetime.datetime.now(datetime.UTC) - began
    since = f'{since}, {max(int(age.total_seconds()), 0)} s ago'
  except (TypeError, ValueError):
    pass
  return (
    f'by {about.get("what")} of {about["owner"]}, process '
    f'{about.get("process")}, since {since}'
  )


def _read(path: epath.Path) -> dict | None:
  """What the lock says; None if there is none, {} if it is half written."""
  try:
    found = json.loads(path.read_text())
  except FileNotFoundError:
    return None
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _write(path: epath.Path, about: dict) -> None:
  path.write_text(json.dumps(about))


def _user() -> str:
  try:
    return getpass.getuser()
  except (KeyError, OSError):  # no name for this user id
    return str(os.getuid())
