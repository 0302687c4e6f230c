"""Files of users: text read with suspicion, results written whole or not.

Paths may be local or in a bucket; what only a local disk has (links, a probe
of permissions) is checked there alone.
"""

import contextlib
import json
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from videoar_jax.core import buckets, structure

_MOST_TEXT = 2**28  # bytes; no list of videos or captions is longer
_SURROGATE = r'\\u[dD][89a-fA-F]'  # half a character, as JSON escapes it
_MOST_DEPTH = 100  # of lists and objects of JSON within one another


def read_text(path: Any) -> str:
  """Reads UTF-8, with or without a byte-order mark.

  Raises:
    ValueError: there is no such file, it is not UTF-8 (the line is named), or
      too long to be text.
  """
  buckets.check(path)
  path = epath.Path(path)
  if not path.exists():
    raise ValueError(f'{path}: no such file')
  if path.is_dir():
    raise ValueError(f'{path}: a folder; wanted a file')
  if not buckets.is_bucket(path) and not os.path.isfile(path):
    raise ValueError(f'{path}: no plain file, of which the end would be known')
  with path.open('rb') as file:
    data = file.read(_MOST_TEXT + 1)
  if len(data) > _MOST_TEXT:
    raise ValueError(f'{path}: more than {_MOST_TEXT >> 20} MiB of text')
  try:
    return data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + 1
    byte = data[error.start]
    raise ValueError(
      f'{path}, line {line}: byte 0x{byte:02x} is not UTF-8; save the file as '
      'UTF-8 (iconv -f latin1 -t utf-8, if it is Latin-1)'
    ) from None


def read_lines(path: Any) -> Iterator[tuple[str, str]]:
  """Yields the lines of a text that are not blank, each with what to call it.

  Raises:
    ValueError: as `read_text`.
  """
  yield from split_lines(read_text(path), where=str(path))


def split_lines(text: str, *, where: str) -> Iterator[tuple[str, str]]:
  """As `read_lines`, of a text that `where` calls by a name.

  Lines end as they do on Unix, Windows or old Macs, and nowhere else: text in
  JSON may hold other separators.
  """
  for number, line in enumerate(re.split('\r\n|\r|\n', text), 1):
    if line.strip():
      yield f'{where}, line {number}', line


def is_text(name: str) -> bool:
  """Whether a name is UTF-8 on disk; one that is not holds surrogates."""
  try:
    name.encode()
  except UnicodeEncodeError:
    return False
  return True


def shown(path: Any) -> str:
  """A path for messages; bytes that are not UTF-8 as `\\xff`."""
  return os.fsencode(path).decode('utf-8', 'backslashreplace')


def read_json(path: Any, shape: Any = None, *, fix: str = '') -> Any:
  """Reads a JSON file and checks its structure.

  Args:
    path: of the file.
    shape: see `structure.check`; None takes anything.
    fix: what the user can do, for the message.
  Raises:
    ValueError: missing, not JSON (NaN is none), with text that is no Unicode,
      or of another structure.
  """
  return parse_json(read_text(path), shape, where=str(path), fix=fix)


def parse_json(
  text: str | bytes, shape: Any = None, *, where: str, fix: str = ''
) -> Any:
  """As `read_json`, of text that `where` calls by a name."""
  fix = fix and f'; {fix}'
  try:
    value = json.loads(
      text, parse_constant=_number, parse_float=_number, parse_int=_whole
    )
    _check_depth(value)
    _check_characters(text, value)
  except (ValueError, RecursionError) as error:
    why = 'nested too deeply' if isinstance(error, RecursionError) else error
    raise ValueError(f'{where}: not JSON ({why}){fix}') from None
  try:
    structure.check(value, shape, where=where)
  except ValueError as error:
    raise ValueError(f'{error}{fix}') from None
  return value


def _check_characters(text: str | bytes, value: Any) -> None:
  """Raises a ValueError where a text in a value holds half a character."""
  pattern = _SURROGATE if isinstance(text, str) else _SURROGATE.encode()
  if re.search(pattern, text):
    try:
      json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
      half = ascii(error.object[error.start])
      raise ValueError(f'{half} is half a character') from None


def _number(text: str) -> float:
  value = float(text)
  if not math.isfinite(value):
    raise ValueError(f'{text} is no number of JSON')
  return value


def _whole(text: str) -> int:
  value = int(text)
  if abs(value) >= 2**63:
    raise ValueError(f'a number of {len(text)} digits')
  return value


def _check_depth(value: Any) -> None:
  """Raises for values nested too deeply for functions that recurse."""
  level = [value]
  for _ in range(_MOST_DEPTH):
    level = [
      inner
      for outer in level
      if isinstance(outer, dict | list)
      for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]
    if not level:
      return
  raise ValueError(f'nested more than {_MOST_DEPTH} deep')


