"""The transformer: cached == whole, causality, kernels, remat, sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.core.mask import GroupMask
from videoar_jax.objectives.frame_mask import FrameMaskConfig, draw_frame_mask
from videoar_jax.plan.clip_pyramid import clip_pyramid_plan
from videoar_jax.plan.next_scale import (
  next_scale_from_last_plan,
  next_scale_plan,
)
from videoar_jax.plan.place import block_units, loops, num_blocks, place
from videoar_jax.transformer import params as params_lib
from videoar_jax.transformer.params import inference_params
from videoar_jax.transformer.prefix import (
  PADDING,
  prefix_lengths,
  unconditional,
)

LABEL = jnp.asarray([3, 5])  # a class, and "unconditional"
TEXT = (('condition', 'text'), ('vocabulary', 11), ('prefix_length', 6))
PROMPTS = jnp.asarray([[7, 2, 9, 2, -1, -1], [11, 11, -1, -1, -1, -1]])
KINDS = {
  'class': ((), LABEL),
  'text': (TEXT, PROMPTS),
  'learned positions': ((('positions', 'learned'),), LABEL),
  'text, learned positions': ((*TEXT, ('positions', 'learned')), PROMPTS),
}
WIDE = ((1, 2), (2, 5))
FEW = tiny.SCALES[::2]  # compiles in half the time
PLANS = {
  '1 frame': next_scale_plan(1, FEW),
  '2 frames': next_scale_plan(2, tiny.SCALES),
  '4 frames': next_scale_plan(4, FEW),
  'another aspect ratio': next_scale_plan(3, WIDE),
  'from the last frame': next_scale_from_last_plan(3, WIDE),
  'clip pyramid': clip_pyramid_plan(3, FEW),
  'wide clip pyramid of 1 frame': clip_pyramid_plan(1, WIDE),
}


@pytest.fixture(scope='module')
def params():
  return tiny.transformer_params()


@pytest.fixture(scope='module')
def params_of():
  return functools.cache(
    lambda changes: tiny.transformer_params(**dict(changes))
  )


def inputs_of(plan, seed=1):
  shape = (2, plan.num_tokens, tiny.input_width(plan))
  return jax.random.normal(jax.random.key(seed), shape)


@functools.partial(jax.jit, static_argnames=('plan', 'changes', 'window'))
def whole(
  params, inputs, condition=LABEL, *, plan, kept_bt=None, window=0, changes=()
):
  groups = None
  if kept_bt is not None:
    groups = GroupMask(kept_bt, plan.frame_l, window)
  return tiny.transformer(**dict(changes)).apply(
    {'params': params},
    inputs,
    condition,
    plan=plan,
    groups=groups,
    method='forward',
  )


@functools.partial(jax.jit, static_argnames=('plan', 'kept', 'changes'))
def cached(params, inputs, condition=LABEL, *, plan, kept=None, changes=()):
  """Every unit in turn through the cache, the number of the block traced."""
  kept = kept or plan
  model = tiny.transformer(**dict(changes))
  apply = functools.partial(model.apply, {'params': params})
  cache = apply(condition, plan=kept, method='prefill')
  lengths = prefix_lengths(model.config, condition)
  prefix = model.config.prefix_length
  found, token = [], 0
  for loop in loops(kept):
    count = num_blocks(plan) if kept is not plan else loop.count
    units = block_units(kept, loop.first)
    ends = np.cumsum([unit.num_tokens for unit in units]).tolist()

    def step(cache, block, loop=loop, units=units, ends=ends):
      number, inputs_bq = block
      parts = jnp.split(inputs_bq, ends[:-1], axis=1)
      logits = []
      for i, part in enumerate(parts):
        at = place(kept, loop, number, i)
        out, own = apply(
          part, cache, place=at, length_b=lengths, method='decode'
        )
        cache = cache.write(own, prefix + at.offset)
        logits.append(out)
      return cache, jnp.concatenate(logits, axis=1)

    own = inputs[:, token : token + count * ends[-1]]
    token += count * ends[-1]
    blocks = own.reshape(2, count, ends[-1], -1).swapaxes(0, 1)
    numbers = loop.first + jnp.arange(count)
    cache, out = jax.lax.scan(step, cache, (numbers, blocks))
    found.append(out.swapaxes(0, 1).reshape(2, count * ends[-1], -1, 2))
  return jnp.concatenate(found, axis=1)


def _assert_cached_equals_whole(params, plan, kind, dtype):
  changes, condition = KINDS[kind]
  if getattr(plan, 'from_last', False):
    params = tiny.transformer_params(plan=plan)
  changes = (*changes, ('dtype', dtype))
  inputs = inputs_of(plan)
  forward = whole(params, inputs, condition, plan=plan, changes=changes)
  stepwise = cached(params, inputs, condition, plan=plan, changes=changes)
  assert jnp.std(forward) > 0.3
  tolerance = 2e-5 if dtype == 'float32' else 0.15
  np.testing.assert_allclose(forward, stepwise, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
  ('plan', 'dtype'),
  [
    *((plan, 'float32') for plan in PLANS),
    ('2 frames', 'bfloat16'),
    ('another aspect ratio', 'bfloat16'),
    ('clip pyramid', 'bfloat16'),
  ],
)
def test_cached_rollout_equals_forward(params, plan, dtype):
  _assert_cached_equals_whole(params, PLANS[plan], 'class', dtype)


@pytest.mark.parametrize('plan', ['another aspect ratio', 'clip pyramid'])
@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != 'class'])
def test_so_it_does_with_every_prefix_and_position(params_of, plan, kind):
  params = params_of(KINDS[kind][0])
  _assert_cached_equals_whole(params, PLANS[plan], kind, 'float32')


def test_in_bfloat16_with_prompts_too(params_of):
  _assert_cached_equals_whole(
    params_of(TEXT), PLANS['4 frames'], 'text', 'bfloat16'
  )


def test_nothing_sees_a_prompts_padding(params_of):
  plan, params = PLANS['2 frames'], params_of(TEXT)
  inputs = inputs_of(plan)
  longer = jnp.pad(PROMPTS, ((0, 0), (0, 3)), constant_values=PADDING)
  changes = (*TEXT[:2], ('prefix_length', 9))
  # A longer prefix has more places for "none", which are not reached.
  nothing = params['prefix']['unconditional']
  wider = {
    **params,
    'prefix': {
      **params['prefix'],
      'unconditional': jnp.pad(nothing, ((0, 3), (0, 0))),
    },
  }
  np.testing.assert_allclose(
    whole(params, inputs, PROMPTS, plan=plan, changes=TEXT),
    whole(wider, inputs, longer, plan=plan, changes=changes),
    atol=2e-5,
    rtol=2e-5,
  )


def test_a_video_follows_its_prompt_at_once_whatever_its_length(params_of):
  """Rotary angles are relative: only what is between two tokens counts."""
  plan, params = PLANS['1 frame'], params_of(TEXT)
  inputs = inputs_of(plan)
  short = jnp.asarray([[3, -1, -1, -1, -1, -1]] * 2)
  changes = (*TEXT[:2], ('prefix_length', 1))
  cut = {
    **params,
    'prefix': {
      **params['prefix'],
      'unconditional': params['prefix']['unconditional'][:1],
    },
  }
  np.testing.assert_allclose(
    whole(params, inputs, short, plan=plan, changes=TEXT),
    whole(cut, inputs, short[:, :1], plan=plan, changes=changes),
    atol=2e-5,
    rtol=2e-5,
  )


@pytest.mark.parametrize('kind', ['class', 'text'])
def test_unconditional_replaces_the_condition_alone(params_of, kind):
  changes, condition = KINDS[kind]
  model = tiny.transformer(**dict(changes))
  nothing = unconditional(model.config, condition)
  lengths = prefix_lengths(model.config, condition)
  if lengths is not None:
    np.testing.assert_array_equal(
      lengths, prefix_lengths(model.config, nothing)
    )
  plan, params = PLANS['2 frames'], params_of(changes)
  inputs = inputs_of(plan)
  other = whole(params, inputs, nothing, plan=plan, changes=changes)
  logits = whole(params, inputs, condition, plan=plan, changes=changes)
  assert jnp.abs(other - logits)[0].max() > 1e-3
  np.testing.assert_array_equal(other[1], logits[1])  # was so already


@pytest.mark.parametrize(
  'kind,dtype,window',
  [('class', 'float32', 1), ('class', 'bfloat16', 2), ('text', 'float32', 2)],
)
def test_a_rolling_cache_equals_a_windowed_forward(
  params_of, kind, dtype, window
):
  plan = next_scale_plan(6, FEW)
  changes, condition = KINDS[kind]
  params, changes = params_of(changes), (*changes, ('dtype', dtype))
  inputs = inputs_of(plan)
  same = {'plan': plan, 'changes': changes}
  hidden = {'kept_bt': jnp.ones((2, 6), bool), 'window': window}
  forward = whole(params, inputs, condition, **hidden, **same)
  kept = next_scale_plan(window + 1, FEW)
  rolling = cached(params, inputs, condition, kept=kept, **same)
  tolerance = 2e-5 if dtype == 'float32' else 0.15
  np.testing.assert_allclose(forward, rolling, atol=tolerance, rtol=tolerance)
  seen = whole(params, inputs, condition, **same)
  assert jnp.abs(seen - forward)[:, plan.frame_l > window].max() > 1e-3


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('where', ['cpu', 'tpu'])
def test_weights_that_lie_apart_change_no_logit(
  params, dtype, where, monkeypatch
):
  plan = next_scale_plan(2, FEW)
  changes = (('dtype', dtype),)
  config = tiny.transformer(**dict(changes)).config
  monkeypatch.setattr(params_lib, 'platform', lambda: where)
  apart = inference_params(params, config)
  layer = apart['layer_1' if where == 'cpu' else 'layers']
  assert len(layer['qkv']) == 3 and layer['qkv'][0].ndim == 3 + (where != 'cpu')
  assert {str(x.dtype) for x in jax.tree.leaves(layer)} == {dtype, 'float32'}
  assert inference_params(apart, config) is apart
  inputs = inputs_of(plan)
  tolerance = 2e-5 if dtype == 'float32' else 0.05
  for run in (cached, whole):
    found, wanted = (
      run(x, inputs, plan=plan, changes=changes) for x in (apart, params)
    )
    np.testing.assert_allclose(found, wanted, atol=tolerance, rtol=tolerance)


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
  everything = slice(0, plan.num_tokens)
  seen = mask.allowed(everything, ((0, plan.num_tokens),))
  first = [int(np.argmax(frames == t)) for t in range(4)]
  share = np.asarray(seen[:, first][:, :, first]).mean(0)
  for t in range(4):
    assert share[t, t] == 1.0
    for earlier in range(t):
      wanted = 0.5 if t - earlier <= 2 else 0.0
      assert abs(share[t, earlier] - wanted) < 0.1
  inputs = inputs_of(plan)
  hidden = {'kept_bt': jnp.ones((2, 4), bool), 'window': 1}
  changed = inputs.at[:, frames == 0].add(1.0)
  before, after = (
    whole(params, x, plan=plan, **hidden) for x in (inputs, changed)
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
      **hidden,
      changes=(('num_layers', 1),),
    )
    for x in (inputs, changed)
  ]
  np.testing.assert_array_equal(
    one_layer[0][:, frames >= 2], one_layer[1][:, frames >= 2]
  )


def test_learned_positions_that_are_missing_are_refused(params_of):
  changes = (('positions', 'learned'),)
  few = (*changes, ('max_positions', 3))
  plan = PLANS['2 frames']
  with pytest.raises(ValueError, match='max_positions=3: .* 5 learned'):
    whole(params_of(changes), inputs_of(plan), plan=plan, changes=few)
