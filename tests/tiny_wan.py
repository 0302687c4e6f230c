"""A tiny Wan, its random parameters, and the one of the goldens."""

import functools
import pathlib

import golden_inputs
import jax
import numpy as np

from videoar_jax.core.digest import nest
from videoar_jax.transformer.wan import WanTransformer, patchify, unpatchify
from videoar_jax.transformer.wan_config import WanConfig
from videoar_jax.transformer.wan_weights import param_shapes

CONFIG = WanConfig(
  num_layers=2,
  width=32,
  num_heads=4,
  hidden=24,
  latent_width=3,
  time_width=8,
  text_length=5,
  text_width=6,
  remat='none',
  dtype='float32',
)
GOLDEN = WanConfig(
  num_layers=2,
  width=30,
  num_heads=3,
  hidden=36,
  latent_width=4,
  time_width=16,
  text_length=golden_inputs.WAN_TEXT_LENGTH,
  text_width=12,
  remat='none',
  dtype='float32',
)
WEIGHTS = pathlib.Path(__file__).parent / 'goldens' / 'wan'


def params(config=CONFIG, seed=0):
  """Random parameters, all of them away from where they are initialised."""
  rng = np.random.default_rng(seed)
  found = {}
  for name, x in param_shapes(config).items():
    gain = 1.0 if name.endswith('scale') else 0.0
    found[name] = np.float32(gain + 0.3 * rng.standard_normal(x.shape))
  return nest(found)


def text(config=CONFIG, batch=2):
  """Rows of texts, of which the last are zeros."""
  rng = np.random.default_rng(3)
  rows = rng.standard_normal((batch, config.text_length, config.text_width))
  rows[:, -2:] = 0
  return rows.astype(np.float32)


@functools.partial(jax.jit, static_argnames=('config', 'mask'))
def forward(config, params, patches, text, *, mask=None, **tokens):
  """`WanTransformer.forward`, at places that are not known beforehand."""
  return WanTransformer(config).apply(
    {'params': params}, patches, text, mask=mask, **tokens, method='forward'
  )


@functools.partial(jax.jit, static_argnames=('config', 'plan', 'masked'))
def of_plan(config, params, patches, text, time_bu, *, plan, masked=True):
  """Velocities of a plan's tokens, whose units have a time each."""
  return WanTransformer(config).apply(
    {'params': params},
    patches,
    text,
    mask=plan.mask(0) if masked else None,
    time_bu=time_bu,
    unit_l=plan.unit_l,
    position_l3=plan.position_l3,
    method='forward',
  )


def flat(latents, config):
  """Tokens of latents row by row, their places, and the way back."""
  grid = patchify(latents, config.patch)
  tokens = grid.reshape(grid.shape[0], -1, grid.shape[-1])
  places = np.indices(grid.shape[1:4]).reshape(3, -1).T
  return (
    tokens,
    places,
    lambda out: unpatchify(out.reshape(grid.shape), config.patch),
  )
