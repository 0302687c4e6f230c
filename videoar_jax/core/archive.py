"""Zip archives that nobody vouches for: token files, .npz, data sets.

Nothing is inflated before its size is known and allowed; nothing is unpickled.
"""

import collections
import dataclasses
import enum
import math
import os
import pathlib
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from videoar_jax.core import buckets

_MEMORY = '/proc/meminfo'
_ENCRYPTED = 1  # bit of a member's flags
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_HEADER = 10_000  # characters of an array's description
# Of an archive of files, see `check_members`.
MOST_MEMBER, MOST_ALL, MOST_MEMBERS = 2**26, 2**35, 200_000
_KINDS = 'biufUS'  # of an array: bools, integers, floats, text
_DAMAGE = (
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  OSError,
  NotImplementedError,  # a version of the format that Python does not know
  RuntimeError,
  ValueError,
)


class DamagedError(ValueError):
  """An archive, or a member of one, that cannot be read; `why` in few words."""

  def __init__(self, message: str, why: str):
    super().__init__(message)
    self.why = why


class Kind(enum.Enum):
  """What a member of an archive is."""

  FILE = 'a file'
  FOLDER = 'a folder'
  LINK = 'a link'
  DEVICE = 'a device'


@dataclasses.dataclass(frozen=True)
class Member:
  """A member of an archive, as the archive describes it.

  Attributes:
    name: with forward slashes.
    size: bytes, unpacked.
    kind: what it is.
  """

  name: str
  size: int
  kind: Kind


def kind_of_mode(mode: int) -> Kind:
  """What a member is by the mode that Unix gave it; 0 is a file."""
  known = {
    0: Kind.FILE,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.LINK,
  }
  return known.get(stat.S_IFMT(mode), Kind.DEVICE)


def check_members(path: Any, members: Iterable[Member]) -> None:
  """Raises a ValueError for an archive of files that no maker would write.

  That is one with a name that is absolute or leads out of it, with two members
  of one name, a link or a device; or one past a limit of size.

  Args:
    path: of the archive, for messages.
    members: all of its members.
  """
  seen, total = set(), 0
  for member in members:
    name = member.name
    parts = pathlib.PurePosixPath(name).parts
    fault = ''
    if name.startswith(('/', '\\')) or re.match('[A-Za-z]:', name):
      fault = 'is an absolute name'
    elif '..' in parts or '\\' in name or not parts:
      fault = 'leads out of the archive'
    elif member.kind in (Kind.LINK, Kind.DEVICE):
      fault = f'is {member.kind.value}'
    elif parts in seen:
      fault = 'is in it twice'
    if fault:
      raise ValueError(
        f'{path}: its member {name[:200]!r} {fault}; wanted plain files, as '
        'its makers publish them; download it again'
      )
    seen.add(parts)
    total += member.size
    _check_limits(path, member, len(seen), total)


def _check_limits(path: Any, member: Member, count: int, total: int) -> None:
  fault = ''
  if member.size > MOST_MEMBER:
    fault = (
      f'its member {member.name[:200]!r} has {member.size} bytes, wanted at '
      f'most {MOST_MEMBER} ({MOST_MEMBER >> 20} MiB)'
    )
  elif total > MOST_ALL:
    fault = f'unpacked over {MOST_ALL} bytes ({MOST_ALL >> 30} GiB)'
  elif count > MOST_MEMBERS:
    fault = f'over {MOST_MEMBERS} members'
  if fault:
    raise ValueError(
      f'{path}: {fault}; if that is as it should be, unpack it yourself and '
      'give the folder'
    )


