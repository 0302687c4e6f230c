"""What of a checkpoint is to be measured."""

import dataclasses
import os
from typing import Annotated

from etils import epath

from videoar_jax.core import fields
from videoar_jax.core.mesh import MeshConfig
from videoar_jax.rollout.bits import Temperature, TopP

SPLITS = ('train', 'validation')
NUM_VIDEOS = 256
TRAIN_WINDOWS = 512
SAVED = 256  # videos of a set that `save` writes at most
_LAST_SEED = 2**32 - 2  # the second draw of real clips takes the next


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What is to be measured, and how.

  Attributes:
    checkpoint: whatever `--checkpoint` takes, of a tokenizer or a generator.
    data: source of the real clips as in `DataConfig`, no `features:`; None
      takes the checkpoint's own.
    split_file: official list of training videos of a folder; '' takes the
      checkpoint's own where the source is its own.
    protocol: name of the rules; None takes the default protocol's feature
      rules, and the counts below.
    num_videos: N, of each set; None for 256. A protocol brings its own.
    repeats: how often N windows and N videos are drawn, with the seed, the
      next one, and so on; figures are means. None for once. A protocol brings
      its own.
    num_frames: frames of a video; None takes the protocol's or the config's.
    split: 'train' or 'validation'; None takes the protocol's, or train.
    seed: of windows, samples and sub-samples; 0 <= seed < 2**32 - 1.
    guidance: of a generator; None takes its config's.
    temperature: of a generator; None takes its config's.
    top_p: of a generator; None takes its config's.
    captions: of a generator that reads prompts: their file, '' for prompts of
      the classes; None takes the checkpoint's own.
    batch_size: videos at a time; has no influence on what a video is.
    fvd: False leaves out I3D, and so every distance between sets.
    baselines: adds the distances of `baselines`.
    h264: of a tokenizer; adds the same clips as H.264 at the same number of
      bits (see `h264`).
    probe: adds how often a linear probe on I3D's features names the class (see
      `probe`).
    memorisation: of a generator; adds how near its samples come to training
      clips (see `memorisation`).
    intervals: adds 95% intervals by a bootstrap over clips, and real against
      real where both are of other groups of clips.
    train_windows: disjoint windows of training clips that the last three take,
      in all.
    i3d_weights: an I3D weight file instead of the package's.
    save: folder for the first videos, at most 256 of each set, and a contact
      sheet of them; None saves none.
    pictures: folder for the picture of `memorisation` where `save` is None.
    mesh: sizes of the mesh of each process's devices; None: see
      `spread.own_mesh`.
    parts: folder that keeps features and other rows of numbers until the
      result is written, for an evaluation that is cut short; None keeps none.
  """

  checkpoint: str
  data: str | None = None
  split_file: str = ''
  protocol: str | None = None
  num_videos: fields.Count | None = None
  repeats: fields.Count | None = None
  num_frames: fields.Size | None = None
  split: Annotated[str, fields.Choice(SPLITS)] | None = None
  seed: Annotated[int, fields.Range(least=0, most=_LAST_SEED)] = 0
  guidance: str | None = None
  temperature: Temperature | None = None
  top_p: TopP | None = None
  captions: str | None = None
  batch_size: fields.Size = 8
  fvd: bool = True
  baselines: bool = False
  h264: bool = False
  probe: bool = False
  memorisation: bool = False
  intervals: bool = False
  train_windows: Annotated[int, fields.Range(least=8)] = TRAIN_WINDOWS
  i3d_weights: str | None = None
  save: str | os.PathLike | None = None
  pictures: str | os.PathLike | None = None
  mesh: MeshConfig | None = None
  parts: epath.Path | None = None

  def __post_init__(self):
    fields.check(self)
    for name in ('num_videos', 'repeats'):
      if self.protocol is not None and getattr(self, name) is not None:
        raise ValueError(
          f'{name}={getattr(self, name)} with protocol={self.protocol}: '
          'figures of different N do not compare, so the protocol decides; '
          'leave out one'
        )
    for name in ('baselines', 'probe', 'memorisation', 'intervals'):
      if getattr(self, name) and not self.fvd:
        raise ValueError(
          f'{name}=True with fvd=False: {name} takes features of I3D; leave '
          'out one'
        )
