"""What a benchmark takes from a config, and what it refuses."""

from typing import Any

import ml_collections

from videoar_jax.core.config import from_section
from videoar_jax.data.config import DataConfig
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.config import TransformerConfig

_OF_GENERATORS = ('data', 'transformer', 'corruption', 'frame_mask')
_OF_GENERATORS += ('optimizer', 'mesh', 'train', 'sampling')


def of_recipe(config: Any, recipe: str, *, flag: str) -> Any:
  """The config of a flag.

  Raises:
    ValueError: it is of another recipe.
  """
  if config.get('recipe') != recipe:
    raise ValueError(
      f'--{flag}: a config of recipe {config.get("recipe")!r}; give one of a '
      f'{recipe}'
    )
  return config


def tokenizer_section(config: Any, *, flag: str) -> Any:
  """The section `tokenizer` of a tokenizer's config.

  Raises:
    ValueError: it is of another recipe, or the section is wrong.
  """
  config = of_recipe(config, 'tokenizer', flag=flag)
  from_section(TokenizerConfig, config, 'tokenizer')
  return config.tokenizer


def generator_config(config: Any) -> Any:
  """The config of a generator.

  Raises:
    ValueError: it is of another recipe, or a section is missing or wrong.
  """
  config = of_recipe(config, 'generator', flag='config')
  for name in _OF_GENERATORS:
    if not isinstance(config.get(name), ml_collections.ConfigDict):
      raise ValueError(
        f'--config: no section {name}; start from a config of configs/'
      )
  from_section(TransformerConfig, config, 'transformer')
  from_section(DataConfig, config, 'data')
  return config


def data_section(config: Any) -> Any:
  """The section `data`.

  Raises:
    ValueError: it is missing or wrong.
  """
  from_section(DataConfig, config, 'data')
  return config.data
