"""AdamW and Muon: which parameter gets which update, and how large it is."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from videoar_jax.train.muon import matrix_of, orthogonalize, scaled
from videoar_jax.train.optimizer import (
  OptimizerConfig,
  is_decayed,
  make_optimizer,
)

RATE = 1e-2
CONFIG = OptimizerConfig(
  kind='muon',
  learning_rate=RATE,
  warmup_steps=0,
  end_value=1.0,
  clip_norm=0.0,
  weight_decay=0.0,
)


@pytest.mark.parametrize(
  ('names', 'summed', 'made'),
  [
    (('taps', 'taps', 'taps', 'conv_in', 'conv_out'), (0, 1, 2, 3), (4,)),
    (('conv_in', 'conv_out'), (0,), (1,)),
    (('layers', None, 'embed', 'heads', None), (2,), (3, 4)),
    (('layers', 'heads', None, 'embed'), (1, 2), (3,)),
    (('layers', None, 'embed', 'mlp'), (2,), (3,)),
    (('mlp', 'embed'), (0,), (1,)),
  ],
)
def test_inner_matrices_are_made_orthogonal(names, summed, made):
  assert matrix_of(names) == (summed, made)


@pytest.mark.parametrize(
  'names',
  [
    ('conv_out',),
    ('norm',),
    ('bits', 'embed'),
    ('embed', 'bits', None),
    ('scales', 'embed'),
    (None, 'embed'),
    (None, None),
  ],
)
def test_the_rest_is_adamws(names):
  assert matrix_of(names) is None


def test_decay_is_for_matrices():
  assert is_decayed(('conv_in', 'conv_out'))
  assert not is_decayed(('layers', 'norm'))
  assert not is_decayed(('scales', 'embed'))


def test_a_muon_update_is_orthogonal_and_as_large_as_adamws():
  axes = {
    'kernel': ('taps', 'taps', 'taps', 'conv_in', 'conv_out'),
    'bias': ('conv_out',),
  }
  rng = np.random.default_rng(0)
  shapes = {'kernel': (3, 3, 3, 4, 8), 'bias': (8,)}
  params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
  gradient = {
    name: jnp.asarray(rng.normal(size=shape), jnp.float32)
    for name, shape in shapes.items()
  }
  rule = make_optimizer(CONFIG, num_updates=10, axes=axes)
  update, _ = rule.update(gradient, rule.init(params), params)
  values = np.linalg.svd(update['kernel'].reshape(-1, 8), compute_uv=False)
  # Newton-Schulz brings singular values near one another, not onto one.
  assert values.max() < 2 * values.min()
  rms = float(jnp.sqrt(jnp.mean(update['kernel'] ** 2)))
  assert 0.6 * 0.2 * RATE < rms < 1.4 * 0.2 * RATE
  adam = optax.adamw(
    RATE, b1=CONFIG.beta1, eps=CONFIG.epsilon, weight_decay=0.0
  )
  wanted, _ = adam.update(gradient, adam.init(params), params)
  np.testing.assert_allclose(update['bias'], wanted['bias'], rtol=1e-4)


# optax.contrib has Muon, too, whose steps multiply the long matrices: see
# `benchmark optimizer`.


@pytest.mark.parametrize('shape', [(1, 270, 12), (3, 8, 40), (2, 16, 16)])
@pytest.mark.parametrize('spread', [0, 8])
def test_squares_alone_give_what_optax_gives(shape, spread):
  rng = np.random.default_rng(0)
  x = rng.normal(size=shape) * np.logspace(-spread, 0, shape[-1])
  x = jnp.asarray(x, jnp.float32)
  rule = contrib.scale_by_muon(
    beta=0.0,
    nesterov=False,
    weight_dimension_numbers={'x': contrib.MuonDimensionNumbers(1, 2)},
  )
  wanted, _ = rule.update({'x': x}, rule.init({'x': x}))
  np.testing.assert_allclose(orthogonalize(x), wanted['x'], atol=1e-3)


def test_a_run_of_updates_is_optaxs():
  names = ('layers', 'heads', None, 'embed')
  rng = np.random.default_rng(0)
  params = {'out': jnp.asarray(rng.normal(size=(2, 3, 4, 10)), jnp.float32)}
  numbers = contrib.MuonDimensionNumbers((1, 2), (3,))
  config = dataclasses.replace(CONFIG, weight_decay=0.1)
  ours = make_optimizer(config, num_updates=99, axes={'out': names})
  theirs = contrib.muon(
    RATE,
    weight_decay=0.1,
    consistent_rms=0.2,
    muon_weight_dimension_numbers={'out': numbers},
  )
  states = [rule.init(params) for rule in (ours, theirs)]
  # Theirs corrects the momentum's bias, which turns the first updates a little.
  for step in range(60):
    gradient = {'out': jnp.asarray(rng.normal(size=(2, 3, 4, 10)), jnp.float32)}
    (a, states[0]), (b, states[1]) = (
      rule.update(gradient, state, params)
      for rule, state in zip((ours, theirs), states)
    )
    if step in (0, 59):
      rounding = 1e-4 * float(jnp.abs(b['out']).max())
      apart = jnp.abs(a['out'] - b['out']).max()
      assert apart < (rounding if step == 0 else 50 * rounding), step


def test_zero_and_half_precision_stay_what_they_are():
  matrix = matrix_of(('conv_in', 'conv_out'))
  still = scaled(jnp.zeros((4, 8)), matrix)
  assert (still == 0).all()
  assert scaled(jnp.ones((4, 8), jnp.bfloat16), matrix).dtype == jnp.bfloat16


def test_matrices_decay_under_both():
  axes = {'kernel': ('conv_in', 'conv_out'), 'bias': ('conv_out',)}
  params = {'kernel': jnp.ones((4, 8)), 'bias': jnp.ones(8)}
  still = {name: jnp.zeros_like(x) for name, x in params.items()}
  for kind in ('adamw', 'muon'):
    config = OptimizerConfig(
      kind=kind, learning_rate=RATE, warmup_steps=0, weight_decay=0.5
    )
    rule = make_optimizer(config, num_updates=10, axes=axes)
    update, _ = rule.update(still, rule.init(params), params)
    np.testing.assert_allclose(update['bias'], 0.0)
    assert (update['kernel'] < -0.4 * RATE).all()


def test_another_kind_is_refused():
  with pytest.raises(ValueError, match="kind='sgd'"):
    OptimizerConfig(kind='sgd')
