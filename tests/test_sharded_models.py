"""One step of each model on eight devices equals the step on one."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_wan

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import placement
from videoar_jax.objectives.adversarial import (
  AdversarialConfig,
  Opponent,
  make_discriminator_objective,
)
from videoar_jax.objectives.bitwise import make_transformer_objective
from videoar_jax.objectives.context import Stage
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.forward import make_forward
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.objectives.reconstruction import (
  TokenizerLossConfig,
)
from videoar_jax.objectives.tokenizer import make_tokenizer_objective
from videoar_jax.plan.kinds import make_partition
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.discriminator import (
  DiscriminatorConfig,
  make_discriminator,
)
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.state import Update, create_state
from videoar_jax.train.step import make_step
from videoar_jax.transformer.model import make_transformer
from videoar_jax.transformer.wan import WanTransformer, init_params

LOSSES = TokenizerLossConfig(residual=0.1)
OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_steps=0)


def tokenizer_case():
  model = make_tokenizer(tiny.TOKENIZER)
  autoencoder = Update(
    net='autoencoder',
    init=lambda key: model.init(key, jnp.zeros((1, 1, 8, 8, 3)))['params'],
    stage=Stage('autoencoder', make_forward(model, LOSSES)),
    objective=make_tokenizer_objective(model, LOSSES),
    optimizer=OPTIMIZER,
  )
  rng = np.random.default_rng(0)
  video = rng.integers(0, 256, (8, 3, 8, 8, 3)).astype(np.uint8)
  return [autoencoder], {'video': video}


def adversarial_case():
  model = make_tokenizer(tiny.TOKENIZER)
  adversarial = AdversarialConfig(weight=0.5, balance='adaptive')
  judge = make_discriminator(
    DiscriminatorConfig(
      base_width=8, multipliers=(1, 2), norm_groups=4, dtype='float32'
    )
  )
  opponent = Opponent(judge, adversarial)
  (autoencoder,), batch = tokenizer_case()
  objective = make_tokenizer_objective(model, LOSSES, opponent)
  autoencoder = dataclasses.replace(autoencoder, objective=objective)
  discriminator = Update(
    net='discriminator',
    init=lambda key: judge.init(key, jnp.zeros((1, 3, 8, 8, 3)))['params'],
    stage=autoencoder.stage,
    objective=make_discriminator_objective(model, opponent),
    optimizer=OPTIMIZER,
    averages=adversarial.averages,
  )
  return [autoencoder, discriminator], batch


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
    variables = model.init(key, inputs, label, plan=plan, method='forward')
    return variables['params']

  update = Update(
    net='transformer',
    init=init,
    objective=make_transformer_objective(
      model,
      plan_of=lambda shape: plan,
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
  return [update], batch


def wan_case():
  config = dataclasses.replace(tiny_wan.CONFIG, num_heads=8, remat='full')
  model = WanTransformer(config)
  plan = make_partition('frame', (2, 3, 3))

  def init(key):
    params = init_params(model, key)
    # The last layer begins with zeros, through which nothing would be learnt.
    return jax.tree.map(
      lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), params
    )

  def objective(params, batch, context):
    del context
    out = model.apply(
      {'params': params},
      batch['patches'],
      batch['text'],
      time_bu=batch['time'],
      unit_l=plan.unit_l,
      position_l3=plan.position_l3,
      mask=plan.mask(0),
      method='forward',
    )
    loss = jnp.mean((out - batch['patches']) ** 2)
    return loss, {'loss': loss}

  update = Update(
    net='wan', init=init, objective=objective, optimizer=OPTIMIZER
  )
  rng = np.random.default_rng(2)
  shape = (8, plan.num_tokens, config.patch_width)
  return [update], {
    'patches': rng.standard_normal(shape).astype(np.float32),
    'text': tiny_wan.text(config, batch=8),
    'time': rng.uniform(0, 1000, (8, 2)).astype(np.float32),
  }


def one_step(updates, batch, shape):
  mesh = mesh_lib.make_mesh(
    mesh_lib.MeshConfig(*shape), jax.devices()[: math.prod(shape)]
  )
  state = create_state(updates, seed=0, num_steps=10, mesh=mesh)
  before = jax.device_get({k: net.params for k, net in state.nets.items()})
  sharded = {
    name: any(
      x.addressable_shards[0].data.size < x.size
      for x in jax.tree.leaves(net.params)
    )
    for name, net in state.nets.items()
  }
  step = make_step(updates, num_steps=10, mesh=mesh)
  state, metrics = step(state, placement.shard_batch(batch, mesh), {})
  nets, metrics = jax.device_get((state.nets, metrics))
  return before, nets, metrics, all(sharded.values())


CONVOLUTIONS = (tokenizer_case, adversarial_case)


@pytest.mark.parametrize(
  'case',
  [
    tokenizer_case,
    transformer_case,
    wan_case,
    pytest.param(adversarial_case, marks=pytest.mark.slow),
  ],
)
@pytest.mark.parametrize(
  'shape',
  [
    (1, 2, 2, 2),
    *(
      pytest.param(shape, marks=pytest.mark.slow)
      for shape in itertools.product((1, 2, 4, 8), repeat=4)
      if math.prod(shape) == 8 and shape != (1, 2, 2, 2)
    ),
  ],
)
def test_eight_devices_equal_one(case, shape):
  updates, batch = case()
  before, one, metrics_one, _ = one_step(updates, batch, (1, 1, 1, 1))
  same, many, metrics_many, is_sharded = one_step(updates, batch, shape)
  # Convolutions have no heads for `tensor` to go over.
  splits = shape[1:2] if case in CONVOLUTIONS else shape[1:3]
  assert is_sharded == (math.prod(splits) > 1)
  jax.tree.map(np.testing.assert_array_equal, before, same)
  for name in metrics_one:
    if name.endswith(('loss', 'grad_norm')):
      np.testing.assert_allclose(
        metrics_many[name], metrics_one[name], rtol=2e-4
      )
  # Adam divides the first gradient by its own size: compare where it is not
  # noise, through the first moments, and the parameters loosely.
  for name in one:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(
        a, b, rtol=1e-3, atol=1e-5 * (1 + np.abs(b).max())
      ),
      many[name].opt_state[1][0].mu,
      one[name].opt_state[1][0].mu,
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
      many[name].averages,
      one[name].averages,
    )
    moved = jax.tree.map(
      lambda a, b: np.abs(a - b).max(), one[name].params, before[name]
    )
    assert min(jax.tree.leaves(moved)) > 1e-4


@pytest.mark.parametrize(
  'case',
  [transformer_case, pytest.param(tokenizer_case, marks=pytest.mark.slow)],
)
def test_muon_on_eight_devices_equals_muon_on_one(case):
  updates, batch = case()
  muon = dataclasses.replace(OPTIMIZER, kind='muon')
  updates = [dataclasses.replace(x, optimizer=muon) for x in updates]
  before, one, _, _ = one_step(updates, batch, (1, 1, 1, 1))
  same, many, _, is_sharded = one_step(updates, batch, (2, 2, 2, 1))
  assert is_sharded
  jax.tree.map(np.testing.assert_array_equal, before, same)

  def check(start, a, b):
    assert np.abs(a - start).max() > 1e-4
    assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a - start)

  for name in one:
    jax.tree.map(check, before[name], one[name].params, many[name].params)
