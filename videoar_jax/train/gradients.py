"""Losses and gradients of one update, averaged over the parts of a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.objectives.context import Context, Stage
from videoar_jax.train.state import Update

Metrics = dict[str, jax.Array]


def split_batch(batch: Any, parts: int) -> Any:
  """(b, …) -> (parts, b / parts, …), each part spread over all devices."""

  def split(x: jax.Array) -> jax.Array:
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    return mesh_lib.constrain(x, None, 'batch', *(None,) * (x.ndim - 2))

  return jax.tree.map(split, batch)


def run_stage(
  stage: Stage,
  readers: Sequence[Update],
  params: Any,
  parts: Any,
  context: Context,
) -> Any:
  """A stage's results, part by part; zeros where no reader is due."""

  def one(index: Any, part: Any) -> tuple[tuple[()], Any]:
    return (), stage.run(params, part, _of_part(context, index))

  def run() -> Any:
    return _over_parts(one, parts)[1]

  def wait() -> Any:
    return optax.tree_utils.tree_zeros_like(jax.eval_shape(run))

  if any(update.is_always_due for update in readers):
    return run()
  due = [update.is_due(context.step) for update in readers]
  return jax.lax.cond(jnp.any(jnp.array(due, bool)), run, wait)


def mean_gradients(
  update: Update, params: Any, parts: Any, context: Context
) -> tuple[tuple[jax.Array, Metrics, Any], Any]:
  """Loss, metrics and gradients, averaged over the parts of the batch.

  Returns:
    The three, and the results, part by part, of a stage that it runs.
  """

  def loss_of(params: Any, part: Any, context: Context) -> Any:
    part, shared = part
    if update.runs_stage:
      shared = update.stage.run(params, part, context)
    own = context.replace(shared=shared)
    loss, metrics = update.objective(params, part, own)
    return loss, (metrics, shared if update.runs_stage else None)

  gradient = jax.value_and_grad(loss_of, has_aux=True)

  def one(index: Any, part: Any) -> Any:
    found, grads = gradient(params, part, _of_part(context, index))
    loss, (metrics, results) = found
    return (loss, metrics, grads), results

  return _over_parts(one, parts)


def _of_part(context: Context, index: Any) -> Context:
  """The context of one part of the batch, with a key of its own."""
  return context.replace(rng=jax.random.fold_in(context.rng, index))


def _over_parts(one: Callable[[Any, Any], tuple[Any, Any]], parts: Any) -> Any:
  """Runs `one(index, part)`: means of the one, the other result in a row."""
  first = jax.tree.map(lambda x: x[0], parts)
  num_parts = jax.tree.leaves(parts)[0].shape[0]
  if num_parts == 1:
    found, rest = one(0, first)
    return found, jax.tree.map(lambda x: x[None], rest)

  def add(total: Any, indexed: tuple[jax.Array, Any]) -> tuple[Any, Any]:
    found, rest = one(*indexed)
    return jax.tree.map(jnp.add, total, found), rest

  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, jnp.float32), jax.eval_shape(one, 0, first)[0]
  )
  total, rest = jax.lax.scan(add, zeros, (jnp.arange(num_parts), parts))
  return jax.tree.map(lambda x: x / num_parts, total), rest
