"""Wan's transformer: order, masks, cache, precision, scan, sizes.

That its numbers are right: test_wan_parity.py.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_wan

from videoar_jax.core import rope
from videoar_jax.core.attention import Keys
from videoar_jax.core.attention import attend as attend_to
from videoar_jax.core.digest import flatten
from videoar_jax.core.mesh import logical_axes
from videoar_jax.plan.kinds import make_partition
from videoar_jax.train.optimizer import is_decayed
from videoar_jax.transformer.stack import stack
from videoar_jax.transformer.wan import (
  WanTransformer,
  init_params,
  patchify,
  sinusoids,
  unpatchify,
)
from videoar_jax.transformer.wan_block import Times, WanBlock
from videoar_jax.transformer.wan_config import WanConfig
from videoar_jax.transformer.wan_weights import param_shapes

CONFIG = tiny_wan.CONFIG
GRID = (2, 3, 5)
TEXT = tiny_wan.text()
RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def params():
  return tiny_wan.params()


def _joined(*keys):
  return jnp.concatenate(keys, axis=-2)


def inputs_of(plan, seed=1):
  """Patches in a plan's order, and a time for each unit."""
  rng = np.random.default_rng(seed)
  shape = (2, plan.num_tokens, CONFIG.patch_width)
  time = rng.uniform(0, 1000, (2, len(plan.units)))
  return np.float32(rng.standard_normal(shape)), np.float32(time)


def test_the_network_has_the_parameters_of_wan():
  found = param_shapes(WanConfig())
  assert sum(x.size for x in found.values()) == 1_418_996_800
  large = WanConfig(width=5120, num_layers=40, num_heads=40, hidden=13824)
  found = param_shapes(large)
  assert sum(x.size for x in found.values()) == pytest.approx(14.29e9, rel=1e-3)
  assert {str(x.dtype) for x in found.values()} == {'float32'}


def test_matrices_alone_decay():
  model = WanTransformer(CONFIG)
  boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
  axes = jax.tree.map(
    is_decayed, logical_axes(boxed), is_leaf=lambda x: isinstance(x, tuple)
  )
  for name, decays in flatten(axes).items():
    assert decays == name.endswith('kernel'), name


def test_numbers_of_a_patch_are_read_and_written_in_different_orders():
  patch = (2, 3, 2)
  latents = RNG.standard_normal((1, 4, 3, 6, 5)).astype(np.float32)
  there = patchify(latents, patch)
  assert there.shape == (1, 2, 1, 3, 60)
  c, x, y, z = 4, 1, 2, 0
  assert (
    there[0, 1, 0, 2, ((c * 2 + x) * 3 + y) * 2 + z]
    == latents[0, 2 + x, y, 4 + z, c]
  )
  back = unpatchify(there, patch)
  assert (
    back[0, 2 + x, y, 4 + z, c]
    == there[0, 1, 0, 2, ((x * 3 + y) * 2 + z) * 5 + c]
  )


def test_a_time_becomes_cosines_then_sines():
  (found,) = sinusoids(jnp.asarray([[937.0]]), 6)[0]
  angles = 937.0 * np.asarray([1, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)])
  wanted = np.concatenate([np.cos(angles), np.sin(angles)])
  np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_time_is_never_rounded_to_bfloat16(params):
  config = dataclasses.replace(CONFIG, dtype='bfloat16')
  plan = make_partition('frame', GRID)
  patches, time = inputs_of(plan)
  found = [
    tiny_wan.of_plan(
      config, params, patches, TEXT, np.full_like(time, t), plan=plan
    )
    for t in (936.0, 937.0)  # one number in bfloat16
  ]
  assert (found[0] != found[1]).mean() > 0.5


def test_in_bfloat16_it_is_nearly_the_same(params):
  plan = make_partition('frame', GRID)
  given = params, *inputs_of(plan)
  wanted = _of_plan(CONFIG, *given, plan=plan)
  assert jnp.std(wanted) > 0.5
  config = dataclasses.replace(CONFIG, dtype='bfloat16')
  for stream in ('float32', 'bfloat16'):
    config = dataclasses.replace(config, stream_dtype=stream)
    found = _of_plan(config, *given, plan=plan)
    assert found.dtype == jnp.float32
    assert 1e-4 < jnp.abs(found - wanted).max() < 0.15


def _of_plan(config, params, patches, time, **options):
  return tiny_wan.of_plan(config, params, patches, TEXT, time, **options)


def test_tokens_may_come_in_any_order(params):
  plan = make_partition('cube:1x2x2', GRID)
  patches, time = inputs_of(plan)

  def run(tokens, places):
    return tiny_wan.forward(
      CONFIG,
      params,
      patches[:, tokens],
      TEXT,
      time_bu=time,
      unit_l=plan.unit_l[tokens],
      position_l3=plan.position_l3[places],
    )

  same, order = slice(None), RNG.permutation(plan.num_tokens)
  found = run(same, same)
  np.testing.assert_allclose(found[:, order], run(order, order), atol=1e-5)
  assert jnp.abs(run(same, order) - found).max() > 1e-2


@pytest.mark.parametrize('name', ['key_detail:2', 'cube:1x1x2'])
def test_no_unit_sees_a_later_one(params, name):
  plan = make_partition(name, GRID)
  patches, time = inputs_of(plan)
  start = plan.offsets[1]
  changed = patches.copy()
  changed[:, start : plan.offsets[2]] += 1.0
  before, after = (
    _of_plan(CONFIG, params, x, time, plan=plan) for x in (patches, changed)
  )
  np.testing.assert_array_equal(before[:, :start], after[:, :start])
  assert jnp.abs(before - after)[:, start:].max(-1).min() > 1e-4


