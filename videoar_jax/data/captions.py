"""Captions of videos, and records that carry a prompt."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from videoar_jax.core import files
from videoar_jax.data.failures import BadRecordError
from videoar_jax.data.folder import stem
from videoar_jax.data.prompts import PromptEncoder

Captions = dict[str, tuple[str, ...]]


def read_captions(path: str) -> Captions:
  """Reads a JSON-lines file of {"video": …, "caption": …}.

  Args:
    path: a line names a video by its path below the data set's folder, or by
      its file's name alone; with or without a suffix. Of a video with several
      lines, each access draws one.

  Returns:
    Name of the video without suffix -> its captions.

  Raises:
    ValueError: no such file, not UTF-8, no line in it, or a line that is not
      such an object, names no file below a folder, or has an empty caption.
  """
  shape = {'video': _check_name, 'caption': _check_caption}
  fix = 'wanted {"video": name, "caption": text}'
  found: dict[str, list[str]] = {}
  for where, line in files.read_lines(path):
    entry = files.parse_json(line, shape, where=where, fix=fix)
    found.setdefault(stem(entry['video']), []).append(entry['caption'])
  if not found:
    raise ValueError(f'captions={path}: no line in it')
  return {name: tuple(captions) for name, captions in found.items()}


def _check_caption(value: object) -> None:
  if not isinstance(value, str) or not value.strip():
    raise ValueError('wanted text')


def _check_name(value: object) -> None:
  path = pathlib.PurePosixPath(value if isinstance(value, str) else '')
  if not path.name or path.is_absolute() or '..' in path.parts:
    raise ValueError("wanted a video's path below the data set's folder")


@dataclasses.dataclass(frozen=True)
class PromptedSource:
  """Records of another source, each with the tokens of a prompt.

  Attributes:
    source: see `source.Source`.
    encoder: of prompts.
    captions: of the videos; None makes prompts of their classes.
    class_prompts: tokens of the classes' prompts, without captions.
  """

  source: object
  encoder: PromptEncoder
  captions: Captions | None
  class_prompts: np.ndarray | None

  @classmethod
  def of(cls, source, encoder: PromptEncoder, captions: str):
    """Wraps a source.

    Args:
      source: of records.
      encoder: of prompts.
      captions: path of their file; '' makes prompts of their classes.

    Raises:
      ValueError: see `read_captions`; or a class's prompt is too long.
    """
    if captions:
      return cls(source, encoder, read_captions(captions), None)
    return cls(source, encoder, None, encoder.encode_classes(source.classes))

  @property
  def classes(self) -> tuple[str, ...]:
    return self.source.classes

  def __len__(self) -> int:
    return len(self.source)

  def name(self, index: int) -> str:
    return self.source.name(index)

  def load(self, index: int, rng: np.random.Generator) -> dict:
    """As the source's, and `prompt` int32 (length,)."""
    record = self.source.load(index, rng)
    if self.captions is None:
      prompt = self.class_prompts[record['label']]
    else:
      prompt = self._prompt(index, rng)
    return {**record, 'prompt': prompt}

  def explain(self, index: int) -> str:
    if self.captions is not None:
      try:
        self._prompt(index, np.random.default_rng(0))
      except BadRecordError as error:
        return str(error)
    return self.source.explain(index)

  def _prompt(self, index: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens of one of a video's captions."""
    name = stem(self.source.name(index))
    for key in (name, pathlib.PurePosixPath(name).name):
      if key in self.captions:
        captions = self.captions[key]
        break
    else:
      raise BadRecordError('no caption of it in the file of captions')
    try:
      return self.encoder.encode(captions[rng.integers(len(captions))])
    except ValueError as error:
      raise BadRecordError(str(error)) from error
