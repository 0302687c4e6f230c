"""Agreement with independent PyTorch implementations, diffusers among them.

Goldens: tests/goldens/make_goldens.py.
"""

import pathlib

import golden_inputs
import jax
import numpy as np
import pytest
import tiny_wan

from videoar_jax.core import pretrained
from videoar_jax.plan.kinds import make_partition
from videoar_jax.plan.teacher_forcing import teacher_forcing
from videoar_jax.tokenizer.perceptual import Network, load_lpips, lpips
from videoar_jax.tokenizer.quantizer import encode_scales
from videoar_jax.transformer import wan_weights
from videoar_jax.transformer.wan import WanTransformer

pytestmark = pytest.mark.optimized

GOLDENS = pathlib.Path(__file__).parent / 'goldens'


@pytest.mark.parametrize('index', range(len(golden_inputs.SCHEDULES)))
def test_quantiser_agrees_bit_for_bit_with_pytorch(index):
  scales = golden_inputs.SCHEDULES[index]
  codes = jax.jit(encode_scales, static_argnums=1)(
    golden_inputs.features(index), scales
  )
  with np.load(GOLDENS / 'quantizer.npz') as golden:
    for k, code in enumerate(codes):
      packed = np.packbits(np.asarray(code.bits_bthwq, bool))
      np.testing.assert_array_equal(packed, golden[f'bits{index}.{k}'])
    np.testing.assert_allclose(
      codes[-1].total_bthwd, golden[f'total{index}'], atol=2e-6
    )


@pytest.mark.parametrize('index', range(len(golden_inputs.LPIPS_SIZES)))
def test_lpips_agrees_with_pytorch(index):
  try:
    params = load_lpips(Network.VGG16)
  except pretrained.MissingWeightsError as error:
    pytest.skip(str(error))
  a, b = golden_inputs.pictures(index)
  with np.load(GOLDENS / 'lpips_vgg16.npz') as golden:
    wanted = golden[f'lpips{index}']
  assert wanted[0] < 0.1 < wanted[1]
  np.testing.assert_allclose(
    lpips(params, a, b, network=Network.VGG16), wanted, rtol=1e-5
  )


@pytest.fixture(scope='module')
def wan():
  """Diffusers' tiny Wan, read from its own files."""
  return wan_weights.load(tiny_wan.WEIGHTS, tiny_wan.GOLDEN).params


def assert_wan_agrees(found, name):
  with np.load(GOLDENS / 'wan_transformer.npz') as golden:
    wanted = golden[name]
  assert found.shape == wanted.shape and np.std(wanted) > 0.5
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def wan_tokens(params, plan, order=slice(None)):
  """Velocities of a plan's tokens, whose units have a time each."""
  units = len(plan.units)
  patches, time_bu = golden_inputs.wan_tokens(plan.num_tokens, units)
  return tiny_wan.forward(
    tiny_wan.GOLDEN,
    params,
    patches[:, order],
    golden_inputs.wan_text(0),
    time_bu=time_bu,
    unit_l=plan.unit_l,
    position_l3=plan.position_l3,
    mask=plan.mask(0),
  )


@pytest.mark.parametrize('index', range(len(golden_inputs.WAN_CLIPS)))
def test_wan_agrees_with_diffusers_on_clips(wan, index):
  model = WanTransformer(tiny_wan.GOLDEN)
  latents, time_b = golden_inputs.wan_clip(index)
  text = golden_inputs.wan_text(index)
  found = jax.jit(
    lambda params: model.apply(
      {'params': params}, latents, text, time_b=time_b, method='clip'
    )
  )(wan)
  assert_wan_agrees(found, f'clip{index}')


def test_wan_agrees_with_diffusers_where_each_token_has_a_time(wan):
  latents, _ = golden_inputs.wan_clip(1)
  tokens, places, back = tiny_wan.flat(latents, tiny_wan.GOLDEN)
  count = tokens.shape[1]
  found = tiny_wan.forward(
    tiny_wan.GOLDEN,
    wan,
    tokens,
    golden_inputs.wan_text(1),
    time_bu=golden_inputs.wan_tokens(count, count)[1],
    unit_l=np.arange(count),
    position_l3=places,
  )
  assert_wan_agrees(back(found), 'times')


@pytest.mark.parametrize('known', [True, False])
def test_wan_agrees_with_diffusers_at_places_between_cells(wan, known):
  places = golden_inputs.wan_scales()
  patches, time_bu = golden_inputs.wan_tokens(len(places), 1)
  found = tiny_wan.forward(
    tiny_wan.GOLDEN,
    wan,
    patches,
    golden_inputs.wan_text(0),
    time_bu=time_bu,
    position_l3=places if known else jax.numpy.asarray(places),
  )
  assert_wan_agrees(found, 'scales')


def test_wan_agrees_with_diffusers_where_boxes_see_those_before(wan):
  plan = make_partition('cube:2x1x2', golden_inputs.WAN_GRID)
  found = wan_tokens(wan, plan, plan.cell_l)
  in_raster = np.asarray(found)[:, np.argsort(plan.cell_l)]
  assert_wan_agrees(in_raster, 'cube')


def test_wan_agrees_with_diffusers_on_clean_and_noisy_frames(wan):
  plan = teacher_forcing(make_partition('frame', golden_inputs.WAN_GRID))
  assert_wan_agrees(wan_tokens(wan, plan), 'teacher_forcing')
