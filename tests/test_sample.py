"""Sampling: the rollout is the model's own, sample by sample its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.core import resize
from videoar_jax.objectives.corruption import corrupt
from videoar_jax.plan.clip_pyramid import clip_pyramid_plan
from videoar_jax.plan.next_scale import (
  next_scale_from_last_plan,
  next_scale_plan,
)
from videoar_jax.rollout.bits import (
  draw_bits,
  draw_uniform,
  sample_keys,
)
from videoar_jax.rollout.guidance import parse_guidance
from videoar_jax.sample.program import SamplingConfig
from videoar_jax.sample.sampler import label_of
from videoar_jax.tokenizer.quantizer import accumulate, decode_scales
from videoar_jax.transformer.prefix import unconditional

PLAN = next_scale_plan(3, tiny.SCALES)
LABEL = jnp.asarray([4, 0, 2])


@pytest.fixture(scope='module')
def params():
  return tiny.transformer_params()


TEXT = (('condition', 'text'), ('vocabulary', 9), ('prefix_length', 4))
PROMPTS = jnp.asarray([[3, 1, -1, -1], [2, 2, 7, -1], [8, -1, -1, -1]])
CASES = {
  'class': (PLAN, (), LABEL),
  'text': (PLAN, TEXT, PROMPTS),
  'from last': (next_scale_from_last_plan(3, tiny.SCALES), (), LABEL),
  'clip pyramid': (clip_pyramid_plan(3, tiny.SCALES), (), LABEL),
}


@functools.partial(jax.jit, static_argnames=('guided', 'plan', 'changes'))
def sample(
  params, condition, index, gamma, *, guided, temperature, plan=PLAN, changes=()
):
  return tiny.family(**dict(changes)).roll(
    params,
    plan=plan,
    condition_bx=condition,
    key_b=sample_keys(11, index),
    gamma_ts=gamma,
    guided=guided,
    temperature=temperature,
  )


@functools.partial(jax.jit, static_argnames=('plan', 'changes'))
def teacher_forced(params, bits, condition, plan=PLAN, changes=()):
  """Logits of a whole forward pass over the inputs that the bits imply."""
  last = tiny.SCALES[-1]
  zero = jnp.zeros((len(condition), plan.num_frames, *last, tiny.NUM_BITS))
  totals = [zero]
  for scale in bits:
    totals.append(accumulate(totals[-1], scale))
  before = zero
  if plan.block_frames == 1:
    before = zero.at[:, 1:].set(totals[-1][:, :-1])
  inputs = [
    resize.bilinear(total, size)
    for total, size in zip([before, *totals[1:-1]], tiny.SCALES)
  ]
  if plan.from_last:
    own = [resize.bilinear(before, size) for size in tiny.SCALES]
    inputs = [jnp.concatenate(pair, axis=-1) for pair in zip(inputs, own)]
  return tiny.transformer(**dict(changes)).apply(
    {'params': params},
    plan.gather(inputs),
    condition,
    plan=plan,
    method='forward',
  )


@pytest.mark.parametrize('case', CASES)
def test_greedy_rollout_takes_the_likelier_bits_of_both_passes(case):
  plan, changes, condition = CASES[case]
  params = tiny.transformer_params(plan=plan, **dict(changes))
  gamma = parse_guidance('1:3:5', num_frames=3, num_scales=4)
  how = {'plan': plan, 'changes': changes}
  out = sample(
    params, condition, jnp.arange(3), gamma, guided=True, temperature=0.0, **how
  )
  given = teacher_forced(params, out.bits, condition, **how)
  config = tiny.transformer(**dict(changes)).config
  nothing = unconditional(config, condition)
  without = teacher_forced(params, out.bits, nothing, **how)
  gamma_l = jnp.asarray(gamma)[plan.frame_l, plan.scale_l][None, :, None, None]
  mixed = gamma_l * given + (1 - gamma_l) * without
  margin = mixed[..., 1] - mixed[..., 0]
  clear = jnp.abs(margin) > 1e-3
  bits = plan.gather(out.bits)
  assert clear.mean() > 0.99 and 0.1 < bits.mean() < 0.9
  np.testing.assert_array_equal((margin > 0)[clear], bits[clear] > 0.5)
  plain = (given[..., 1] > given[..., 0]) != (bits > 0.5)
  assert plain.sum() > 0  # guidance did decide some bits


@pytest.fixture(scope='module')
def unguided(params):
  gamma = np.ones((3, 4), np.float32)
  return sample(
    params, LABEL, jnp.arange(3), gamma, guided=False, temperature=0.0
  )


def test_without_guidance_one_pass_decides(params, unguided):
  logits = teacher_forced(params, unguided.bits, LABEL)
  margin = logits[..., 1] - logits[..., 0]
  clear = jnp.abs(margin) > 1e-4
  bits = PLAN.gather(unguided.bits)
  np.testing.assert_array_equal((margin > 0)[clear], bits[clear] > 0.5)


def test_sampled_bits_stand_for_the_features_that_were_fed(unguided):
  # One is compiled whole and the other by parts: sums may round apart.
  np.testing.assert_allclose(
    unguided.f_bthwd, decode_scales(unguided.bits, tiny.SCALES), atol=1e-6
  )


def test_a_sample_depends_on_its_own_seed_and_index_alone(params):
  gamma = np.full((3, 4), 2.0, np.float32)
  run = functools.partial(sample, guided=True, temperature=1.0)
  three = run(params, LABEL, jnp.asarray([5, 6, 7]), gamma)
  alone = run(params, LABEL[1:2], jnp.asarray([6]), gamma)
  for many, one in zip(three.bits, alone.bits):
    np.testing.assert_array_equal(many[1:2], one)
  other = run(params, LABEL[1:2], jnp.asarray([8]), gamma)
  assert any((a != b).any() for a, b in zip(alone.bits, other.bits))


def test_bits_are_drawn_with_their_probability():
  margin = jnp.asarray([-2.0, 0.0, 1.0, 3.0])
  logits = jnp.stack([jnp.zeros(4), margin], -1)[None, None]
  uniform = draw_uniform(sample_keys(0, jnp.arange(20_000)), 3, (1, 4))
  logits = jnp.broadcast_to(logits, (20_000, 1, 4, 2))

  @jax.jit  # with temperature and top_p as arguments
  def share(**options):
    return draw_bits(logits, uniform, **options).mean((0, 1))

  for temperature in (1.0, 0.5):
    expected = jax.nn.sigmoid(margin / temperature)
    drawn = share(temperature=temperature)
    np.testing.assert_allclose(drawn, expected, atol=0.015)
  np.testing.assert_array_equal(share(temperature=0.0), [0, 0, 1, 1])
  # 0.88, 0.5, 0.73 and 0.95 are the likelier bits' probabilities.
  kept = share(temperature=1.0, top_p=0.8)
  np.testing.assert_allclose(kept, [0, 0.5, 0.731, 1], atol=0.015)
  np.testing.assert_allclose(
    share(temperature=1.0, top_p=0.9), [0.119, 0.5, 0.731, 1], atol=0.015
  )


def test_blocks_and_samples_are_drawn_apart():
  keys = sample_keys(5, jnp.arange(3))
  first, second = (draw_uniform(keys, place, (50, 4)) for place in (0, 1))
  assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.15
  assert abs(np.corrcoef(first[0].ravel(), first[1].ravel())[0, 1]) < 0.2
  np.testing.assert_array_equal(
    draw_uniform(keys[1:2], 1, (50, 4))[0], second[1]
  )


def test_guidance_schedules_of_the_paper():
  ucf = parse_guidance('ucf', num_frames=5, num_scales=6)
  np.testing.assert_allclose(ucf[:, 0], [1, 2, 3, 4, 5])
  np.testing.assert_allclose(ucf[:, -1], 10.0)
  assert (np.diff(ucf, axis=1) > 0).all()
  text = parse_guidance('text', num_frames=2, num_scales=3)
  np.testing.assert_allclose(text.ravel(), [5, 4.6, 4.2, 3.8, 3.4, 3], 1e-5)
  np.testing.assert_allclose(
    parse_guidance('3', num_frames=2, num_scales=2), np.full((2, 2), 3.0)
  )
  single = parse_guidance('1:5:10', num_frames=1, num_scales=1)
  np.testing.assert_allclose(single, [[10.0]])


@pytest.mark.parametrize(
  'text', ['', 'fast', '1:2', '-1', '0', 'nan', '0:5:9', '1:5:inf']
)
def test_malformed_guidance_is_refused(text):
  with pytest.raises(ValueError, match='guidance='):
    parse_guidance(text, num_frames=2, num_scales=2)


def test_bad_sampling_options_are_refused():
  with pytest.raises(ValueError, match='temperature=-1'):
    SamplingConfig(num_frames=5, temperature=-1.0)
  with pytest.raises(ValueError, match='top_p=0.2'):
    SamplingConfig(num_frames=5, top_p=0.2)
  with pytest.raises(ValueError, match='batch_size=0'):
    SamplingConfig(num_frames=5, batch_size=0)
  with pytest.raises(ValueError, match="'Archry' .* mean Archery"):
    label_of('Archry', ('Archery', 'Basketball'))


def test_corruption_and_rollout_agree_on_what_a_token_starts_from(params):
  """Clean training inputs are those the rollout would feed."""
  f = jax.random.normal(jax.random.key(3), (3, 3, 3, 5, tiny.NUM_BITS))
  ratio = jnp.zeros((3, 3, len(tiny.SCALES)))
  clean = jax.jit(functools.partial(corrupt, plan=PLAN))
  batch = clean(f, ratio, jax.random.key(0))
  bits, start = [], 0
  for h, w in tiny.SCALES:
    rows = [
      batch.targets_blq[:, t * 24 + start : t * 24 + start + h * w].reshape(
        3, 1, h, w, -1
      )
      for t in range(3)
    ]
    bits.append(jnp.concatenate(rows, axis=1))
    start += h * w
  assert start == 24
  whole = jax.jit(functools.partial(tiny.family().forward, plan=PLAN))
  logits = whole(params, batch.inputs_blq, LABEL)
  np.testing.assert_allclose(
    logits, teacher_forced(params, bits, LABEL), atol=1e-4
  )
