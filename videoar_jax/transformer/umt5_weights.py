"""Weights of umT5's encoder, by the names of Hugging Face and of Wan's file.

Source: the names in both projects' files. The sizes of the network are read off
the shapes of its arrays.
"""

import dataclasses
import enum
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from videoar_jax.core import files, foreign, structure
from videoar_jax.core.digest import flatten
from videoar_jax.core.foreign import Foreign, ImportReport
from videoar_jax.core.tensor_files import TensorFiles
from videoar_jax.transformer.umt5 import Umt5Config, param_shapes


class Names(enum.Enum):
  """Whose names: of Hugging Face, or of Wan's own file."""

  HUGGING_FACE = 'hugging_face'
  ORIGINAL = 'original'


CONFIG = 'config.json'
# Ours -> names there, without `.weight`.
_LAYER = {
  'attention_norm/scale': ('layer.0.layer_norm', 'norm1'),
  'query': ('layer.0.SelfAttention.q', 'attn.q'),
  'key': ('layer.0.SelfAttention.k', 'attn.k'),
  'value': ('layer.0.SelfAttention.v', 'attn.v'),
  'out': ('layer.0.SelfAttention.o', 'attn.o'),
  'bias': (
    'layer.0.SelfAttention.relative_attention_bias',
    'pos_embedding.embedding',
  ),
  'hidden_norm/scale': ('layer.1.layer_norm', 'norm2'),
  'gate': ('layer.1.DenseReluDense.wi_0', 'ffn.gate.0'),
  'up': ('layer.1.DenseReluDense.wi_1', 'ffn.fc1'),
  'down': ('layer.1.DenseReluDense.wo', 'ffn.fc2'),
}
_PREFIXES = ('encoder.block', 'blocks')
_WHOLE = {
  'embedding': ('shared', 'token_embedding'),
  'norm/scale': ('encoder.final_layer_norm', 'norm'),
}
# Hugging Face's other name of the embedding.
_TIED = 'encoder.embed_tokens.weight'
# Arrays that tell the sizes, besides the embedding.
_SIZED = ('query', 'gate', 'bias')
# Our axes in the order in which they lie there.
_TURNED = {
  'query': (1, 2, 0),
  'key': (1, 2, 0),
  'value': (1, 2, 0),
  'out': (2, 0, 1),
  'gate': (1, 0),
  'up': (1, 0),
  'down': (1, 0),
}
CONFIG = 'config.json'
# Of Hugging Face's config.json, where there is one.
_ABOUT = {
  'model_type?': structure.one_of('umt5'),
  'feed_forward_proj?': structure.one_of('gated-gelu'),
  'layer_norm_epsilon?': structure.one_of(1e-6),
  'relative_attention_max_distance?': structure.at_least(1),
}


def open_weights(
  path: Any, *, dtype: str = 'bfloat16'
) -> tuple[TensorFiles, Umt5Config, dict[str, Foreign], ImportReport]:
  """Finds the encoder's weights in files, and reads none of them.

  Args:
    path: a safetensors file, or a folder with one or several, and maybe a
      `config.json` of Hugging Face.
    dtype: of the products.

  Returns:
    The files, the network's shape, what our arrays are called there, and what
    became of each array.

  Raises:
    ValueError: no such files, damaged, of another network (the shapes that
      differ are shown), or incomplete.
  """
  found, where = TensorFiles(path), str(path)
  which, config = _sizes(found.shapes, where=where, dtype=dtype)
  about = pathlib.Path(path, CONFIG)
  if about.is_file():
    read = files.read_json(about, _ABOUT, fix='wanted that of umT5')
    farthest = read.get('relative_attention_max_distance', config.max_distance)
    config = dataclasses.replace(config, max_distance=farthest)
  way = naming(config, which)
  embedding = way['embedding']
  if embedding.name not in found.shapes:
    way['embedding'] = dataclasses.replace(embedding, name=_TIED)
  report = foreign.compare(way, found.shapes, where=where)
  foreign.check_whole(report, where=where)
  return found, config, way, report


def naming(config: Umt5Config, which: Names) -> dict[str, Foreign]:
  """What each of our arrays is called there, and how it lies."""
  # All layers are alike.
  one = flatten(param_shapes(dataclasses.replace(config, num_layers=1)))
  column = list(Names).index(which)
  found = {
    name: _foreign(x[column], '', one[name].shape) for name, x in _WHOLE.items()
  }
  for i in range(config.num_layers):
    prefix = f'{_PREFIXES[column]}.{i}.'
    for part, x in _LAYER.items():
      shape = one[f'layer0/{part}'].shape
      found[f'layer{i}/{part}'] = _foreign(prefix + x[column], part, shape)
  return found


def _foreign(theirs: str, part: str, shape: tuple[int, ...]) -> Foreign:
  axes = _TURNED.get(part, tuple(range(len(shape))))
  there = tuple(shape[axis] for axis in axes)
  if part == 'out':
    there = (there[0], there[1] * there[2])
  elif len(there) == 3:
    there = (there[0] * there[1], there[2])
  return Foreign(f'{theirs}.weight', axes, there)


def _sizes(
  shapes: Mapping[str, tuple[int, ...]], *, where: str, dtype: str
) -> tuple[Names, Umt5Config]:
  """Whose names those of some arrays are, and the network that they make."""
  firsts = []
  for column, which in enumerate(Names):
    prefix = _PREFIXES[column]
    firsts.append(f'{prefix}.0.{_LAYER["query"][column]}.weight')
    names = [f'{prefix}.0.{_LAYER[x][column]}.weight' for x in _SIZED]
    embedding = f'{_WHOLE["embedding"][column]}.weight'
    names.append(embedding if embedding in shapes else _TIED)
    if any(len(shapes.get(name, ())) != 2 for name in names):
      continue
    query, gate, bias, table = (shapes[name] for name in names)
    layers = {
      x[1] for x in map(re.compile(rf'{prefix}\.(\d+)\.').match, shapes) if x
    }
    try:
      return which, Umt5Config(
        num_layers=len(layers),
        width=table[1],
        num_heads=bias[1],
        head_width=query[0] // max(bias[1], 1),
        hidden=gate[0],
        vocabulary=table[0],
        num_buckets=bias[0],
        dtype=dtype,
      )
    except ValueError as error:
      raise ValueError(f'{where}: {error}') from None
  raise ValueError(
    f'{where}: holds {", ".join(sorted(shapes)[:3]) or "nothing"}; wanted the '
    f'encoder of umT5, with arrays like {" or ".join(firsts)}'
  )
