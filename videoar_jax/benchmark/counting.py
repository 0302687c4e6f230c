"""Parameters of the networks that a config makes; none of them is made."""

from collections.abc import Iterator
from typing import Any

import jax

from videoar_jax.benchmark.sampling import CLASSES
from videoar_jax.core import console
from videoar_jax.core.config import from_section
from videoar_jax.core.mesh import unbox
from videoar_jax.families.kinds import make_family
from videoar_jax.tokenizer.autoencoder import boxed_shapes
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train.tokenizer_recipe import tokenizer_updates


def count_tokenizer(config: Any) -> list[dict]:
  """Counts the networks that a tokenizer's run trains.

  Args:
    config: of the run.

  Returns:
    Of each `network`, its name, `parameters` and `parts`: of each part, the
    largest first, the same.
  """
  updates = tokenizer_updates(config).updates
  shapes = {
    x.net: unbox(jax.eval_shape(x.init, jax.random.key(0))) for x in updates
  }
  return list(_counted(shapes))


def count_generator(config: Any, tokenizer: Any) -> list[dict]:
  """Counts a generator's network, and the tokenizer that it is trained over.

  Args:
    config: of the run; of 101 classes, where it leaves that to the data.
    tokenizer: section `tokenizer` of the tokenizer's run.

  Returns:
    As `count_tokenizer`.
  """
  shape = from_section(TokenizerConfig, tokenizer)
  family = make_family(config, shape).of_classes(CLASSES)
  return list(
    _counted(
      {family.net: family.shapes(), 'autoencoder': unbox(boxed_shapes(shape))}
    )
  )


def show(row: dict) -> dict:
  """Prints what was counted of a network, and returns it."""
  total = row['parameters']
  print(
    f'{row["network"]}: {total:,} parameters ({console.count(total)}), '
    f'{4 * total / 2**30:.2f} GiB in float32',
    flush=True,
  )
  for part in row['parts']:
    print(f'  {part["parameters"]:>14,}  {part["part"]}', flush=True)
  return row


def _counted(shapes: dict[str, Any]) -> Iterator[dict]:
  for network, tree in shapes.items():
    parts = {name: _size(x) for name, x in tree.items()}
    largest = sorted(parts.items(), key=lambda x: (-x[1], x[0]))
    yield {
      'network': network,
      'parameters': sum(parts.values()),
      'parts': [{'part': name, 'parameters': size} for name, size in largest],
    }


def _size(tree: Any) -> int:
  return sum(x.size for x in jax.tree.leaves(tree))
