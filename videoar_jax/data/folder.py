"""Class folders of files, as UCF-101 comes: `PATH/<Class>/<video>`.

`folder:PATH` takes the videos there, `images:PATH` the pictures, which are
clips of one frame.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from videoar_jax.core import buckets, files
from videoar_jax.data import decode, failures, pictures, stores
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadRecordError
from videoar_jax.data.source import Catalogue, Listing, SourceKind
from videoar_jax.data.stores import FolderStore, Store

# Kind of source -> suffixes of its files.
SUFFIXES = {
  'folder': (
    *('.avi', '.mp4', '.m4v', '.mov', '.mkv', '.webm', '.mpg', '.mpeg'),
  ),
  'images': pictures.SUFFIXES,
}

_HELD_OUT = 20  # one video in so many, without an official split


@dataclasses.dataclass(frozen=True)
class FileSource:
  """Decodes a random window of a file at each access.

  Attributes:
    store: where the files lie.
    listing: which of its videos.
    num_frames: T.
    height: pixels.
    width: pixels.
    frame_stride: every how many-th frame.
  """

  store: Store
  listing: Listing
  num_frames: int
  height: int
  width: int
  frame_stride: int = 1

  @property
  def classes(self) -> tuple[str, ...]:
    return self.listing.classes

  def __len__(self) -> int:
    return len(self.listing.names)

  def name(self, index: int) -> str:
    return self.listing.names[index]

  def load(self, index: int, rng: np.random.Generator) -> dict:
    """Reads one clip; BadRecordError if the file does not serve."""
    with self.store.local(self.listing.file(index)) as path:
      frames = decode.read_window(
        path,
        rng,
        num_frames=self.num_frames,
        stride=self.frame_stride,
        size=(self.height, self.width),
      )
    return {
      'video': np.stack(frames),
      'label': self.listing.labels[index],
    }

  def explain(self, index: int) -> str:
    """Says what is wrong with a file, by decoding all of it."""
    try:
      with self.store.local(self.listing.file(index)) as path:
        count = sum(1 for _ in decode.iterate_frames(path))
    except BadRecordError as error:
      return str(error)
    span = (self.num_frames - 1) * self.frame_stride + 1
    if count < span:
      return decode.too_short(count, self.num_frames, self.frame_stride)
    return 'some windows of it cannot be decoded'


def open_files(
  found: Catalogue, config: DataConfig, *, train: bool
) -> FileSource:
  """Opens a split of a catalogue of files.

  Raises:
    ValueError: the split is empty.
    BadDataError: more videos are missing than `max_bad_share` allows.
  """
  which = 0 if train else 1
  found.check_filled((which,), config.source, config.split_file)
  failures.check_missing(found.missing, found.total, config.max_bad_share)
  size = (config.num_frames, config.height, config.width)
  return FileSource(
    found.reader, found.splits[which], *size, config.frame_stride
  )


def catalogue(
  root: str, *, split_file: str = '', kind: str = 'folder'
) -> Catalogue:
  """Lists the files of a folder of class folders, see `list_splits`."""
  store = FolderStore(root)
  splits = list_splits(root, split_file=split_file, kind=kind)

  def digest() -> str:
    return stores.listing_digest(
      splits, lambda name: os.path.getsize(store.path(name))
    )

  return Catalogue(splits=splits, reader=store, digest=digest)


def list_splits(
  root: str, *, split_file: str = '', kind: str = 'folder'
) -> tuple[Listing, Listing]:
  """Lists the training and the held-out files of a folder of class folders.

  With a split file the training videos are those it names; a name's suffix
  does not count, so a list of .avi serves a folder of .mp4. Without one, about
  5% are held out by the digest of their name, the same on every machine.

  Raises:
    ValueError: a path is missing, there are no class folders or no videos, a
      line of the split file cannot be read, or it names no video there is.
  """
  if buckets.is_bucket(root):
    raise ValueError(
      f'{kind}:{root}: files are decoded from a disk; copy them there, or give '
      'the bucket what data.prepare makes of them, as array_record:PATH'
    )
  classes, names = _scan(pathlib.Path(root), kind)
  if split_file:
    listed = _read_split(split_file)
    training = [stem(name) in listed for name in names]
    if not any(training):
      raise ValueError(
        f'split_file={split_file!r}: names no video under {root}; its lines '
        f'should look like {stem(names[0])}.avi 1'
      )
    unknown = sorted(listed.difference(map(stem, names)))
    failures.warn(f'{split_file}: names without a file under {root}', unknown)
  else:
    training = not_held_out(names)
  index = {name: i for i, name in enumerate(classes)}
  splits = []
  for wanted in (True, False):
    chosen = tuple(n for n, train in zip(names, training) if train == wanted)
    labels = tuple(index[name.partition('/')[0]] for name in chosen)
    splits.append(Listing(classes, chosen, labels))
  return tuple(splits)


def _scan(root: pathlib.Path, kind: str) -> tuple[tuple[str, ...], list[str]]:
  """Class names that have files of the kind, and those files, both sorted."""
  suffixes = SUFFIXES[kind]
  if not root.is_dir():
    fault = 'is not a folder' if root.exists() else 'does not exist'
    raise ValueError(f'{kind}:{root}: {root} {fault}; give a folder of classes')
  folders = sorted(
    x for x in root.iterdir() if x.is_dir() and not x.name.startswith('.')
  )
  if not folders:
    raise ValueError(
      f'{kind}:{root}: holds no class folders; wanted <class>/<file>'
      f'{suffixes[0]} below it'
    )
  names, others, unnamed = [], [], []
  for file in (x for folder in folders for x in sorted(folder.iterdir())):
    name = f'{file.parent.name}/{file.name}'
    if file.name.startswith('.'):
      continue
    if not (file.suffix.lower() in suffixes and file.is_file()):
      others.append(name)
    elif not files.is_text(name):
      unnamed.append(name)
    else:
      names.append(name)
  where = f'{kind}:{root}: left out'
  failures.warn(f'{where}, no {" ".join(suffixes)} files', others)
  failures.warn(f'{where}, their names are not UTF-8', unnamed)
  if not names:
    raise ValueError(
      f'{kind}:{root}: {len(folders)} class folders, but no file ends in '
      f'{" ".join(suffixes)}'
    )
  filled = {name.partition('/')[0] for name in names}
  empty = [x.name for x in folders if x.name not in filled]
  failures.warn(f'{where}, folders without files', empty)
  return tuple(sorted(filled)), names


def _read_split(path: str) -> set[str]:
  """The names in an official list, without suffix."""
  listed = set()
  for where, line in files.read_lines(path):
    match = re.fullmatch(r'\s*([^/]+)/([^/]+?)(\s+\d+)?\s*', line)
    if not match or match[1] in ('.', '..'):
      raise ValueError(
        f'{where}: {line!r}; wanted <class>/<video>.avi <number>'
      )
    listed.add(stem(f'{match[1]}/{match[2]}'))
  return listed


def stem(name: str) -> str:
  """A file's path without its suffix; "v.01" has none."""
  return re.sub(r'\.[A-Za-z]\w{1,4}$', '', str(pathlib.PurePosixPath(name)))


