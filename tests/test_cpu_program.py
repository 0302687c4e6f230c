"""What compiled programs do not do on CPU: copies that would take the time."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.benchmark.program import parse
from videoar_jax.core import layers
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.compiler import jit
from videoar_jax.forecast.collectives import read_collectives
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.rollout.bits import sample_keys
from videoar_jax.transformer.params import inference_params
from videoar_jax.transformer.prefix import blank_condition

_BATCH, _FRAMES = 3, 4


def _rollout(batch, mesh):
  """The text of a guided rollout of one loop over frames."""
  family = tiny.family()
  plan = next_scale_plan(_FRAMES, tiny.SCALES)

  @jit
  def program(params, condition, index_b, gamma_ts):
    return family.roll(
      params,
      plan=plan,
      condition_bx=condition,
      key_b=sample_keys(0, index_b),
      guided=True,
      gamma_ts=gamma_ts,
      temperature=1.0,
      top_p=1.0,
    ).bits

  whole = mesh_lib.replicated(mesh)
  rows = mesh_lib.batch_sharding(mesh)
  params = inference_params(tiny.transformer_params(), family.transformer)
  with jax.set_mesh(mesh):
    lowered = program.lower(
      jax.device_put(params, whole),
      jax.device_put(blank_condition(family.transformer, batch), rows),
      jax.device_put(np.arange(batch, dtype=np.uint32), rows),
      np.full((_FRAMES, len(tiny.SCALES)), 2.0, np.float32),
    )
    return lowered.compile().as_text()


@pytest.fixture(scope='module')
def rollout():
  return _rollout(_BATCH, mesh_lib.make_mesh(devices=jax.devices()[:1]))


def test_videos_on_several_devices_exchange_nothing():
  mesh = mesh_lib.make_mesh(devices=jax.devices()[:2])
  text = _rollout(4, mesh)
  assert 'num_partitions=2' in text
  assert not read_collectives(parse(text), devices=2).found


def test_the_cache_is_written_in_place(rollout):
  config = tiny.TRANSFORMER
  tokens = config.prefix_length + _FRAMES * sum(h * w for h, w in tiny.SCALES)
  head = config.width // config.num_heads
  shape = f'f32[{2 * _BATCH},{config.num_heads},{tokens},{head}]'
  assert f' {shape}' in rollout
  assert not re.findall(rf' {re.escape(shape)}\S* copy\(', rollout)


def test_angles_are_worked_out_once_for_all_layers(rollout):
  cosines = rollout.count(' cosine(')
  # Of the prefix, and of the units of a frame.
  assert 0 < cosines <= 1 + len(tiny.SCALES)


def test_a_kernels_gradient_turns_no_tokens_round():
  x = jnp.ones((5, 7, 11))
  kernel = jnp.ones((11, 13))

  def turned(project):
    gradient = jax.grad(lambda k, x: jnp.sum(jnp.sin(project(x, k))), (0, 1))
    text = jit(gradient).lower(kernel, x).compile().as_text()
    return re.findall(r'f32\[13,(?:35|5,7)\]', text)

  assert turned(jnp.dot)
  assert not turned(layers.project)


@pytest.mark.parametrize('where', ['cpu', 'tpu'])
@pytest.mark.parametrize('axes', [1, 2])
def test_a_projection_is_a_product_over_the_last_axes(monkeypatch, where, axes):
  monkeypatch.setattr(layers, 'platform', lambda: where)
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (2, 3, 4, 5))
  kernel = jax.random.normal(keys[1], ((4, 5, 6, 7), (5, 6, 7))[2 - axes])
  found = layers.project(x, kernel, axes=axes)
  wanted = np.tensordot(x, kernel, axes=axes)
  assert found.shape == wanted.shape
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
