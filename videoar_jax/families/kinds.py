"""The one place where a family is built from a config or a checkpoint."""

from typing import Any

from videoar_jax.core.config import from_section
from videoar_jax.core.export import Loaded
from videoar_jax.families.bits import BitsFamily
from videoar_jax.families.family import Family
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import tokenizer_config
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.params import transformer_config


def make_family(config: Any, tokenizer: TokenizerConfig) -> Family:
  """The family of a run.

  Args:
    config: of the run, with its section `transformer`.
    tokenizer: shape of the tokenizer whose latents it predicts.

  Raises:
    ValueError: the section is wrong.
  """
  transformer = from_section(TransformerConfig, config, 'transformer')
  return BitsFamily(transformer, tokenizer)


def load_family(loaded: Loaded) -> Family:
  """The family of a generator's checkpoint, which holds its tokenizer.

  Raises:
    ValueError: its weights are of another network than its config.
  """
  tokenizer = tokenizer_config(loaded.tokenizer)
  transformer = transformer_config(
    loaded, lambda config: BitsFamily(config, tokenizer).shapes()
  )
  return BitsFamily(transformer, tokenizer)
