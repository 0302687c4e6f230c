"""UCF-101 as its makers publish it: the archive or the folder, and the lists.

`ucf101:PATH` takes `UCF101.rar`, a zip of the videos, or the folder that either
unpacks to. Which videos there should be, in which split and of which class, the
official lists say (`trainlist01.txt`, `testlist01.txt`, `classInd.txt`); what
is there is held against them, and nothing is left out in silence. A video goes
by its own name, without suffix and in either case, since one public zip has no
class folders and another spelling of HandStandPushups.

Source: Soomro, Zamir, Shah, "UCF101: A dataset of 101 human actions classes
from videos in the wild" (arXiv:1212.0402).
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Iterable

from videoar_jax.core import buckets, files
from videoar_jax.core.console import note
from videoar_jax.data import failures, folder, stores, ucf101_lists
from videoar_jax.data.config import DataConfig
from videoar_jax.data.source import Catalogue, Listing, SourceKind

# What the makers state, and what split 1 counts.
NUM_VIDEOS, NUM_CLASSES, SPLIT_1 = 13_320, 101, (9_537, 3_783)
_INNER = 'UCF-101'  # the folder that the archive unpacks to


def catalogue(path: str, *, split_file: str = '') -> Catalogue:
  """Holds what lies at a path against the official lists.

  Args:
    path: the archive or the folder.
    split_file: the list of training videos; '' looks for `trainlist01.txt`.
  Returns:
    The listed videos that are there; with a list of training videos alone, all
    others are held out.
  Raises:
    ValueError: nothing there, an archive that is damaged or unsafe, no lists,
      or lists that contradict themselves; two files of one listed name.
  """
  store = _open(path)
  sizes = store.sizes()
  lists = ucf101_lists.find_lists(path, store, sizes, split_file)
  labels = {name: i for i, name in enumerate(lists.classes)}
  videos, ignored = _videos(path, sizes)
  there, unknown = _match(path, videos, lists)
  splits = tuple(
    Listing(
      lists.classes,
      tuple(names),
      tuple(labels[ucf101_lists.class_of(name)] for name in names),
      tuple(there[name] for name in names),
    )
    for names in (
      sorted(x for x in there if x in lists.training),
      sorted(x for x in there if x not in lists.training),
    )
  )
  missing = sorted(x for x, _ in lists.wanted() if x not in there)
  _tell(path, lists, there, missing=missing, unknown=unknown, ignored=ignored)
  return Catalogue(
    splits=splits,
    reader=store,
    digest=lambda: stores.listing_digest(splits, sizes.__getitem__),
    missing=tuple(missing),
    about={
      'missing': missing,
      'unknown': unknown,
      'ignored': len(ignored),
      'lists': list(lists.places),
    },
  )


def open_source(path: str, config: DataConfig, *, train: bool):
  """Opens a split, to be decoded from where it lies; see `catalogue`."""
  found = catalogue(path, split_file=config.split_file)
  return folder.open_files(found, config, train=train)


def _identify(path: str, config: DataConfig) -> str:
  return catalogue(path, split_file=config.split_file).digest()


UCF101 = SourceKind(
  name='ucf101',
  open=open_source,
  catalogue=catalogue,
  identify=_identify,
  split_lists=True,
)


def _open(path: str) -> stores.Store:
  if buckets.is_bucket(path):
    raise ValueError(
      f'ucf101:{path}: read from a disk; copy it there, or give the bucket '
      'what data.prepare makes of it, as array_record:PATH'
    )
  if os.path.isdir(path):
    inner = os.path.join(path, _INNER)
    return stores.FolderStore(inner if os.path.isdir(inner) else path)
  if not os.path.isfile(path):
    raise ValueError(
      f'ucf101:{path}: no such file or folder; wanted UCF101.rar, a zip of the '
      'videos, or the folder that it unpacks to (see docs/ucf101.md)'
    )
  return stores.open_archive(path)


def _videos(path: str, names: Iterable[str]) -> tuple[list[str], list[str]]:
  """Files that are videos by their names, and the others, both sorted."""
  videos, others = [], []
  suffixes = folder.SUFFIXES['folder']
  for name in sorted(names):
    parts = pathlib.PurePosixPath(name)
    hidden = any(x.startswith(('.', '__MACOSX')) for x in parts.parts)
    is_video = parts.suffix.lower() in suffixes and files.is_text(name)
    (videos if is_video and not hidden else others).append(name)
  if not videos:
    raise ValueError(
      f'ucf101:{path}: none of the {len(others)} files there '
      f'({", ".join(others[:3]) or "it is empty"}) ends in '
      f'{" ".join(suffixes)}; wanted {_INNER}/<class>/<video>.avi'
    )
  return videos, others


def _match(
  path: str, videos: list[str], lists: ucf101_lists.Lists
) -> tuple[dict[str, str], list[str]]:
  """Official name -> file, and the files that no list knows."""
  official = {ucf101_lists.key(x): x for x, _ in lists.wanted()}
  there, unknown = {}, []
  for video in videos:
    name = official.get(ucf101_lists.key(video))
    if name is None and not lists.test:
      name = _by_folder(video, lists.classes)
    if name is None:
      unknown.append(video)
    elif name in there:
      raise ValueError(
        f'ucf101:{path}: {there[name]} and {video} are both {name}; remove one'
      )
    else:
      there[name] = video
  if not any(name in lists.training for name in there):
    raise ValueError(
      f'ucf101:{path}: none of the {len(lists.training)} training videos of '
      f'{lists.places[0]} is among the {len(videos)} there; wanted names as '
      f'{min(lists.training)}'
    )
  return there, unknown


def _by_folder(video: str, classes: tuple[str, ...]) -> str | None:
  """A name for a video that only its folder gives a class."""
  *_, parent, own = ('', *pathlib.PurePosixPath(video).parts)
  return f'{parent}/{own}' if parent in classes else None


def _tell(
  path: str,
  lists: ucf101_lists.Lists,
  there: dict[str, str],
  *,
  missing: list[str],
  unknown: list[str],
  ignored: list[str],
) -> None:
  """Says what was found; warns of all that is not as it was published."""
  counts = len(lists.training), len(lists.test)
  official = sum(counts) == NUM_VIDEOS and len(lists.classes) == NUM_CLASSES
  if lists.number == '01':
    official = official and counts == SPLIT_1
  if lists.test and not official:
    failures.warn(
      f'not the official lists: {counts[0]} + {counts[1]} videos of '
      f'{len(lists.classes)} classes, where UCF-101 has {NUM_VIDEOS} of '
      f'{NUM_CLASSES} and its split 1 {SPLIT_1[0]} + {SPLIT_1[1]}',
      lists.places,
    )
  failures.warn(f'ucf101:{path}: missing', missing)
  failures.warn(f'ucf101:{path}: left out, in no list', unknown)
  failures.warn(f'ucf101:{path}: left out, no videos', ignored)
  wanted = dict(lists.wanted())
  held_out = '' if lists.test else f', {len(there.keys() - wanted)} others'
  _say_once(
    f'ucf101:{path}: {len(there.keys() & wanted)} of {len(wanted)} listed '
    f'videos are there{held_out}; {len(lists.classes)} classes, by '
    f'{" and ".join(lists.places)}'
  )


_say_once = functools.cache(note)  # each split is opened anew
