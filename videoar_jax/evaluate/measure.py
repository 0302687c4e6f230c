"""Real clips, the videos compared with them, and the distances between.

I3D sees every set once; probe, memorisation and intervals share its features.
"""

import functools
from collections.abc import Iterator

import jax
import numpy as np

from videoar_jax.core import spread
from videoar_jax.core.pretrained import MissingWeightsError
from videoar_jax.evaluate import (
  baselines,
  compare,
  i3d,
  intervals,
  kinetics,
)
from videoar_jax.evaluate.kept import shared_logits
from videoar_jax.evaluate.request import Request, Task
from videoar_jax.evaluate.splits import Splits
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.windows import Windows, draw_windows
from videoar_jax.tokenizer.features import make_reconstructor


def load_i3d(request: Request, task: Task) -> i3d.I3D | None:
  """I3D by the task's rules, if it is wanted.

  Raises:
    ValueError: its weights are missing, or of another network.
  """
  if not request.fvd:
    return None
  try:
    return i3d.load_i3d(
      task.rules.i3d, path=request.i3d_weights, mesh=task.mesh
    )
  except MissingWeightsError as error:
    raise ValueError(f'{error}; or pass --nofvd') from error


_make_coder = functools.cache(make_reconstructor)  # compiled once


def draw(task: Task, stages: Stages, *, seed: int, name: str) -> Windows:
  """Real clips of the task's split, of whose videos this process's share.

  Raises:
    ValueError: some process would have none; see `windows.draw_windows`.
  """
  if task.num_videos < jax.process_count():
    raise ValueError(
      f'num_videos={task.num_videos}: fewer than the {jax.process_count()} '
      'processes; use fewer processes'
    )
  with stages.counted(name, len(spread.own(task.num_videos))) as progress:
    return draw_windows(
      task.data,
      num_videos=task.num_videos,
      train=task.train,
      seed=seed,
      progress=progress,
      prompts=task.generator and task.generator.prompts,
      shared=True,
    )


def reconstruct(
  task: Task, videos_nTHWc: np.ndarray, stages: Stages
) -> tuple[np.ndarray, baselines.BitCounts]:
  """Clips through the tokenizer, uint8 nTHWc, and their bits counted."""
  made_nTHWc, counts = np.empty_like(videos_nTHWc), baselines.BitCounts()
  for rows, video, bits in coded_batches(task, videos_nTHWc, stages):
    made_nTHWc[rows] = video
    counts.add(bits)
  return made_nTHWc, counts


def coded_batches(
  task: Task, videos_nTHWc: np.ndarray, stages: Stages
) -> Iterator[tuple[slice, np.ndarray, list[np.ndarray]]]:
  """Yields which clips, what the tokenizer makes of them, and their bits."""
  code = spread.on_mesh(_make_coder(task.tokenizer), task.mesh)
  count = len(videos_nTHWc)
  size = spread.rounded(min(task.data.batch_size, max(count, 1)), task.mesh)
  with stages.counted('reconstruction', count) as progress:
    for start in range(0, count, size):
      batch = videos_nTHWc[start : start + size]
      left = len(batch)
      # The last batch is filled up, so that one program serves all.
      batch = np.concatenate([batch, np.repeat(batch[-1:], size - left, 0)])
      batch = spread.put_batch(batch, task.mesh)
      video, bits = jax.device_get(code(task.autoencoder, batch))
      rows = slice(start, start + left)
      yield rows, video[:left], [scale[:left] for scale in bits]
      progress.add(left)


def empty_videos(task: Task) -> np.ndarray:
  """Room for this process's videos, uint8 nTHWc."""
  data, count = task.data, len(spread.own(task.num_videos))
  shape = (count, data.num_frames, data.height, data.width, 3)
  return np.empty(shape, np.uint8)


