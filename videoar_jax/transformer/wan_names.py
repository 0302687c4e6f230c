"""Names and shapes of the arrays of Wan's transformer, here and elsewhere.

The names are those of the original (Wan-Video/Wan2.1, and what is trained from
it) and of diffusers' `WanTransformer3DModel`.
"""

import enum
from typing import NamedTuple

import numpy as np

from videoar_jax.transformer.wan_config import WanConfig


class Naming(enum.StrEnum):
  """Whose names they are."""

  ORIGINAL = 'original'
  DIFFUSERS = 'diffusers'


class Entry(NamedTuple):
  """An array of theirs, and where it goes.

  Attributes:
    ours: name in our parameters; of a layer, below `layers/`.
    original: name in the original; of a layer, below `blocks.i.`.
    diffusers: name in diffusers, likewise.
    shape: there; matrices are (outputs, inputs).
    heads: of how many heads the outputs are turned in pairs, whose order is
      another here; 0: they are not.
  """

  ours: str
  original: str
  diffusers: str
  shape: tuple[int, ...]
  heads: int = 0

  @property
  def is_matrix(self) -> bool:
    return self.ours.endswith('/kernel')

  def named(self, naming: Naming) -> str:
    return getattr(self, naming.value)


def global_entries(config: WanConfig) -> list[Entry]:
  """The arrays that are of no layer."""
  d = config.width
  text = 'condition_embedder.text_embedder.linear_'
  time = 'condition_embedder.time_embedder.linear_'
  patch = (config.latent_width, *config.patch)
  return [
    *_affine('patch', 'patch_embedding', 'patch_embedding', (d, *patch)),
    *_affine('text_in', 'text_embedding.0', f'{text}1', (d, config.text_width)),
    *_affine('text_out', 'text_embedding.2', f'{text}2', (d, d)),
    *_affine('time_in', 'time_embedding.0', f'{time}1', (d, config.time_width)),
    *_affine('time_out', 'time_embedding.2', f'{time}2', (d, d)),
    *_affine(
      'time_shifts',
      'time_projection.1',
      'condition_embedder.time_proj',
      (6 * d, d),
    ),
    *_affine('head', 'head.head', 'proj_out', (config.patch_width, d)),
    Entry('modulation', 'head.modulation', 'scale_shift_table', (1, 2, d)),
  ]


def layer_entries(config: WanConfig) -> list[Entry]:
  """The arrays of one layer."""
  d, hidden = config.width, config.hidden
  return [
    *_attention('attention', 'self_attn', 'attn1', d, heads=config.num_heads),
    *_attention('cross_attention', 'cross_attn', 'attn2', d, heads=0),
    # Their names of the norms are not in the same order.
    Entry('cross_norm/scale', 'norm3.weight', 'norm2.weight', (d,)),
    Entry('cross_norm/bias', 'norm3.bias', 'norm2.bias', (d,)),
    *_affine('mlp/up', 'ffn.0', 'ffn.net.0.proj', (hidden, d)),
    *_affine('mlp/down', 'ffn.2', 'ffn.net.2', (d, hidden)),
    Entry('modulation', 'modulation', 'scale_shift_table', (1, 6, d)),
  ]


def shapes(config: WanConfig, naming: Naming) -> dict[str, tuple[int, ...]]:
  """Names and shapes of all arrays there are of a network elsewhere."""
  found = {x.named(naming): x.shape for x in global_entries(config)}
  for i in range(config.num_layers):
    for entry in layer_entries(config):
      found[layer_name(entry, i, naming)] = entry.shape
  return found


def layer_name(entry: Entry, layer: int, naming: Naming) -> str:
  """Their name of an array of a layer."""
  return f'blocks.{layer}.{entry.named(naming)}'


def to_ours(
  theirs: np.ndarray, entry: Entry, shape: tuple[int, ...]
) -> np.ndarray:
  """Their array in our order and shape."""
  x = theirs.reshape(len(theirs), -1) if entry.is_matrix else theirs.reshape(-1)
  if entry.heads:
    x = x[_halves(len(x), entry.heads)]
  return x.T.reshape(shape)


def to_theirs(ours: np.ndarray, entry: Entry) -> np.ndarray:
  """The inverse of `to_ours`."""
  x = ours.reshape(-1)
  if entry.is_matrix:
    x = ours.reshape(-1, entry.shape[0]).T
  if entry.heads:
    x = x[np.argsort(_halves(len(x), entry.heads))]
  return x.reshape(entry.shape)


def _halves(width: int, heads: int) -> np.ndarray:
  """Their channel for each of ours.

  There a pair is two neighbours, here (`rope.rotate`) its first is in the first
  half of a head and its second in the other. Queries and keys have the same
  order, so that their products are the same.
  """
  return np.arange(width).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


def _affine(
  ours: str, original: str, diffusers: str, shape: tuple[int, ...], heads=0
) -> tuple[Entry, Entry]:
  """A matrix and its bias."""
  return (
    Entry(
      f'{ours}/kernel',
      f'{original}.weight',
      f'{diffusers}.weight',
      shape,
      heads,
    ),
    Entry(
      f'{ours}/bias', f'{original}.bias', f'{diffusers}.bias', shape[:1], heads
    ),
  )


def _attention(ours: str, original: str, diffusers: str, d: int, *, heads: int):
  """Four layers, and the norms of queries and keys."""
  for name, there, in_diffusers, turned in (
    ('query', 'q', 'to_q', heads),
    ('key', 'k', 'to_k', heads),
    ('value', 'v', 'to_v', 0),
    ('out', 'o', 'to_out.0', 0),
  ):
    yield from _affine(
      f'{ours}/{name}',
      f'{original}.{there}',
      f'{diffusers}.{in_diffusers}',
      (d, d),
      turned,
    )
  for name, there in (('query', 'q'), ('key', 'k')):
    yield Entry(
      f'{ours}/{name}_norm/scale',
      f'{original}.norm_{there}.weight',
      f'{diffusers}.norm_{there}.weight',
      (d,),
      heads,
    )
