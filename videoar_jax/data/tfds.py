"""Data sets that TensorFlow Datasets prepared, read without TensorFlow.

`tfds:PATH` is the folder of a prepared builder, or one above it; `tfds:NAME`
looks below TFDS's own folder. Whatever builder has a video will do: frames that
are pictures (`Video`, `Sequence(Image)`) or one array (`Tensor`). Pictures stay
encoded until their frame is wanted, and are decoded here: TFDS builds the
features `Video` only with TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from array_record.python import array_record_module
from PIL import Image

from videoar_jax.core import buckets
from videoar_jax.core.console import note
from videoar_jax.core.lazy import Lazy, MissingPackageError
from videoar_jax.data import decode, folder, tfds_folder, transforms
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadRecordError
from videoar_jax.data.source import Catalogue, Listing, SourceKind, WholeVideo

tfds = Lazy('tensorflow_datasets', extra='tfds')


@dataclasses.dataclass(frozen=True)
class TfdsReader:
  """Examples of a prepared builder, by `<split>/<number>`.

  Attributes:
    root: the folder with its `dataset_info.json`.
  """

  root: str

  @contextlib.contextmanager
  def opened(self, file: str) -> Iterator[WholeVideo]:
    """Opens an example as a video (see `source.Reader`)."""
    frames, label = self.example(file)
    yield WholeVideo(map(picture, frames), 0.0, label)

  def example(self, file: str) -> tuple[Sequence[Any], int]:
    """The frames, each for `picture`, and the label; 0 where there is none.

    Raises:
      BadRecordError: damaged, without a frame, or without its label.
    """
    split, _, index = file.rpartition('/')
    builder = _open(self.root)
    source = builder.source(split)
    try:
      example = source[int(index)]
      frames = example[builder.about.video]
      label = int(example[builder.about.label]) if builder.about.label else 0
    except Exception as error:  # array_record raises bare RuntimeErrors
      raise BadRecordError(f'damaged: {_brief(error)}') from error
    if not len(frames):
      raise BadRecordError('holds no frames')
    if not 0 <= label < len(builder.classes):
      raise BadRecordError(
        f'{builder.about.label}={label}, of {len(builder.classes)} classes'
      )
    return frames, label


@dataclasses.dataclass(frozen=True)
class TfdsSource:
  """A random window of an example at each access.

  Attributes:
    reader: of the builder.
    listing: the split's examples.
    num_frames: T.
    height: pixels.
    width: pixels.
    frame_stride: every how many-th frame.
  """

  reader: TfdsReader
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
    """Reads one clip; BadRecordError if the example does not serve."""
    frames, label = self.reader.example(self.name(index))
    start = transforms.window_start(
      rng, len(frames), self.num_frames, self.frame_stride
    )
    if start < 0:
      raise BadRecordError(
        decode.too_short(len(frames), self.num_frames, self.frame_stride)
      )
    places = range(start, len(frames), self.frame_stride)[: self.num_frames]
    size = (self.height, self.width)
    fitted = [transforms.fit_frame(picture(frames[i]), *size) for i in places]
    return {'video': np.stack(fitted), 'label': label}

  def explain(self, index: int) -> str:
    """Says what is wrong with an example, by decoding all of it."""
    try:
      frames, _ = self.reader.example(self.name(index))
      for frame in frames:
        picture(frame)
    except BadRecordError as error:
      return str(error)
    return decode.too_short(len(frames), self.num_frames, self.frame_stride)


def picture(frame: bytes | np.ndarray) -> np.ndarray:
  """A frame as uint8 (H, W, 3), RGB; BadRecordError where it is damaged."""
  if not isinstance(frame, bytes):
    return np.asarray(frame)
  try:
    with Image.open(io.BytesIO(frame), formats=['JPEG', 'PNG']) as image:
      return np.asarray(image.convert('RGB'))
  # Pillow's plugins raise all of these for damaged files.
  except (
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
  ) as error:
    raise BadRecordError(f'a frame is unreadable: {error}') from error


def catalogue(path: str, *, split_file: str = '') -> Catalogue:
  """Lists the examples of a prepared builder.

  Trained on is the split `train`; held out are `validation`, or else `test`, or
  else a twentieth of the only split.

  Args:
    path: the folder, or a name below TFDS's own.
    split_file: ''; the splits are the builder's.
  Raises:
    ValueError: not prepared, damaged, not as ArrayRecord, without a video or a
      split to train on; or tensorflow_datasets is not installed.
  """
  del split_file
  if buckets.is_bucket(path):
    raise ValueError(f'tfds:{path}: read from a disk; copy it there')
  root = str(tfds_folder.find(path))
  builder = _open(root)
  trained, held_out = tfds_folder.choose_splits(root, builder.lengths)
  for split in filter(None, (trained, held_out)):
    builder.check_files(split)
  training = _names(trained, builder.lengths[trained])
  if held_out:
    others = _names(held_out, builder.lengths[held_out])
  else:
    keep = folder.not_held_out(training)
    others = [name for name, kept in zip(training, keep) if not kept]
    training = [name for name, kept in zip(training, keep) if kept]
  classes = builder.classes
  _say_once(
    f'tfds:{path}: {len(training)} videos of {trained!r}, held out '
    f'{len(others)} of {held_out or trained!r}; {len(classes)} classes'
  )
  return Catalogue(
    splits=tuple(
      Listing(classes, tuple(x), (None,) * len(x)) for x in (training, others)
    ),
    reader=TfdsReader(root),
    digest=lambda: _digest(root),
    about={'splits_of': {'train': trained, 'validation': held_out or trained}},
  )


def open_source(path: str, config: DataConfig, *, train: bool) -> TfdsSource:
  """Opens a split, decoded as it is read; see `catalogue`."""
  found = catalogue(path)
  which = 0 if train else 1
  found.check_filled((which,), config.source, '')
  size = (config.num_frames, config.height, config.width)
  return TfdsSource(
    found.reader, found.splits[which], *size, config.frame_stride
  )


TFDS = SourceKind(name='tfds', open=open_source, catalogue=catalogue)
_say_once = functools.cache(note)  # each split is opened anew


class _Builder:
  """A prepared builder, open for reading.

  Attributes:
    about: which of its features are used.
    classes: names of the labels.
    lengths: examples of each split.
  """

  def __init__(self, root: str):
    self.about = tfds_folder.read_features(root)
    name = tfds_folder.read_info(root)['name']
    self._root, self._sources = root, {}
    with self._told():
      with _encoded_pictures():
        self._builder = tfds.builder_from_directory(root)
      info, label = self._builder.info, self.about.label
      self.lengths = {x: info.splits[x].num_examples for x in info.splits}
      self.classes = tuple(info.features[label].names) if label else (name,)

  def check_files(self, split: str) -> None:
    """Raises a ValueError where a split's files are missing or cut short."""
    about = self._builder.info.splits[split]
    with self._told():
      for path, wanted in zip(about.filepaths, about.shard_lengths):
        reader = array_record_module.ArrayRecordReader(str(path))
        count = reader.num_records()
        reader.close()
        if count != wanted:
          raise ValueError(f'{path.name} has {count} of {wanted} examples')

  def source(self, split: str) -> Sequence[dict]:
    """The examples of a split."""
    if split not in self._sources:
      with self._told():
        self._sources[split] = self._builder.as_data_source(split)
    return self._sources[split]

  @contextlib.contextmanager
  def _told(self) -> Iterator[None]:
    """Turns whatever TFDS and array_record raise into a ValueError."""
    try:
      yield
    except MissingPackageError:
      raise
    except ImportError as error:
      raise ValueError(
        f"tfds:{self._root}: {error}; run: pip install 'videoar_jax[tfds]'"
      ) from error
    except Exception as error:  # whatever a damaged folder may cause
      raise ValueError(
        f'tfds:{self._root}: not readable ({_brief(error)}); '
        f'{tfds_folder.AGAIN}'
      ) from error


