"""The lists of UCF-101: which videos there are, in which split, of which class.

They lie in a folder `ucfTrainTestlist`, or in the zip in which they are
published; beside the videos, or among them.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from videoar_jax.core import archive, files
from videoar_jax.data import folder, stores

_FOLDER = 'ucfTrainTestlist'
_ZIP = 'UCF101TrainTestSplits-RecognitionTask.zip'
_TRAINING, _CLASSES = 'trainlist01.txt', 'classInd.txt'
_MOST_TEXT = 2**24  # bytes of a list
_FIX = 'take the lists from https://www.crcv.ucf.edu/data/UCF101.php again'


@dataclasses.dataclass(frozen=True)
class Lists:
  """One of the official splits.

  Attributes:
    classes: their names, in the order of their numbers.
    training: the videos to train on, as `Archery/v_Archery_g08_c01.avi`.
    test: the others; () where there is no list of them.
    places: what the lists are called, that of training first.
    number: of the split, as '01'; '' where the list's name has none.
  """

  classes: tuple[str, ...]
  training: frozenset[str]
  test: frozenset[str]
  places: tuple[str, ...]
  number: str

  def wanted(self) -> Iterator[tuple[str, str]]:
    """All listed videos, each with the list that names it."""
    for names, place in zip((self.training, self.test), self.places):
      yield from ((name, place) for name in names)


@dataclasses.dataclass(frozen=True)
class _Place:
  """Where lists lie together.

  Attributes:
    where: what messages call it.
    read: gives the text of a file there by its name, None if there is none.
  """

  where: str
  read: Callable[[str], str | None]

  def lines(self, name: str) -> list[tuple[str, str]] | None:
    """The lines of a list, each with what to call it; None: no such list."""
    text = self.read(name)
    if text is None:
      return None
    return list(files.split_lines(text, where=self.path(name)))

  def path(self, name: str) -> str:
    return f'{self.where}/{name}'


def key(name: str) -> str:
  """What a video is known by: its own name without suffix, in lower case."""
  return folder.stem(pathlib.PurePosixPath(name).name).casefold()


def class_of(name: str) -> str:
  """The class that a list's name begins with."""
  return name.partition('/')[0]


def find_lists(
  path: str, store: stores.Store, names: Iterator[str], split_file: str
) -> Lists:
  """Reads the lists of a split.

  Args:
    path: of the videos.
    store: of the videos, which may hold lists as well.
    names: of the files in it.
    split_file: the list of training videos, or the zip of all lists; '' looks
      beside and among the videos.
  Raises:
    ValueError: there are none, or they cannot be read or contradict each other.
  """
  training = _TRAINING
  if split_file and not split_file.lower().endswith('.zip'):
    place = _in_folder(os.path.dirname(split_file) or '.')
    training = os.path.basename(split_file)
    files.read_text(split_file)  # says what is wrong with the path
  elif split_file:
    place = _in_zip(split_file)
  else:
    place = _find(path, store, names)
  lines = place.lines(training)
  if lines is None:
    raise ValueError(f'{place.where}: holds no {training}; {_FIX}')
  return _parse(place, training, lines)


def _find(path: str, store: stores.Store, names: Iterator[str]) -> _Place:
  bases = [path] if os.path.isdir(path) else []
  bases.append(os.path.normpath(os.path.join(path, '..')))
  for base in bases:
    if os.path.isfile(os.path.join(base, _FOLDER, _TRAINING)):
      return _in_folder(os.path.join(base, _FOLDER))
    if os.path.isfile(os.path.join(base, _ZIP)):
      return _in_zip(os.path.join(base, _ZIP))
  if isinstance(store, stores.ArchiveStore):
    ending = f'/{_FOLDER}/{_TRAINING}'
    inside = [x for x in sorted(names) if f'/{x}'.endswith(ending)]
    if inside:
      return _among(store, os.path.dirname(inside[0]), set(names))
  raise ValueError(
    f'ucf101:{path}: no lists of the splits, neither {_FOLDER}/{_TRAINING} nor '
    f'{_ZIP} in {" or ".join(bases)}; put one there, or give '
    f'--split_file=…/{_TRAINING}'
  )


