"""Prompts as umT5's tokens: text cleaned as Wan's own code does, then pieces.

The user brings the tokenizer: `tokenizer.json`, or `spiece.model`, which needs
the package sentencepiece. Source: docs/paper.md, Text encoder.
"""

import dataclasses
import hashlib
import html
import pathlib
import re
from collections.abc import Callable
from typing import Any

import tokenizers

from videoar_jax.core.lazy import Lazy
from videoar_jax.data.prompts import check_prompt, shortened
from videoar_jax.transformer.umt5 import END

ftfy = Lazy('ftfy', extra='text')
sentencepiece = Lazy('sentencepiece', extra='text')

LENGTH = 512  # tokens at most
FILES = ('tokenizer.json', 'spiece.model')
# ftfy changes nothing of it: no accents, quotes, entities or control signs.
_PLAIN = re.compile(r"[ -%'-~\t\n\r]*")


def clean(text: str) -> str:
  """A prompt as Wan's code cleans it: mended, no entities, single blanks.

  Raises:
    ValueError: the package ftfy is needed and is not installed. Plain ASCII
      without `&` needs none.
  """
  if not _PLAIN.fullmatch(text):
    text = ftfy.fix_text(text)
  text = html.unescape(html.unescape(text))
  return re.sub(r'\s+', ' ', text).strip()


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """Turns prompts into tokens.

  Attributes:
    pieces: tokens of a text that is clean, END not among them.
    digest: SHA-256 of the file.
  """

  pieces: Callable[[str], list[int]]
  digest: str

  def encode(self, prompt: str) -> list[int]:
    """Tokens of a prompt, END the last of at most LENGTH.

    Raises:
      ValueError: the prompt is empty, no text or too long, or a package that
        is needed is not installed.
    """
    text = clean(check_prompt(prompt))
    tokens = [*self.pieces(text), END] if text else [END]
    if len(tokens) > LENGTH:
      raise ValueError(
        f'prompt {shortened(text)!r} has {len(tokens)} tokens, the text '
        f'encoder reads {LENGTH}; use fewer words'
      )
    return tokens


def read_tokenizer(path: Any) -> Tokenizer:
  """Reads a tokenizer.

  Args:
    path: of a `tokenizer.json` of the library `tokenizers`, or of a
      `spiece.model` of sentencepiece.
  Raises:
    ValueError: no such file, it is damaged, or not umT5's: 0 pads and 1 ends a
      prompt there; or sentencepiece is not installed.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f'{path}: no such tokenizer')
  data = path.read_bytes()
  read = _read_json if path.suffix == '.json' else _read_model
  pieces, number = read(data, where=str(path))
  found = [number('<pad>'), number('</s>')]
  if found != [0, END]:
    raise ValueError(
      f'{path}: <pad>, </s> are {found}; wanted the tokenizer of umT5, where '
      f'they are [0, {END}]'
    )
  return Tokenizer(pieces, hashlib.sha256(data).hexdigest())


def _read_json(data: bytes, *, where: str) -> tuple[Callable, Callable]:
  try:
    found = tokenizers.Tokenizer.from_buffer(data)
  except Exception as error:  # the library raises nothing narrower
    raise ValueError(
      f'{where}: not a JSON file of the library `tokenizers`: {error}'
    ) from error
  found.no_padding()
  found.no_truncation()

  def pieces(text: str) -> list[int]:
    return found.encode(text, add_special_tokens=False).ids

  return pieces, found.token_to_id


def _read_model(data: bytes, *, where: str) -> tuple[Callable, Callable]:
  processor = sentencepiece.SentencePieceProcessor
  try:
    found = processor(model_proto=data)
  except Exception as error:  # whatever the library raises
    raise ValueError(f'{where}: no model of sentencepiece: {error}') from error
  return found.encode, found.piece_to_id
