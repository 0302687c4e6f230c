"""Named rules under which a Fréchet video distance is computed.

Two figures may be compared only under one protocol: the number of videos, the
frames, the resolution, the resize on the way into I3D, the epsilon of its
normalisation and the divisor of the covariance each move FVD. Distances are
always computed in float64, also where public code used float32.

Papers of 16 frames are met by tokenizers of 1 + 4k: 17 frames are drawn, coded
and sampled, and the first 16 measured, as LARP's evaluation cuts what other
tokenizers make.
"""

import dataclasses
import difflib
import enum

from videoar_jax.evaluate.frechet import Covariance
from videoar_jax.evaluate.rules import (
  Fit,
  I3DConfig,
  Labels,
  Protocol,
  Resize,
  Split,
  Window,
)

DEFAULT = 'ucf101_train10k_17f_128'
# Names that protocols had before.
ALIASES = {
  'ucf101_train10k_16f_128': 'magvit_16f',
  'tats_2048_16f_128': 'tats_2048_16f',
}

_TORCH = I3DConfig(resize=Resize.HALF_PIXEL, epsilon=1e-5)
_UCF9 = 'nine classes of UCF-101'
_WEIZMANN = "four of Weizmann's actions"
_SHAPES = 'moving shapes'
_SEVENTEEN = (
  '; 17 frames are drawn, coded and sampled, and the first 16 measured'
)

_DEFAULT = Protocol(
  name=DEFAULT,
  num_videos=10_000,
  num_frames=17,
  resolution=128,
  repeats=4,
  source="MAGVIT's rules (arXiv:2212.05199) with 17 frames",
)

# Those of the papers, each with the name of its twin on nine classes.
_PUBLISHED = {
  'ucf9_train256x4_17f_128': _DEFAULT,
  'ucf9_magvit256_16f': Protocol(
    name='magvit_16f',
    num_videos=10_000,
    num_frames=16,
    resolution=128,
    repeats=4,
    source='MAGVIT (arXiv:2212.05199), its config for UCF-101: 10,000 windows '
    'of the train split, four times; that windows come from different videos '
    f'as far as there are, and their labels, is inferred{_SEVENTEEN}',
  ),
  'ucf9_larp256_16f': Protocol(
    name='larp_16f',
    num_videos=10_000,
    num_frames=16,
    resolution=128,
    i3d=I3DConfig(resize=Resize.HALF_PIXEL, epsilon=1e-3),
    covariance=Covariance.BIASED,
    source="LARP (arXiv:2410.21264), its sample.py: StyleGAN-V's feature "
    'network, 10,000 train windows and their labels; it draws from all windows '
    'there are, here each video gives one before any gives a second; the '
    f'resize is inferred as for styleganv_2048_16f{_SEVENTEEN}',
  ),
  'ucf9_styleganv256_16f': Protocol(
    name='styleganv_2048_16f',
    num_videos=2048,
    num_frames=16,
    resolution=256,
    split=Split.ALL,
    labels=Labels.UNIFORM,
    i3d=I3DConfig(resize=Resize.HALF_PIXEL, epsilon=1e-3),
    covariance=Covariance.BIASED,
    source='StyleGAN-V fvd2048_16f (arXiv:2112.14683); its resize happens '
    'inside a compiled network and is inferred to be half-pixel; it samples '
    'the labels of random clips, here classes take turns; that the two '
    f'splits are one is inferred from its data folder{_SEVENTEEN}',
  ),
  'ucf9_tats256_16f': Protocol(
    name='tats_2048_16f',
    num_videos=2048,
    num_frames=16,
    resolution=128,
    labels=Labels.UNIFORM,
    i3d=_TORCH,
    source='TATS (arXiv:2204.03638), its sampling script: train windows, as '
    f'many samples of each class; it sums in float32{_SEVENTEEN}',
  ),
  'ucf9_omnitokenizer256_17f': Protocol(
    name='omnitokenizer_2048_17f',
    num_videos=2048,
    num_frames=17,
    resolution=128,
    window=Window.CENTER,
    labels=Labels.UNIFORM,
    i3d=dataclasses.replace(_TORCH, fit=Fit.CENTER_CROP),
    source='OmniTokenizer (arXiv:2406.09399), its fvd_external.py: as many '
    'samples of each class; it sums in float32, writes mp4 files on the way, '
    'squashes real frames to a square and leaves the split open: here nothing '
    'is compressed, frames are cropped as for training, and the train split '
    'is inferred',
  ),
}


def _twin(name: str, of: Protocol) -> Protocol:
  """The same rules at a number of videos that nine classes have."""
  return dataclasses.replace(
    of,
    name=name,
    num_videos=256,
    resolution=128,
    data_set=_UCF9,
    source=f"{of.name}'s rules on nine classes of UCF-101, at N = 256",
  )


def _like_default(name: str, source: str, **others) -> Protocol:
  """The default's rules, drawn once."""
  source = f"the default's rules, drawn once, {source}"
  return dataclasses.replace(
    _DEFAULT, **{'repeats': 1, **others}, name=name, source=source
  )


_ALL = (
  *_PUBLISHED.values(),
  *(_twin(name, of) for name, of in _PUBLISHED.items()),
  _like_default(
    'ucf101_test2048_17f_128',
    'on the test clips of split 1, which a tokenizer has not seen',
    num_videos=2048,
    split=Split.VALIDATION,
  ),
  *(
    _like_default(
      f'ucf9_train256_17f_{side}',
      f'on nine classes of UCF-101, at {side}x{side}',
      num_videos=256,
      resolution=side,
      data_set=_UCF9,
    )
    for side in (128, 64)
  ),
  *(
    _like_default(
      f'ucf9_validation192_17f_{side}',
      f'on held-out clips of nine classes of UCF-101, at {side}x{side}',
      num_videos=192,
      resolution=side,
      data_set=_UCF9,
      split=Split.VALIDATION,
    )
    for side in (128, 64)
  ),
  _like_default(
    'weizmann4_train256_17f_64',
    "on four of Weizmann's actions by seven actors: windows of 56 clips",
    num_videos=256,
    resolution=64,
    data_set=_WEIZMANN,
  ),
  _like_default(
    'weizmann4_validation64_17f_64',
    "on four of Weizmann's actions by the two actors held out: windows of 16 "
    'clips',
    num_videos=64,
    resolution=64,
    data_set=_WEIZMANN,
    split=Split.VALIDATION,
  ),
  *(
    _like_default(
      f'synthetic_256_17f_{side}',
      f'on the built-in moving shapes, at {side}x{side}',
      num_videos=256,
      resolution=side,
      data_set=_SHAPES,
      labels=Labels.UNIFORM,
    )
    for side in (64, 32)
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
  name = ALIASES.get(name, name)
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
