"""One jitted training step over a list of updates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.objectives.context import Context
from videoar_jax.train import optimizer as optimizer_lib
from videoar_jax.train.state import (
  NetState,
  TrainState,
  Update,
  check_updates,
  named_key,
  net_optimizer,
)

Metrics = dict[str, jax.Array]
StepFunction = Callable[
  [TrainState, Any, Mapping[str, Any]], tuple[TrainState, Metrics]
]


def make_step(
  updates: Sequence[Update],
  *,
  num_steps: int,
  mesh: Mesh,
  accumulate: int = 1,
) -> StepFunction:
  """Builds `step(state, batch, frozen) -> (state, metrics)`.

  All updates of a step see the parameters as they stood when it began, so
  that their order in the list changes nothing. An update whose loss or
  gradient is not finite is not applied (parameters, optimiser and average
  stay) and counts in `skipped_updates`; the step number goes on.

  Args:
    updates: what is trained.
    num_steps: of the whole run, for the learning-rate schedules.
    mesh: where state and batch live.
    accumulate: parts that the batch is cut into; gradients, losses and
      metrics are averaged over them. Each part gets its own random key.
  Returns:
    A function that donates `state`. `batch` is a tree of arrays, first
    dimension the global batch; `frozen` maps names to parameters that are
    not trained. Metrics are float32 scalars: `loss`, `grad_norm`,
    `learning_rate` and the objective's own, under `net/` if there are
    several updates, and `skipped_updates`. Those of an update whose turn it
    is not (`every`, `start`) are NaN; `due_metrics` drops them.
  Raises:
    ValueError: updates that cannot run together, or accumulate below 1.
  """
  check_updates(updates)
  if accumulate < 1:
    raise ValueError(f'accumulate={accumulate}: wanted at least 1')
  optimizers = {u.net: net_optimizer(u, num_steps=num_steps) for u in updates}
  schedules = {
    u.net: optimizer_lib.make_schedule(
      u.optimizer, num_updates=u.num_updates(num_steps)
    )
    for u in updates
  }

  def step(
    state: TrainState, batch: Any, frozen: Mapping[str, Any]
  ) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    parts = _split(batch, accumulate)
    nets, metrics, skipped = {}, {}, jnp.zeros((), jnp.float32)
    for update in updates:
      others = {n: s.params for n, s in state.nets.items() if n != update.net}
      nets[update.net], own = _apply_update(
        update,
        optimizers[update.net],
        schedules[update.net],
        state=state,
        parts=parts,
        key=named_key(key, update.net),
        nets={**frozen, **others},
      )
      skipped += own.pop('skipped')
      prefix = metric_prefix(updates, update)
      metrics.update({f'{prefix}{name}': own[name] for name in own})
    metrics['skipped_updates'] = skipped
    return state.replace(step=state.step + 1, nets=nets), metrics

  # The state keeps the sharding it was born with, whatever the compiler
  # would prefer, so that one compiled step serves the whole run.
  compiled: dict[Any, Any] = {}

  def run(
    state: TrainState, batch: Any, frozen: Mapping[str, Any]
  ) -> tuple[TrainState, Metrics]:
    with jax.set_mesh(mesh):
      if 'step' not in compiled:
        places = jax.tree.map(lambda x: x.sharding, state)
        compiled['step'] = jax.jit(
          step,
          donate_argnums=0,
          out_shardings=(places, mesh_lib.replicated(mesh)),
        )
      return compiled['step'](state, batch, frozen)

  return run


def metric_prefix(updates: Sequence[Update], update: Update) -> str:
  """What an update's metrics begin with: nothing if it is the only one."""
  return f'{update.net}/' if len(updates) > 1 else ''


def due_metrics(
  updates: Sequence[Update], metrics: Mapping[str, Any], *, step: int
) -> dict[str, Any]:
  """Drops the metrics of updates that did not run in step `step` (0-based)."""
  idle = tuple(
    metric_prefix(updates, update)
    for update in updates
    if not update.is_due(step)
  )
  return {k: v for k, v in metrics.items() if not (idle and k.startswith(idle))}


