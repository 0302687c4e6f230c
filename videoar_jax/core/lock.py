"""One job at a time in a folder: who holds it, since when, and is it alive.

On a local disk the kernel keeps the lock and drops it when its holder dies,
however it dies. In a bucket, and on disks without such locks, the holder
writes its sign of life every few seconds; who comes later waits to see whether
there is another one, and takes over where there is none. Of several that take
over at once, a bucket lets one: it replaces an object only if nobody else did
since it was read.
"""

import contextlib
import datetime
import errno
import fcntl
import getpass
import json
import os
import pathlib
import signal
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging
from etils import epath

from videoar_jax.core import buckets, files
from videoar_jax.core.console import note

NAME = '.lock'
BEAT_S = 10.0
_SILENT_BEATS = 3
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_HOLDER = {
  'what': str,
  'owner': str,
  'machine': str,
  'process': int,
  'since': str,
  'token': str,
  'beat': int,
}
_BOOT = '/proc/sys/kernel/random/boot_id'
_PROCESSES = '/proc/self/ns/pid'


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
    OSError: nothing may be written there.
  """
  taken, refused = None, None
  if first:
    try:
      taken = _take(epath.Path(folder), what)
    except (LockedError, OSError) as error:  # the others wait to hear of it
      refused = error
  reason = agree('' if refused is None else str(refused))
  if refused is not None:
    raise refused
  if reason:
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
    'machine': _machine(),
    'process': os.getpid(),
    'since': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'token': uuid.uuid4().hex,
    'beat': 0,
  }
  if not buckets.is_bucket(folder):
    try:
      return _take_local(folder / NAME, about)
    except OSError as error:
      if error.errno not in _UNSUPPORTED:
        raise
  return take_by_beats(folder / NAME, about, beat_s=BEAT_S)


def _take_local(path: epath.Path, about: dict) -> Callable[[], None]:
  _check_plain(path)
  while True:
    # A link is not followed: nothing is written where it points to.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
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


def _check_plain(path: epath.Path) -> None:
  with contextlib.suppress(FileNotFoundError):
    if not stat.S_ISREG(os.lstat(path).st_mode):
      raise LockedError(f'{path}: no plain file, and no lock; remove it')


def end_process() -> None:
  """Asks this process to end, as whoever stops a job does."""
  os.kill(os.getpid(), signal.SIGTERM)


def take_by_beats(
  path: epath.Path,
  about: dict,
  *,
  beat_s: float,
  lost: Callable[[], None] = end_process,
) -> Callable[[], None]:
  """Takes a lock that lives by signs of life; returns what gives it back.

  Args:
    path: of the lock.
    about: its holder, with `token` and `beat`.
    beat_s: seconds between two signs.
    lost: called where another job took the lock over, as it may after this one
      gave no sign of life for long (a machine that slept).
  Raises:
    LockedError: its holder is alive, or another one was faster.
  """
  sign = _BucketSign(path) if buckets.is_bucket(path) else _Sign(path)
  _wait_for_silence(sign, beat_s)
  sign.write(about)
  time.sleep(beat_s / 5)  # two that wrote at once both read who was last
  if ((found := sign.read()) or {}).get('token') != about['token']:
    raise LockedError(_refusal(path, found))
  ended = threading.Event()

  def beat() -> None:
    while not ended.wait(beat_s):
      about['beat'] += 1
      try:
        if (found := sign.read()) and found['token'] != about['token']:
          logging.error(
            '%s: taken over, %s; this job ends', path, _described(found)
          )
          lost()
          return
        sign.write(about)
      except OSError as error:
        logging.warning('%s: no sign of life written: %s', path, error)

  thread = threading.Thread(target=beat, name='lock', daemon=True)
  thread.start()

  def give_back() -> None:
    ended.set()
    thread.join()
    with contextlib.suppress(OSError):
      if (sign.read() or {}).get('token') == about['token']:
        path.unlink(missing_ok=True)

  return give_back


class _Sign:
  """The file that a lock by signs of life is."""

  def __init__(self, path: epath.Path):
    self.path = path

  def read(self) -> dict | None:
    return _read(self.path)

  def write(self, about: dict) -> None:
    self.path.write_text(json.dumps(about))


class _BucketSign(_Sign):
  """The same in a bucket, written only where it is as it was read last."""

  def __init__(self, path: epath.Path):
    super().__init__(path)
    self._generation = 0

  def read(self) -> dict | None:
    data, self._generation = buckets.read(self.path)
    if data is None:
      return None
    try:
      return files.parse_json(data, _HOLDER, where=str(self.path))
    except ValueError:
      return {}

  def write(self, about: dict) -> None:
    data = json.dumps(about).encode()
    buckets.replace(self.path, data, generation=self._generation)


def _wait_for_silence(sign: _Sign, beat_s: float) -> None:
  """Returns once nobody holds the lock; raises where someone is alive."""
  path, seen = sign.path, sign.read()
  if seen is None or _died_here(seen):
    return
  note(f'{path}: {_described(seen)}; waiting whether it still lives …')
  for _ in range(2 * _SILENT_BEATS):
    time.sleep(beat_s / 2)
    now = sign.read()
    if now is None:
      return
    if (now.get('token'), now.get('beat')) != (
      seen.get('token'),
      seen.get('beat'),
    ):
      raise LockedError(_refusal(path, now or seen))
  note(f'{path}: no sign of life, taken over')


def _died_here(about: dict) -> bool:
  """Whether the holder was a process of this machine that is no more."""
  if about.get('machine') != _machine() or about['process'] < 1:
    return False
  try:
    os.kill(about['process'], 0)
  except (ProcessLookupError, OverflowError):
    return True
  except OSError:  # alive, and of another user
    pass
  return False


def _machine() -> str:
  """Names the machine or container within which process ids are unique."""
  parts = [socket.gethostname()]
  with contextlib.suppress(OSError):
    parts.append(pathlib.Path(_BOOT).read_text().strip())
    parts.append(os.readlink(_PROCESSES))  # differs between containers
  return ' '.join(parts)


def _refusal(path: epath.Path, about: dict | None) -> str:
  return (
    f'{path.parent}: in use, {_described(about or {})}; wait until it ends, '
    'stop it, or use another folder'
  )


def _described(about: dict) -> str:
  """Who holds a lock, and for how long."""
  if not about:
    return 'by a job that is just starting'
  since = about['since']
  with contextlib.suppress(TypeError, ValueError, OverflowError):
    began = datetime.datetime.fromisoformat(since)
    age = datetime.datetime.now(datetime.UTC) - began
    since = f'{since}, {max(int(age.total_seconds()), 0)} s ago'
  return (
    f'by {about["what"]} of {about["owner"]}, process {about["process"]}, '
    f'since {since}'
  )


def _read(path: epath.Path) -> dict | None:
  """What the lock says; None if there is none, {} if it is half written."""
  try:
    return files.read_json(path, _HOLDER)
  except (OSError, ValueError):
    return {} if path.exists() else None


def _user() -> str:
  try:
    return getpass.getuser()
  except (KeyError, OSError):  # no name for this user id
    return str(os.getuid())
