"""The real clips that an evaluation compares with."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain.python as grain
import numpy as np

from videoar_jax.core import spread
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import FailureLog
from videoar_jax.data.pipeline import add_prompts, clip_order, make_clips
from videoar_jax.data.prompts import PromptEncoder
from videoar_jax.data.source import Source
from videoar_jax.data.work import Progress
from videoar_jax.evaluate.clips import unit_of
from videoar_jax.evaluate.rules import Split, Window

_NEXT_PASS = 7919  # between the seeds of passes over a held-out split
_THREADS, _AHEAD = 4, 16  # that read clips, and clips read before their turn
# Which of the two splits of a source are drawn from; True is the training one.
_PARTS = {
  Split.TRAIN: (True,),
  Split.VALIDATION: (False,),
  Split.ALL: (True, False),
}


class Block(NamedTuple):
  """Some clips of a draw.

  Attributes:
    videos_nTHWc: uint8.
    labels_n: int32.
    failed_n: int32; of a clip whose video could not be read, so that another
      one took its place, that video's index in the source, else -1.
    prompts_nx: tokens of their prompts, int32, if the source gives them.
  """

  videos_nTHWc: np.ndarray
  labels_n: np.ndarray
  failed_n: np.ndarray
  prompts_nx: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Draw:
  """N windows of the videos of a split, as a seed draws them.

  They are of different videos as far as there are enough. Window i is a
  function of the seed and of i, whatever N and whoever reads it.

  Attributes:
    source: see `open_split`.
    num_videos: N.
    seed: of the order and of the windows; 0 <= seed < 2**32.
    split: that the source was opened for.
    max_bad_share: of unreadable videos, past which reading stops.
  """

  source: Source
  num_videos: int
  seed: int
  split: Split
  max_bad_share: float

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of the labels."""
    return tuple(self.source.classes)

  @property
  def videos_in_split(self) -> int:
    return len(self.source)

  @property
  def videos_repeated(self) -> int:
    """How many clips are further windows of a video that was drawn before."""
    return max(0, self.num_videos - self.videos_in_split)

  @functools.cached_property
  def clips_n(self) -> np.ndarray:
    """Which video of the split each clip is of.

    Of a substituted one, the video whose place it took.
    """
    found = []
    for start in range(0, self.num_videos, self._pass):
      order = clip_order(len(self.source), seed=self._seed_of(start))
      stop = min(self._pass, self.num_videos - start)
      found += [order[i] for i in range(stop)]
    return np.asarray(found, np.int64)

  def units(self) -> list[str]:
    """The unit of each clip (see `clips`); reads names, which may take long."""
    found, which_n = np.unique(self.clips_n, return_inverse=True)
    names = [unit_of(self.source.name(int(index))) for index in found]
    return [names[i] for i in which_n]

  def blocks(self, index_n: np.ndarray, size: int) -> Iterator[Block]:
    """Yields clips by their indices, so many at a time, the last ones fewer.

    Raises:
      BadDataError: too many unreadable videos.
    """
    failures = FailureLog(self.source, max_bad_share=self.max_bad_share)
    if not len(index_n):
      return
    chosen = _Chosen(tuple(map(int, index_n)), self._pass, self._streams())
    options = grain.ReadOptions(_THREADS, _AHEAD)
    clips = iter(grain.MapDataset.source(chosen).to_iter_dataset(options))
    for start in range(0, len(index_n), size):
      some = [next(clips) for _ in range(min(size, len(index_n) - start))]
      rows = {name: np.stack([x[name] for x in some]) for name in some[0]}
      failures.update(rows['failed'])
      yield Block(
        rows['video'], rows['label'], rows['failed'], rows.get('prompt')
      )

  @property
  def _pass(self) -> int:
    """Clips until an order begins anew: the held-out split's is of one pass."""
    once = self.split is Split.VALIDATION
    return len(self.source) if once else self.num_videos

  def _seed_of(self, start: int) -> int:
    """The seed of the pass that begins with clip `start`."""
    return (self.seed + start // self._pass * _NEXT_PASS) % 2**32

  def _streams(self) -> tuple[grain.MapDataset, ...]:
    starts = range(0, self.num_videos, self._pass)
    return tuple(make_clips(self.source, seed=self._seed_of(x)) for x in starts)


@dataclasses.dataclass(frozen=True)
class _Chosen:
  """Clips of several streams by their index, for Grain to read ahead."""

  index: tuple[int, ...]
  each: int
  streams: Sequence[grain.MapDataset]

  def __len__(self) -> int:
    return len(self.index)

  def __getitem__(self, place: int) -> dict:
    which, within = divmod(self.index[place], self.each)
    return self.streams[which][within]


@dataclasses.dataclass(frozen=True)
class _Union:
  """The records of two splits, one after the other."""

  parts: tuple[Source, ...]

  @property
  def classes(self) -> tuple[str, ...]:
    return tuple(self.parts[0].classes)

  def __len__(self) -> int:
    return sum(map(len, self.parts))

  def name(self, index: int) -> str:
    part, index = self._find(index)
    return part.name(index)

  def load(self, index: int, rng: np.random.Generator) -> dict:
    part, index = self._find(index)
    return part.load(index, rng)

  def explain(self, index: int) -> str:
    part, index = self._find(index)
    return part.explain(index)

  def _find(self, index: int) -> tuple[Source, int]:
    first = len(self.parts[0])
    return (
      (self.parts[0], index)
      if index < first
      else (self.parts[1], index - first)
    )


@dataclasses.dataclass(frozen=True)
class _Centred:
  """Records of another source, each as the window in the middle of its video.

  Of an even number of places it is the later one in the middle, as
  OmniTokenizer's, whose frames begin at length // 2 - 17 // 2.
  """

  source: Source

  @property
  def classes(self) -> tuple[str, ...]:
    return tuple(self.source.classes)

  def __len__(self) -> int:
    return len(self.source)

  def name(self, index: int) -> str:
    return self.source.name(index)

  def load(self, index: int, rng: np.random.Generator) -> dict:
    del rng
    return self.source.load(index, _Middle())

  def explain(self, index: int) -> str:
    return self.source.explain(index)


class _Middle:
  """In place of a random generator: draws the middle of a range."""

  def integers(self, high: int) -> int:
    return int(high) // 2


def open_split(
  config: DataConfig,
  *,
  num_videos: int,
  split: Split,
  window: Window = Window.RANDOM,
  prompts: PromptEncoder | None = None,
) -> Source:
  """Opens a split; raises where it cannot give so many clips.

  Args:
    config: the source and the size of a clip.
    num_videos: how many clips.
    split: one of a source's two, or both as one.
    window: which of a video's windows a record is.
    prompts: of the clips' prompts, if they are wanted.
  Raises:
    ValueError: the source is missing or does not fit the config; fewer than
      two videos; or rendered clips, of which each is always the same, would
      have to repeat.
  """
  parts = tuple(
    config.kind.open(config.path, config, train=train)
    for train in _PARTS[split]
  )
  source = parts[0] if len(parts) == 1 else _Union(parts)
  if window is Window.CENTER:
    source = _Centred(source)
  source = add_prompts(source, config, prompts)
  if num_videos < 2:
    raise ValueError(f'num_videos={num_videos}: a set needs at least 2')
  name = split.value
  if len(source) < 2:
    raise ValueError(
      f'{config.source}: {len(source)} video in the {name} split; a set needs '
      'at least 2: add videos, or take the other --split'
    )
  if config.kind.rendered and num_videos > len(source):
    raise ValueError(
      f'num_videos={num_videos}: the {name} split of {config.source} has '
      f'{len(source)}; use at most that'
    )
  return source


def check_splits(config: DataConfig, *, several_classes: bool) -> None:
  """Raises ValueError where the splits hold too little for a probe.

  Args:
    config: the source; its captions are not read.
    several_classes: there must be more than one.
  """
  for split in (Split.TRAIN, Split.VALIDATION):
    source = open_split(
      dataclasses.replace(config, captions=''), num_videos=2, split=split
    )
  if several_classes and len(source.classes) < 2:
    raise ValueError(
      f'{config.source} has one class, {source.classes[0]}: a probe needs at '
      'least 2; leave it out'
    )


@dataclasses.dataclass(frozen=True)
class Windows:
  """Clips of a draw, all in memory.

  Attributes:
    draw: that they are of.
    videos_nTHWc: uint8.
    labels_n: int32, indices into the draw's classes.
    substituted: clips whose video could not be read, so that another one took
      its place.
    prompts_nx: tokens of their prompts, if asked for.
  """

  draw: Draw
  videos_nTHWc: np.ndarray
  labels_n: np.ndarray
  substituted: int
  prompts_nx: np.ndarray | None


def draw_windows(
  config: DataConfig,
  *,
  num_videos: int,
  split: Split,
  seed: int,
  progress: Progress | None = None,
  prompts: PromptEncoder | None = None,
  shared: bool = False,
) -> Windows:
  """Draws a few clips, which are held in memory; see `Draw`.

  Args:
    config: the source and the size of a clip.
    num_videos: how many clips.
    split: which split.
    seed: of the order and of the windows.
    progress: is told of every clip.
    prompts: of the clips' prompts, if they are wanted.
    shared: each process reads its share of the clips (see `core.spread`).
  Raises:
    ValueError: see `open_split`; BadDataError: too many unreadable videos.
  """
  source = open_split(
    config, num_videos=num_videos, split=split, prompts=prompts
  )
  draw = Draw(source, num_videos, seed, split, config.max_bad_share)
  index_n = spread.own(num_videos) if shared else np.arange(num_videos)
  found = []
  for block in draw.blocks(index_n, config.batch_size):
    found.append(block)
    if progress is not None:
      progress.add(len(block.labels_n))
  videos, labels, failed, prompts = zip(*found)
  return Windows(
    draw,
    np.concatenate(videos),
    np.concatenate(labels),
    int((np.concatenate(failed) >= 0).sum()),
    None if prompts[0] is None else np.concatenate(prompts),
  )
