"""Files of users: text read with suspicion, results written whole or not.

Paths may be local or in a bucket; what only a local disk has (links, a probe
of permissions) is checked there alone.
"""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from videoar_jax.core import structure

_MOST_TEXT = 2**28  # bytes; no list of videos or captions is longer


def read_text(path: Any) -> str:
  """Reads UTF-8, with or without a byte-order mark.

  Raises:
    ValueError: there is no such file, or it is not UTF-8 (the line is named),
      or too long to be text.
  """
  path = epath.Path(path)
  if not path.exists():
    raise ValueError(f'{path}: no such file')
  if path.is_dir():
    raise ValueError(f'{path}: a folder; wanted a file')
  if path.stat().length > _MOST_TEXT:
    raise ValueError(f'{path}: more than {_MOST_TEXT >> 20} MiB of text')
  data = path.read_bytes()
  try:
    return data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + 1
    byte = data[error.start]
    raise ValueError(
      f'{path}, line {line}: byte 0x{byte:02x} is not UTF-8; save the file as '
      'UTF-8 (iconv -f latin1 -t utf-8, if it is Latin-1)'
    ) from None


def read_json(path: Any, shape: Any = None, *, fix: str = '') -> Any:
  """Reads a JSON file and checks its structure.

  Args:
    path: of the file.
    shape: see `structure.check`; None takes anything.
    fix: what the user can do, for the message.
  Raises:
    ValueError: missing, not JSON (NaN is none), or of another structure.
  """
  return parse_json(read_text(path), shape, where=str(path), fix=fix)


def parse_json(
  text: str | bytes, shape: Any = None, *, where: str, fix: str = ''
) -> Any:
  """As `read_json`, of text that `where` calls by a name."""
  fix = fix and f'; {fix}'
  try:
    value = json.loads(text, parse_constant=_no_number)
  except (ValueError, RecursionError) as error:
    why = 'nested too deeply' if isinstance(error, RecursionError) else error
    raise ValueError(f'{where}: not JSON ({why}){fix}') from None
  try:
    structure.check(value, shape, where=where)
  except ValueError as error:
    raise ValueError(f'{error}{fix}') from None
  return value


def _no_number(name: str) -> None:
  raise ValueError(f'{name} is no number of JSON')


def output_file(path: Any, *, inputs: Iterable[Any] = ()) -> pathlib.Path:
  """The path of a file to write, checked before any work begins.

  Args:
    path: its folder must exist; a file there will be replaced.
    inputs: what the command reads, which it must not write over.
  Raises:
    ValueError: no such folder, a folder of that name, or one of the inputs.
    OSError: nothing may be written there.
  """
  found = pathlib.Path(path)
  if not found.parent.is_dir():
    raise ValueError(f'--out={path}: no folder {found.parent}; make it first')
  if found.is_dir():
    raise ValueError(f'--out={path}: a folder; give the name of a file in it')
  if found.exists() and not found.is_file():
    raise ValueError(f'--out={path}: no plain file; give another name')
  _check_apart(found, inputs)
  _probe(found.parent)
  return found


def output_folder(path: Any, *, inputs: Iterable[Any] = ()) -> epath.Path:
  """The path of a folder to write into, made later; checks of `output_file`.

  Raises:
    ValueError: a file of that name, or one of the inputs.
    OSError: nothing may be written there.
  """
  found = epath.Path(path)
  if '://' in str(path):
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
    both = os.path.exists(path) and os.path.exists(out)
    if both and os.path.samefile(path, out):
      raise ValueError(f'{out} is {path}, which is read; write somewhere else')


def _probe(folder: pathlib.Path) -> None:
  """Raises an OSError where no file can be made."""
  try:
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:  # of a name that the user has never seen
    why = 'no file can be made there'
    raise OSError(error.errno, why, str(folder)) from None


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[pathlib.Path]:
  """Gives a name to write to, which takes the place of `path` at the end.

  Left by an error, nothing stays behind, and `path` is as it was. A symbolic
  link is followed.
  """
  target = pathlib.Path(os.path.realpath(path))
  # The suffix stays: writers of pictures and videos go by it.
  partial = target.with_name(f'.{target.stem}.partial{target.suffix}')
  try:
    yield partial
    os.replace(partial, target)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
