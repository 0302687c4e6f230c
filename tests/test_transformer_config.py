"""A transformer's config, its size, and conditions that are dropped."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import make_transformer
from videoar_jax.transformer.params import init_params
from videoar_jax.transformer.prefix import drop_condition, unconditional

TEXT = {'condition': 'text', 'vocabulary': 11, 'prefix_length': 6}


@pytest.mark.parametrize('kind', ['class', 'text'])
def test_condition_is_dropped_for_the_stated_share(kind):
  config = tiny.transformer(**(TEXT if kind == 'text' else {})).config
  condition = jnp.arange(10_000) % 5
  if kind == 'text':
    condition = jnp.stack([condition, condition + 1, -1 + 0 * condition], 1)
  dropped = drop_condition(config, condition, jax.random.key(0), share=0.1)
  nothing = unconditional(config, condition)
  rows = (dropped == nothing).reshape(10_000, -1).all(1)
  assert abs(np.mean(rows) - 0.1) < 0.01
  np.testing.assert_array_equal(dropped[~rows], condition[~rows])


@pytest.mark.parametrize(
  ('shape', 'paper'),
  [((24, 1536, 12), 926e6), ((32, 2048, 16), 2.0e9), ((36, 2560, 32), 4e9)],
)
def test_sizes_lie_within_8_percent_of_the_paper(shape, paper):
  layers, width, heads = shape
  config = TransformerConfig(
    num_layers=layers, width=width, num_heads=heads, num_classes=101
  )
  model = make_transformer(config, num_bits=48, num_scales=6)
  init = functools.partial(init_params, model)
  params = jax.eval_shape(init, jax.random.key(0))
  count = sum(x.size for x in jax.tree.leaves(params))
  assert abs(count / paper - 1.0) < 0.08


@pytest.mark.parametrize(
  ('change', 'named'),
  [
    ({'num_heads': 5}, 'num_heads=5'),
    ({'prefix_length': 0}, 'prefix_length=0'),
    ({'condition_dropout': 1.5}, 'condition_dropout=1.5'),
    ({'remat': 'some'}, "remat='some'"),
    ({'attention': 'flash'}, "attention='flash'"),
    ({'plan': 'clip'}, "plan='clip'"),
    ({'condition': 'words'}, "condition='words'"),
    ({'condition': 'text'}, 'vocabulary=0'),
    ({'vocabulary': 9}, 'vocabulary=9'),
    ({'positions': 'sine'}, "positions='sine'"),
  ],
)
def test_impossible_configs_are_refused(change, named):
  with pytest.raises(ValueError, match=named):
    tiny.transformer(**change)
