"""Prompts as tokens: byte-level BPE, so that no word is unknown."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence

import numpy as np
import tokenizers

from videoar_jax.core import files

# What guidance of Wan's models turns away from, in the words of its makers.
NEGATIVE_PROMPT = (
  '色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，'
  '低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，'
  '毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走'
)
PADDING = -1  # fills a prompt's tokens up to their largest number
_BYTES = 256
_MOST_CHARACTERS = 20_000  # of a prompt


@dataclasses.dataclass(frozen=True)
class PromptConfig:
  """How a generator reads prompts; without effect where classes condition it.

  Attributes:
    template: the prompt of a class, with {} where its name goes; used where a
      data set has no captions.
    tokenizer: '' trains a tokenizer on the data set's prompts when a run
      begins; or the path of a JSON file of the library `tokenizers`. In a run's
      own config it is that JSON itself, so that checkpoints and later starts
      need nothing outside.
  """

  template: str = 'a video of a person {}'
  tokenizer: str = ''

  def __post_init__(self):
    if self.template.count('{}') != 1:
      raise ValueError(
        f'template={self.template!r}: {{}} must stand once, where the name of '
        'the class goes'
      )
    _check_text('template', self.template)

  def class_prompt(self, name: str) -> str:
    """The prompt of a class; `ApplyLipstick` is read as "apply lipstick"."""
    words = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', ' ', name).replace('_', ' ')
    return self.template.replace('{}', words.lower())


def train_bpe(texts: Iterable[str], *, vocabulary: int) -> str:
  """Trains byte-level BPE.

  Args:
    texts: to train on; the same texts give the same tokenizer.
    vocabulary: tokens at most, the 256 bytes among them.

  Returns:
    The tokenizer as JSON.

  Raises:
    ValueError: vocabulary below 256.
  """
  if vocabulary < _BYTES:
    raise ValueError(
      f'vocabulary={vocabulary}: byte-level BPE needs at least {_BYTES}'
    )
  parts = tokenizers.pre_tokenizers
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = parts.ByteLevel(add_prefix_space=True)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=vocabulary,
    initial_alphabet=sorted(parts.ByteLevel.alphabet()),
    show_progress=False,
  )
  tokenizer.train_from_iterator(texts, trainer)
  return tokenizer.to_str()


def read_tokenizer(path: str) -> str:
  """Reads a tokenizer's JSON file.

  Raises:
    ValueError: there is none, or it is not a tokenizer.
  """
  text = files.read_text(path)
  _parse(text, where=path)
  return text


@functools.lru_cache(maxsize=4)
def _parse(text: str, *, where: str = 'JSON') -> tokenizers.Tokenizer:
  try:
    found = tokenizers.Tokenizer.from_str(text)
  except Exception as error:  # the library raises nothing narrower
    raise ValueError(
      f'tokenizer={where}: not a JSON file of the library `tokenizers`: {error}'
    ) from error
  if not found.get_vocab_size():
    raise ValueError(f'tokenizer={where}: it knows no token; train it first')
  return found


@dataclasses.dataclass(frozen=True)
class PromptEncoder:
  """Turns prompts into tokens of one length.

  Attributes:
    config: its tokenizer is JSON.
    length: tokens that a prompt may have at most.
  """

  config: PromptConfig
  length: int

  @property
  def vocabulary(self) -> int:
    """Number of different tokens."""
    tokenizer = _parse(self.config.tokenizer)
    tokens = tokenizer.get_vocab().values()
    return 1 + max(tokens)

  def encode(self, prompt: str) -> np.ndarray:
    """Tokens of a prompt, filled up with PADDING: int32 (length,).

    Raises:
      ValueError: the prompt is empty, no text, or too long.
    """
    text = check_prompt(prompt)
    tokens = _parse(self.config.tokenizer).encode(text).ids
    if len(tokens) > self.length:
      raise ValueError(
        f'prompt {shortened(text)!r} has {len(tokens)} tokens, the generator '
        f'reads {self.length} (transformer.prefix_length); use fewer words'
      )
    row = np.full(self.length, PADDING, np.int32)
    row[: len(tokens)] = tokens
    return row

  def encode_classes(self, names: Sequence[str]) -> np.ndarray:
    """Tokens of the classes' prompts: int32 (n, length)."""
    prompts = [self.config.class_prompt(name) for name in names]
    return np.stack([self.encode(prompt) for prompt in prompts])


def check_prompt(prompt: str) -> str:
  """A prompt without blanks around it.

  Raises:
    ValueError: it is empty, longer than anybody reads, or holds characters
      that are no text.
  """
  text = prompt.strip()
  if not text:
    raise ValueError(
      f'prompt {prompt!r} is empty; say what the video is to show'
    )
  if len(text) > _MOST_CHARACTERS:
    raise ValueError(
      f'prompt {shortened(text)!r} has {len(text)} characters; use fewer than '
      f'{_MOST_CHARACTERS}'
    )
  _check_text('prompt', text)
  return text


def _check_text(name: str, text: str) -> None:
  # Half of a pair of code units, and what ends a text elsewhere.
  wrong = re.search('[\ud800-\udfff\0]', text)
  if wrong:
    raise ValueError(
      f'{name} {shortened(ascii(text))}: character {wrong.start() + 1} is no '
      'text; write it in UTF-8'
    )


def shortened(text: str, length: int = 60) -> str:
  """The beginning of a long text."""
  return text if len(text) <= length else text[: length - 1] + '…'
