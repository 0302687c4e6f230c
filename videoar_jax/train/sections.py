"""What the config of a run consists of, and checking all of it at once."""

import dataclasses
from typing import Annotated, Any

import ml_collections
from jax.sharding import Mesh

from videoar_jax.core import fields
from videoar_jax.core.config import check_keys, from_section, of_section
from videoar_jax.core.mesh import MeshConfig
from videoar_jax.core.placement import check_batch_size
from videoar_jax.data.config import DataConfig
from videoar_jax.data.prompts import PromptConfig
from videoar_jax.objectives.adversarial import AdversarialConfig
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.objectives.reconstruction import TokenizerLossConfig
from videoar_jax.sample.sampler import PreviewConfig
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.discriminator import DiscriminatorConfig
from videoar_jax.train.cadence import LoopConfig
from videoar_jax.train.initial import INFLATIONS
from videoar_jax.train.optimizer import OptimizerConfig, make_schedule
from videoar_jax.transformer.config import TransformerConfig

TOKENIZER, GENERATOR = 'tokenizer', 'generator'
_SHARED = {
  'data': DataConfig,
  'optimizer': OptimizerConfig,
  'mesh': MeshConfig,
  'train': LoopConfig,
}
SECTIONS = {
  TOKENIZER: {
    **_SHARED,
    'tokenizer': TokenizerConfig,
    'losses': TokenizerLossConfig,
    'adversarial': AdversarialConfig,
    'discriminator': DiscriminatorConfig,
    'discriminator_optimizer': OptimizerConfig,
  },
  GENERATOR: {
    **_SHARED,
    'prompts': PromptConfig,
    'transformer': TransformerConfig,
    'corruption': CorruptionConfig,
    'frame_mask': FrameMaskConfig,
    'sampling': PreviewConfig,
  },
}
# Further streams of data by their names, each a section like `data`.
MORE_DATA = 'more_data'


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """The keys of a run that are in no section.

  Attributes:
    recipe: what is trained.
    seed: of initial parameters, batches and random draws.
    init_from: a run to start from the weights of; '' starts from scratch.
    inflation: what the slices of kernels that see the past begin with where
      `init_from` is a tokenizer of single frames: 'zeros', or 'random' (the
      paper's).
  """

  recipe: Annotated[str, fields.Choice(tuple(SECTIONS))] = TOKENIZER
  seed: fields.Seed = 0
  init_from: str = ''
  inflation: Annotated[str, fields.Choice(INFLATIONS)] = INFLATIONS[0]

  def __post_init__(self):
    fields.check(self)


@dataclasses.dataclass(frozen=True)
class GeneratorRunConfig(RunConfig):
  """The same of a generator.

  Attributes:
    tokenizer: path of a trained tokenizer.
    classes: filled in from the data set.
  """

  recipe: Annotated[str, fields.Choice(tuple(SECTIONS))] = GENERATOR
  tokenizer: str = ''
  classes: tuple[str, ...] = ()


RUNS = {TOKENIZER: RunConfig, GENERATOR: GeneratorRunConfig}


def check_config(config: Any) -> None:
  """Checks everything of a run's config that it takes nothing else to check.

  Raises:
    ValueError: a section or key is missing or unknown, or a value is not what
      it may be; the message names the section and the key.
  """
  if not isinstance(config, ml_collections.ConfigDict):
    raise ValueError(
      f'the config is of type {type(config).__name__}; wanted a ConfigDict, as '
      'train.defaults makes them'
    )
  recipe = config.get('recipe')
  if not isinstance(recipe, str) or recipe not in SECTIONS:
    raise ValueError(f'recipe={recipe!r}: use {" or ".join(SECTIONS)}')
  sections = {**SECTIONS[recipe], MORE_DATA: None}
  own = [field.name for field in dataclasses.fields(RUNS[recipe])]
  check_keys(config.keys(), [*own, *sections], where='config')
  for name, cls in SECTIONS[recipe].items():
    from_section(cls, config, name)
  read_streams(config)
  plain = {name: config[name] for name in config if name not in sections}
  from_section(RUNS[recipe], plain, where='')


def read_streams(config: Any) -> dict[str, DataConfig]:
  """The streams of data by their sections: `data`, then those of more_data.

  Raises:
    ValueError: as `from_section`.
  """
  more = config.get(MORE_DATA)
  if not isinstance(more, ml_collections.ConfigDict):
    raise ValueError(f'{MORE_DATA}={more!r}: wanted sections by their names')
  names = ('data', *(f'{MORE_DATA}.{name}' for name in sorted(more)))
  return {name: from_section(DataConfig, config, name) for name in names}


def check_batches(config: Any, mesh: Mesh) -> None:
  """Raises a ValueError where a stream's batch does not split over the mesh."""
  for name, stream in read_streams(config).items():
    with of_section(name):
      check_batch_size(stream.batch_size, mesh, config.train.accumulate)


def read_optimizer(
  config: Any, name: str, *, start: int = 0
) -> OptimizerConfig:
  """The section of an optimiser that works from a step of the run onwards.

  Raises:
    ValueError: its warm-up does not fit into the run.
  """
  found = from_section(OptimizerConfig, config, name)
  with of_section(name):
    make_schedule(found, num_updates=config.train.num_steps - start)
  return found
