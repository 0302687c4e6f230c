"""Named rules under which a Fréchet video distance is computed.

Two figures may be compared only under one protocol: the number of videos, the
frames, the resolution, the resize on the way into I3D, the epsilon of its
normalisation and the divisor of the covariance each move FVD. Distances are
always computed in float64, also where public code used float32.
"""

import dataclasses
import difflib
import enum

from videoar_jax.evaluate.frechet import Covariance
from videoar_jax.evaluate.i3d import Fit, I3DConfig, Resize


class Split(enum.Enum):
  """Which real videos are drawn."""

  TRAIN = 'train'
  VALIDATION = 'validation'  # what the split file does not name
  ALL = 'train+test'


class Window(enum.Enum):
  """Which frames of a real video are taken."""

  RANDOM = 'random'
  CENTER = 'center'


class Labels(enum.Enum):
  """Which classes are generated."""

  OF_WINDOWS = 'of the real windows'  # one video for each drawn window
  UNIFORM = 'uniform over classes'


@dataclasses.dataclass(frozen=True)
class Protocol:
  """One way of measuring, complete.

  Attributes:
    name: what a result is filed under.
    num_videos: N, of each set.
    num_frames: of each video.
    resolution: height and width of the videos, pixels.
    data_set: what the real videos are of; nothing checks it.
    frame_stride: distance of neighbouring frames in the real video.
    split: which real videos are drawn.
    window: which frames of a real video are taken.
    labels: which classes are generated.
    i3d: rules of the feature network.
    covariance: divisor of the covariances.
    repeats: how often the published protocol draws N videos and averages.
    source: whose rules these are, and what differs from theirs.
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


DEFAULT = 'ucf101_train10k_17f_128'

_TORCH = I3DConfig(resize=Resize.HALF_PIXEL, epsilon=1e-5)

_ALL = (
  Protocol(
    name=DEFAULT,
    num_videos=10_000,
    num_frames=17,
    resolution=128,
    source="MAGVIT's rules (arXiv:2212.05199) with 17 frames, drawn once",
  ),
  Protocol(
    name='ucf101_train10k_16f_128',
    num_videos=10_000,
    num_frames=16,
    resolution=128,
    repeats=4,
    source='MAGVIT (arXiv:2212.05199)',
  ),
  Protocol(
    name='ucf101_test2048_17f_128',
    num_videos=2048,
    num_frames=17,
    resolution=128,
    split=Split.VALIDATION,
    source="the default's rules on the test clips of split 1, which a "
    'tokenizer has not seen',
  ),
  Protocol(
    name='styleganv_2048_16f',
    num_videos=2048,
    num_frames=16,
    resolution=256,
    split=Split.ALL,
    labels=Labels.UNIFORM,
    i3d=I3DConfig(resize=Resize.HALF_PIXEL, epsilon=1e-3),
    covariance=Covariance.BIASED,
    source='StyleGAN-V fvd2048_16f (arXiv:2112.14683); its resize happens '
    'inside a compiled network and is taken to be half-pixel here',
  ),
  Protocol(
    name='tats_2048_16f_128',
    num_videos=2048,
    num_frames=16,
    resolution=128,
    i3d=_TORCH,
    source='TATS (arXiv:2204.03638), which summed in float32',
  ),
  Protocol(
    name='omnitokenizer_2048_17f',
    num_videos=2048,
    num_frames=17,
    resolution=128,
    window=Window.CENTER,
    i3d=dataclasses.replace(_TORCH, fit=Fit.CENTER_CROP),
    source='OmniTokenizer (arXiv:2406.09399), which summed in float32 and '
    'wrote mp4 files on the way; neither is done here',
  ),
  Protocol(
    name='ucf9_train256_17f_128',
    num_videos=256,
    num_frames=17,
    resolution=128,
    data_set='nine classes of UCF-101',
    source="the default's rules on nine classes of UCF-101",
  ),
  Protocol(
    name='ucf9_train256_17f_64',
    num_videos=256,
    num_frames=17,
    resolution=64,
    data_set='nine classes of UCF-101',
    source="the default's rules on nine classes of UCF-101, at 64x64",
  ),
  Protocol(
    name='ucf9_validation192_17f_128',
    num_videos=192,
    num_frames=17,
    resolution=128,
    data_set='nine classes of UCF-101',
    split=Split.VALIDATION,
    source="the default's rules on held-out clips of nine classes of UCF-101",
  ),
  Protocol(
    name='ucf9_validation192_17f_64',
    num_videos=192,
    num_frames=17,
    resolution=64,
    data_set='nine classes of UCF-101',
    split=Split.VALIDATION,
    source="the default's rules on held-out clips of nine classes of UCF-101, "
    'at 64x64',
  ),
  Protocol(
    name='weizmann4_train256_17f_64',
    num_videos=256,
    num_frames=17,
    resolution=64,
    data_set="four of Weizmann's actions",
    source="the default's rules on four of Weizmann's actions by seven actors: "
    'windows of 56 clips',
  ),
  Protocol(
    name='weizmann4_validation64_17f_64',
    num_videos=64,
    num_frames=17,
    resolution=64,
    data_set="four of Weizmann's actions",
    split=Split.VALIDATION,
    source="the default's rules on four of Weizmann's actions by the two "
    'actors held out: windows of 16 clips',
  ),
  Protocol(
    name='synthetic_256_17f_64',
    num_videos=256,
    num_frames=17,
    resolution=64,
    data_set='moving shapes',
    labels=Labels.UNIFORM,
    source="the default's rules on the built-in moving shapes",
  ),
  Protocol(
    name='synthetic_256_17f_32',
    num_videos=256,
    num_frames=17,
    resolution=32,
    data_set='moving shapes',
    labels=Labels.UNIFORM,
    source="the default's rules on the built-in moving shapes, at 32x32",
  ),
  Protocol(
    name='smoke_16_9f_32',
    num_videos=16,
    num_frames=9,
    resolution=32,
    data_set='moving shapes',
    repeats=2,
    source="the default's rules on moving shapes, of a few videos: to try a "
    'pipeline with; its figures say nothing',
  ),
)

PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def get_protocol(name: str) -> Protocol:
  """The protocol of that name.

  Raises:
    ValueError: there is none; the message names the nearest ones.
  """
  if name in PROTOCOLS:
    return PROTOCOLS[name]
  near = difflib.get_close_matches(name, PROTOCOLS, n=3, cutoff=0.4)
  raise ValueError(
    f'protocol={name!r}: unknown; '
    + (f'nearest: {", ".join(near)}' if near else f'known: {[*PROTOCOLS]}')
  )


def describe(protocol: Protocol) -> dict:
  """The protocol as plain values, for a result file."""

  def plain(value):
    if isinstance(value, enum.Enum):
      return value.value
    if isinstance(value, dict):
      return {key: plain(item) for key, item in value.items()}
    return value

  return plain(dataclasses.asdict(protocol))
