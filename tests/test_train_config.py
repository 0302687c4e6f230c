"""A run's config: every value is checked before any work, and named."""

import dataclasses
import typing

import jax
import pytest
from ml_collections import ConfigDict

from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.train import defaults, sections

MAKERS = {
  sections.TOKENIZER: defaults.tokenizer_config,
  sections.GENERATOR: defaults.generator_config,
}
NAN, INF = float('nan'), float('inf')


def fields_of(*types):
  """(recipe, section, key) of every key of a plain type."""
  return [
    (recipe, name, field.name)
    for recipe, found in sections.SECTIONS.items()
    for name, cls in found.items()
    for field in dataclasses.fields(cls)
    if typing.get_type_hints(cls)[field.name] in types
  ]


def refusal(config):
  with pytest.raises(ValueError) as error:
    sections.check_config(config)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('recipe', MAKERS)
def test_the_defaults_are_what_they_may_be(recipe):
  config = MAKERS[recipe]()
  sections.check_config(config)
  assert config.recipe == recipe


@pytest.mark.parametrize(('recipe', 'name', 'key'), fields_of(int))
def test_every_whole_number_has_bounds(recipe, name, key):
  for value in (-5, 2**62):
    config = MAKERS[recipe]()
    config[name][key] = value
    assert refusal(config).startswith(f'{name}.{key}={value}: wanted at ')


@pytest.mark.parametrize(('recipe', 'name', 'key'), fields_of(float))
def test_every_number_is_finite_and_none_is_negative(recipe, name, key):
  for value in (NAN, INF, -1.0):
    config = MAKERS[recipe]()
    config[name][key] = value
    assert refusal(config).startswith(f'{name}.{key}={value}: wanted ')


@pytest.mark.parametrize(
  ('key', 'value', 'words'),
  [
    ('seed', -5, 'seed=-5: wanted at least 0'),
    ('seed', 2**32, 'seed=4294967296'),
    ('inflation', 'much', "inflation='much': use zeros or random"),
    ('recipe', 'nothing', "recipe='nothing': use tokenizer or generator"),
    ('optimizer.ema_decay', 2.0, 'optimizer.ema_decay=2.0'),
    ('tokenizer.dtype', 'float', "tokenizer.dtype='float': use float32 or"),
    ('tokenizer.conv', '3d', "tokenizer.conv='3d': use auto"),
    ('tokenizer.scales', ((1, 1), (0, 2)), 'tokenizer.scales='),
    ('tokenizer.scales', (3,), 'tokenizer.scales=(3,) is of type tuple'),
    ('tokenizer.scales', ((1, 2, 3),), 'tokenizer.scales=((1, 2, 3),) is'),
    ('tokenizer.more_scales', ((1, 2),), 'tokenizer.more_scales=((1, 2),) is'),
    ('tokenizer.multipliers', (1, -2), 'tokenizer.multipliers=(1, -2)'),
    ('tokenizer.multipliers', (1.5,), 'tokenizer.multipliers=(1.5,) is of t'),
    ('tokenizer.multipliers', (True,), 'tokenizer.multipliers=(True,) is of'),
    ('tokenizer.multipliers', (), 'tokenizer.multipliers=(): wanted one'),
    ('data.source', 'film:x', "data.source='film:x'"),
    ('more_data', 3, 'more_data=3: wanted sections'),
    ('losses', 3, 'losses=3: wanted a section'),
  ],
)
def test_a_bad_value_is_named_as_it_is_typed(key, value, words):
  config = defaults.tokenizer_config()
  *section, name = key.split('.')
  place = config[section[0]] if section else config
  with place.ignore_type():
    place[name] = value
  assert refusal(config).startswith(words)


def test_each_further_stream_is_named():
  config = defaults.tokenizer_config()
  config.more_data.image = ConfigDict(config.data)
  config.more_data.image.batch_size = -1
  assert refusal(config).startswith('more_data.image.batch_size=-1: wanted')
  config.more_data.image.batch_size = 3
  sections.check_config(config)
  mesh = make_mesh(MeshConfig(), jax.devices()[:2])
  with pytest.raises(ValueError, match=r'more_data\.image\.batch_size=3: does'):
    sections.check_batches(config, mesh)


@pytest.mark.parametrize('name', ['data', 'train', 'losses', 'more_data'])
def test_a_section_that_is_missing_is_named(name):
  config = defaults.tokenizer_config()
  del config[name]
  assert name in refusal(config)


@pytest.mark.parametrize('name', ['seed', 'init_from'])
def test_a_key_that_is_missing_is_named(name):
  config = defaults.tokenizer_config()
  del config[name]
  assert f'missing key {name}' in refusal(config)
  del config.optimizer['beta1']
  assert 'optimizer: missing key beta1' in refusal(config)


def test_a_key_that_is_unknown_is_named():
  config = defaults.generator_config()
  config.tokeniser = 'runs/tokenizer'
  assert refusal(config).startswith('config: unknown key tokeniser; did you me')


@pytest.mark.parametrize('config', [None, {}, 3, ConfigDict(), [1]])
def test_what_is_no_config_is_refused(config):
  refusal(config)


@pytest.mark.parametrize('name', ['optimizer', 'discriminator_optimizer'])
def test_a_warm_up_that_does_not_fit_names_its_optimizer(name):
  config = defaults.tokenizer_config()
  config.train.num_steps = 50
  config[name].warmup_steps = 45
  sections.read_optimizer(config, name)
  with pytest.raises(ValueError, match=rf'^{name}\.warmup_steps=45: '):
    sections.read_optimizer(config, name, start=10)
