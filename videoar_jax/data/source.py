"""What records are, what can be decoded, and what a kind says of itself."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
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


@dataclasses.dataclass(frozen=True)
class Listing:
  """The videos of one split.

  Attributes:
    classes: names of the classes.
    names: what messages and records call the videos.
    labels: index into classes for each name; None where only the video tells.
    files: what their reader calls them; (): as `names`.
  """

  classes: tuple[str, ...]
  names: tuple[str, ...]
  labels: tuple[int | None, ...]
  files: tuple[str, ...] = ()

  def file(self, index: int) -> str:
    return (self.files or self.names)[index]


@dataclasses.dataclass(frozen=True)
class WholeVideo:
  """A video from its first frame to its last.

  Attributes:
    frames: uint8 (H, W, 3), RGB; to draw them may raise BadRecordError.
    fps: frames per second as filmed; 0 where nobody says.
    label: its class, where the video itself tells; None elsewhere.
  """

  frames: Iterator[np.ndarray]
  fps: float
  label: int | None = None


class Reader(Protocol):
  """Gives whole videos; picklable, and small when pickled."""

  def opened(self, file: str) -> contextlib.AbstractContextManager[WholeVideo]:
    """Opens a video of a listing; BadRecordError where it does not serve."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalogue:
  """The videos of a data set that are still to be decoded.

  Attributes:
    splits: the training and the held-out videos.
    reader: gives them.
    digest: tells it of their names, sizes and splits; with another it is
      another set.
    missing: names of videos that should be there and are not; they count as
      videos that cannot be used.
    about: JSON-able, what else the manifest of a preparation shall say.
  """

  splits: tuple[Listing, Listing]
  reader: Reader
  digest: Callable[[], str]
  missing: tuple[str, ...] = ()
  about: dict[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def total(self) -> int:
    """How many videos there should be."""
    return sum(len(x.names) for x in self.splits) + len(self.missing)

  def check_filled(
    self, wanted: tuple[int, ...], where: str, split_file: str
  ) -> None:
    """Raises a ValueError if one of the wanted splits, 0 or 1, is empty."""
    total = sum(len(split.names) for split in self.splits)
    for which in wanted:
      if not self.splits[which].names:
        side = ('training', 'held-out')[which]
        why = f'; split_file={split_file!r} names all' if split_file else ''
        raise ValueError(
          f'{where}: no {side} files among the {total} there{why}; add files, '
          'or give another split_file'
        )


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
    catalogue: (path, split_file=…) -> the `Catalogue`, where records are videos
      still to be decoded; None elsewhere.
    check_tokenizer: (path, digest) raises ValueError where another tokenizer
      than that made what lies there.
    identify: (path, DataConfig) -> a text that is another one whenever the
      records are others, as far as can be told without reading them; None
      where it cannot.
    rendered: clips are moving shapes made on the fly: each is always the same,
      spans its whole motion, and its motion is its class.
    images: clips are pictures, of one frame.
    features: records hold a tokenizer's `features`, no `video`.
    split_lists: a list of training videos (`split_file`) decides the splits.
  """

  name: str
  open: Callable[..., Source]
  check: Callable[[Any], None] = _serves
  catalogue: Callable[..., Catalogue] | None = None
  check_tokenizer: Callable[[str, str], None] = _serves
  identify: Callable[[str, Any], str | None] = _unknown
  rendered: bool = False
  images: bool = False
  features: bool = False
  split_lists: bool = False

  @property
  def form(self) -> str:
    """How it is typed."""
    return self.name if self.rendered else f'{self.name}:PATH'
