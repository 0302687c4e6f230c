"""The real clips that an evaluation compares with."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from videoar_jax.core import spread
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import FailureLog
from videoar_jax.data.pipeline import clip_order, make_batches, make_source
from videoar_jax.data.prompts import PromptEncoder
from videoar_jax.data.source import Source
from videoar_jax.data.work import Progress
from videoar_jax.evaluate.clips import unit_of

_NEXT_PASS = 7919  # between the seeds of passes over a held-out split


@dataclasses.dataclass(frozen=True)
class Windows:
  """Clips of a split, each a random window of its video.

  Attributes:
    videos_nTHWc: uint8; this process's share of the clips, where it was asked
      for, while all else is of all clips.
    labels_n: int32, indices into `classes`.
    classes: names of the labels.
    videos_in_split: how many videos the split holds.
    substituted: clips whose video could not be read, so that another one took
      its place.
    clips_n: which video of the split each clip is of; of a substituted one,
      the video whose place it took.
    name_of: the name of a video of the split.
    prompts_nx: tokens of their prompts, if asked for.
  """

  videos_nTHWc: np.ndarray
  labels_n: np.ndarray
  classes: tuple[str, ...]
  videos_in_split: int
  substituted: int
  clips_n: np.ndarray
  name_of: Callable[[int], str]
  prompts_nx: np.ndarray | None = None

  @property
  def videos_repeated(self) -> int:
    """How many clips are further windows of a video that was drawn before."""
    return max(0, len(self.labels_n) - self.videos_in_split)

  def units(self) -> list[str]:
    """The unit of each clip (see `clips`); reads names, which may take long."""
    found, which_n = np.unique(self.clips_n, return_inverse=True)
    names = [unit_of(self.name_of(int(index))) for index in found]
    return [names[i] for i in which_n]


def open_split(
  config: DataConfig,
  *,
  num_videos: int,
  train: bool,
  prompts: PromptEncoder | None = None,
) -> Source:
  """Opens a split; raises where it cannot give so many clips.

  Args:
    config: the source and the size of a clip.
    num_videos: how many clips.
    train: which split.
    prompts: of the clips' prompts, if they are wanted.
  Raises:
    ValueError: the source is missing or does not fit the config; fewer than
      two videos; or rendered clips, of which each is always the same, would
      have to repeat.
  """
  source = make_source(config, train=train, prompts=prompts)
  name = 'train' if train else 'validation'
  if num_videos < 2:
    raise ValueError(f'num_videos={num_videos}: a set needs at least 2')
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
  for train in (True, False):
    source = open_split(
      dataclasses.replace(config, captions=''), num_videos=2, train=train
    )
  if several_classes and len(source.classes) < 2:
    raise ValueError(
      f'{config.source} has one class, {source.classes[0]}: a probe needs at '
      'least 2; leave it out'
    )


def draw_windows(
  config: DataConfig,
  *,
  num_videos: int,
  train: bool,
  seed: int,
  progress: Progress | None = None,
  prompts: PromptEncoder | None = None,
  shared: bool = False,
) -> Windows:
  """Draws clips, from different videos as far as there are enough.

  The first clips are the same whatever `num_videos` and the batch size.

  Args:
    config: the source and the size of a clip.
    num_videos: how many clips.
    train: which split.
    seed: of the order and of the windows.
    progress: is told of every clip.
    prompts: of the clips' prompts, if they are wanted.
    shared: each process reads its share of the clips (see `core.spread`).
  Raises:
    ValueError: see `open_split`; BadDataError: too many unreadable videos.
  """
  source = open_split(
    config, num_videos=num_videos, train=train, prompts=prompts
  )
  ways = jax.process_count() if shared else 1
  drawn = _Drawn(source, config, num_videos, ways, prompts)

  done = passes = 0
  while done < num_videos:
    # The held-out split ends after one pass, so further ones are begun anew.
    left = num_videos - done
    end = done + (left if train else min(left, len(source)))
    own_seed = (seed + passes * _NEXT_PASS) % 2**32
    drawn.read(done, end, train=train, seed=own_seed, progress=progress)
    done, passes = end, passes + 1
  return drawn.windows(num_videos)


class _Drawn:
  """Clips as they are drawn, those of one process."""

  def __init__(
    self,
    source: Source,
    config: DataConfig,
    num_videos: int,
    ways: int,
    prompts: PromptEncoder | None,
  ):
    self._source, self._prompts, self._ways = source, prompts, ways
    # A row of a batch falls to each process.
    size = ways if ways > 1 else min(config.batch_size, num_videos)
    self._config = dataclasses.replace(config, batch_size=size)
    self._failures = FailureLog(source, max_bad_share=config.max_bad_share)
    count = len(range(self._first(0), num_videos, ways))
    shape = (config.num_frames, config.height, config.width, 3)
    self._rows = {
      'video': np.empty((count, *shape), np.uint8),
      'label': np.empty(count, np.int32),
      'failed': np.empty(count, np.int32),
    }
    if prompts is not None:
      self._rows['prompt'] = np.empty((count, prompts.length), np.int32)
    self._clips_n = np.empty(num_videos, np.int64)
    self._done = 0

  def _first(self, start: int) -> int:
    """This process's first clip from `start` on."""
    return start + (jax.process_index() - start) % self._ways

  def read(
    self,
    start: int,
    end: int,
    *,
    train: bool,
    seed: int,
    progress: Progress | None,
  ) -> None:
    """Reads this process's clips of `start` to `end`, a pass of their own."""
    order = clip_order(len(self._source), seed=seed)
    self._clips_n[start:end] = [order[i] for i in range(end - start)]
    stop = self._done + len(range(self._first(start), end, self._ways))
    batches = make_batches(
      self._config,
      train=train,
      seed=seed,
      rows=[self._first(start) - start] if self._ways > 1 else None,
      prompts=self._prompts,
    )
    while self._done < stop:
      batch = next(batches)
      count = min(len(batch['label']), stop - self._done)
      for name, rows in self._rows.items():
        rows[self._done : self._done + count] = batch[name][:count]
      self._failures.update(batch['failed'][:count])
      self._done += count
      if progress is not None:
        progress.add(count)

  def windows(self, num_videos: int) -> Windows:
    """All clips, of whose videos each process has its own."""
    gathered = {
      name: rows if self._ways == 1 else spread.gather(rows, num_videos)
      for name, rows in self._rows.items()
      if name != 'video'
    }
    return Windows(
      self._rows['video'],
      gathered['label'],
      tuple(self._source.classes),
      len(self._source),
      int((gathered['failed'] >= 0).sum()),
      self._clips_n,
      self._source.name,
      gathered.get('prompt'),
    )