class Measure:
  """Distances from the real clips, which I3D sees once.

  Attributes:
    real_nd: features of the real clips.
    splits: disjoint windows of the data set, and their features.
  """

  def __init__(
    self,
    request: Request,
    task: Task,
    model: i3d.I3D,
    real: Windows,
    stages: Stages,
  ):
    self._request, self._task, self._stages = request, task, stages
    self._model, self._real = model, real
    self.real_nd = self.logits('real clips', real.videos_nTHWc)
    self.splits = Splits(task.data, model, stages, most=request.train_windows)
    self._units = real.units() if request.intervals else None

  def features(
    self,
    name: str,
    videos_nTHWc: np.ndarray,
    *,
    paired: bool,
    units: list[str] | None = None,
  ) -> baselines.Features:
    """I3D's features of another set, after a check that it fits.

    Args:
      name: of the set.
      videos_nTHWc: this process's share of as many videos as real ones.
      paired: row i belongs to real row i.
      units: of the clips.
    """
    shapes = (
      (self._task.num_videos, *x.shape[1:])
      for x in (self._real.videos_nTHWc, videos_nTHWc)
    )
    compare.check_sets(
      *shapes,
      protocol=self._task.protocol,
      paired=paired,
    )
    rows_nd = self.logits(name, videos_nTHWc)
    units = self._units if paired else units
    return baselines.Features(rows_nd, paired, units)

  def distances(self, other: baselines.Features) -> dict:
    """See `baselines.distances`; with their `intervals`, if asked for."""
    rules = {
      'covariance': self._task.rules.covariance,
      'seed': self._request.seed,
    }
    found = baselines.distances(self.real_nd, other, **rules)
    if self._units is None:
      return found
    with self._stages.timed('intervals'):
      found['intervals'] = intervals.distances(
        self.real_nd,
        other.rows_nd,
        units_n=self._units,
        other_units_m=other.units,
        **rules,
      )
    return found

  def between_groups(self) -> dict:
    """See `baselines.between_groups`, of all clips of the task's split."""
    splits = self.splits
    windows, rows_nd = (
      (splits.train, splits.train_nd)
      if self._task.train
      else (splits.heldout, splits.heldout_nd)
    )
    return baselines.between_groups(
      rows_nd,
      units_n=windows.units_n,
      groups_n=windows.groups_n,
      covariance=self._task.rules.covariance,
      seed=self._request.seed,
    )

  def beside(self, own: baselines.Features, other: baselines.Features) -> dict:
    """Distances of another set, and how much farther than one's own it lies."""
    gap = baselines.farther(self.real_nd, own, other)
    figures = {**self.distances(other), 'farther': gap}
    if other.paired:
      figures['i3d_classes'] = self.classes_named(other.rows_nd)
    return figures

  def classes_named(self, rows_nd, labels_n=None) -> dict | None:
    """See `kinetics`; of the real clips' labels if none are given."""
    labels_n = self._real.labels_n if labels_n is None else labels_n
    return kinetics.class_accuracy(rows_nd, labels_n, self._real.classes)

  def logits(
    self, name: str, videos_nTHWc: np.ndarray, count: int | None = None
  ) -> np.ndarray:
    """I3D's features of a whole set, from this process's share of it.

    Args:
      name: of the set.
      videos_nTHWc: this process's videos.
      count: videos in all; None: as many as real ones.
    """
    count = self._task.num_videos if count is None else count
    with self._stages.timed(f'I3D: {name}'):
      return shared_logits(
        self._model, videos_nTHWc, count, self._request.parts
      )


def find_baselines(
  request: Request, task: Task, real: Windows, counts, measure, stages: Stages
) -> dict[str, baselines.Features]:
  """Features of each baseline, by its name."""
  names = baselines
  second = draw(
    task, stages, seed=request.seed + 1, name='second draw of real clips'
  )
  still = baselines.repeat_first_frame(real.videos_nTHWc)
  found = {
    names.REAL: measure.features(
      names.REAL,
      second.videos_nTHWc,
      paired=False,
      units=second.units() if request.intervals else None,
    ),
    names.FIRST_FRAME: measure.features(names.FIRST_FRAME, still, paired=True),
  }
  if counts is None:
    videos, own_counts = reconstruct(task, real.videos_nTHWc, stages)
    counts = own_counts.of_all()
    found[names.RECONSTRUCTIONS] = measure.features(
      names.RECONSTRUCTIONS, videos, paired=True
    )
  videos = _random_bits(request, task, counts, stages)
  found[names.RANDOM_BITS] = measure.features(
    names.RANDOM_BITS, videos, paired=False
  )
  return found


def _random_bits(
  request: Request, task: Task, counts: baselines.BitCounts, stages: Stages
) -> np.ndarray:
  """Decoded random bits with the frequencies of the real clips' bits."""
  latent_frames = task.tokenizer.latent_frames(task.data.num_frames)
  decode = baselines.make_random_decoder(
    task.tokenizer, latent_frames=latent_frames, scales=task.scales
  )
  videos_nTHWc, done = empty_videos(task), 0
  index_n = spread.own(task.num_videos)
  size = min(task.data.batch_size, max(len(index_n), 1))
  with stages.counted('decoding random bits', len(index_n)) as progress:
    for batch in baselines.random_bits(
      spread.on_mesh(decode, task.mesh),
      task.autoencoder,
      counts.marginals(),
      index_n=index_n,
      batch_size=spread.rounded(size, task.mesh),
      seed=request.seed,
    ):
      videos_nTHWc[done : done + len(batch)] = batch
      done += len(batch)
      progress.add(len(batch))
  return videos_nTHWc
