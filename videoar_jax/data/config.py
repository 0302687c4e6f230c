"""What the data pipeline is told: one frozen dataclass, checked once."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from videoar_jax.core import fields

KINDS = ('synthetic', 'folder', 'images', 'array_record', 'features')


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where clips come from and what a batch of them looks like.

  Attributes:
    source: `synthetic`, `folder:PATH` of videos, `images:PATH`,
      `array_record:PATH` or `features:PATH`.
    split_file: official list of training videos (UCF-101 trainlist format);
      for folder and images only. '' draws a held-out 5% by name.
    batch_size: clips per step, over all processes.
    num_frames: frames per clip, T >= 1.
    height: pixels.
    width: pixels.
    frame_stride: every how many-th frame of the video makes the clip.
    flip: mirror half of the clips left to right.
    num_workers: decoding processes; 0 decodes in this process.
    max_bad_share: share of unreadable videos past which a run stops, 0..1.
    captions: JSON-lines file of the videos' captions, where prompts condition
      the generator; '' makes prompts of the classes.
    weight: batches of this stream in a round, where a run mixes several.
  """

  source: str = 'synthetic'
  split_file: str = ''
  batch_size: fields.Size = 8
  num_frames: fields.Size = 17
  height: fields.Size = 64
  width: fields.Size = 64
  frame_stride: fields.Size = 1
  flip: bool = False
  num_workers: Annotated[int, fields.Range(least=0, most=1024)] = 0
  max_bad_share: fields.Share = 0.05
  captions: str = ''
  weight: Annotated[int, fields.Range(least=1, most=1000)] = 1

  def __post_init__(self):
    fields.check(self)
    _check_source(self)


def parse_source(source: str) -> tuple[str, str]:
  """Splits `kind:PATH` into (kind, path); the path is '' for `synthetic`.

  Raises:
    ValueError: the kind is unknown, or its path is missing or superfluous.
  """
  kind, _, path = source.partition(':')
  wanted = (
    'synthetic, folder:PATH, images:PATH, array_record:PATH or features:PATH'
  )
  if kind not in KINDS:
    raise ValueError(f'source={source!r}: unknown kind {kind!r}; use {wanted}')
  if (kind == 'synthetic') != (not path):
    fault = 'takes no path' if path else 'needs a path after the colon'
    raise ValueError(f'source={source!r}: {kind} {fault}; use {wanted}')
  return kind, path


def _check_source(config: DataConfig) -> None:
  """Raises ValueError for a choice that the source could not serve."""
  kind, _ = parse_source(config.source)
  if config.split_file and kind not in ('folder', 'images'):
    raise ValueError(
      f'split_file={config.split_file!r}: only folder:PATH and images:PATH '
      f'read one, and source={config.source!r}; give it to data.prepare, or '
      'leave it empty'
    )
  if kind == 'images' and (config.num_frames, config.frame_stride) != (1, 1):
    raise ValueError(
      f'num_frames={config.num_frames}, frame_stride={config.frame_stride}: an '
      'image is a clip of one frame; use num_frames=1 and frame_stride=1'
    )
  if kind == 'synthetic' and config.flip:
    raise ValueError(
      'flip=True: mirroring a synthetic clip changes its class (left becomes '
      'right); use flip=False'
    )
  if kind == 'synthetic' and config.frame_stride != 1:
    raise ValueError(
      f'frame_stride={config.frame_stride}: a synthetic clip always spans its '
      'whole motion; use frame_stride=1'
    )
