"""Zip archives that nobody vouches for: token files and NumPy's .npz.

Nothing is inflated before its size is known and allowed; nothing is unpickled.
"""

import math
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from videoar_jax.core import buckets

_MEMORY = '/proc/meminfo'
_ENCRYPTED = 1  # bit of a member's flags
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_HEADER = 10_000  # characters of an array's description
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
    if len(set(self.names)) < len(self.names):
      raise self._damaged('two members of one name')

  def __enter__(self) -> 'Archive':
    return self

  def __exit__(self, *_) -> None:
    self._zip.close()

  @property
  def names(self) -> list[str]:
    return self._zip.namelist()

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

  def _damaged(self, why: Any) -> ValueError:
    text = why if isinstance(why, str) else _brief(why)
    return ValueError(f'{self.path}: not readable ({text}); {self._fix}')


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
