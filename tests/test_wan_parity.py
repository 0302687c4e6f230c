"""Wan's transformer agrees with diffusers' on a tiny network.

Goldens: tests/goldens/wan_transformer.py.
"""

import pathlib

import golden_inputs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_wan

from videoar_jax.plan.kinds import make_partition
from videoar_jax.plan.teacher_forcing import teacher_forcing
from videoar_jax.transformer import wan_weights
from videoar_jax.transformer.wan import WanTransformer

GOLDENS = pathlib.Path(__file__).parent / 'goldens'


@pytest.fixture(scope='module')
def params():
  """Diffusers' tiny Wan, read from its own files."""
  return wan_weights.load(tiny_wan.WEIGHTS, tiny_wan.GOLDEN).params


def assert_agrees(found, name):
  with np.load(GOLDENS / 'wan_transformer.npz') as golden:
    wanted = golden[name]
  assert found.shape == wanted.shape and np.std(wanted) > 0.5
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def tokens_of(params, plan, order=slice(None)):
  """Velocities of a plan's tokens, whose units have a time each."""
  units = len(plan.units)
  patches, time_bu = golden_inputs.wan_tokens(plan.num_tokens, units)
  text = golden_inputs.wan_text(0)
  return tiny_wan.of_plan(
    tiny_wan.GOLDEN, params, patches[:, order], text, time_bu, plan=plan
  )


@pytest.mark.parametrize('index', range(len(golden_inputs.WAN_CLIPS)))
def test_it_agrees_on_clips(params, index):
  model = WanTransformer(tiny_wan.GOLDEN)
  latents, time_b = golden_inputs.wan_clip(index)
  text = golden_inputs.wan_text(index)
  found = jax.jit(
    lambda params: model.apply(
      {'params': params}, latents, text, time_b=time_b, method='clip'
    )
  )(params)
  assert_agrees(found, f'clip{index}')


def test_it_agrees_where_each_token_has_a_time(params):
  latents, _ = golden_inputs.wan_clip(1)
  tokens, places, back = tiny_wan.flat(latents, tiny_wan.GOLDEN)
  count = tokens.shape[1]
  found = tiny_wan.forward(
    tiny_wan.GOLDEN,
    params,
    tokens,
    golden_inputs.wan_text(1),
    time_bu=golden_inputs.wan_tokens(count, count)[1],
    unit_l=np.arange(count),
    position_l3=places,
  )
  assert_agrees(back(found), 'times')


@pytest.mark.parametrize('known', [True, False])
def test_it_agrees_at_places_between_cells(params, known):
  places = golden_inputs.wan_scales()
  patches, time_bu = golden_inputs.wan_tokens(len(places), 1)
  model = WanTransformer(tiny_wan.GOLDEN)
  found = jax.jit(
    lambda params: model.apply(
      {'params': params},
      patches,
      golden_inputs.wan_text(0),
      time_bu=time_bu,
      position_l3=places if known else jnp.asarray(places),
      method='forward',
    )
  )(params)
  assert_agrees(found, 'scales')


def test_it_agrees_where_boxes_see_those_before(params):
  plan = make_partition('cube:2x1x2', golden_inputs.WAN_GRID)
  found = tokens_of(params, plan, plan.cell_l)
  in_raster = np.asarray(found)[:, np.argsort(plan.cell_l)]
  assert_agrees(in_raster, 'cube')


def test_it_agrees_on_clean_and_noisy_frames(params):
  plan = teacher_forcing(make_partition('frame', golden_inputs.WAN_GRID))
  assert_agrees(tokens_of(params, plan), 'teacher_forcing')
