"""Exports of a tokenizer and a generator with random weights, to evaluate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core.config import from_section
from videoar_jax.core.export import load_weights, write_export
from videoar_jax.core.mesh import unbox
from videoar_jax.data import synthetic
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train import defaults
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import make_transformer

SIDE, FRAMES = 16, 9
CLASSES = synthetic.CLASSES
SIZE = {'num_frames': FRAMES, 'height': SIDE, 'width': SIDE}


def _config(make):
  config = make()
  config.data.update(source='synthetic', batch_size=4, **SIZE)
  return config


def _random_params(init, *args):
  """Parameters of the right shapes, without compiling an initialiser."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(init, jax.random.key(0), *args)['params']

  def draw(x):
    if x.ndim < 2:  # gains and offsets
      return rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
    scale = np.prod(x.shape[:-1]) ** -0.5
    return (scale * rng.standard_normal(x.shape)).astype(np.float32)

  return jax.tree.map(draw, unbox(shapes))


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  return make_runs(tmp_path_factory.mktemp('runs'))


def make_runs(root, *, patch=1, size=None, classes=CLASSES):
  """Writes exports of a tokenizer and a generator with random weights.

  With a larger patch as many times the `size` of a clip costs little more.
  """
  size = size or SIZE
  frames, side = size['num_frames'], size['height']
  config = _config(defaults.tokenizer_config)
  config.data.update(size)
  config.tokenizer.update(
    patch=patch,
    base_width=8,
    multipliers=(1, 1, 1),
    encoder_blocks=1,
    decoder_blocks=1,
    latent_width=6,
    scales=((1, 1), (2, 2), (4, 4)),
    norm_groups=4,
    dtype='float32',
  )
  tokenizer = from_section(TokenizerConfig, config.tokenizer)
  model = make_tokenizer(tokenizer)
  blank = jnp.zeros((1, 1, side, side, 3))
  nets = {'autoencoder': _random_params(model.init, blank)}
  write_export(root / 'tokenizer', nets, config, step=7)

  config = _config(defaults.generator_config)
  config.data.update(size)
  config.transformer.update(
    num_layers=2, width=16, num_heads=2, dtype='float32'
  )
  config.transformer.num_classes = len(classes)
  config.sampling.guidance = '1'
  config.classes = classes
  plan = next_scale_plan(tokenizer.latent_frames(frames), tokenizer.scales)
  transformer = make_transformer(
    from_section(TransformerConfig, config.transformer),
    num_bits=tokenizer.latent_width,
    num_scales=len(tokenizer.scales),
  )
  init = functools.partial(transformer.init, plan=plan, method='forward')
  inputs = jnp.zeros((1, plan.num_tokens, tokenizer.latent_width))
  params = _random_params(init, inputs, jnp.zeros(1, jnp.int32))
  write_export(
    root / 'generator',
    {'transformer': params},
    config,
    step=9,
    tokenizer=load_weights(root / 'tokenizer'),
  )
  return root
