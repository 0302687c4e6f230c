"""umT5's encoder on prompts, layer by layer: its 5.7 B weights stay in files.

The weights of a layer are read, used for all prompts of a call, and dropped:
what is in memory is those of two layers and the prompts' states. All layers
are one compiled program for each shape of a batch.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import weight_file
from videoar_jax.core.compiler import jit
from videoar_jax.core.digest import flatten, nest, text_digest
from videoar_jax.core.foreign import Foreign, ImportReport
from videoar_jax.core.layers import rms_norm
from videoar_jax.core.tensor_files import TensorFiles
from videoar_jax.data.failures import listing
from videoar_jax.transformer import umt5_text
from videoar_jax.transformer.umt5 import (
  PADDING,
  Umt5Config,
  Umt5Layer,
  param_shapes,
)
from videoar_jax.transformer.umt5_weights import open_weights

_LENGTHS = (64, 128, 256, umt5_text.LENGTH)  # that prompts are filled up to
_BATCH_TOKENS = 4096


class TextEncoder:
  """Prompts to states.

  Attributes:
    config: of the network.
    report: what became of each array of the files.
  """

  def __init__(
    self,
    tokenizer: umt5_text.Tokenizer,
    weights: TensorFiles,
    config: Umt5Config,
    naming: dict[str, Foreign],
    report: ImportReport,
  ):
    self.config, self.report = config, report
    self._tokenizer, self._weights, self._naming = tokenizer, weights, naming

  @classmethod
  def open(
    cls, path: Any, *, tokenizer: Any = None, dtype: str = 'bfloat16'
  ) -> 'TextEncoder':
    """Opens an encoder; its weights are read when it encodes.

    Args:
      path: see `umt5_weights.open_weights`.
      tokenizer: see `umt5_text.read_tokenizer`; None: beside the weights, or
        where Wan's and diffusers' folders have it.
      dtype: that weights are rounded to, and of the products: 'bfloat16' or
        'float32'.
    Raises:
      ValueError: no weights or tokenizer there, or of another network.
    """
    if dtype not in weight_file.DTYPES:
      raise ValueError(
        f'dtype={dtype}: wanted {" or ".join(weight_file.DTYPES)}'
      )
    found = open_weights(path, dtype=dtype)
    if tokenizer is None:
      tokenizer = _beside(pathlib.Path(path))
    return cls(umt5_text.read_tokenizer(tokenizer), *found)

  @functools.cached_property
  def digest(self) -> str:
    """One digest of the tokenizer and the weights as they are used.

    It reads them all, once; their names and files make no difference.
    """
    found = {'tokenizer': self._tokenizer.digest}
    for name, other in sorted(self._naming.items()):
      digest = hashlib.sha256(f'{other.shape} {self.config.dtype}\n'.encode())
      for piece in self._weights.pieces(other.name):
        digest.update(np.ascontiguousarray(piece, self._dtype).tobytes())
      found[name] = digest.hexdigest()
    return text_digest(found)

  def tokens(self, prompt: str) -> list[int]:
    """See `umt5_text.Tokenizer.encode`.

    Raises:
      ValueError: as there, or the tokenizer has more tokens than the network.
    """
    found = self._tokenizer.encode(prompt)
    if max(found) >= self.config.vocabulary:
      raise ValueError(
        f'the tokenizer gives {max(found)}, and the encoder knows '
        f'{self.config.vocabulary} tokens; give the tokenizer that it was '
        'trained with'
      )
    return found

  def check(self, prompts: Sequence[str]) -> None:
    """Raises a ValueError that lists the prompts that cannot be encoded.

    Or one that names a package that they need.
    """
    faults = {}
    for number, prompt in enumerate(prompts):
      umt5_text.clean(prompt)
      try:
        self.tokens(prompt)
      except ValueError as error:
        faults[f'prompt {number}'] = str(error)
    if faults:
      raise ValueError(
        f'{len(faults)} of {len(prompts)} prompts cannot be encoded:\n'
        f'{listing(faults)}'
      )

  def encode(self, prompts: Sequence[str]) -> list[np.ndarray]:
    """States of prompts' tokens.

    Args:
      prompts: their states are held at once, and the weights read once.

    Returns:
      For each prompt (l, d), float32, l its number of tokens, at most 512.

    Raises:
      ValueError: see `tokens`.
    """
    return self.encode_tokens([self.tokens(prompt) for prompt in prompts])

  def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """As `encode`, of prompts given as tokens, at least one each."""
    batches = _batches([len(row) for row in tokens])
    lengths, states = [], []
    for size, width, rows in batches:
      length_b = np.zeros(size, np.int32)
      length_b[: len(rows)] = [len(tokens[row]) for row in rows]
      tokens_bl = np.full((size, width), PADDING, np.int32)
      for line, row in zip(tokens_bl, rows):
        line[: len(tokens[row])] = tokens[row]
      lengths.append(jnp.asarray(length_b))
      states.append(jnp.asarray(self._embedded(tokens_bl)))
    weights = self._layer(0)
    for i in range(self.config.num_layers):
      weights = jax.device_put(weights)
      states = [
        _apply_layer(self.config, self._layout, weights, x, length_b)
        for x, length_b in zip(states, lengths)
      ]
      # Read while the device computes, which then is waited for: no more than
      # two layers are in memory.
      weights = self._layer(i + 1) if i + 1 < self.config.num_layers else None
      jax.block_until_ready(states)
    scale = np.float32(self._read('norm/scale'))
    found: list[Any] = [None] * len(tokens)
    for x, (_, _, rows) in zip(states, batches):
      x_bld = np.asarray(_normed(x, scale))
      for state_ld, row in zip(x_bld, rows):
        found[row] = state_ld[: len(tokens[row])].copy()
    return found

  @property
  def _dtype(self) -> Any:
    return weight_file.DTYPES[self.config.dtype]

  def _read(self, name: str) -> np.ndarray:
    """An array as it lies in the files, rounded."""
    return np.asarray(self._weights.read(self._naming[name].name), self._dtype)

  def _layer(self, number: int) -> dict[str, np.ndarray]:
    """The weights of a layer, by our names, as they lie in the files."""
    return {
      name: self._read(f'layer{number}/{name}') for name, _ in self._layout
    }

  @functools.cached_property
  def _layout(self) -> tuple[tuple[str, Foreign], ...]:
    """How the weights of each layer lie in the files."""
    return tuple(
      (name, self._naming[f'layer0/{name}'])
      for name in _layer_shapes(self.config)
    )

  def _embedded(self, tokens_bl: np.ndarray) -> np.ndarray:
    """Rows of the embedding, which is never whole in memory."""
    used, places = np.unique(tokens_bl, return_inverse=True)
    rows = self._weights.rows(self._naming['embedding'].name, used)
    rows = rows.astype(self._dtype).astype(np.float32)
    return rows[places.reshape(tokens_bl.shape)]


def _batches(lengths: Sequence[int]) -> list[tuple[int, int, list[int]]]:
  """Deals prompts to batches of few shapes: examples, tokens, prompts."""
  found, begin = [], 0
  for width in _LENGTHS:
    rows = [i for i, x in enumerate(lengths) if begin < x <= width]
    begin, most = width, _BATCH_TOKENS // width
    # A power of two, filled up: so there are few programs.
    size = min(most, 1 << (len(rows) - 1).bit_length()) if rows else 1
    for i in range(0, len(rows), size):
      found.append((size, width, rows[i : i + size]))
  return found


@functools.cache
def _layer_shapes(config: Umt5Config) -> dict[str, tuple[int, ...]]:
  """Shapes of one layer's parameters."""
  one = param_shapes(dataclasses.replace(config, num_layers=1))
  return {name: x.shape for name, x in flatten(one['layer0']).items()}


@jit(static_argnums=(0, 1), donate_argnums=3)
def _apply_layer(
  config: Umt5Config, layout, weights: dict[str, jax.Array], x_bld, length_b
) -> jax.Array:
  """The states after a layer whose weights lie as in the files."""
  shapes = _layer_shapes(config)
  params = {
    name: other.taken(weights[name], shapes[name]) for name, other in layout
  }
  return Umt5Layer(config).apply({'params': nest(params)}, x_bld, length_b)


_normed = jit(rms_norm)


def _beside(path: pathlib.Path) -> pathlib.Path:
  """The tokenizer that comes with weights."""
  folder = path if path.is_dir() else path.parent
  places = (folder, folder.parent / 'tokenizer', folder / 'google/umt5-xxl')
  for place in places:
    for name in umt5_text.FILES:
      if (place / name).is_file():
        return place / name
  raise ValueError(
    f'{path}: no {" or ".join(umt5_text.FILES)} in '
    f'{", ".join(map(str, places))}; put it there, or name it'
  )