class Archive:
  """A zip file, open for reading; a context manager.

  Attributes:
    path: of the file.
  """

  def __init__(self, path: Any, *, fix: str):
    """Opens it.

    Args:
      path: of the file.
      fix: what the user can do if it is damaged, for messages.
    Raises:
      ValueError: in a bucket, missing, no whole zip file, or two members of one
        name.
    """
    self.path, self._fix = path, fix
    buckets.check_on_disk(path)
    if not os.path.isfile(path):
      raise ValueError(f'{path}: no such file')
    try:
      self._zip = zipfile.ZipFile(path)
    except _DAMAGE as error:
      raise self._damaged(error) from None
    twice = [x for x, n in collections.Counter(self.names).items() if n > 1]
    if twice:
      raise self._damaged(f'two members of one name: {twice[0][:200]!r}')

  def __enter__(self) -> 'Archive':
    return self

  def __exit__(self, *_) -> None:
    self._zip.close()

  @property
  def names(self) -> list[str]:
    return self._zip.namelist()

  @property
  def members(self) -> list[Member]:
    """All members; DamagedError where one is encrypted or oddly compressed."""
    return [self._member(name) for name in self.names]

  def _member(self, name: str) -> Member:
    info = self._info(name)
    kind = kind_of_mode(info.external_attr >> 16)
    if info.is_dir() and kind is Kind.FILE:
      kind = Kind.FOLDER
    return Member(name, info.file_size, kind)

  def read(self, name: str, *, most: int) -> bytes:
    """A member's bytes.

    Args:
      name: of the member.
      most: bytes that it may have.
    Raises:
      ValueError: missing, larger, encrypted or damaged.
    """
    info = self._info(name)
    if info.file_size > most:
      raise self._damaged(
        f'{name} has {info.file_size} bytes, wanted at most {most}'
      )
    try:
      check_memory(info.file_size)
      with self._zip.open(info) as file:
        return file.read(most + 1)
    except _DAMAGE as error:
      raise self._damaged(error) from None

  def read_array(self, name: str) -> np.ndarray:
    """An array of numbers or text, as `numpy.savez` stores it.

    Raises:
      ValueError: missing, encrypted, damaged, of anything else, of another size
        than it states, or larger than the memory that is free.
    """
    info = self._info(f'{name}.npy')
    try:
      with self._zip.open(info) as file:
        shape, dtype = _header(file)
        self._check_size(name, shape, dtype, info.file_size - file.tell())
      with self._zip.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGE as error:
      raise self._damaged(f'{name}: {_brief(error)}') from None

  def _check_size(self, name: str, shape, dtype, stored: int) -> None:
    wanted = math.prod(map(int, shape)) * dtype.itemsize
    if dtype.hasobject:
      raise ValueError('holds Python objects, which are never read')
    if dtype.kind not in _KINDS or not dtype.itemsize:
      raise ValueError(f'is of dtype {dtype}; wanted numbers or text')
    if wanted != stored:
      raise ValueError(f'states {wanted} bytes, holds {stored}')
    check_memory(wanted)

  def _info(self, name: str) -> zipfile.ZipInfo:
    try:
      info = self._zip.getinfo(name)
    except KeyError:
      there = ', '.join(self.names[:5]) or 'nothing'
      raise self._damaged(f'no {name} in it, only {there}') from None
    if info.flag_bits & _ENCRYPTED:
      raise self._damaged(f'{name} is encrypted')
    # With other methods a few bytes may inflate without any bound.
    if info.compress_type not in _METHODS:
      raise self._damaged(f'{name} is compressed by a method other than zip')
    return info

  def _damaged(self, why: Any) -> DamagedError:
    return damaged(self.path, why, fix=self._fix)


def damaged(path: Any, why: Any, *, fix: str) -> DamagedError:
  """The error to raise for an archive; `why` is a text or another error."""
  text = why if isinstance(why, str) else _brief(why)
  return DamagedError(f'{path}: not readable ({text}); {fix}', text)


def check_memory(
  wanted: int, what: str = '', *, free: int | None = None
) -> None:
  """Raises a ValueError where more bytes are wanted than are free.

  Args:
    wanted: bytes.
    what: stands before the numbers: what takes them, what to do instead.
    free: bytes that there are; None: of this machine's memory.
  """
  free = free_memory() if free is None else free
  if wanted > free:
    # Rounded up, in whole numbers: the bytes may be too many for a float.
    tenths = -(-wanted // 10**8)
    raise ValueError(
      f'{what and what + ": "}takes {tenths / 10:.1f} GB of memory, '
      f'{free / 1e9:.1f} are free'
    )


def free_memory() -> int:
  """Bytes of memory that this machine can still give, by its own account."""
  if os.path.exists(_MEMORY):
    with open(_MEMORY) as file:
      for line in file:
        if line.startswith('MemAvailable:'):
          return int(line.split()[1]) * 1024
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _header(file) -> tuple[tuple[int, ...], np.dtype]:
  """Reads shape and dtype of an array; its numbers come next in the file."""
  version = np.lib.format.read_magic(file)
  reader = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if reader is None:
    raise ValueError(f'an array of format {version}')
  try:
    shape, _, dtype = reader(file, max_header_size=_MOST_HEADER)
  except Exception as error:  # it is parsed as Python, which may raise anything
    raise ValueError(f'no header of an array ({_brief(error)})') from None
  if min(shape, default=0) < 0:
    raise ValueError(f'states the shape {shape}')
  return shape, dtype


def _brief(error: BaseException) -> str:
  lines = str(error).splitlines()
  return lines[0][:200] if lines else type(error).__name__
