"""One draw: real clips, and what is compared with them, a block at a time.

Of each video only rows of numbers remain: I3D's features, and a few figures.
So memory is that of a block, whatever the number of videos.
"""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from videoar_jax.core import spread
from videoar_jax.data.work import Progress
from videoar_jax.evaluate import (
  baselines,
  compare,
  i3d,
  kept,
  makers,
  motion,
  provenance,
  real_features,
)
from videoar_jax.evaluate.real_features import RealFeatures
from videoar_jax.evaluate.request import SAVED, Request
from videoar_jax.evaluate.rules import Labels
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.task import Task
from videoar_jax.evaluate.windows import Block, Draw

# Sets of videos, by what a reader calls them.
REAL, OWN, STILL, CODED, H264 = (
  'real clips',
  'generated',
  'first frames',
  'reconstructions',
  'H.264',
)
ONES, BITS, MOTION = 'ones', 'bits', 'motion'
_OF_REAL = (REAL, 'labels', 'failed')
_SAVED = 'saved '


@dataclasses.dataclass(frozen=True)
class Asked:
  """What of a draw is worked out besides features of real clips.

  Attributes:
    own: reconstructions or samples, and their figures.
    baselines: features of first frames, of a generator's reconstructions, and
      counts of bits.
    h264: the clips as H.264.
    save: the first videos themselves.
  """

  own: bool = True
  baselines: bool = False
  h264: bool = False
  save: bool = False

  @classmethod
  def by(cls, request: Request) -> 'Asked':
    """All that a request asks of a draw."""
    save = request.save is not None
    return cls(baselines=request.baselines, h264=request.h264, save=save)


@dataclasses.dataclass(frozen=True)
class Drawn:
  """What remains of a draw: rows of all processes' videos.

  Attributes:
    draw: which real clips.
    real: their features and classes; without I3D, their classes.
    wanted_n: class of each of the videos compared with them.
    rows: by name, in the order of the videos.
  """

  draw: Draw
  real: RealFeatures
  wanted_n: np.ndarray
  rows: kept.Rows

  def pairs(self, name: str) -> dict:
    """See `compare.pair_figures`, of a set beside the real clips."""
    start = f'{name} '
    names = ('psnr', 'ssim', 'lpips', 'identical_frames')
    found = {x: self.rows[start + x] for x in names if start + x in self.rows}
    return compare.pair_figures(found)

  def motion(self, name: str) -> np.ndarray:
    """What `motion.classify` says of each video of a set."""
    return self.rows[f'{name} {MOTION}']

  def saved(self) -> dict[str, np.ndarray]:
    """The first videos of each set, uint8 nTHWc."""
    return {
      name.removeprefix(_SAVED): rows
      for name, rows in self.rows.items()
      if name.startswith(_SAVED)
    }


def has_motion(task: Task) -> bool:
  """Whether the motion of a video is its class."""
  return task.data.kind.rendered and task.frames >= motion.MIN_FRAMES


def wanted_labels(
  task: Task, labels_n: np.ndarray, index_n: np.ndarray
) -> np.ndarray:
  """The class of each sample: its clip's, or classes take turns.

  Args:
    task: with the rules.
    labels_n: of the real clips.
    index_n: of these clips in their draw.
  """
  if task.rules.labels is Labels.UNIFORM:
    return (index_n % len(task.source.classes)).astype(np.int32)
  return labels_n


def reads_captions(task: Task) -> bool:
  """Whether samples are conditioned on captions of the real clips."""
  generator = task.generator
  prompted = generator is not None and generator.prompts is not None
  uniform = task.rules.labels is Labels.UNIFORM
  return prompted and bool(task.data.captions) and not uniform


def _conditions(
  task: Task,
  labels_n: np.ndarray,
  index_n: np.ndarray,
  prompts_nx: np.ndarray | None,
) -> np.ndarray:
  """What samples are conditioned on, a row for each."""
  if reads_captions(task):
    return prompts_nx
  labels_n, generator = wanted_labels(task, labels_n, index_n), task.generator
  if generator.prompts is not None:
    # Of the clips' classes, which the generator need not know by name.
    return generator.prompts.encode_classes(task.source.classes)[labels_n]
  return generator.of_classes(labels_n)


