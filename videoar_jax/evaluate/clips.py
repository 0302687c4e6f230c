"""The clips of a split in disjoint windows, and which of them belong together.

Windows of one video are not independent, nor are clips that were cut from one
film. Where names tell the film as UCF-101's do (`v_Archery_g01_c02`: the second
clip of group 1), a unit is the clips of one class and group, and a group all
clips of one number (one actor, in some sets). Elsewhere each video is a unit
and a group of its own.
"""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np

from videoar_jax.core import archive
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadRecordError, check_share
from videoar_jax.data.folder import stem
from videoar_jax.data.pipeline import make_source
from videoar_jax.data.source import Source

_GROUP = re.compile(r'(.*_g(\d+))_c\d+')


@dataclasses.dataclass(frozen=True)
class ClipWindows:
  """Disjoint windows of the videos of a split.

  Attributes:
    videos_nTHWc: uint8.
    labels_n: class of each, indices into `classes`.
    clips_n: video of each, indices into `names`.
    starts_n: first frame of each.
    names: of the videos that were read.
    classes: names of the labels.
    cut: there are more windows than were asked for.
    failed: videos that could not be read.
  """

  videos_nTHWc: np.ndarray
  labels_n: np.ndarray
  clips_n: np.ndarray
  starts_n: np.ndarray
  names: tuple[str, ...]
  classes: tuple[str, ...]
  cut: bool
  failed: int

  @property
  def units_n(self) -> np.ndarray:
    """The unit of each window, a number."""
    return _numbered(map(unit_of, self.names))[self.clips_n]

  @property
  def groups_n(self) -> np.ndarray:
    """The group of each window, a number."""
    return _numbered(map(_group_of, self.names))[self.clips_n]

  @property
  def num_clips(self) -> int:
    """Videos that some window is of."""
    return len(np.unique(self.clips_n))


def unit_of(name: str) -> str:
  """The unit of a video, by its name."""
  match = _GROUP.fullmatch(stem(name))
  return match[1] if match else name


def _group_of(name: str) -> str:
  match = _GROUP.fullmatch(stem(name))
  return match[2] if match else name


def _numbered(keys: Iterable[str]) -> np.ndarray:
  known: dict[str, int] = {}
  return np.array([known.setdefault(key, len(known)) for key in keys], int)


class _At:
  """In place of a random generator: puts a window at a given first frame.

  Attributes:
    starts: how many first frames there were to draw from.
  """

  def __init__(self, start: int):
    self._start, self.starts = start, 1

  def integers(self, high: int) -> int:
    self.starts = int(high)
    return min(self._start, self.starts - 1)


def read_windows(
  config: DataConfig, *, train: bool, most: int, progress=None
) -> ClipWindows:
  """Reads the disjoint windows of a split, spread evenly over each video.

  Args:
    config: the source and the size of a clip; without captions.
    train: which split.
    most: windows in all. Where there may be more, each video gives as many as
      the others; where there are more videos, they are taken at even steps.
    progress: is told of every video.
  Raises:
    ValueError: see `make_source`; or too little memory.
    BadDataError: too many videos cannot be read.
  """
  source = make_source(config, train=train)
  count = len(source)
  size = config.num_frames * config.height * config.width * 3
  archive.check_memory(size * most, f'{most} windows of {config.source}')
  chosen, each = np.arange(count), max(1, most // count)
  if count > most:
    chosen = np.linspace(0, count - 1, most).round().astype(int)
  rows, names, cut, failures = [], [], count > most, {}
  for index in chosen.tolist():
    name = source.name(index)
    try:
      found, more = _windows_of(source, config, index, most=each)
    except BadRecordError as error:
      failures[name] = str(error)
    else:
      rows += [(len(names), *row) for row in found]
      names.append(name)
      cut |= more
    if progress is not None:
      progress.add(1)
  check_share(failures, len(chosen), config.max_bad_share)
  clips, starts, videos, labels = zip(*rows)
  return ClipWindows(
    videos_nTHWc=np.stack(videos),
    labels_n=np.asarray(labels, np.int32),
    clips_n=np.asarray(clips),
    starts_n=np.asarray(starts),
    names=tuple(names),
    classes=tuple(source.classes),
    cut=cut,
    failed=len(failures),
  )


def _windows_of(
  source: Source, config: DataConfig, index: int, *, most: int
) -> tuple[list[tuple], bool]:
  """(start, video, label) of each window, and whether there are more."""
  span = (config.num_frames - 1) * config.frame_stride + 1
  first = _At(0)
  record = source.load(index, first)
  there = 1 + (first.starts - 1) // span
  starts = np.linspace(0, first.starts - 1, min(there, most)).round()
  rows = []
  for start in starts.astype(int).tolist():
    if start:
      record = source.load(index, _At(start))
    rows.append((start, record['video'], record['label']))
  return rows, there > most
