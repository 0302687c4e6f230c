"""Where files of videos lie: in a folder, or in an archive.

An archive is not unpacked: each member is read when it is wanted, and lies in a
temporary file only while it is decoded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator

from videoar_jax.core import archive, rar
from videoar_jax.data import decode
from videoar_jax.data.failures import BadRecordError
from videoar_jax.data.source import Listing, WholeVideo

_ARCHIVES = {b'PK': archive.Archive, b'Rar!': rar.RarArchive}
_FIX = 'download it again, or unpack it yourself and give the folder'


class Store:
  """Files by their names, with forward slashes; picklable."""

  def sizes(self) -> dict[str, int]:
    """The bytes of each file, by its name; in no order."""
    raise NotImplementedError

  def local(self, name: str) -> contextlib.AbstractContextManager[str]:
    """Gives the path of a file on this machine, for as long as it is used.

    Raises:
      BadRecordError: an archive does not give it whole.
    """
    raise NotImplementedError

  @contextlib.contextmanager
  def opened(self, name: str) -> Iterator[WholeVideo]:
    """Opens a file as a video (see `source.Reader`)."""
    with self.local(name) as path:
      yield WholeVideo(decode.iterate_frames(path), decode.frame_rate(path).fps)


@dataclasses.dataclass(frozen=True)
class FolderStore(Store):
  """Files in a folder, and in the folders there: `<class>/<file>`.

  Attributes:
    root: the folder.
  """

  root: str

  def path(self, name: str) -> str:
    return str(pathlib.Path(self.root, name))

  def sizes(self) -> dict[str, int]:
    found = {}
    for entry in os.scandir(self.root):
      if entry.is_file():
        found[entry.name] = entry.stat().st_size
      elif entry.is_dir():
        for file in os.scandir(entry):
          if file.is_file():
            found[f'{entry.name}/{file.name}'] = file.stat().st_size
    return found

  @contextlib.contextmanager
  def local(self, name: str) -> Iterator[str]:
    yield self.path(name)


@dataclasses.dataclass(frozen=True)
class ArchiveStore(Store):
  """Members of a zip or RAR archive.

  Attributes:
    path: of the archive.
  """

  path: str

  def sizes(self) -> dict[str, int]:
    """As of every store.

    Raises:
      ValueError: damaged, cut short, unsafe, or over a limit (see
        `archive.check_members`).
    """
    members = _open(self.path).members
    archive.check_members(self.path, members)
    return {x.name: x.size for x in members if x.kind == archive.Kind.FILE}

  def read(self, name: str) -> bytes:
    """A member's bytes; DamagedError where it is not whole."""
    return _open(self.path).read(name, most=archive.MOST_MEMBER)

  @contextlib.contextmanager
  def local(self, name: str) -> Iterator[str]:
    try:
      data = self.read(name)
    except archive.DamagedError as error:
      raise BadRecordError(f'damaged in the archive: {error.why}') from error
    suffix = pathlib.PurePosixPath(name).suffix
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
      file.write(data)
      file.flush()
      yield file.name


def listing_digest(
  splits: Iterable[Listing], size_of: Callable[[str], int]
) -> str:
  """SHA-256 of the names and sizes of all videos, split by split.

  Args:
    splits: of a data set.
    size_of: the bytes of a file, by what its store calls it.
  """
  digest = hashlib.sha256()
  for videos in splits:
    for index, name in enumerate(videos.names):
      digest.update(f'{name}\0{size_of(videos.file(index))}\n'.encode())
    digest.update(b'\n')
  return digest.hexdigest()


def is_archive(path: str) -> bool:
  """Whether a file begins as an archive does that can be read."""
  return os.path.isfile(path) and _signature(path) is not None


def open_archive(path: str) -> ArchiveStore:
  """Opens a file as an archive, whatever it is called.

  Raises:
    ValueError: it is none, or cannot be read.
  """
  if not is_archive(path):
    raise ValueError(f'{path}: neither a zip nor a RAR archive; {_FIX}')
  _open(path)
  return ArchiveStore(path)


def _signature(path: str) -> bytes | None:
  with open(path, 'rb') as file:
    head = file.read(8)
  return next((x for x in _ARCHIVES if head.startswith(x)), None)


def _open(path: str):
  about = os.stat(path)
  return _open_once(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _open_once(path: str, *_version: int):
  """Opens an archive once in each process, unless it changes."""
  return _ARCHIVES[_signature(path)](path, fix=_FIX)
