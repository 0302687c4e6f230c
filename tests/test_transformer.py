"""The transformer: cached == whole, causality, kernels, remat, sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.objectives.frame_mask import FrameMaskConfig, draw_frame_mask
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import (
  empty_cache,
  inference_params,
  make_transformer,
)
from videoar_jax.transformer.prefix import drop_condition

LABEL = jnp.asarray([3, 5])  # a class, and "unconditional"


@pytest.fixture(scope='module')
def params():
  return tiny.transformer_params()


def inputs_of(plan, seed=1):
  shape = (2, plan.num_tokens, tiny.NUM_BITS)
  return jax.random.normal(jax.random.key(seed), shape)


@functools.partial(jax.jit, static_argnames=('plan', 'changes'))
def whole(params, inputs, *, plan, mask=None, changes=()):
  return tiny.transformer(**dict(changes)).apply(
    {'params': params}, inputs, LABEL, plan=plan, extra_mask_bll=mask
  )


@functools.partial(jax.jit, static_argnames=('plan', 'kept', 'changes'))
def cached(params, inputs, *, plan, kept=None, changes=()):
  """Every unit in turn through the cache, the frame number traced."""
  kept = kept or plan
  model = tiny.transformer(**dict(changes))
  apply = functools.partial(
    model.apply, {'params': params}, plan=kept, label_b=LABEL
  )
  cache = apply(None, cache=empty_cache(model, kept, 2))
  units = plan.units[: len(tiny.SCALES)]
  per_frame = sum(unit.num_tokens for unit in units)

  def step(cache, frame):
    t, inputs_bq = frame
    logits, start = [], 0
    for unit in units:
      part = inputs_bq[:, start : start + unit.num_tokens]
      out, cache = apply(part, unit=unit, frame=t, cache=cache)
      logits.append(out)
      start += unit.num_tokens
    return cache, jnp.concatenate(logits, axis=1)

  frames = inputs.reshape(2, plan.num_frames, per_frame, -1).swapaxes(0, 1)
  _, out = jax.lax.scan(step, cache, (jnp.arange(plan.num_frames), frames))
  return out.swapaxes(0, 1).reshape(2, plan.num_tokens, -1, 2)


@pytest.mark.parametrize('frames', [1, 2, 4])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_cached_rollout_equals_forward(params, frames, dtype):
  plan = next_scale_plan(frames, tiny.SCALES)
  inputs, changes = inputs_of(plan), (('dtype', dtype),)
  forward = whole(params, inputs, plan=plan, changes=changes)
  stepwise = cached(params, inputs, plan=plan, changes=changes)
  assert jnp.std(forward) > 0.3
  tolerance = 2e-5 if dtype == 'float32' else 0.15
  np.testing.assert_allclose(forward, stepwise, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize('dtype,window', [('float32', 1), ('bfloat16', 2)])
def test_a_rolling_cache_equals_a_windowed_forward(params, dtype, window):
  plan = next_scale_plan(6, tiny.SCALES)
  inputs, changes = inputs_of(plan), (('dtype', dtype),)
  mask = draw_frame_mask(
    jax.random.key(0), FrameMaskConfig(window=window), plan=plan, batch=2
  )
  forward = whole(params, inputs, plan=plan, mask=mask, changes=changes)
  kept = next_scale_plan(window + 1, tiny.SCALES)
  rolling = cached(params, inputs, plan=plan, kept=kept, changes=changes)
  tolerance = 2e-5 if dtype == 'float32' else 0.15
  np.testing.assert_allclose(forward, rolling, atol=tolerance, rtol=tolerance)
  seen = whole(params, inputs, plan=plan, changes=changes)
  assert jnp.abs(seen - forward)[:, plan.frame_l > window].max() > 1e-3


def test_weights_cast_once_change_no_logit(params):
  plan = next_scale_plan(2, tiny.SCALES)
  changes = (('dtype', 'bfloat16'),)
  config = tiny.transformer(**dict(changes)).config
  light = inference_params(params, config)
  kinds = {str(x.dtype) for x in jax.tree.leaves(light['layers'])}
  assert kinds == {'bfloat16', 'float32'}
  inputs = inputs_of(plan)
  np.testing.assert_array_equal(
    cached(params, inputs, plan=plan, changes=changes),
    cached(light, inputs, plan=plan, changes=changes),
  )


@pytest.mark.parametrize('unit', [1, 3, 4, 6])
def test_no_unit_sees_a_later_one(params, unit):
  plan = next_scale_plan(2, tiny.SCALES)
  inputs, start = inputs_of(plan), plan.offsets[unit]
  changed = inputs.at[:, start : plan.offsets[unit + 1]].add(1.0)
  before, after = (whole(params, x, plan=plan) for x in (inputs, changed))
  np.testing.assert_array_equal(before[:, :start], after[:, :start])
  assert jnp.abs(before[:, start:] - after[:, start:]).min(-1).max() > 1e-4


def test_first_unit_starts_from_the_start_token_alone(params):
  plan = next_scale_plan(2, tiny.SCALES)
  inputs = inputs_of(plan)
  changed = inputs.at[:, 0].add(5.0)
  np.testing.assert_array_equal(
    whole(params, inputs, plan=plan), whole(params, changed, plan=plan)
  )


def test_class_reaches_every_token(params):
  plan = next_scale_plan(2, tiny.SCALES)
  inputs = jnp.broadcast_to(inputs_of(plan)[:1], (2, plan.num_tokens, 7))
  first, second = whole(params, inputs, plan=plan)
  assert jnp.abs(first - second).max(axis=(1, 2)).min() > 1e-4


@pytest.mark.parametrize(
  'changes',
  [(('attention', 'xla'),), (('remat', 'full'),), (('remat', 'dots'),)],
)
def test_kernels_and_remat_change_no_logit_and_no_gradient(params, changes):
  plan = next_scale_plan(3, tiny.SCALES)
  inputs = inputs_of(plan)
  assert getattr(tiny.TRANSFORMER, changes[0][0]) != changes[0][1]

  @functools.partial(jax.jit, static_argnames='changes')
  def loss(params, changes):
    logits = whole(params, inputs, plan=plan, changes=changes)
    return jnp.mean(jnp.sin(3.0 * logits))

  plain = jax.value_and_grad(loss)(params, ())
  other = jax.value_and_grad(loss)(params, changes)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6),
    plain,
    other,
  )


def test_frame_mask_hides_frames_by_window_and_chance(params):
  plan = next_scale_plan(4, tiny.SCALES)
  config = FrameMaskConfig(window=2, probability=0.5)
  mask = draw_frame_mask(jax.random.key(5), config, plan=plan, batch=400)
  frames = plan.frame_l
  first = [int(np.argmax(frames == t)) for t in range(4)]
  share = np.asarray(mask[:, first][:, :, first]).mean(0)
  for t in range(4):
    assert share[t, t] == 1.0
    for earlier in range(t):
      wanted = 0.5 if t - earlier <= 2 else 0.0
      assert abs(share[t, earlier] - wanted) < 0.1
  inputs = inputs_of(plan)
  window = FrameMaskConfig(window=1)
  mask = draw_frame_mask(jax.random.key(5), window, plan=plan, batch=2)
  changed = inputs.at[:, frames == 0].add(1.0)
  before, after = (
    whole(params, x, plan=plan, mask=mask) for x in (inputs, changed)
  )
  # Frame 1 sees frame 0; what it tells frame 2 is seen one layer later.
  assert jnp.abs(before - after)[:, frames == 1].max() > 1e-4
  one_layer = [
    whole(
      jax.tree.map(
        lambda x: x,
        {**params, 'layers': jax.tree.map(lambda x: x[:1], params['layers'])},
      ),
      x,
      plan=plan,
      mask=mask,
      changes=(('num_layers', 1),),
    )
    for x in (inputs, changed)
  ]
  np.testing.assert_array_equal(
    one_layer[0][:, frames >= 2], one_layer[1][:, frames >= 2]
  )


def test_condition_is_dropped_for_the_stated_share():
  label = jnp.arange(10_000) % 5
  dropped = drop_condition(label, jax.random.key(0), share=0.1, num_classes=5)
  share = np.mean(dropped == 5)
  assert abs(share - 0.1) < 0.01
  kept = dropped != 5
  np.testing.assert_array_equal(dropped[kept], label[kept])


@pytest.mark.parametrize(
  ('shape', 'paper'),
  [((24, 1536, 12), 926e6), ((32, 2048, 16), 2.0e9), ((36, 2560, 32), 4e9)],
)
def test_sizes_lie_within_8_percent_of_the_paper(shape, paper):
  layers, width, heads = shape
  config = TransformerConfig(num_layers=layers, width=width, num_heads=heads)
  model = make_transformer(config, num_bits=48, num_scales=6)
  plan = next_scale_plan(1, ((1, 1),))
  params = jax.eval_shape(
    lambda key: model.init(
      key, jnp.zeros((1, 1, 48)), jnp.zeros((1,), jnp.int32), plan=plan
    ),
    jax.random.key(0),
  )
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
  ],
)
def test_impossible_configs_are_refused(change, named):
  with pytest.raises(ValueError, match=named):
    tiny.transformer(**change)
