"""Captions of videos, and records that carry a prompt."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np

from videoar_jax.data.failures import BadRecordError
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
    ValueError: no such file, or a line that is not such an object, or has an
      empty caption.
  """
  try:
    lines = pathlib.Path(path).read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'captions={path}: {error}') from error
  found: dict[str, list[str]] = {}
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    video, caption = _entry(line, where=f'{path}, line {number}')
    found.setdefault(_key(video), []).append(caption)
  if not found:
    raise ValueError(f'captions={path}: no line in it')
  return {name: tuple(captions) for name, captions in found.items()}


def _entry(line: str, *, where: str) -> tuple[str, str]:
  try:
    entry = json.loads(line)
  except ValueError as error:
    raise ValueError(f'{where}: not JSON: {error}') from error
  wanted = 'wanted {"video": name, "caption": text}'
  if not isinstance(entry, dict):
    raise ValueError(f'{where}: {wanted}')
  texts = []
  for key in ('video', 'caption'):
    text = entry.get(key)
    if not isinstance(text, str) or not text.strip():
      raise ValueError(f'{where}: {key} is {text!r}; {wanted}')
    texts.append(text)
  return texts[0], texts[1]


def _key(name: str) -> str:
  return str(pathlib.PurePosixPath(name).with_suffix(''))


@dataclasses.dataclass(frozen=True)
class PromptedSource:
  """Records of another source, each with the tokens of a prompt.

  Attributes:
    source: see `pipeline.Source`.
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
    name = _key(self.source.name(index))
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
