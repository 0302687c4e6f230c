"""One jitted training step over a list of updates."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from videoar_jax.core import flops
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.compiler import options_here
from videoar_jax.objectives.context import Context, Stage
from videoar_jax.train import optimizer as optimizer_lib
from videoar_jax.train.gradients import (
  Metrics,
  mean_gradients,
  run_stage,
  split_batch,
)
from videoar_jax.train.state import (
  NetState,
  TrainState,
  Update,
  check_updates,
  make_context,
  net_optimizer,
)

StepFunction = Callable[
  [TrainState, Any, Mapping[str, Any]], tuple[TrainState, Metrics]
]


# Metrics that number the first array that is not finite, -1 if all are: among
# a network's gradients (or its squares), and a batch's; see `leaf_names`.
BAD_GRADIENT = 'bad_gradient'
BAD_INPUT = 'bad_input'

# An update's optimiser and its learning rate.
_Optimizer = tuple[optax.GradientTransformation, optax.Schedule]


def make_step(
  updates: Sequence[Update],
  *,
  num_steps: int,
  mesh: Mesh,
  accumulate: int = 1,
) -> StepFunction:
  """Builds `step(state, batch, frozen) -> (state, metrics)`.

  All updates of a step, and the stages that they share, see the parameters as
  they stood when it began, so that their order in the list changes nothing. An
  update whose loss or gradient is not finite is not applied (parameters,
  optimiser and average stay) and counts in `skipped_updates`; the step number
  goes on.

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
    several updates, `bad_gradient` among them, and `skipped_updates` and
    `bad_input`. Those of an update whose turn it is not (`every`, `start`) are
    NaN; `due_metrics` drops them.
  Raises:
    ValueError: updates that cannot run together, or accumulate below 1.
  """
  compiled: dict[Any, Any] = {}
  of_state = _make_jit(
    updates, num_steps=num_steps, mesh=mesh, accumulate=accumulate
  )

  def run(
    state: TrainState, batch: Any, frozen: Mapping[str, Any]
  ) -> tuple[TrainState, Metrics]:
    with jax.set_mesh(mesh):
      if 'step' not in compiled:
        compiled['step'] = of_state(state)
      return compiled['step'](state, batch, frozen)

  return run


def lower_step(
  updates: Sequence[Update],
  state: TrainState,
  batch: Any,
  frozen: Mapping[str, Any],
  *,
  mesh: Mesh,
  **others: Any,
) -> jax.stages.Lowered:
  """The step of `make_step`, lowered for shapes with shardings, not run."""
  of_state = _make_jit(updates, mesh=mesh, **others)
  with jax.set_mesh(mesh):
    return of_state(state).lower(state, batch, frozen)


def step_flops(
  updates: Sequence[Update],
  state: TrainState,
  batch: Any,
  frozen: Mapping[str, Any],
  *,
  step: int,
  accumulate: int = 1,
) -> float:
  """Operations of a step's losses and gradients, see `core.flops`.

  They are the products of all networks that take part, frozen ones too, forward
  and backward, over the whole batch; optimisers' own are left out.

  Args:
    updates: what is trained.
    state: of training, of arrays or shapes.
    batch: the global one, of arrays or shapes.
    frozen: networks that are used and not trained.
    step: steps done before, which says whose turn it is.
    accumulate: parts that the batch is cut into.
  """
  due = [
    dataclasses.replace(update, every=1, start=0)
    for update in updates
    if update.is_due(step)
  ]
  bare = optax.GradientTransformation(
    init=lambda params: (), update=lambda grads, state, params: (grads, state)
  )
  optimizers = {update.net: (bare, lambda count: 0.0) for update in due}

  def run(state: TrainState, batch: Any, frozen: Mapping[str, Any]) -> Any:
    parts = split_batch(batch, accumulate)
    return _run_updates(due, optimizers, state, parts, frozen)

  return flops.count(run, state, batch, frozen)


def _make_jit(
  updates: Sequence[Update], *, num_steps: int, mesh: Mesh, accumulate: int = 1
) -> Callable[[TrainState], Any]:
  """Builds what jits the step for a state; see `make_step`."""
  check_updates(updates)
  if accumulate < 1:
    raise ValueError(f'accumulate={accumulate}: wanted at least 1')
  optimizers = {
    update.net: _make_optimizer(update, num_steps) for update in updates
  }

  def step(
    state: TrainState, batch: Any, frozen: Mapping[str, Any]
  ) -> tuple[TrainState, Metrics]:
    parts = split_batch(batch, accumulate)
    nets, metrics = _run_updates(updates, optimizers, state, parts, frozen)
    return state.replace(step=state.step + 1, nets=nets), metrics

  def of_state(state: TrainState) -> Any:
    # The state keeps the sharding it was born with, whatever the compiler
    # would prefer, so that one compiled step serves the whole run.
    places = jax.tree.map(lambda x: x.sharding, state)
    return jax.jit(
      step,
      compiler_options=options_here(),
      donate_argnums=0,
      out_shardings=(places, mesh_lib.replicated(mesh)),
    )

  return of_state


def _make_optimizer(update: Update, num_steps: int) -> _Optimizer:
  schedule = optimizer_lib.make_schedule(
    update.optimizer, num_updates=update.num_updates(num_steps)
  )
  return net_optimizer(update, num_steps=num_steps), schedule


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


def leaf_names(tree: Any) -> list[str]:
  """What the arrays of a tree are called, in order: 'layers/mlp/w_in'."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [
    jax.tree_util.keystr(x, simple=True, separator='/') for x, _ in leaves
  ]