def output_file(
  path: Any, *, inputs: Iterable[Any] = (), flag: str = 'out'
) -> pathlib.Path | epath.Path:
  """The path of a file to write, checked before any work begins.

  Args:
    path: a file there will be replaced; its folder must exist, if on a disk.
    inputs: what the command reads, which it must not write over.
    flag: that the path was given with, for messages.
  Raises:
    ValueError: no such folder, a folder of that name, one of the inputs, or
      nothing may be written there.
  """
  if buckets.is_bucket(path):
    buckets.check(path)
    _check_apart(path, inputs)
    return epath.Path(path)
  found, given = pathlib.Path(path), f'--{flag}={path}'
  if not found.parent.is_dir():
    raise ValueError(f'{given}: no folder {found.parent}; make it first')
  if found.is_dir():
    raise ValueError(f'{given}: a folder; give the name of a file in it')
  check_replaceable(found, inputs=inputs)
  _probe(found.resolve().parent)
  return found


def check_replaceable(path: Any, *, inputs: Iterable[Any] = ()) -> None:
  """Raises a ValueError where a file may not be written, or written over.

  Args:
    path: of the file.
    inputs: files that the command reads, and folders all of whose files it
      reads.
  """
  if os.path.exists(path):
    if not os.path.isfile(path):
      raise ValueError(f'{path}: no plain file; give another name, or move it')
    if not os.access(path, os.W_OK):
      raise ValueError(f'{path}: may not be written; give another name')
  _check_apart(path, inputs)


def output_folder(
  path: Any, *, inputs: Iterable[Any] = (), local: bool = False
) -> epath.Path:
  """The path of a folder to write into, made later; checks of `output_file`.

  Raises:
    ValueError: a file of that name, one of the inputs, in a bucket where it
      must be `local`, or nothing may be written there.
  """
  found = epath.Path(path)
  if buckets.is_bucket(path):
    if local:
      buckets.check_on_disk(path)
    buckets.check(path)
    _check_apart(path, inputs)
    return found
  if found.exists() and not found.is_dir():
    raise ValueError(f'{path}: a file; give a folder')
  _check_apart(found, inputs)
  nearest = pathlib.Path(os.path.abspath(found))
  while not nearest.exists() and nearest != nearest.parent:
    nearest = nearest.parent
  if not nearest.is_dir():
    raise ValueError(f'{path}: {nearest} is a file; give another folder')
  _probe(nearest)
  return found


def _check_apart(out: Any, inputs: Iterable[Any]) -> None:
  for path in filter(None, inputs):
    if buckets.is_bucket(out) or buckets.is_bucket(path):
      same = _plain(path) == _plain(out)
    elif os.path.exists(path) and os.path.exists(out):
      real = pathlib.Path(os.path.realpath(out))
      inside = real.is_file() and real.is_relative_to(os.path.realpath(path))
      same = inside or os.path.samefile(path, out)
    else:
      same = False
    if same:
      raise ValueError(f'{out} is {path}, which is read; write somewhere else')


def _plain(path: Any) -> str:
  """A path in a bucket without the signs that mean nothing."""
  return os.path.normpath(str(path))


def _probe(folder: pathlib.Path) -> None:
  """Raises a ValueError where no file can be made."""
  try:
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise ValueError(
      f'{folder}: no file can be made there ({error.strerror}); give another '
      'place'
    ) from None


@contextlib.contextmanager
def named(path: Any, *, partial: Any = None) -> Iterator[None]:
  """Gives errors of writing, as of a full disk, the name of the file.

  Args:
    path: of the file.
    partial: what it is called until it is complete.
  """
  try:
    yield
  except OSError as error:
    if error.errno is None or error.filename not in (None, str(partial)):
      raise
    raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[pathlib.Path]:
  """Gives a name to write to, which takes the place of `path` at the end.

  Left by an error, nothing stays behind, and `path` is as it was. A symbolic
  link is followed. What goes to a bucket is written on this machine first.
  """
  if buckets.is_bucket(path):
    buckets.check(path)
    with tempfile.TemporaryDirectory() as folder:
      partial = pathlib.Path(folder, epath.Path(path).name)
      yield partial
      buckets.upload(partial, path)
    return
  target = pathlib.Path(os.path.realpath(path))
  partial = target.with_name(partial_name(target))
  try:
    with named(path, partial=partial):
      yield partial
      os.replace(partial, target)
  except BaseException:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
    raise


def partial_name(path: Any) -> str:
  """What `replacing` calls a file on a disk until it is complete."""
  # The suffix stays: writers of pictures and videos go by it.
  path = pathlib.Path(path)
  return f'.{path.stem}.partial{path.suffix}'


def append(path: Any, text: str) -> None:
  """Adds text to the end of a file, which need not exist.

  Raises:
    OSError: it cannot be written.
  """
  if buckets.is_bucket(path):
    buckets.append(path, text)
    return
  with open(path, 'a', encoding='utf-8') as file:
    file.write(text)


def move_folder(path: Any, target: Any) -> None:
  """Moves a folder to a place where there is none, making its parents.

  Raises:
    OSError: it cannot be read, or written there.
  """
  if buckets.is_bucket(path):
    buckets.move_folder(path, target)
    return
  os.makedirs(os.path.dirname(target), exist_ok=True)
  os.rename(path, target)
