"""Corruption by Eq. 8, its targets, and both losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.core import resize
from videoar_jax.objectives.bitwise import (
  bitwise_cross_entropy,
  make_transformer_objective,
  token_weights,
)
from videoar_jax.objectives.context import Context
from videoar_jax.objectives.corruption import (
  CorruptionConfig,
  corrupt,
  draw_flip_ratios,
)
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.objectives.reconstruction import (
  commitment_loss,
  entropy_loss,
)
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.tokenizer.quantizer import bits_to_code, encode_scales

SCALES = tiny.SCALES
FRAMES = 4
PLAN = next_scale_plan(FRAMES, SCALES)
CORRUPT = jax.jit(lambda f, ratio, rng: corrupt(f, ratio, rng, plan=PLAN))


@pytest.fixture(scope='module')
def features():
  return jax.random.normal(jax.random.key(0), (3, FRAMES, 3, 5, 7))


def ratios(config, batch=3, seed=1, num_frames=FRAMES):
  return draw_flip_ratios(
    jax.random.key(seed),
    config,
    batch=batch,
    num_frames=num_frames,
    num_scales=len(SCALES),
  )


def test_ratio_zero_is_the_clean_code(features):
  off = ratios(CorruptionConfig(flip_max=0.0))
  np.testing.assert_array_equal(off, 0.0)
  clean = CORRUPT(features, off, jax.random.key(2))
  codes = encode_scales(features, SCALES)
  np.testing.assert_array_equal(
    clean.targets_blq, PLAN.gather([c.bits_bthwq for c in codes])
  )
  assert not clean.flipped_blq.any()
  # Eq. 6: scale k starts from the sum of the coarser codes, scale 1 of
  # frame t > 1 from all of frame t - 1.
  totals = [c.total_bthwd for c in codes]
  for i, unit in enumerate(PLAN.units):
    start, stop = PLAN.offsets[i], PLAN.offsets[i + 1]
    if unit.frames[0] == unit.scale == 0:
      continue
    source = (
      totals[unit.scale - 1][:, unit.frames[0]]
      if unit.scale
      else totals[-1][:, unit.frames[0] - 1]
    )
    expected = resize.bilinear(source, unit.shape[1:]).reshape(
      3, stop - start, -1
    )
    np.testing.assert_allclose(
      clean.inputs_blq[:, start:stop], expected, atol=1e-6
    )


def test_flip_ratios_follow_the_ramp_and_inheritance():
  config = CorruptionConfig(time_ramp=0.05)
  ratio = np.asarray(ratios(config, batch=4000))
  for t in range(FRAMES):
    low, high = 0.05 * t, 0.25 + 0.05 * t
    free = ratio[:, t, 1:] if t else ratio[:, t]
    assert low <= free.min() < low + 0.01 and high - 0.01 < free.max() <= high
    assert abs(free.mean() - (low + high) / 2) < 0.005
    if t:
      last, first = ratio[:, t - 1, -1], ratio[:, t, 0]
      assert (first >= last).all() and (first <= high).all()
      assert abs((first - (last + high) / 2).mean()) < 0.005
  without = np.asarray(
    ratios(CorruptionConfig(time_ramp=0.05, inherit=False), batch=4000)
  )
  assert (without[:, 1, 0] < without[:, 0, -1]).mean() > 0.2


def test_measured_flips_follow_the_ratios_of_frame_and_scale():
  f = jax.random.normal(jax.random.key(3), (64, FRAMES, 3, 5, 7))
  ratio = ratios(CorruptionConfig(flip_max=0.4, time_ramp=0.03), batch=64)
  flipped = np.asarray(CORRUPT(f, ratio, jax.random.key(4)).flipped_blq)
  for i, unit in enumerate(PLAN.units):
    part = flipped[:, PLAN.offsets[i] : PLAN.offsets[i + 1]]
    wanted = float(ratio[:, unit.frames[0], unit.scale].mean())
    error = (0.25 / part.size) ** 0.5
    assert abs(part.mean() - wanted) < 4 * error


def test_targets_re_encode_the_flipped_history(features):
  ratio = jnp.full((3, FRAMES, len(SCALES)), 0.3)
  batch = CORRUPT(features, ratio, jax.random.key(5))
  flipped = jnp.abs(batch.targets_blq - batch.flipped_blq)
  changed = 0
  for t in range(FRAMES):
    total = jnp.zeros((3, 3, 5, 7))
    for s, size in enumerate(SCALES):
      i = t * len(SCALES) + s
      start, stop = PLAN.offsets[i], PLAN.offsets[i + 1]
      wanted = resize.area(features[:, t] - total, size) > 0
      got = batch.targets_blq[:, start:stop].reshape(wanted.shape)
      np.testing.assert_array_equal(got, wanted)
      if s:
        expected = resize.bilinear(total, size).reshape(3, stop - start, -1)
        np.testing.assert_allclose(
          batch.inputs_blq[:, start:stop], expected, atol=1e-5
        )
      used = flipped[:, start:stop].reshape(wanted.shape)
      total = total + resize.bilinear(bits_to_code(used), (3, 5))
      changed += int((used != wanted).sum())
  assert changed > 100


def test_a_cap_that_binds_too_often_is_refused():
  CorruptionConfig(time_ramp=0.01).bounds(26)
  with pytest.raises(ValueError, match='time_ramp=0.1'):
    CorruptionConfig(time_ramp=0.1).bounds(9)
  with pytest.raises(ValueError, match='flip_min=0.3'):
    CorruptionConfig(flip_min=0.3)


def test_token_weights_favour_coarse_scales_by_the_root_of_area():
  weights = token_weights(PLAN)
  np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)
  first, last = weights[0], weights[-1]
  np.testing.assert_allclose(first / last, 15**0.5, rtol=1e-5)


def test_cross_entropy_is_that_of_a_softmax_over_two_logits():
  logits = jax.random.normal(jax.random.key(6), (2, 3, 5, 2)) * 4
  bits = jax.random.bernoulli(jax.random.key(7), 0.5, (2, 3, 5))
  log_p = jax.nn.log_softmax(logits, axis=-1)
  expected = -jnp.take_along_axis(log_p, bits[..., None].astype(int), axis=-1)[
    ..., 0
  ].mean(-1)
  np.testing.assert_allclose(
    bitwise_cross_entropy(logits, bits.astype(jnp.float32)),
    expected,
    rtol=1e-4,
    atol=1e-6,
  )


def test_transformer_objective_starts_near_log_two_and_can_be_fitted(features):
  model = tiny.transformer()
  objective = make_transformer_objective(
    model,
    plan_of=lambda shape: PLAN,
    corruption=CorruptionConfig(flip_max=0.0),
    frame_mask=FrameMaskConfig(),
    dropout=0.0,
  )
  params = tiny.transformer_params()
  params['head'] = params['head'] * 0.0
  batch = {'features': features, 'label': jnp.asarray([0, 1, 2])}

  @jax.jit
  def step(params):
    (loss, metrics), grads = jax.value_and_grad(objective, has_aux=True)(
      params, batch, Context(jax.random.key(0))
    )
    params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    return params, loss, metrics

  params, loss, _ = step(params)
  np.testing.assert_allclose(loss, np.log(2), rtol=1e-5)
  for _ in range(60):
    params, loss, metrics = step(params)
  assert loss < 0.62 and metrics['bit_accuracy'] > 0.6


def test_entropy_loss_rewards_sure_tokens_and_used_bits():
  sure_and_used = jax.random.normal(jax.random.key(8), (4, 2, 3, 5, 7))
  one_sided = jnp.abs(sure_and_used) + 0.3

  def loss(f):
    return entropy_loss(encode_scales(f, ((3, 5),)), sharpness=100.0)

  assert loss(sure_and_used) < -0.6 * 7 * np.log(2)
  assert loss(one_sided) > -0.2
  np.testing.assert_allclose(
    commitment_loss(encode_scales(bits_to_code(one_sided > 1), ((3, 5),))),
    0.0,
    atol=1e-6,
  )
