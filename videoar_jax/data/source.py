"""What records are, and what a kind of source says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Source(Protocol):
  """Random-access records.

  Attributes:
    classes: names of the labels.
  """

  classes: tuple[str, ...]

  def __len__(self) -> int: ...

  def name(self, index: int) -> str:
    """What a message calls the record."""

  def load(self, index: int, rng: np.random.Generator) -> dict:
    """Returns {'video' or 'features', 'label'}; raises BadRecordError."""

  def explain(self, index: int) -> str:
    """Why a record that failed did so."""


def _serves(*_) -> None:
  """Accepts everything."""


def _unknown(*_) -> None:
  """Tells nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceKind:
  """A kind of data, typed as `NAME:PATH`; what is rendered has no path.

  Whoever treats kinds differently asks for the traits, never for the name.

  Attributes:
    name: before the colon.
    open: (path, DataConfig, train=…) -> the records of a split; raises
      ValueError where a path is missing or does not serve the config.
    check: (DataConfig) raises ValueError for a choice that no path could
      serve; looks at no file.
    list_files: (path, split_file=…) -> a `folder.Listing` of each split, where
      records are files still to be decoded; None elsewhere.
    check_tokenizer: (path, digest) raises ValueError where another tokenizer
      than that made what lies there.
    identify: (path, DataConfig) -> a text that is another one whenever the
      records are others, as far as can be told without reading them; None
      where it cannot.
    rendered: clips are moving shapes made on the fly: each is always the same,
      spans its whole motion, and its motion is its class.
    images: clips are pictures, of one frame.
    features: records hold a tokenizer's `features`, no `video`.
  """

  name: str
  open: Callable[..., Source]
  check: Callable[[Any], None] = _serves
  list_files: Callable[..., tuple] | None = None
  check_tokenizer: Callable[[str, str], None] = _serves
  identify: Callable[[str, Any], str | None] = _unknown
  rendered: bool = False
  images: bool = False
  features: bool = False

  @property
  def form(self) -> str:
    """How it is typed."""
    return self.name if self.rendered else f'{self.name}:PATH'
