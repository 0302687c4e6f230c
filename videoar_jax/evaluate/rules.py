"""What a protocol fixes: all that moves a Fréchet video distance; no JAX."""

import dataclasses
import enum

from videoar_jax.evaluate.frechet import Covariance


class Split(enum.Enum):
  """Which real videos are drawn."""

  TRAIN = 'train'
  VALIDATION = 'validation'  # what the split file does not name
  ALL = 'train+test'  # both, as one


class Window(enum.Enum):
  """Which frames of a real video are taken."""

  RANDOM = 'random'
  CENTER = 'center'


class Labels(enum.Enum):
  """Which classes are generated."""

  OF_WINDOWS = 'of the real windows'  # one video for each drawn window
  UNIFORM = 'uniform over classes'  # which take turns


class Resize(enum.Enum):
  """Where a bilinear resize samples; neither anti-aliases."""

  TF1_LEGACY = 'tf1_legacy'  # output i samples input i * in / out
  HALF_PIXEL = 'half_pixel'  # output i samples (i + 1/2) * in / out - 1/2


class Fit(enum.Enum):
  """How a frame that is not square becomes one."""

  SQUASH = 'squash'
  CENTER_CROP = 'center_crop'  # shorter side to 224, then the centre


@dataclasses.dataclass(frozen=True)
class I3DConfig:
  """What the protocols in public use disagree on.

  Attributes:
    resize: the sampling convention of the bilinear resize to 224.
    fit: how a frame that is not square is made square.
    epsilon: of the batch normalisation.
  """

  resize: Resize = Resize.TF1_LEGACY
  fit: Fit = Fit.SQUASH
  epsilon: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Protocol:
  """One way of measuring, complete.

  Attributes:
    name: what a result is filed under.
    num_videos: N, of each set.
    num_frames: that are measured. Where a tokenizer codes no clips of so many,
      clips of the next longer ones are drawn, coded and sampled, and of each
      the first frames are measured.
    resolution: height and width of the videos, pixels.
    data_set: what the real videos are of; nothing checks it.
    frame_stride: distance of neighbouring frames in the real video.
    split: which real videos are drawn.
    window: which frames of a real video are taken.
    labels: which classes are generated.
    i3d: rules of the feature network.
    covariance: divisor of the covariances.
    repeats: how often N windows and N videos are drawn; figures are means.
    source: whose rules these are, and what differs from theirs or is inferred.
  """

  name: str
  num_videos: int
  num_frames: int
  resolution: int
  data_set: str = 'UCF-101'
  frame_stride: int = 1
  split: Split = Split.TRAIN
  window: Window = Window.RANDOM
  labels: Labels = Labels.OF_WINDOWS
  i3d: I3DConfig = I3DConfig()
  covariance: Covariance = Covariance.UNBIASED
  repeats: int = 1
  source: str = ''
