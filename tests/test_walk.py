"""The rollout of any plan, by a family whose units take two passes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from toy_family import ToyFamily, prediction

from videoar_jax.plan.kinds import make_partition, make_plan
from videoar_jax.plan.place import num_blocks
from videoar_jax.plan.teacher_forcing import teacher_forcing
from videoar_jax.rollout import walk
from videoar_jax.rollout.bits import sample_keys
from videoar_jax.transformer.prefix import unconditional

CLASSES = jnp.asarray([3, 1])
TEXT = (('condition', 'text'), ('vocabulary', 11), ('prefix_length', 6))
PROMPTS = jnp.asarray([[7, 2, 9, 2, -1, -1], [4, 1, -1, -1, -1, -1]])
KINDS = {'class': ((), CLASSES), 'text': (TEXT, PROMPTS)}
GRIDS = {'even': (4, 4, 4), 'odd': (5, 3, 5)}
PARTITIONS = (
  *('frame', 'chunk:3', 'key_detail:3', 'key_detail:4'),
  *('cube:2x2x2', 'cube:3x2x3', 'cube:1x2x2', 'cube:4x3x3'),
)
PYRAMIDS = ('next_scale', 'clip_pyramid')
SCALES = ((1, 1), (2, 3))


def plan_of(name, grid, turned=False):
  if name in PYRAMIDS:
    plan = make_plan(name, GRIDS[grid][0], SCALES)
  else:
    plan = make_partition(name, GRIDS[grid])
  return plan.reversed if turned else plan


@functools.partial(jax.jit, static_argnames=('plan', 'changes', 'guided'))
def rolled(params, condition, *, plan, changes, guided):
  """Noise and what it became, (2, b, l, q), in the plan's order."""
  pieces = walk.walk(
    ToyFamily(changes),
    params,
    plan=plan,
    condition_bx=condition,
    gamma_nts=jnp.full((num_blocks(plan), 1, len(plan.grids)), 1.7),
    guided=guided,
    key_b=sample_keys(5, jnp.arange(2)),
  )
  units = [
    of_unit[block]
    for drawn, _ in pieces
    for block in range(drawn[0].shape[0])
    for of_unit in drawn
  ]
  return jnp.concatenate(units, axis=2).swapaxes(0, 1)


@functools.partial(jax.jit, static_argnames=('plan', 'changes'))
def predicted(params, noise, made, condition, *, plan, changes):
  """All units at once: noise, and the clean units before it."""
  if len(plan.units) > 10:  # as many products take long to compile
    changes = (*changes, ('attention', 'xla'))
  logits = tiny.transformer(**dict(changes)).apply(
    {'params': params},
    jnp.concatenate([made, noise], axis=1),
    condition,
    plan=teacher_forcing(plan),
    has_start=False,
    method='forward',
  )
  return prediction(logits[:, plan.num_tokens :])


@functools.cache
def params_of(changes):
  return tiny.transformer_params(**dict(changes))


def check(name, grid, turned, kind, dtype, guided):
  plan = plan_of(name, grid, turned)
  changes, condition = KINDS[kind]
  params = params_of(changes)
  changes = (*changes, ('dtype', dtype))
  how = {'plan': plan, 'changes': changes}
  noise, made = rolled(params, condition, guided=guided, **how)
  assert jnp.std(made) > 0.3 and jnp.abs(noise).max() > 2
  wanted = predicted(params, noise, made, condition, **how)
  if guided:
    nothing = unconditional(tiny.transformer(**dict(changes)).config, condition)
    without = predicted(params, noise, made, nothing, **how)
    assert jnp.abs(wanted - without).max() > 0.1
    wanted = 1.7 * wanted + (1 - 1.7) * without
  tolerance = 2e-5 if dtype == 'float32' else 0.15
  np.testing.assert_allclose(made, wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
  ('name', 'grid', 'turned', 'kind', 'dtype', 'guided'),
  [
    ('frame', 'even', False, 'class', 'float32', True),
    ('chunk:3', 'odd', False, 'text', 'float32', True),
    ('key_detail:3', 'even', True, 'class', 'float32', False),
    ('key_detail:4', 'odd', False, 'text', 'bfloat16', False),
    ('cube:2x2x2', 'odd', False, 'class', 'float32', True),
    ('cube:3x2x3', 'even', True, 'text', 'float32', False),
    ('cube:1x2x2', 'odd', True, 'class', 'bfloat16', False),
    ('next_scale', 'odd', True, 'class', 'float32', False),
    ('clip_pyramid', 'odd', False, 'text', 'float32', True),
  ],
)
def test_a_rollout_is_teacher_forcing_one_unit_at_a_time(
  name, grid, turned, kind, dtype, guided
):
  check(name, grid, turned, kind, dtype, guided)


def test_later_units_read_what_the_first_became():
  plan = plan_of('frame', 'odd')
  how = {'plan': plan, 'changes': ()}
  params = params_of(())
  noise, made = rolled(params, CLASSES, guided=False, **how)
  other = made.at[:, : plan.units[0].num_tokens].add(0.5)
  before, after = (
    predicted(params, noise, x, CLASSES, **how) for x in (made, other)
  )
  apart = jnp.abs(before - after).max(axis=(0, 2))
  assert apart[plan.unit_l == 0].max() == 0
  assert apart[plan.unit_l > 0].max() > 1e-3


def walked(plan, count, given=None):
  return list(
    walk.walk(
      ToyFamily(),
      params_of(()),
      plan=plan,
      condition_bx=CLASSES,
      gamma_nts=jnp.ones((count, 1, 1)),
      guided=False,
      given=given,
      key_b=sample_keys(5, jnp.arange(2)),
    )
  )


def test_given_blocks_come_back_where_blocks_are_of_several_shapes():
  plan = plan_of('key_detail:3', 'odd')
  width = plan.units[0].num_tokens
  given = (jnp.full((1, 2, width, tiny.NUM_BITS), 0.25),)
  first, *rest = walked(plan, 3, given)
  np.testing.assert_array_equal(first[0][0], given[0])
  assert [piece[0][0].shape[0] for piece in rest] == [1, 1]


@pytest.mark.parametrize(
  ('name', 'count', 'given', 'words'),
  [
    ('key_detail:3', 2, 0, 'it has 3 blocks, not 2'),
    ('key_detail:3', 4, 0, 'it has 3 blocks, not 4'),
    ('key_detail:3', 3, 3, '3 blocks given of 2'),
    ('frame', 2, 3, '3 blocks given of 2'),
  ],
)
def test_a_wrong_number_of_blocks_is_refused(name, count, given, words):
  plan = plan_of(name, 'odd')
  width = plan.units[0].num_tokens
  blocks = (jnp.zeros((given, 2, width, tiny.NUM_BITS)),) if given else None
  with pytest.raises(ValueError, match=words):
    walked(plan, count, blocks)


def test_a_plan_that_looks_ahead_is_not_rolled_out():
  plan = plan_of('frame', 'odd')
  everything = ((True,) * len(plan.units),) * len(plan.units)
  plan = dataclasses.replace(plan, graph=everything)
  with pytest.raises(ValueError, match='sees a later one'):
    walked(plan, num_blocks(plan))


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('turned', [False, True])
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('name', [*PARTITIONS, *PYRAMIDS])
def test_so_it_is_for_every_plan(name, grid, turned, kind, dtype):
  check(name, grid, turned, kind, dtype, guided=kind == 'text')
