"""Disjoint windows of both splits of a data set, and I3D's features of them.

Probe, memorisation and continuation share them: each set is read, and its
features are computed, when it is first asked for, and kept on this machine.
"""

import dataclasses
import functools

import numpy as np

from videoar_jax.core import spread
from videoar_jax.data.config import DataConfig
from videoar_jax.evaluate import baselines, i3d, probe
from videoar_jax.evaluate.clips import ClipWindows, read_windows
from videoar_jax.evaluate.kept import cached_logits, shared_logits
from videoar_jax.evaluate.memorisation import TrainingSet
from videoar_jax.evaluate.rules import Split
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.windows import open_split

MOST_HELD_OUT = 256


class Splits:
  """The windows of the training and the held-out split.

  Attributes:
    data: the source and the size of a clip, without captions.
  """

  def __init__(
    self,
    data: DataConfig,
    model: i3d.I3D | None,
    stages: Stages,
    *,
    most: int,
    frames: int | None = None,
  ):
    """Reads nothing as yet.

    Args:
      data: the source and the size of a clip.
      model: whose features are wanted; None where none are.
      stages: are told what takes how long.
      most: training windows in all; of held-out ones at most 256 are taken.
      frames: that features are of, the first ones; None: all.
    """
    self._frames = slice(frames)
    self.data = dataclasses.replace(data, captions='')
    self._model, self._stages, self._most = model, stages, most

  @functools.cached_property
  def train(self) -> ClipWindows:
    return self._read('training windows', train=True, most=self._most)

  @functools.cached_property
  def train_nd(self) -> np.ndarray:
    return self._kept('training windows', self.train.videos_nTHWc)

  @functools.cached_property
  def heldout(self) -> ClipWindows:
    return self._read('held-out windows', train=False, most=MOST_HELD_OUT)

  @functools.cached_property
  def heldout_nd(self) -> np.ndarray:
    return self._kept('held-out windows', self.heldout.videos_nTHWc)

  @functools.cached_property
  def still_nd(self) -> np.ndarray:
    """The first frames of the held-out windows, repeated."""
    still = baselines.repeat_first_frame(self.heldout.videos_nTHWc)
    return self._kept('held-out first frames', still)

  @functools.cached_property
  def training_set(self) -> TrainingSet:
    """The training windows, and their mirror images."""
    mirrored = self.train.videos_nTHWc[:, :, :, ::-1]
    return TrainingSet(
      self.train, self.train_nd, self._kept('mirrored windows', mirrored)
    )

  @functools.cached_property
  def probe(self) -> probe.Probe:
    """Fitted to the training windows."""
    return probe.fit_best(
      self.train_nd,
      self.train.labels_n,
      self.train.groups_n,
      num_classes=len(self.train.classes),
    )

  def probe_facts(self) -> dict:
    """What the probe was fitted to, and what guessing would give."""
    train = self.train
    return {
      'train_windows': len(train.labels_n),
      'train_windows_cut': train.cut,
      'train_clips': train.num_clips,
      'train_groups': len(np.unique(train.groups_n)),
      'ridge': self.probe.ridge,
      'train_folds': self.probe.fold_accuracy,
      'chance': 1 / len(train.classes),
    }

  def named(self, rows_nd: np.ndarray) -> dict:
    """The probe's accuracy on other versions of the held-out windows."""
    found = probe.accuracy(
      self.probe,
      rows_nd,
      self.heldout.labels_n,
      self.heldout.classes,
      units_n=self.heldout.units_n,
    )
    return {**found, 'clips': self.heldout.num_clips}

  def logits(self, name: str, videos_nTHWc: np.ndarray) -> np.ndarray:
    """I3D's features of other videos, which are not kept."""
    with self._stages.timed(f'I3D: {name}'):
      own_nTHWc = spread.own_rows(videos_nTHWc)[:, self._frames]
      return shared_logits(self._model, own_nTHWc, len(videos_nTHWc))

  def _read(self, name: str, *, train: bool, most: int) -> ClipWindows:
    split = Split.TRAIN if train else Split.VALIDATION
    count = min(most, len(open_split(self.data, num_videos=2, split=split)))
    with self._stages.counted(name, count) as progress:
      return read_windows(self.data, train=train, most=most, progress=progress)

  def _kept(self, name: str, videos_nTHWc: np.ndarray) -> np.ndarray:
    with self._stages.timed(f'I3D: {name}'):
      return cached_logits(self._model, videos_nTHWc[:, self._frames])
