"""LPIPS: its published figure, its gradient, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from videoar_jax.core import pretrained
from videoar_jax.tokenizer.perceptual import (
  MIN_SIDE,
  Network,
  load_lpips,
  lpips,
)

pytestmark = pytest.mark.optimized


@pytest.fixture(scope='module')
def alexnet():
  try:
    return load_lpips(Network.ALEXNET)
  except pretrained.MissingWeightsError as error:
    pytest.skip(str(error))


def test_zeros_against_ones_is_the_published_figure(alexnet):
  """0.81401 (DATA.md), spatial, of pixels 0 and 1, which is -1 and 1."""
  black, white = -jnp.ones((1, 64, 64, 3)), jnp.ones((1, 64, 64, 3))
  options = {'network': Network.ALEXNET}
  spatial = lpips(alexnet, black, white, spatial=True, **options)
  assert float(spatial[0]) == pytest.approx(0.81401, abs=1e-4)
  plain = lpips(alexnet, black, white, **options)
  assert float(plain[0]) == pytest.approx(0.8140, abs=5e-4)


def test_distance_is_symmetric_and_grows_with_noise(alexnet):
  rng = np.random.default_rng(0)
  a = rng.uniform(-1, 1, (1, 37, 41, 3)).astype(np.float32)
  noise = rng.normal(size=a.shape).astype(np.float32)
  found = [
    float(lpips(alexnet, a, a + s * noise, network=Network.ALEXNET)[0])
    for s in (0.0, 0.01, 0.1, 1.0)
  ]
  assert found[0] == 0 and found == sorted(found) and found[3] > 10 * found[1]
  back = lpips(alexnet, a + noise, a, network=Network.ALEXNET)
  assert float(back[0]) == pytest.approx(found[3], rel=1e-5)


def test_gradient_is_finite_and_points_home(alexnet):
  """Equal pictures, and flat ones whose features are zero, give no NaN."""
  rng = np.random.default_rng(1)
  a = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
  a[1] = -1.0

  @jax.jit
  def value_and_grad(b):
    return jax.value_and_grad(
      lambda b: lpips(alexnet, a, b, network=Network.ALEXNET).sum()
    )(b)

  value, gradient = value_and_grad(jnp.asarray(a))
  assert abs(float(value)) < 1e-9 and np.isfinite(gradient).all()
  b = a + 0.3 * rng.normal(size=a.shape).astype(np.float32)
  value, gradient = value_and_grad(b)
  assert np.isfinite(gradient).all()
  stepped, _ = value_and_grad(b - 1e-3 * gradient / np.abs(gradient).max())
  assert float(stepped) < float(value)


def test_smallest_pictures_and_what_is_refused(alexnet, tmp_path):
  side = MIN_SIDE[Network.ALEXNET]
  picture = np.zeros((1, side, side, 3), np.float32)
  assert lpips(alexnet, picture, picture, network=Network.ALEXNET)[0] == 0
  small = picture[:, 1:]
  with pytest.raises(ValueError, match='30×31.*at least 31'):
    lpips(alexnet, small, small, network=Network.ALEXNET)
  with pytest.raises(ValueError, match='shapes'):
    lpips(alexnet, picture, small, network=Network.ALEXNET)
  path = tmp_path / 'other.safetensors'
  safetensors.numpy.save_file({'a': np.ones(3)}, path)
  with pytest.raises(ValueError, match='Conv_0.kernel is missing'):
    load_lpips(Network.VGG16, path=str(path))