def _in_folder(path: str) -> _Place:
  def read(name: str) -> str | None:
    file = os.path.join(path, name)
    return files.read_text(file) if os.path.exists(file) else None

  return _Place(path, read)


def _in_zip(path: str) -> _Place:
  with archive.Archive(path, fix=_FIX) as opened:
    texts = {
      os.path.basename(x): opened.read(x, most=_MOST_TEXT)
      for x in opened.names
      if x.endswith('.txt') and not os.path.basename(x).startswith('.')
    }

  def read(name: str) -> str | None:
    return _decoded(texts.get(name), f'{path}/{name}')

  return _Place(path, read)


def _among(store: stores.ArchiveStore, inside: str, names: set[str]) -> _Place:
  """Lists in the archive of the videos."""

  def read(name: str) -> str | None:
    file = f'{inside}/{name}'
    data = store.read(file) if file in names else None
    return _decoded(data, f'{store.path}/{file}')

  return _Place(f'{store.path}/{inside}', read)


def _decoded(data: bytes | None, where: str) -> str | None:
  try:
    return None if data is None else data.decode('utf-8-sig')
  except UnicodeDecodeError:
    raise ValueError(f'{where}: not UTF-8; {_FIX}') from None


def _parse(place: _Place, training: str, lines: list) -> Lists:
  number = re.fullmatch(r'trainlist(\d+)\.txt', training)
  test = f'testlist{number[1]}.txt' if number else ''
  test_lines = (place.lines(test) if test else None) or []
  known = _read_classes(place.lines(_CLASSES) or [])
  numbers, found, seen = {}, ([], []), {}
  for which, listed in enumerate((lines, test_lines)):
    for where, line in listed:
      name, index = _read_line(where, line)
      if seen.setdefault(key(name), where) != where:
        raise ValueError(
          f'{where}: {name} is in {seen[key(name)]} as well; {_FIX}'
        )
      _check_class(where, class_of(name), index, known, numbers)
      found[which].append(name)
  if not found[0]:
    raise ValueError(f'{place.path(training)}: names no video; {_FIX}')
  return Lists(
    tuple(known) or _in_order({class_of(x) for x in sum(found, [])}, numbers),
    frozenset(found[0]),
    frozenset(found[1]),
    tuple(place.path(x) for x in (training, test)[: 1 + bool(found[1])]),
    number[1] if number else '',
  )


def _read_line(where: str, line: str) -> tuple[str, int | None]:
  """A video, and the number of its class where the line has one."""
  match = re.fullmatch(r'\s*([^/\s]+)/([^/]+?)(?:\s+(\d{1,9}))?\s*', line)
  if not match or match[1] in ('.', '..'):
    raise ValueError(f'{where}: {line!r}; wanted <class>/<video>.avi <number>')
  return f'{match[1]}/{match[2]}', int(match[3]) if match[3] else None


def _read_classes(lines: list[tuple[str, str]]) -> dict[str, int]:
  """Class -> its number, in order; numbers go from 1 up, each once."""
  found = {}
  for where, line in lines:
    match = re.fullmatch(r'\s*(\d{1,9})\s+(\S+)\s*', line)
    if not match or match[2] in found or int(match[1]) != len(found) + 1:
      raise ValueError(
        f'{where}: {line!r}; wanted number {len(found) + 1} and a class that '
        'was not named before'
      )
    found[match[2]] = int(match[1])
  return found


def _check_class(
  where: str,
  name: str,
  index: int | None,
  known: dict[str, int],
  numbers: dict[str, int],
) -> None:
  """Raises a ValueError where lists do not agree on a class or its number."""
  if known and name not in known:
    raise ValueError(f'{where}: {_CLASSES} has no class {name}; {_FIX}')
  if index is None:
    return
  wanted = known.get(name, numbers.setdefault(name, index))
  if index != wanted:
    raise ValueError(
      f'{where}: {name} has number {index}, and {wanted} elsewhere; {_FIX}'
    )


def _in_order(names: set[str], numbers: dict[str, int]) -> tuple[str, ...]:
  """Classes by their numbers, where these go from 1 up; else by name."""
  given = sorted(numbers.get(name, 0) for name in names)
  if given == list(range(1, len(names) + 1)):
    return tuple(sorted(names, key=numbers.__getitem__))
  return tuple(sorted(names))
