"""Configs at paper scale: what they build, by shapes alone."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import pytest
from etils import epath

from videoar_jax.core.config import from_section
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.core.pretrained import MissingWeightsError
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.train.state import abstract_state
from videoar_jax.train.tokenizer_recipe import make_tokenizer_recipe
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import make_transformer

ROOT = pathlib.Path(__file__).parents[1]
AUTOENCODER, DISCRIMINATOR = 329.989, 4.6666  # millions of parameters


def _config(name, variant=''):
  path = ROOT / 'configs' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config(variant)
  with config.unlocked():
    config.data.update(source='synthetic', flip=False)
  return config


def _sizes(config, tmp_path):
  """Parameters of each network in millions."""
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  try:
    recipe = make_tokenizer_recipe(
      config, workdir=epath.Path(tmp_path), mesh=mesh
    )
  except MissingWeightsError as error:
    pytest.skip(str(error))
  steps = config.train.num_steps
  state = abstract_state(recipe.updates, seed=0, num_steps=steps, mesh=mesh)
  return {
    name: sum(x.size for x in jax.tree.leaves(net.params)) / 1e6
    for name, net in state.nets.items()
  }


@pytest.mark.parametrize(
  'name', ('tokenizer_ucf101', 'tokenizer_image', 'tokenizer_256')
)
def test_paper_scale_tokenizers_have_their_size(name, tmp_path):
  sizes = _sizes(_config(name), tmp_path)
  assert sizes['autoencoder'] == pytest.approx(AUTOENCODER, rel=1e-3)
  assert sizes['discriminator'] == pytest.approx(DISCRIMINATOR, rel=1e-3)


def test_one_network_serves_every_stream_of_the_joint_run(tmp_path):
  config = _config('tokenizer_joint')
  sizes = _sizes(config, tmp_path)
  assert sizes['autoencoder'] == pytest.approx(AUTOENCODER, rel=1e-3)
  streams = [config.data, *config.more_data.values()]
  assert {stream.num_frames for stream in streams} == {1, 17, 65}
  smoke = _config('tokenizer_joint', 'smoke')
  for stream in (smoke.data, *smoke.more_data.values()):
    assert stream.num_frames <= 5 and stream.batch_size <= 8


# The paper's names of its sizes, and our own counts, in millions.
@pytest.mark.parametrize(
  'name,named,counted',
  [
    ('S', None, 50.47552),
    ('B', None, 268.730368),
    ('L', 926, 906.43968),
    ('XL', 2000, 2148.143104),
    ('4B', 4000, 3775.71392),
  ],
)
def test_generators_have_their_size(name, named, counted):
  config = _config('videoar_ucf101', name)
  transformer = from_section(TransformerConfig, config, 'transformer')
  transformer = transformer.of_classes(101)
  scales = tuple((n, n) for n in (1, 2, 3, 4, 6, 8))
  plan = next_scale_plan(5, scales)
  model = make_transformer(transformer, num_bits=48, num_scales=len(scales))
  params = jax.eval_shape(
    lambda key: model.init(
      key,
      jnp.zeros((1, 650, 48)),
      jnp.zeros(1, jnp.int32),
      plan=plan,
      method='forward',
    ),
    jax.random.key(0),
  )
  found = sum(x.size for x in jax.tree.leaves(params)) / 1e6
  assert found == pytest.approx(counted, rel=1e-9)
  assert named is None or found == pytest.approx(named, rel=0.08)
  smoke = _config('videoar_ucf101', f'{name},smoke').transformer
  assert smoke.num_layers == 2 and smoke.width <= 256


def test_a_smoke_variant_is_small_and_plays_all_parts(tmp_path):
  config = _config('tokenizer_ucf101', 'smoke')
  assert config.adversarial.start < config.train.num_steps <= 4
  assert config.data.num_frames == 5 and config.data.batch_size == 8
  sizes = _sizes(config, tmp_path)
  assert sizes['autoencoder'] < 40 and sizes['discriminator'] > 0