def not_held_out(names: Sequence[str]) -> list[bool]:
  """Whether each video is trained on, where nothing but names can decide."""
  order = [_digest(name) for name in names]
  training = [digest % _HELD_OUT != 0 for digest in order]
  if all(training) and len(names) > 1:
    training[int(np.argmin(order))] = False
  return training


def _digest(name: str) -> int:
  return int(hashlib.sha256(stem(name).encode()).hexdigest()[:12], 16)


def _identify(path: str, config: DataConfig, *, kind: str) -> str:
  """SHA-256 of names, sizes and times of all files, split by split."""
  found = hashlib.sha256()
  splits = catalogue(path, split_file=config.split_file, kind=kind).splits
  for name in [name for split in splits for name in ('', *split.names)]:
    about = pathlib.Path(path, name).stat() if name else None
    stamp = (about.st_size, about.st_mtime_ns) if about else ()
    found.update(f'{name}\0{stamp}\n'.encode())
  return found.hexdigest()


def _kind(name: str, **traits) -> SourceKind:
  """A kind of class folders; `name` is of `SUFFIXES`."""

  listed = functools.partial(catalogue, kind=name)

  def open_source(path: str, config: DataConfig, *, train: bool) -> FileSource:
    found = listed(path, split_file=config.split_file)
    return open_files(found, config, train=train)

  return SourceKind(
    name=name,
    open=open_source,
    catalogue=listed,
    identify=functools.partial(_identify, kind=name),
    split_lists=True,
    **traits,
  )


def _check_images(config: DataConfig) -> None:
  if (config.num_frames, config.frame_stride) != (1, 1):
    raise ValueError(
      f'num_frames={config.num_frames}, frame_stride={config.frame_stride}: an '
      'image is a clip of one frame; use num_frames=1 and frame_stride=1'
    )


FOLDER = _kind('folder')
IMAGES = _kind('images', images=True, check=_check_images)