def test_units_one_by_one_over_kept_keys_equal_the_masked_forward(params):
  plan = make_partition('cube:1x1x2', GRID)
  patches, time = inputs_of(plan)
  whole = _of_plan(CONFIG, params, patches, time, plan=plan)
  model, kept, found = WanTransformer(CONFIG), None, []

  @jax.jit
  def unit(patches, time_bu, position_l3, kept):
    def attend(q, k, v, layer):
      own = Keys(k.swapaxes(1, 2), v.swapaxes(1, 2))
      parts = [own]
      if kept is not None:
        parts.append(Keys(*kept.layer(layer, kept.tokens)))
      return attend_to(q, parts), own[:2]

    return model.apply(
      {'params': params},
      patches,
      TEXT,
      time_bu=time_bu,
      position_l3=position_l3,
      attend=attend,
    )

  for i in range(len(plan.units)):
    tokens = slice(*plan.offsets[i : i + 2])
    out, own = unit(
      patches[:, tokens], time[:, i : i + 1], plan.position_l3[tokens], kept
    )
    found.append(out)
    kept = own if kept is None else jax.tree.map(_joined, kept, own)
  np.testing.assert_allclose(jnp.concatenate(found, 1), whole, atol=2e-5)


@functools.cache
def loss_and_gradient(**changes):
  plan = make_partition('frame', GRID)
  patches, time = inputs_of(plan)
  config = dataclasses.replace(CONFIG, **changes)

  def run(params):
    return jnp.mean(jnp.sin(_of_plan(config, params, patches, time, plan=plan)))

  return jax.jit(jax.value_and_grad(run))(tiny_wan.params())


@pytest.mark.parametrize(
  'changes',
  [
    {'remat': 'full', 'attention': 'xla'},
    pytest.param({'remat': 'full'}, marks=pytest.mark.slow),
    pytest.param({'remat': 'dots'}, marks=pytest.mark.slow),
    pytest.param({'attention': 'splash'}, marks=pytest.mark.slow),
  ],
)
def test_kernels_and_remat_change_no_velocity_and_no_gradient(changes):
  for name, value in changes.items():
    assert getattr(CONFIG, name) != value
  plain, other = loss_and_gradient(), loss_and_gradient(**changes)
  assert min(jnp.abs(x).max() for x in jax.tree.leaves(plain[1])) > 1e-6
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6),
    plain,
    other,
  )


def test_a_scan_of_layers_equals_one_layer_after_the_other(params):
  plan = make_partition('frame', (1, 2, 3))

  def attend(q, k, v, layer):
    own = Keys(k.swapaxes(1, 2), v.swapaxes(1, 2))
    return attend_to(q, [own]) * (1.0 + layer), own[:2]

  x, shifts, text = (
    np.float32(RNG.standard_normal(shape))
    for shape in ((2, 6, 32), (2, 1, 6, 32), (2, 5, 32))
  )
  shared = (
    Times(shifts, None),
    text,
    rope.turn_at(plan.position_l3, CONFIG.pairs),
  )
  layers = stack(WanBlock, remat='none', length=2, shared=len(shared))

  @jax.jit
  def scanned(params, x):
    numbers = jnp.arange(2)
    return layers(CONFIG, attend).apply({'params': params}, x, *shared, numbers)

  @jax.jit
  def apart(params, x, layer):
    one = jax.tree.map(lambda x: x[layer], params)
    return WanBlock(CONFIG, attend).apply({'params': one}, x, *shared, layer)

  found, kept = scanned(params['layers'], x)
  for layer in range(2):
    x, own = apart(params['layers'], x, layer)
    for a, b in zip(kept, own):
      np.testing.assert_allclose(a[layer], b, atol=1e-5)
  np.testing.assert_allclose(found, x, atol=1e-5)


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'text': TEXT[:, :3]}, r'text of shape \(3, 6\); wanted \(5, 6\)'),
    ({'patches': np.zeros((2, 30, 16))}, 'patches of 16 numbers; wanted 12'),
    ({'unit_l': None}, 'time_bu has 2 times; say by unit_l'),
  ],
)
def test_other_sizes_are_refused(params, changes, words):
  plan = make_partition('frame', GRID)
  patches, time = inputs_of(plan)
  given = {
    'patches': patches,
    'text': TEXT,
    'time_bu': time,
    'unit_l': plan.unit_l,
    'position_l3': plan.position_l3,
  } | changes
  with pytest.raises(ValueError, match=words):
    tiny_wan.forward(CONFIG, params, **given)


def test_latents_that_are_not_whole_patches_are_refused():
  with pytest.raises(ValueError, match='latents of 1×5×4: .* 1×2×2'):
    patchify(np.zeros((1, 1, 5, 4, 3)), (1, 2, 2))


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'num_heads': 5}, 'num_heads=5: width=32'),
    ({'time_width': 7}, 'time_width=7: wanted an even number'),
    ({'remat': 'some'}, "remat='some'"),
    ({'patch': (1, 0, 2)}, 'patch='),
  ],
)
def test_a_config_that_cannot_be_is_refused(changes, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(CONFIG, **changes)
