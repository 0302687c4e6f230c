"""Rollouts that stop and go on, begin with given frames, or roll on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.rollout.bits import sample_keys
from videoar_jax.rollout.guidance import parse_guidance

FRAMES = 5
LABEL = jnp.asarray([4, 0])
SCALES = tiny.SCALES[::2]  # compiles in half the time
GAMMA = parse_guidance('1:3:5', num_frames=FRAMES, num_scales=len(SCALES))
FAMILY = tiny.family(SCALES)


@pytest.fixture(scope='module')
def params():
  params = tiny.transformer_params()
  return {**params, 'scales': params['scales'][::2]}


@functools.partial(jax.jit, static_argnames=('kept', 'guided'))
def whole(params, given=None, *, kept=FRAMES, guided=True, seed=11):
  return FAMILY.roll(
    params,
    plan=next_scale_plan(kept, SCALES),
    condition_bx=LABEL,
    key_b=sample_keys(seed, jnp.arange(2)),
    gamma_ts=GAMMA,
    guided=guided,
    temperature=1.0,
    given=given,
  )


def in_pieces(params, cuts, *, kept=FRAMES, guided=True):
  """The same video in several calls, each a program of its own."""
  plan = next_scale_plan(kept, SCALES)
  start = jax.jit(
    functools.partial(
      FAMILY.begin, plan=plan, condition_bx=LABEL, guided=guided
    )
  )
  go_on = jax.jit(functools.partial(FAMILY.advance, plan=plan, temperature=1.0))
  state, parts = start(params), []
  keys = sample_keys(11, jnp.arange(2))
  for gamma_ts in np.split(GAMMA, cuts):
    state, part = go_on(params, state, key_b=keys, gamma_ts=gamma_ts)
    parts.append(part)
  return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts), state


def _assert_equal(one, other):
  for a, b in zip(one.bits, other.bits, strict=True):
    np.testing.assert_array_equal(a, b)


def test_in_pieces_or_in_one_go_the_bits_are_the_same(params):
  once = whole(params)
  pieces, _ = in_pieces(params, [3])
  _assert_equal(once, pieces)
  frames, state = in_pieces(params, [1, 2, 3, 4])
  _assert_equal(once, frames)
  assert int(state.block) == FRAMES
  assert 0.1 < np.mean(once.bits[-1]) < 0.9


def test_given_frames_come_back_and_decide_what_follows(params):
  free = whole(params)
  first = tuple(scale[:, :2] for scale in free.bits)
  _assert_equal(whole(params, first), free)
  other = tuple(1.0 - scale for scale in first)
  changed = whole(params, other)
  for k, scale in enumerate(changed.bits):
    np.testing.assert_array_equal(scale[:, :2], other[k])
  assert any(
    (a[:, 2:] != b[:, 2:]).any() for a, b in zip(changed.bits, free.bits)
  )
  everything = whole(params, free.bits, seed=3)
  _assert_equal(everything, free)


def test_a_window_forgets_and_does_not_grow(params):
  free = whole(params, kept=2, guided=False)
  longer, state = in_pieces(params, [4], kept=2, guided=False)
  _assert_equal(free, longer)
  assert state.cache.tokens == (
    FAMILY.transformer.prefix_length + next_scale_plan(2, SCALES).num_tokens
  )
  seen = whole(params, guided=False)
  for a, b in zip(free.bits, seen.bits):
    np.testing.assert_array_equal(a[:, :2], b[:, :2])
  assert any((a != b).any() for a, b in zip(free.bits, seen.bits))