def finite_leaves(tree: Any) -> jax.Array:
  """Of each array of a tree, whether all its numbers are finite: bool (n,)."""
  leaves = jax.tree.leaves(tree)
  return jnp.stack([jnp.isfinite(x).all() for x in leaves])


def _finite_squares(tree: Any) -> jax.Array:
  """Of each array, whether the sum of squares is finite, as in a norm."""
  leaves = jax.tree.leaves(tree)
  return jnp.stack([jnp.isfinite(jnp.sum(jnp.square(x))) for x in leaves])


def _first(is_bad: jax.Array) -> jax.Array:
  """The index of the first that is true, float32; -1 if none is."""
  index = jnp.where(is_bad.any(), jnp.argmax(is_bad), -1)
  return index.astype(jnp.float32)


def _run_updates(
  updates: Sequence[Update],
  optimizers: Mapping[str, _Optimizer],
  state: TrainState,
  parts: Any,
  frozen: Mapping[str, Any],
) -> tuple[dict[str, NetState], Metrics]:
  """All networks' next states, and the metrics of the step."""
  key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
  params = {**frozen, **{name: net.params for name, net in state.nets.items()}}

  def context_of(net: str, **rest: Any) -> Context:
    return make_context(net, key=key, nets=params, step=state.step, **rest)

  def run(stage: Stage) -> Any:
    readers = [u for u in updates if u.stage == stage and not u.runs_stage]
    context = context_of(stage.net)
    return run_stage(stage, readers, params[stage.net], parts, context)

  nets, metrics, skipped = {}, {}, jnp.zeros((), jnp.float32)
  shared = {None: None}
  # Those that run a stage come first: the others read what it gave.
  for update in sorted(updates, key=lambda u: not u.runs_stage):
    stage, old = update.stage, state.nets[update.net]
    if not update.runs_stage and stage not in shared:
      shared[stage] = run(stage)
    nets[update.net], own, results = _apply_update(
      update,
      optimizers[update.net],
      old=old,
      parts=(parts, shared.get(stage)),
      context=context_of(update.net, averages=old.averages),
      idle=functools.partial(run, stage),
    )
    shared.setdefault(stage, results)
    skipped += own.pop('skipped')
    prefix = metric_prefix(updates, update)
    metrics.update({f'{prefix}{name}': own[name] for name in own})
  inputs = finite_leaves(parts)
  metrics |= {'skipped_updates': skipped, BAD_INPUT: _first(~inputs)}
  return nets, metrics


def _apply_update(
  update: Update,
  optimizer: _Optimizer,
  *,
  old: NetState,
  parts: Any,
  context: Context,
  idle: Callable[[], Any],
) -> tuple[NetState, Metrics, Any]:
  """One network's next state and metrics, if it is its turn.

  Args:
    update: the network's.
    optimizer: its optimiser and learning rate.
    old: its state.
    parts: of the batch, and of the results of its stage where it only reads
      them.
    context: of its objective.
    idle: gives the results of the stage that it runs, where it is not due.
  Returns:
    The two, and the results of the stage that it runs.
  """

  rule, schedule = optimizer

  def run(old: NetState) -> tuple[NetState, Metrics, Any]:
    found, results = mean_gradients(update, old.params, parts, context)
    loss, metrics, grads = found
    norm = optax.global_norm(grads)
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    changes, opt_state = rule.update(grads, old.opt_state, old.params)
    params = optax.apply_updates(old.params, changes)
    count = optax.tree_utils.tree_get(old.opt_state, 'count', filtering=_adam)
    ema, decay = old.ema, update.optimizer.ema_decay
    new = NetState(
      params=params,
      opt_state=opt_state,
      ema=None if ema is None else _average(decay, count, ema, params),
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
      BAD_GRADIENT: _first(~_finite_squares(grads)),
    }
    own = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), own)
    return new, own, results

  if update.is_always_due:
    return run(old)

  def wait(old: NetState) -> tuple[NetState, Metrics, Any]:
    shapes = jax.eval_shape(run, old)[1]
    own = {name: jnp.full((), jnp.nan, jnp.float32) for name in shapes}
    own['skipped'] = jnp.zeros((), jnp.float32)
    return old, own, idle() if update.runs_stage else None

  return jax.lax.cond(update.is_due(context.step), run, wait, old)


def _adam(path: Any, value: Any) -> bool:
  """Picks Adam's count among the counts of an optimiser's state."""
  del value
  return any(
    getattr(key, 'tuple_name', '') == 'ScaleByAdamState' for key in path
  )


def _average(decay: float, count: jax.Array, old: Any, new: Any) -> Any:
  """Moves averaged parameters, or metrics, towards the new ones, in float32.

  The decay grows as (1 + n) / (10 + n) with the number of updates up to its
  value, so that a short run does not average over its random start.
  """
  if decay == 0:
    return new
  decay = jnp.minimum(decay, (1.0 + count) / (10.0 + count))
  return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), old, new)
