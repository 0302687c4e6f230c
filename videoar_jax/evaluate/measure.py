"""The distances of a draw's sets of videos, by I3D's features of them."""

import jax
import numpy as np

from videoar_jax.core import spread
from videoar_jax.core.pretrained import MissingWeightsError
from videoar_jax.data.work import Progress
from videoar_jax.evaluate import (
  baselines,
  draws,
  i3d,
  intervals,
  kept,
  kinetics,
  provenance,
)
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.rules import Split
from videoar_jax.evaluate.splits import Splits
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.task import Task


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


class Measure:
  """Distances from the real clips of the first draw.

  Attributes:
    first: the draw.
    splits: disjoint windows of the data set, and their features.
  """

  def __init__(
    self,
    request: Request,
    task: Task,
    model: i3d.I3D,
    first: draws.Drawn,
    stages: Stages,
  ):
    self._request, self._task, self._stages = request, task, stages
    self._model, self.first = model, first
    self.splits = Splits(
      task.data,
      model,
      stages,
      most=request.train_windows,
      frames=task.frames,
    )
    self._units = first.draw.units() if request.intervals else None
    self._rules = {'covariance': task.rules.covariance, 'seed': request.seed}

  @property
  def real_nd(self) -> np.ndarray:
    """Features of the real clips."""
    return self.first.real.rows_nd

  def features(self, name: str, *, paired: bool) -> baselines.Features:
    """I3D's features of another set of the draw."""
    units = self._units if paired else None
    return baselines.Features(self.first.rows[name], paired, units)

  def distances(self, other: baselines.Features) -> dict:
    """See `baselines.distances`; with their `intervals`, if asked for."""
    found = baselines.distances(self.real_nd, other, **self._rules)
    if self._units is not None:
      found['intervals'] = self.intervals(other)
    return found

  def intervals(self, other: baselines.Features) -> dict:
    """See `intervals.distances`."""
    with self._stages.timed('intervals'):
      return intervals.distances(
        self.real_nd,
        other.rows_nd,
        units_n=self._units,
        other_units_m=other.units,
        **self._rules,
      )

  def between_groups(self) -> dict:
    """See `baselines.between_groups`, of all clips of the task's split.

    Where both are drawn from, of those of the training split.
    """
    splits = self.splits
    windows, rows_nd = (
      (splits.heldout, splits.heldout_nd)
      if self._task.split is Split.VALIDATION
      else (splits.train, splits.train_nd)
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
    labels_n = self.first.real.labels_n if labels_n is None else labels_n
    return kinetics.class_accuracy(rows_nd, labels_n, self.first.draw.classes)

  def logits(
    self, name: str, videos_nTHWc: np.ndarray, count: int
  ) -> np.ndarray:
    """I3D's features of a few videos, from this process's share of them.

    Args:
      name: of the set.
      videos_nTHWc: this process's videos.
      count: videos in all.
    """
    with self._stages.timed(f'I3D: {name}'):
      return kept.shared_logits(
        self._model,
        videos_nTHWc[:, : self._task.frames],
        count,
        self._request.parts,
      )


def find_baselines(
  request: Request,
  task: Task,
  measure: Measure,
  second: draws.Drawn,
  bits_nd: np.ndarray,
) -> dict[str, baselines.Features]:
  """Features of each baseline, by its name.

  Args:
    request: tells whether units are wanted.
    task: what is measured.
    measure: of the first draw.
    second: another draw of real clips.
    bits_nd: features of decoded random bits.
  """
  names, units = baselines, None
  if request.intervals:
    units = second.draw.units()
  found = {
    names.REAL: baselines.Features(second.real.rows_nd, False, units),
    names.FIRST_FRAME: measure.features(draws.STILL, paired=True),
  }
  if not task.paired:
    found[names.RECONSTRUCTIONS] = measure.features(draws.CODED, paired=True)
  found[names.RANDOM_BITS] = baselines.Features(bits_nd, paired=False)
  return found


def random_bits(
  request: Request,
  task: Task,
  model: i3d.I3D,
  counts: baselines.BitCounts,
  stages: Stages,
  progress: Progress,
) -> np.ndarray:
  """Features of decoded random bits, as frequent as those of the clips."""
  decode = baselines.make_random_decoder(
    task.tokenizer,
    latent_frames=task.tokenizer.latent_frames(task.data.num_frames),
    scales=task.scales,
  )
  decode = spread.on_mesh(decode, task.mesh)
  own_n, work = spread.own(task.num_videos), task.work
  marginals = counts.marginals()

  def chunks(start: int):
    for begin in range(start, len(own_n), work.block):
      index_n = own_n[begin : begin + work.block]
      with stages.spent('decoding random bits'):
        made = baselines.random_bits(
          decode,
          task.autoencoder,
          marginals,
          index_n=index_n,
          batch_size=work.batch,
          seed=request.seed,
        )
        videos = np.concatenate(list(made))[:, : task.frames]
      with stages.spent(f'I3D: {baselines.RANDOM_BITS}'):
        yield len(index_n), {'rows': i3d.logits(model, videos)}

  tokenizer = task.loaded if task.paired else task.loaded.tokenizer
  key = kept.key_of(
    (provenance.versions(), kept.device_facts()),
    (jax.process_index(), jax.process_count(), task.num_videos),
    (tokenizer.digest, task.data.num_frames, task.frames, task.scales),
    (model.sha256, task.rules.i3d, request.seed),
    np.stack(marginals),
  )
  rows = kept.collect(
    chunks,
    count=work.count,
    folder=request.parts,
    key=key,
    needed=('rows',),
    progress=progress,
  )
  return spread.gather(rows['rows'], task.num_videos)
