"""What the data pipeline is told: one frozen dataclass, checked once."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from videoar_jax.core import fields
from videoar_jax.data.source import SourceKind


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where clips come from and what a batch of them looks like.

  Attributes:
    source: `synthetic`, or `KIND:PATH` of a kind in `kinds.SOURCES`.
    split_file: official list of training videos (UCF-101 trainlist format),
      where they are files in folders. '' draws a held-out 5% by name.
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
    # Imported here, and below: the kinds themselves are given this config.
    from videoar_jax.data import kinds

    kinds.check_source(self)

  @property
  def kind(self) -> SourceKind:
    """What kind of data the source is."""
    from videoar_jax.data import kinds

    return kinds.parse_source(self.source)[0]

  @property
  def path(self) -> str:
    """Where the source lies; '' where it is rendered."""
    return self.source.partition(':')[2]