def _maker(task: Task, seed: int) -> makers.Samples:
  sampling = dataclasses.replace(task.sampling, seed=seed)
  return makers.Samples(task.generator, sampling, task.work)


def sample_again(task: Task, drawn: Drawn, index_n: np.ndarray) -> np.ndarray:
  """Samples of a draw, which were not kept, uint8 nTHWc.

  Args:
    task: what was measured, a generator.
    drawn: what is known of the draw.
    index_n: of the samples.
  """
  prompts_nx = None
  if reads_captions(task):
    prompts_nx = next(drawn.draw.blocks(index_n, len(index_n))).prompts_nx
  labels_n = drawn.real.labels_n[index_n]
  conditions_nx = _conditions(task, labels_n, index_n, prompts_nx)
  samples = _maker(task, drawn.draw.seed)
  return samples.make(index_n, conditions_nx)[:, : task.frames]


class Pass:
  """The work on one draw."""

  def __init__(
    self,
    request: Request,
    task: Task,
    model: i3d.I3D | None,
    stages: Stages,
    *,
    seed: int,
    asked: Asked,
  ):
    """Looks whether the real clips' features are known; does nothing as yet.

    Args:
      request: names the folder of what is kept.
      task: what is measured.
      model: I3D, if it is wanted.
      stages: are told what takes how long.
      seed: of windows and samples.
      asked: what is worked out.
    Raises:
      ValueError: some process would have no video.
    """
    if task.num_videos < jax.process_count():
      raise ValueError(
        f'num_videos={task.num_videos}: fewer than the {jax.process_count()} '
        'processes; use fewer processes'
      )
    self._request, self._task, self._model = request, task, model
    self._stages, self._asked = stages, asked
    self._draw = task.draw(seed)
    self._known = real_features.find(task, self._draw, model)
    self._samples = None if task.paired else _maker(task, seed)

  def run(self, progress: Progress) -> Drawn:
    """Works it off, or what is left of it after a kill."""
    task, count, rows = self._task, self._task.work.count, {}
    if self._reads or self._asked.own:
      rows = kept.collect(
        self._chunks,
        count=count,
        folder=None if task.identity is None else self._request.parts,
        key=self._key(),
        needed=self._needed,
        progress=progress,
      )
    else:
      progress.add(count, worked=False)
    if self._known:  # since when these rows were kept
      rows = {name: x for name, x in rows.items() if name not in _OF_REAL}
    # In one order: all processes bring their rows together.
    rows = {name: self._gathered(name, rows[name]) for name in sorted(rows)}
    real = self._known or self._real(rows)
    wanted_n = real.labels_n
    if not task.paired:
      wanted_n = wanted_labels(task, wanted_n, np.arange(task.num_videos))
    return Drawn(self._draw, real, wanted_n, rows)

  @property
  def _needed(self) -> list[str]:
    """Rows of real clips, where nothing else tells them."""
    if self._known is not None:
      return []
    return [x for x in _OF_REAL if x != REAL or self._model is not None]

  @property
  def _reads(self) -> bool:
    """Whether the pixels of real clips are needed."""
    asked, task = self._asked, self._task
    if self._known is None or asked.baselines or asked.save:
      return True
    return asked.own and (
      task.paired or has_motion(task) or reads_captions(task)
    )

  def _key(self) -> str:
    """Of all that decides the rows of this process."""
    task, loaded, sampling = self._task, self._task.loaded, None
    if self._samples is not None:
      sampling = dataclasses.replace(self._samples.sampling, batch_size=1)
    return kept.key_of(
      (provenance.versions(), kept.device_facts()),
      (jax.process_index(), jax.process_count()),
      (task.identity, self._draw.seed),
      (loaded.digest, loaded.tokenizer and loaded.tokenizer.digest),
      (sampling, task.rules.labels),
      self._model and (self._model.sha256, task.rules.i3d),
      self._asked,
    )

  def _gathered(self, name: str, rows: np.ndarray) -> np.ndarray:
    count = self._task.num_videos
    if name.startswith(_SAVED):
      count = min(count, SAVED)
    return spread.gather(rows, count)

  def _real(self, rows: kept.Rows) -> RealFeatures:
    """The real clips' features, for the cache as well."""
    labels_n = rows['labels']
    if self._model is None:
      about = {'videos_substituted': int((rows['failed'] >= 0).sum())}
      return RealFeatures(np.empty((len(labels_n), 0)), labels_n, about)
    about = real_features.describe(
      self._task,
      self._draw,
      self._model,
      int((rows['failed'] >= 0).sum()),
    )
    real = RealFeatures(rows[REAL], labels_n, about)
    real_features.keep(self._task, self._draw, self._model, real)
    return real

  def _chunks(self, start: int) -> Iterator[tuple[int, kept.Rows]]:
    index_n = spread.own(self._task.num_videos)[start:]
    size = self._task.work.block
    blocks = self._draw.blocks(index_n, size) if self._reads else None
    for begin in range(0, len(index_n), size):
      chosen_n, block = index_n[begin : begin + size], None
      if blocks is not None:
        with self._stages.spent('real clips'):
          block = next(blocks)
      yield len(chosen_n), self._rows(chosen_n, block)

  def _rows(self, index_n: np.ndarray, block: Block | None) -> kept.Rows:
    """The rows of some videos, whose pixels are then forgotten."""
    rows: kept.Rows = {}
    videos: dict[str, np.ndarray] = {}
    if block is not None:
      rows |= {'labels': block.labels_n, 'failed': block.failed_n}
      videos[REAL] = block.videos_nTHWc
    if self._asked.own:
      videos[OWN] = self._own(index_n, block, rows)
    if self._asked.baselines and not self._task.paired:
      videos[CODED] = self._reconstruct(videos[REAL], rows)
    if self._asked.h264:
      with self._stages.spent('H.264'):
        videos[H264], rows[BITS] = makers.code_h264(self._task, videos[REAL])
    videos = {name: x[:, : self._task.frames] for name, x in videos.items()}
    if self._asked.baselines:
      videos[STILL] = baselines.repeat_first_frame(videos[REAL])
    self._measure(videos, rows)
    if self._asked.save:
      first = int((index_n < SAVED).sum())
      for name in [x for x in (REAL, OWN, H264) if x in videos]:
        rows[_SAVED + name] = videos[name][:first].copy()
    return rows

  def _own(
    self, index_n: np.ndarray, block: Block | None, rows: kept.Rows
  ) -> np.ndarray:
    """What is compared with the real clips."""
    if self._samples is None:
      return self._reconstruct(block.videos_nTHWc, rows)
    if block is None:
      labels_n, prompts_nx = self._known.labels_n[index_n], None
    else:
      labels_n, prompts_nx = block.labels_n, block.prompts_nx
    conditions_nx = _conditions(self._task, labels_n, index_n, prompts_nx)
    with self._stages.spent('sampling'):
      return self._samples.make(index_n, conditions_nx)

  def _reconstruct(
    self, videos_nTHWc: np.ndarray, rows: kept.Rows
  ) -> np.ndarray:
    batch = self._task.work.batch
    with self._stages.spent('reconstruction'):
      made, bits = makers.reconstruct(self._task, videos_nTHWc, batch=batch)
      rows[ONES] = baselines.count_ones(bits)
    return made

  def _measure(self, videos: dict[str, np.ndarray], rows: kept.Rows) -> None:
    """Adds features and figures of some videos."""
    if self._model is not None:
      for name in videos:
        if name != REAL or self._known is None:
          with self._stages.spent(f'I3D: {name}'):
            rows[name] = i3d.logits(self._model, videos[name])
    paired = {OWN} if self._task.paired else set()
    for name in videos.keys() & (paired | {H264}):
      with self._stages.spent('pairs'):
        found = compare.pair_rows(videos[REAL], videos[name])
        rows |= {f'{name} {key}': x for key, x in found.items()}
    if self._asked.own and has_motion(self._task):
      with self._stages.spent('class accuracy'):
        for name in (REAL, OWN):
          found = [motion.classify(video) for video in videos[name]]
          rows[f'{name} {MOTION}'] = np.asarray(found, np.int64)
