"""The step builder: meshes, accumulation, several updates, bad gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from toy import compile_cache  # noqa: F401

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import placement
from videoar_jax.objectives.context import Stage
from videoar_jax.train.state import create_state
from videoar_jax.train.step import due_metrics, make_step

NUM_STEPS = 20


def _mesh(data=1, fsdp=1, tensor=1):
  config = mesh_lib.MeshConfig(data=data, fsdp=fsdp, tensor=tensor)
  return mesh_lib.make_mesh(config, jax.devices()[: data * fsdp * tensor])


def _train(updates, *, mesh, steps=3, accumulate=1, frozen=None, batch_of=None):
  batch_of = batch_of or toy.make_batch
  state = create_state(updates, seed=3, num_steps=NUM_STEPS, mesh=mesh)
  step = make_step(
    updates, num_steps=NUM_STEPS, mesh=mesh, accumulate=accumulate
  )
  history = []
  for i in range(steps):
    batch = placement.shard_batch(batch_of(i), mesh)
    state, metrics = step(state, batch, frozen or {})
    history.append(jax.device_get(metrics))  # waits: see JAX on CPU
  return state, history


def _assert_close(a, b, **tolerance):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, **tolerance),
    jax.device_get(a),
    jax.device_get(b),
  )


def _differs(a, b):
  same = jax.tree.map(lambda x, y: bool((x == y).all()), a, b)
  return not all(jax.tree.leaves(same))


@pytest.mark.parametrize(
  'shape', [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (1, 4, 2)]
)
def test_sharded_step_equals_single_device(shape):
  updates = [toy.make_update(net='a'), toy.make_update(net='b', every=2)]
  one, history_one = _train(updates, mesh=_mesh())
  many, history_many = _train(updates, mesh=_mesh(*shape))
  _assert_close(many.nets, one.nets, rtol=2e-4, atol=2e-6)
  _assert_close(history_many, history_one, rtol=1e-4, atol=1e-6)
  w_in = many.nets['a'].params['w_in']
  parts = w_in.size // w_in.addressable_shards[0].data.size
  assert parts == shape[1] * shape[2]


def test_accumulated_parts_equal_the_full_batch():
  updates = [toy.make_update(noise=0.0)]
  full, history = _train(updates, mesh=_mesh())
  for mesh in (_mesh(), _mesh(2, 2, 1)):
    parts, history_parts = _train(updates, mesh=mesh, accumulate=4)
    _assert_close(parts.nets, full.nets, rtol=2e-4, atol=2e-6)
    _assert_close(history_parts, history, rtol=1e-4, atol=1e-6)


def test_order_of_updates_changes_nothing():
  a, b = toy.make_update(net='a'), toy.make_update(net='b')
  first, _ = _train([a, b], mesh=_mesh())
  second, _ = _train([b, a], mesh=_mesh())
  _assert_close(first.nets, second.nets, rtol=1e-6, atol=1e-7)
  alone, _ = _train([a], mesh=_mesh())
  assert _differs(alone.nets['a'].params, first.nets['a'].params)


def test_every_runs_an_update_only_in_its_turn():
  updates = [toy.make_update(net='a'), toy.make_update(net='b', every=3)]
  state, history = _train(updates, mesh=_mesh(), steps=3)
  once, _ = _train(updates, mesh=_mesh(), steps=1)
  _assert_close(state.nets['b'], once.nets['b'], rtol=0)
  assert _differs(state.nets['a'].params, once.nets['a'].params)
  kept = due_metrics(updates, history[1], step=1)
  assert 'a/loss' in kept and not any(k.startswith('b/') for k in kept)
  assert np.isfinite(list(kept.values())).all()
  assert 'b/loss' in due_metrics(updates, history[0], step=0)


def test_a_late_update_starts_on_time_and_its_schedule_with_it():
  late = toy.make_update(net='b', start=2, every=2, warmup_steps=2)
  updates = [toy.make_update(net='a'), late]
  before, history = _train(updates, mesh=_mesh(), steps=2)
  initial, _ = _train(updates, mesh=_mesh(), steps=0)
  _assert_close(before.nets['b'], initial.nets['b'], rtol=0)
  state, history = _train(updates, mesh=_mesh(), steps=6)
  due = ['b/loss' in due_metrics(updates, history[i], step=i) for i in range(6)]
  assert due == [False, False, True, False, True, False]
  assert np.isfinite([history[2]['b/loss'], history[4]['b/loss']]).all()
  rates = [history[i]['b/learning_rate'] for i in (2, 4)]
  peak = late.optimizer.learning_rate
  np.testing.assert_allclose(rates, [peak / 2, peak], rtol=1e-6)
  assert late.num_updates(7) == 3 and late.num_updates(2) == 0
  with pytest.raises(ValueError, match='each step'):
    _train([late], mesh=_mesh())


def test_running_mean_of_a_metric_follows_its_formula_and_is_read():
  seen = []

  def objective(params, batch, context):
    seen.append(dict(context.averages))
    value = jnp.mean(batch['x'])
    return jnp.sum(params['w_in'] ** 2), {
      'mean': value,
      'read': context.averages['mean'],
    }

  update = dataclasses.replace(
    toy.make_update(averages={'mean': 0.5}), objective=objective
  )
  state, history = _train([update], mesh=_mesh(), steps=4, accumulate=2)
  wanted = 0.0
  for n, metrics in enumerate(history):
    np.testing.assert_allclose(metrics['read'], wanted, rtol=1e-5, atol=1e-7)
    decay = min(0.5, (1 + n) / (10 + n))
    wanted = decay * wanted + (1 - decay) * toy.make_batch(n)['x'].mean()
  np.testing.assert_allclose(
    state.nets['toy'].averages['mean'], wanted, rtol=1e-5
  )
  assert set(seen[0]) == {'mean'}


def test_frozen_networks_are_seen_and_not_changed():
  update = toy.make_update()
  frozen = jax.device_get(update.init(jax.random.key(9)))
  frozen = mesh_lib.unbox(frozen)
  mesh = _mesh(2, 2, 2)
  with_it, _ = _train(
    [update], mesh=mesh, frozen={'f': placement.replicate(frozen, mesh)}
  )
  without, _ = _train([update], mesh=mesh)
  assert _differs(with_it.nets['toy'].params, without.nets['toy'].params)


def test_non_finite_update_is_not_applied_and_counted():
  def batch_of(step):
    batch = toy.make_batch(step)
    if step == 1:
      batch['x'][0, 0] = np.nan
    return batch

  updates = [toy.make_update()]
  before, _ = _train(updates, mesh=_mesh(), steps=1)
  after, history = _train(updates, mesh=_mesh(), steps=2, batch_of=batch_of)
  _assert_close(after.nets, before.nets, rtol=0)
  assert int(after.step) == 2
  assert [h['skipped_updates'] for h in history] == [0, 1]
  later, _ = _train(updates, mesh=_mesh(), steps=3, batch_of=batch_of)
  assert _differs(later.nets['toy'].params, before.nets['toy'].params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(later.nets))


def test_ema_follows_its_formula():
  update = toy.make_update(ema_decay=0.5)
  ema = None
  for n in range(3):
    state, _ = _train([update], mesh=_mesh(), steps=n + 1)
    start, _ = _train([update], mesh=_mesh(), steps=n)
    ema = start.nets['toy'].params if ema is None else ema
    decay = min(0.5, (1 + n) / (10 + n))
    params = state.nets['toy'].params
    ema = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, ema, params)
    _assert_close(state.nets['toy'].ema, ema, rtol=1e-5, atol=1e-6)


def test_weight_decay_touches_matrices_only():
  decayed = toy.make_update(weight_decay=0.5, warmup_steps=0)
  plain = toy.make_update(weight_decay=0.0, warmup_steps=0)
  a, _ = _train([decayed], mesh=_mesh(), steps=1)
  b, _ = _train([plain], mesh=_mesh(), steps=1)
  start, _ = _train([plain], mesh=_mesh(), steps=0)
  rate = decayed.optimizer.learning_rate
  old = start.nets['toy'].params
  a, b = a.nets['toy'].params, b.nets['toy'].params
  np.testing.assert_array_equal(a['gain'], b['gain'])
  for name in ('w_in', 'w_out'):
    np.testing.assert_allclose(
      b[name] - a[name], rate * 0.5 * old[name], rtol=2e-2, atol=1e-6
    )


def test_learning_rate_warms_up_and_decays():
  update = toy.make_update(warmup_steps=4, end_value=0.1)
  _, history = _train([update], mesh=_mesh(), steps=NUM_STEPS)
  rates = np.array([h['learning_rate'] for h in history])
  peak = update.optimizer.learning_rate
  np.testing.assert_allclose(
    rates[:4], peak * np.array([0.25, 0.5, 0.75, 1.0]), rtol=1e-5
  )
  assert (np.diff(rates[3:]) < 0).all()
  assert rates[-1] == pytest.approx(0.1 * peak, rel=1e-4)
  with pytest.raises(ValueError, match='warmup_steps=30'):
    _train([toy.make_update(warmup_steps=30)], mesh=_mesh(), steps=1)


def test_gradient_is_clipped_to_its_norm():
  # Adam divides by the gradient's size, so clipping shows in its moments.
  clipped, history = _train(
    [toy.make_update(clip_norm=0.1)], mesh=_mesh(), steps=1
  )
  moments = jax.tree.leaves(clipped.nets['toy'].opt_state[1][0].mu)
  norm = np.sqrt(sum(float(jnp.sum(m**2)) for m in moments))
  assert history[0]['grad_norm'] > 0.1
  assert norm == pytest.approx(0.1 * (1 - 0.9), rel=1e-4)


def _maker_and_critics(*, shared, noise=0.0, runs=None, **turns):
  """A maker, two critics of what it makes, and one that does not look.

  Args:
    shared: whether they share the maker's forward pass.
    noise: that it adds, of its own key.
    runs: gets an item at each run of the shared pass.
    **turns: net -> `every` and `start`.
  """

  def make(params, batch, context):
    if runs is not None:
      jax.debug.callback(lambda: runs.append(1))
    drawn = jax.random.normal(context.rng, ())
    return toy.Toy().apply({'params': params}, batch['x']) + noise * drawn

  def judge(params, made):
    return jnp.mean(jnp.tanh(made @ params['w_out'].T))

  def maker(params, batch, context):
    made = context.shared if shared else make(params, batch, context)
    loss = jnp.mean(jnp.square(made - batch['y']))
    loss += sum(judge(context.nets[name], made) for name in ('b', 'c'))
    return loss, {'made': jnp.mean(made)}

  def critic(params, batch, context):
    made = context.shared
    if not shared:
      made = make(context.nets['a'], batch, context)
    loss = judge(params, batch['y']) - judge(params, made)
    return loss, {'made': jnp.mean(made)}

  stage = Stage('a', make) if shared else None
  objectives = {'b': critic, 'a': maker, 'c': critic}
  updates = [
    dataclasses.replace(
      toy.make_update(net=net, **turns.get(net, {})),
      objective=objective,
      stage=stage,
    )
    for net, objective in objectives.items()
  ]
  return [*updates, toy.make_update(net='d', noise=0.0)]


SELDOM = {'a': {'every': 4, 'start': 2}, 'b': {'every': 3}, 'c': {'every': 6}}


@pytest.mark.parametrize(
  ('turns', 'accumulate'),
  [
    ({'b': {'every': 2}, 'c': {'start': 1, 'every': 3}}, 1),
    ({'a': {'every': 3, 'start': 1}}, 2),
    (SELDOM, 2),
  ],
)
def test_a_shared_stage_changes_nothing_and_runs_once_if_due(turns, accumulate):
  runs, options = [], {'mesh': _mesh(), 'steps': 6, 'accumulate': accumulate}
  updates = _maker_and_critics(shared=True, runs=runs, **turns)
  state, history = _train(updates, **options)
  jax.effects_barrier()
  due = [any(u.is_due(i) for u in updates[:3]) for i in range(6)]
  assert len(runs) == accumulate * sum(due)
  alone = _maker_and_critics(shared=False, **turns)
  wanted, history_alone = _train(alone, **options)
  _assert_close(state.nets, wanted.nets, rtol=1e-5, atol=1e-6)
  _assert_close(history, history_alone, rtol=1e-4, atol=1e-6)


def test_a_shared_stage_draws_what_its_own_network_would():
  updates = _maker_and_critics(shared=True, noise=1.0)
  _, history = _train(updates, mesh=_mesh(2, 2, 2), accumulate=2)
  alone = _maker_and_critics(shared=False, noise=1.0)
  _, history_alone = _train(alone, mesh=_mesh(), accumulate=2)
  for one in history:
    for name in ('b/made', 'c/made'):
      np.testing.assert_allclose(one[name], one['a/made'], rtol=1e-5)
  apart = [abs(one['a/made'] - one['b/made']) for one in history_alone]
  assert max(apart) > 0.05
  idle = _maker_and_critics(shared=True, noise=1.0, a={'start': 1})
  _, history_idle = _train(idle, mesh=_mesh(), steps=1, accumulate=2)
  wanted = history_alone[0]['a/made']
  np.testing.assert_allclose(history[0]['b/made'], wanted, rtol=1e-4)
  np.testing.assert_allclose(history_idle[0]['b/made'], wanted, rtol=1e-4)


def test_critics_of_a_frozen_network_share_its_pass():
  updates = _maker_and_critics(shared=True)
  frozen = {'a': mesh_lib.unbox(updates[1].init(jax.random.key(4)))}
  critics = [updates[0], *updates[2:]]
  _, history = _train(critics, mesh=_mesh(), frozen=frozen)
  made = toy.Toy().apply({'params': frozen['a']}, toy.make_batch(0)['x'])
  assert history[0]['b/made'] == history[0]['c/made']
  np.testing.assert_allclose(history[0]['b/made'], made.mean(), rtol=1e-4)


def test_no_average_is_kept_where_none_is_wanted():
  updates = [toy.make_update(net='a'), toy.make_update(net='b', ema_decay=0.0)]
  state, _ = _train(updates, mesh=_mesh(), steps=2)
  both, none = state.nets['a'], state.nets['b']
  assert none.ema is None and none.averaged is none.params
  assert both.averaged is both.ema
  assert _differs(both.ema, both.params)
  count = len(jax.tree.leaves(both.params))
  assert len(jax.tree.leaves(both)) - len(jax.tree.leaves(none)) == count


def test_two_updates_of_one_name_are_refused():
  with pytest.raises(ValueError, match='distinct'):
    _train([toy.make_update(), toy.make_update()], mesh=_mesh())
