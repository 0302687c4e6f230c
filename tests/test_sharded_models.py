"""One step of each model on eight devices equals the step on one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.objectives.bitwise import make_transformer_objective
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.objectives.reconstruction import (
  TokenizerLossConfig,
  make_tokenizer_objective,
)
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.state import Update, create_state
from videoar_jax.train.step import make_step
from videoar_jax.transformer.model import make_transformer

OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_steps=0)


def tokenizer_case():
  model = make_tokenizer(tiny.TOKENIZER)
  update = Update(
    net='autoencoder',
    init=lambda key: model.init(key, jnp.zeros((1, 1, 8, 8, 3)))['params'],
    objective=make_tokenizer_objective(
      model, TokenizerLossConfig(residual=0.1)
    ),
    optimizer=OPTIMIZER,
  )
  rng = np.random.default_rng(0)
  video = rng.integers(0, 256, (8, 3, 8, 8, 3)).astype(np.uint8)
  return update, {'video': video}


def transformer_case():
  scales = ((1, 1), (2, 2), (3, 3))
  plan = next_scale_plan(2, scales)
  config = dataclasses.replace(
    tiny.TRANSFORMER, width=32, num_heads=8, remat='full'
  )
  model = make_transformer(config, num_bits=8, num_scales=3)

  def init(key):
    inputs = jnp.zeros((1, plan.num_tokens, 8))
    label = jnp.zeros((1,), jnp.int32)
    return model.init(key, inputs, label, plan=plan)['params']

  update = Update(
    net='transformer',
    init=init,
    objective=make_transformer_objective(
      model,
      plan=plan,
      scales=scales,
      corruption=CorruptionConfig(),
      frame_mask=FrameMaskConfig(window=1, probability=0.2),
    ),
    optimizer=OPTIMIZER,
  )
  rng = np.random.default_rng(1)
  batch = {
    'features': rng.normal(size=(8, 2, 3, 3, 8)).astype(np.float32),
    'label': rng.integers(0, 5, 8).astype(np.int32),
  }
  return update, batch


def one_step(update, batch, shape):
  data, fsdp, tensor = shape
  mesh = mesh_lib.make_mesh(
    mesh_lib.MeshConfig(data=data, fsdp=fsdp, tensor=tensor),
    jax.devices()[: data * fsdp * tensor],
  )
  state = create_state([update], seed=0, num_steps=10, mesh=mesh)
  before = jax.device_get(state.nets[update.net].params)
  sharded = [
    x.addressable_shards[0].data.size < x.size
    for x in jax.tree.leaves(state.nets[update.net].params)
  ]
  step = make_step([update], num_steps=10, mesh=mesh)
  state, metrics = step(state, mesh_lib.shard_batch(batch, mesh), {})
  after = jax.device_get(state.nets[update.net])
  return before, after, jax.device_get(metrics), any(sharded)


@pytest.mark.parametrize('case', [tokenizer_case, transformer_case])
@pytest.mark.parametrize(
  'shape',
  [
    pytest.param((8, 1, 1), marks=pytest.mark.slow),
    pytest.param((2, 4, 1), marks=pytest.mark.slow),
    (2, 2, 2),
  ],
)
def test_eight_devices_equal_one(case, shape):
  update, batch = case()
  before, one, metrics_one, _ = one_step(update, batch, (1, 1, 1))
  same, many, metrics_many, is_sharded = one_step(update, batch, shape)
  assert is_sharded == (shape != (8, 1, 1))
  jax.tree.map(np.testing.assert_array_equal, before, same)
  for name in ('loss', 'grad_norm'):
    np.testing.assert_allclose(metrics_many[name], metrics_one[name], rtol=2e-4)
  # Adam divides the first gradient by its own size: compare where it is not
  # noise, through the first moments, and the parameters loosely.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-3, atol=1e-5 * (1 + np.abs(b).max())
    ),
    jax.tree.leaves(many.opt_state[1][0].mu),
    jax.tree.leaves(one.opt_state[1][0].mu),
  )
  moved = [
    np.abs(a - b).max()
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(before))
  ]
  assert min(moved) > 1e-4
