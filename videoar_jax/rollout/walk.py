"""The rollout: block by block of a plan, and within a block unit by unit.

Blocks of equal shapes are scanned, the units of a block unrolled. A rollout can
stop after any block and go on from its state: in one go, in pieces, or a block
at a time, what is drawn is the same.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.kv_cache import KVCache
from videoar_jax.plan.place import (
  Loop,
  Place,
  block_units,
  loops,
  num_blocks,
  place,
  rolls,
)
from videoar_jax.plan.unit import Unit, UnitPlan

# What the unit's tokens start from -> (prediction, the unit's own keys and
# values).
Predict = Callable[[jax.Array], tuple[jax.Array, KVCache]]


class Family(Protocol):
  """What a rollout asks of a family of generators."""

  def prefill(
    self, params: Any, condition_bx: jax.Array, *, plan: UnitPlan
  ) -> tuple[KVCache, jax.Array | None]:
    """A cache for a plan with the prefix in it, and what `decode` is told."""

  def unconditional(self, condition_bx: jax.Array) -> jax.Array:
    """The condition "none" in the place of others."""

  def decode(
    self,
    params: Any,
    inputs_blx: jax.Array,
    cache: KVCache,
    *,
    place: Place,
    length_b: jax.Array | None,
  ) -> tuple[jax.Array, KVCache]:
    """The prediction of one unit (b, l, …), and its own keys and values."""

  def blank(self, plan: UnitPlan, batch: int) -> Any:
    """The canvas before the first unit: what later ones need to know."""

  def sources(
    self, key_b: jax.Array, block: jax.Array, *, plan: UnitPlan, loop: Loop
  ) -> tuple[Any, ...]:
    """The random numbers that decide each unit of a block."""

  def draw(
    self,
    predict: Predict,
    canvas: Any,
    source: Any,
    *,
    plan: UnitPlan,
    unit: Unit,
    given: Any,
    **drawing,
  ) -> tuple[Any, KVCache, Any]:
    """Draws a unit, or takes it as given.

    Returns:
      What was drawn; the unit's keys and values that later ones see, of the
      last call of `predict`; the canvas after it.
    """

  def made(self, canvas: Any) -> Any:
    """The latents of the block whose last unit was drawn, (b, …)."""


@flax.struct.dataclass
class State:
  """What the next block is drawn from; its size does not grow.

  Attributes:
    cache: keys and values of the prefix and of the units there is room for;
      with guidance each video's unconditional pass follows it in the batch.
    length_b: of the conditions, see `Family.prefill`.
    canvas: see `Family.blank`.
    block: the next one, int32.
    guided: whether an unconditional pass is kept beside the conditional one.
  """

  cache: KVCache
  length_b: jax.Array | None
  canvas: Any
  block: jax.Array
  guided: bool = flax.struct.field(pytree_node=False)


def begin(
  family: Family, params, *, plan: UnitPlan, condition_bx, guided: bool
) -> State:
  """Reads the prefix.

  Args:
    family: of the generator.
    params: its network's parameters.
    plan: of the blocks that are kept: the whole video, or the newest block and
      those it may see.
    condition_bx: classes or prompts.
    guided: see `State`.

  Raises:
    ValueError: a unit of the plan sees a later one.
  """
  if np.triu(plan.sees_uu, 1).any():
    raise ValueError(
      f'plan {plan.name}: a unit sees a later one, which a rollout has not yet'
    )
  batch = condition_bx.shape[0]
  if guided:
    nothing = family.unconditional(condition_bx)
    condition_bx = _both(condition_bx, nothing)
  cache, length_b = family.prefill(params, condition_bx, plan=plan)
  return State(
    cache=cache,
    length_b=length_b,
    canvas=family.blank(plan, batch),
    block=jnp.zeros((), jnp.int32),
    guided=guided,
  )


def advance(
  family: Family,
  params,
  state: State,
  *,
  plan: UnitPlan,
  loop: Loop,
  key_b: jax.Array,
  gamma_nts: jax.Array,
  stop: int | None = None,
  given: tuple | None = None,
  **drawing,
) -> tuple[State, tuple]:
  """Draws the next blocks, each from everything before it that is kept.

  Args:
    family: of the generator.
    params: its network's parameters.
    state: from `begin`, or from the call before.
    plan: as for `begin`.
    loop: of the blocks, one of `place.loops`.
    key_b: one key per sample, the same in all calls of one video.
    gamma_nts: strength of guidance of these blocks, by frame of the block (one
      stands for all) and scale; read only where the state is guided.
    stop: behind the last of these blocks, where that is known.
    given: for each unit of a block what `Family.draw` would draw, (n, b, …);
      it is then read instead.
    **drawing: how units are drawn, as the family understands it.

  Returns:
    The state after the blocks; for each unit of a block what was drawn, and
    the latents of the blocks, all (n, b, …).
  """

  def step(state: State, of_block):
    gamma_ts, given_u = of_block
    sources = None
    if given_u is None:
      sources = family.sources(key_b, state.block, plan=plan, loop=loop)
    drawn = []
    for number, unit in enumerate(block_units(plan, loop.first)):
      at = place(plan, loop, state.block, number, stop=stop)
      gamma_l = jnp.repeat(
        gamma_ts[:, unit.scale], unit.num_tokens // len(gamma_ts)
      )
      one, own, canvas = family.draw(
        functools.partial(_predict, family, params, state, at, gamma_l),
        state.canvas,
        None if sources is None else sources[number],
        plan=plan,
        unit=unit,
        given=None if given_u is None else given_u[number],
        **drawing,
      )
      # Read before it is written, or the compiler keeps a copy for readers.
      one, own, canvas = jax.lax.optimization_barrier((one, own, canvas))
      # Behind the prefix, which is what the cache holds besides the plan.
      offset = state.cache.tokens - plan.num_tokens + at.offset
      state = state.replace(cache=state.cache.write(own, offset), canvas=canvas)
      drawn.append(one)
    state = state.replace(block=state.block + 1)
    return state, (tuple(drawn), family.made(state.canvas))

  return jax.lax.scan(step, state, (jnp.asarray(gamma_nts), given))


def walk(
  family: Family,
  params,
  *,
  plan: UnitPlan,
  condition_bx: jax.Array,
  gamma_nts: jax.Array,
  guided: bool,
  given: tuple | None = None,
  **others,
) -> Iterator[tuple]:
  """Draws a whole video, loop by loop; see `begin` and `advance`.

  Args:
    gamma_nts: for all blocks of the video, the given ones included.
    given: of the first blocks, which come back as they are; all of the plan's
      first loop.
    **others: key_b and drawing of `advance`.

  Yields:
    For each piece of the video what `advance` drew.

  Raises:
    ValueError: the plan has another number of blocks, and does not roll; or
      more are given than its first loop has.
  """
  state = begin(
    family, params, plan=plan, condition_bx=condition_bx, guided=guided
  )
  num_given = 0 if given is None else given[0].shape[0]
  for loop, start, stop in _pieces(plan, len(gamma_nts), num_given):
    state, drawn = advance(
      family,
      params,
      state,
      plan=plan,
      loop=loop,
      gamma_nts=gamma_nts[start:stop],
      stop=stop,
      given=given if start < num_given else None,
      **others,
    )
    yield drawn


def _pieces(plan: UnitPlan, count: int, num_given: int) -> list[tuple]:
  """(loop, first block, behind the last) of what is drawn in one scan."""
  first, *rest = loops(plan)
  stop = count if rolls(plan) else first.count
  if not rolls(plan) and count != num_blocks(plan):
    raise ValueError(
      f'plan {plan.name}: it has {num_blocks(plan)} blocks, not {count}'
    )
  if num_given > stop:
    raise ValueError(f'plan {plan.name}: {num_given} blocks given of {stop}')
  cuts = sorted({0, num_given, stop})
  pieces = [(first, a, b) for a, b in zip(cuts, cuts[1:])]
  return pieces + [(x, x.first, x.first + x.count) for x in rest]


def _predict(
  family: Family, params, state: State, at: Place, gamma_l, inputs_blx
):
  """The prediction of a unit, guided where both passes are kept."""
  if state.guided:
    inputs_blx = _both(inputs_blx, inputs_blx)
  found, own = family.decode(
    params, inputs_blx, state.cache, place=at, length_b=state.length_b
  )
  if state.guided:
    conditional, without = found[::2], found[1::2]
    gamma_l = gamma_l.reshape(-1, *(1,) * (found.ndim - 2))
    found = gamma_l * conditional + (1.0 - gamma_l) * without
  return found, own


def _both(one_bx: jax.Array, other_bx: jax.Array) -> jax.Array:
  """The rows of two passes in one batch.

  The two of a video lie side by side, on one device: a mesh that splits the
  batch moves nothing between its devices.
  """
  return jnp.stack([one_bx, other_bx], 1).reshape(-1, *one_bx.shape[1:])