@functools.lru_cache(maxsize=2)
def _open(root: str) -> _Builder:
  """Opens a builder once in each process."""
  return _Builder(root)


@contextlib.contextmanager
def _encoded_pictures() -> Iterator[None]:
  """Has TFDS give pictures as their bytes, and build `Video` at all.

  It asks its registry for the class of a feature; that of `Video` calls
  TensorFlow for the name of a dtype.
  """
  registry = tfds.features.FeatureConnector._registered_features
  before = dict(registry)
  registry.update(_stand_ins())
  try:
    yield
  finally:
    registry.clear()
    registry.update(before)


@functools.cache
def _stand_ins() -> dict[str, type]:
  class EncodedPicture(tfds.features.Text):
    @classmethod
    def from_json_content(cls, value: Any) -> EncodedPicture:
      return cls()

  class EncodedFrames(tfds.features.Sequence):
    @classmethod
    def from_json_content(cls, value: Any) -> EncodedFrames:
      return cls(EncodedPicture())

  return {
    tfds_folder.IMAGE: EncodedPicture,
    tfds_folder.VIDEO: EncodedFrames,
  }


def _names(split: str, count: int) -> list[str]:
  return [f'{split}/{i}' for i in range(count)]


def _digest(root: str) -> str:
  """SHA-256 of what describes the builder, and of its files' sizes."""
  digest = hashlib.sha256()
  for file in sorted(pathlib.Path(root).iterdir()):
    digest.update(f'{file.name}\0{os.path.getsize(file)}\n'.encode())
    if file.suffix == '.json':
      digest.update(file.read_bytes())
  return digest.hexdigest()


def _brief(error: BaseException) -> str:
  lines = str(error).strip().splitlines()
  return lines[0][:200] if lines else type(error).__name__
