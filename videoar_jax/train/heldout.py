"""Held-out metrics from the averaged weights."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from videoar_jax.core import placement, processes
from videoar_jax.core.compiler import jit
from videoar_jax.train.state import TrainState, Update, make_context
from videoar_jax.train.step import metric_prefix


def make_heldout(
  updates: Sequence[Update],
  *,
  batches: Callable[[], Iterable[Mapping[str, np.ndarray]]],
  mesh: Mesh,
  frozen: Mapping[str, Any] | None = None,
  seed: int = 0,
) -> Callable[[TrainState], dict[str, float]]:
  """Builds `evaluate(state) -> metrics`: means of the updates' objectives.

  Every call draws the same random numbers, so that two checkpoints differ by
  their weights alone.

  Args:
    updates: whose objectives are evaluated, all with averaged weights.
    batches: gives the same finite batches at each call.
    mesh: where the state lives.
    frozen: as for the training step.
    seed: of the random draws.
  """

  @jit
  def measure(
    state: TrainState, batch: Any, index: Any, frozen: Mapping[str, Any]
  ) -> dict[str, jax.Array]:
    nets = {name: net.params for name, net in state.nets.items()}
    world = {
      'key': jax.random.fold_in(jax.random.key(seed), index),
      'nets': {**frozen, **nets},
      'step': state.step,
    }
    values = {}
    for update in updates:
      context = make_context(
        update.net, averages=state.nets[update.net].averages, **world
      )
      if (stage := update.stage) is not None:
        own = make_context(stage.net, **world)
        shared = stage.run(world['nets'][stage.net], batch, own)
        context = context.replace(shared=shared)
      loss, metrics = update.objective(nets[update.net], batch, context)
      prefix = metric_prefix(updates, update)
      for name, value in {**metrics, 'loss': loss}.items():
        values[f'{prefix}{name}'] = value
    return values

  def evaluate(state: TrainState) -> dict[str, float]:
    # Optimisers are not needed, and may be most of the memory.
    state = state.replace(
      nets={
        name: net.replace(params=net.averaged, opt_state=(), ema=None)
        for name, net in state.nets.items()
      }
    )
    seen = []
    for index, batch in enumerate(_together(batches())):
      batch = {k: v for k, v in batch.items() if k != 'failed'}
      batch = placement.shard_batch(batch, mesh)
      number = placement.replicate(np.int32(index), mesh)
      with jax.set_mesh(mesh):
        values = measure(state, batch, number, frozen or {})
      seen.append(jax.device_get(values))
    if not seen:
      raise ValueError('no held-out batch; give at least 1 or do not evaluate')
    return {
      name: float(np.mean([values[name] for values in seen]))
      for name in seen[0]
    }

  return evaluate


def _together(batches: Iterable[Any]) -> Iterator[Any]:
  """Batches, as far as each process can make its own.

  Raises:
    ValueError: another process could not; what this one met is raised as it is.
  """
  batches = iter(batches)
  while True:
    batch = failure = None
    try:
      batch = next(batches, None)
    except Exception as error:  # the others must not wait for ever
      failure = error
    (failed,) = processes.agree(int(failure is not None))
    if failure is not None:
      raise failure
    if failed:
      raise ValueError('held-out data failed in another process; it says why')
    if batch is None:
      return
    yield batch
