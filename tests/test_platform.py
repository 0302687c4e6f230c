"""Programs for devices that are not there are made as those want them."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.attention import (
  AttentionKernel,
  self_attention,
)
from videoar_jax.core.mask import UnitMask
from videoar_jax.tokenizer.conv import conv3d, conv_doubled

_TPU, _GPU = ('TPU v5 lite', 'tpu'), ('NVIDIA H100 80GB HBM3', 'gpu')
# How StableHLO writes a convolution over three dimensions, and over two.
_IN_3D, _IN_2D = '[b, 0, 1, 2, f]x', '[b, 0, 1, f]x'


def there(kind: str, platform: str):
  """A context in which programs are made for one device of a kind."""
  values = {'device_kind': kind, 'num_cores': 1, 'platform': platform}
  known = {field.name for field in dataclasses.fields(AbstractDevice)}
  device = AbstractDevice(**{k: v for k, v in values.items() if k in known})
  mesh = AbstractMesh((1, 1, 1, 1), mesh_lib.AXES, abstract_device=device)
  return jax.sharding.use_abstract_mesh(mesh)


def test_the_platform_is_that_of_the_mesh_in_context():
  assert mesh_lib.platform() == jax.default_backend() == 'cpu'
  for device in (_TPU, _GPU):
    with there(*device):
      assert mesh_lib.platform() == device[1]
  with jax.set_mesh(mesh_lib.make_mesh(devices=jax.devices()[:1])):
    assert mesh_lib.platform() == 'cpu'


@pytest.mark.parametrize('doubled', [False, True])
def test_convolutions_are_lowered_as_their_platform_wants_them(doubled):
  # One jitted function: what it became for one platform is not used again.
  @jax.jit
  def run(x, kernel):
    if doubled:
      return conv_doubled(x, kernel, zeros=1, in_time=True, conv='auto')
    padding = ((1, 1), (1, 1))
    return conv3d(
      x, kernel, strides=(1, 1, 1), space_padding=padding, conv='auto'
    )

  shapes = (
    jax.ShapeDtypeStruct((1, 3, 4, 4, 2), jnp.float32),
    jax.ShapeDtypeStruct((3, 3, 3, 2, 5), jnp.float32),
  )
  here = run.trace(*shapes).lower().as_text()
  with there(*_TPU):
    elsewhere = run.trace(*shapes).lower(lowering_platforms=('tpu',)).as_text()
  assert _IN_2D in here and _IN_3D not in here
  assert _IN_3D in elsewhere and _IN_2D not in elsewhere


def test_the_refusal_of_cudnn_names_the_platform_of_the_mesh():
  q = jnp.zeros((1, 2, 2, 8), jnp.float32)
  mask = UnitMask((1, 1), ((True, False), (True, True)), (0, 1, 2))
  for device in (_TPU, _GPU):
    with (
      there(*device),
      pytest.raises(ValueError, match=f"'cudnn': float32 on {device[1]};"),
    ):
      self_attention(q, q, q, mask=mask, kernel=AttentionKernel.CUDNN)