def _split(batch: Any, parts: int) -> Any:
  """(b, …) -> (parts, b / parts, …), each part spread over all devices."""

  def split(x: jax.Array) -> jax.Array:
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    return mesh_lib.constrain(x, None, 'batch', *(None,) * (x.ndim - 2))

  return jax.tree.map(split, batch)


def _apply_update(
  update: Update,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  *,
  state: TrainState,
  parts: Any,
  key: jax.Array,
  nets: Mapping[str, Any],
) -> tuple[NetState, Metrics]:
  """One network's next state and metrics, if it is its turn."""
  old = state.nets[update.net]

  def run(old: NetState) -> tuple[NetState, Metrics]:
    context = Context(
      rng=key, nets=nets, step=state.step, averages=old.averages
    )
    loss, metrics, grads = _mean_gradients(update, old.params, parts, context)
    norm = optax.global_norm(grads)
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    changes, opt_state = optimizer.update(grads, old.opt_state, old.params)
    params = optax.apply_updates(old.params, changes)
    count = optax.tree_utils.tree_get(old.opt_state, 'count', filtering=_adam)
    new = NetState(
      params=params,
      opt_state=opt_state,
      ema=_average(update.optimizer.ema_decay, count, old.ema, params),
      averages={
        name: _average(decay, count, old.averages[name], metrics[name])
        for name, decay in update.averages.items()
      },
    )
    new = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
    own = {
      **metrics,
      'loss': loss,
      'grad_norm': norm,
      'learning_rate': schedule(count + 1),
      'skipped': 1.0 - good,
    }
    return new, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), own)

  if update.every == 1 and not update.start:
    return run(old)

  def wait(old: NetState) -> tuple[NetState, Metrics]:
    shapes = jax.eval_shape(run, old)[1]
    own = {name: jnp.full((), jnp.nan, jnp.float32) for name in shapes}
    return old, {**own, 'skipped': jnp.zeros((), jnp.float32)}

  return jax.lax.cond(update.is_due(state.step), run, wait, old)


def _adam(path: Any, value: Any) -> bool:
  """Picks Adam's count among the counts of an optimiser's state."""
  del value
  return any(
    getattr(key, 'tuple_name', '') == 'ScaleByAdamState' for key in path
  )


def _mean_gradients(
  update: Update, params: Any, parts: Any, context: Context
) -> tuple[jax.Array, Metrics, Any]:
  """Loss, metrics and gradients, averaged over the parts of the batch."""
  gradient = jax.value_and_grad(update.objective, has_aux=True)
  num_parts = jax.tree.leaves(parts)[0].shape[0]

  def one(index: Any, part: Any) -> tuple[jax.Array, Metrics, Any]:
    own = context.replace(rng=jax.random.fold_in(context.rng, index))
    (loss, metrics), grads = gradient(params, part, own)
    return loss, metrics, grads

  if num_parts == 1:
    return one(0, jax.tree.map(lambda x: x[0], parts))

  def add(total: Any, indexed: tuple[jax.Array, Any]) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, one(*indexed)), None

  first = jax.tree.map(lambda x: x[0], parts)
  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, jnp.float32), jax.eval_shape(one, 0, first)
  )
  total, _ = jax.lax.scan(add, zeros, (jnp.arange(num_parts), parts))
  return jax.tree.map(lambda x: x / num_parts, total)


def _average(decay: float, count: jax.Array, old: Any, new: Any) -> Any:
  """Moves averaged parameters, or metrics, towards the new ones, in float32.

  The decay grows as (1 + n) / (10 + n) with the number of updates up to its
  value, so that a short run does not average over its random start.
  """
  if decay == 0:
    return new
  decay = jnp.minimum(decay, (1.0 + count) / (10.0 + count))
  return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), old, new)
