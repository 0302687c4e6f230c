"""Agreement with an independent PyTorch implementation.

Goldens: tests/goldens/make_goldens.py.
"""

import pathlib

import golden_inputs
import jax
import numpy as np
import pytest

from videoar_jax.core import pretrained
from videoar_jax.tokenizer.perceptual import Network, load_lpips, lpips
from videoar_jax.tokenizer.quantizer import encode_scales

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
