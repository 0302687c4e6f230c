"""What training carries from step to step, and how it is born sharded."""

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.objectives.context import Context, Objective, Stage
from videoar_jax.train import optimizer as optimizer_lib

Params = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """Another run's network, whose weights one begins with.

  Attributes:
    path: of the run, anything that `--checkpoint` takes.
    recipe: what it must have trained.
    net: the network's name there.
    optional: where there is none of that name, begin fresh.
  """

  path: str
  recipe: str
  net: str
  optional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Update:
  """One network, what it minimises, and how.

  Attributes:
    net: the network's name in `TrainState.nets`.
    init: `(key) -> params`, float32, a plain dict whose arrays may sit in
      flax `LogicallyPartitioned` boxes, by which they are placed.
    origin: whose weights take the place of these; None: nobody's.
    stage: what it shares with other updates, which hold the same one; its
      objective reads the results as `context.shared`.
    objective: `(params, batch, context) -> (loss, metrics)`, scalars; see
      `objectives.context`.
    optimizer: its optimiser, and whether an average is kept.
    every: it runs once in so many steps.
    start: the first step in which it may run, counted from 0.
    averages: metric -> decay of its running mean, which the objective reads
      in later steps. The decay grows up to its value as that of the averaged
      parameters does.
  """

  net: str
  init: Callable[[jax.Array], Params]
  origin: Origin | None = None
  stage: Stage | None = None
  objective: Objective
  optimizer: optimizer_lib.OptimizerConfig
  every: int = 1
  start: int = 0
  averages: Mapping[str, float] = dataclasses.field(default_factory=dict)

  @property
  def runs_stage(self) -> bool:
    """Whether it is differentiated through its stage."""
    return self.stage is not None and self.stage.net == self.net

  @property
  def is_always_due(self) -> bool:
    """Whether it runs in each step."""
    return self.every == 1 and not self.start

  def is_due(self, step: Any) -> Any:
    """Whether it runs in a step, an int or an array, counted from 0."""
    return (step >= self.start) & ((step - self.start) % self.every == 0)

  def num_updates(self, num_steps: int) -> int:
    """How often it runs in a whole run."""
    return max(0, math.ceil((num_steps - self.start) / self.every))


@flax.struct.dataclass
class NetState:
  """A network in training.

  Attributes:
    params: float32.
    opt_state: of its optimiser.
    ema: averaged parameters; None where no average is kept.
    averages: metric -> running mean, float32 scalars.
  """

  params: Params
  opt_state: optax.OptState
  ema: Params | None
  averages: dict[str, jax.Array]

  @property
  def averaged(self) -> Params:
    """The averaged parameters, or the last ones where none are kept."""
    return self.params if self.ema is None else self.ema


@flax.struct.dataclass
class TrainState:
  """Everything a step reads and writes besides the batch.

  Attributes:
    step: int32, steps done, which is also the position in the data.
    nets: network name -> NetState.
    rng: uint32 data of the run's key; step keys are folded in, never split.
  """

  step: jax.Array
  nets: dict[str, NetState]
  rng: jax.Array


def net_optimizer(
  update: Update, *, num_steps: int
) -> optax.GradientTransformation:
  """An update's optimiser for a run of `num_steps` steps."""
  params = jax.eval_shape(update.init, jax.random.key(0))
  return optimizer_lib.make_optimizer(
    update.optimizer,
    num_updates=update.num_updates(num_steps),
    axes=mesh_lib.logical_axes(params),
  )


def named_key(key: jax.Array, name: str) -> jax.Array:
  """A key for a named purpose: the same name gives the same key."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def make_context(
  net: str, *, key: jax.Array, nets: Mapping[str, Params], **rest: Any
) -> Context:
  """What a network's objective, or a stage on it, reads.

  Args:
    net: its name.
    key: of the step.
    nets: parameters of all networks, frozen ones too.
    **rest: further fields.
  """
  others = {name: params for name, params in nets.items() if name != net}
  return Context(rng=named_key(key, net), nets=others, **rest)


def abstract_state(
  updates: Sequence[Update], *, seed: int, num_steps: int, mesh: Mesh
) -> TrainState:
  """Shapes, dtypes and shardings of the state, without making an array."""
  check_updates(updates)
  boxed = jax.eval_shape(_boxed_init(updates, seed=seed, num_steps=num_steps))
  places = mesh_lib.shardings(boxed, mesh)
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    mesh_lib.unbox(boxed),
    places,
  )


def create_state(
  updates: Sequence[Update], *, seed: int, num_steps: int, mesh: Mesh
) -> TrainState:
  """Makes the first state, each array born on the devices that hold it.

  Args:
    updates: the networks in training.
    seed: of the initial parameters and of every random draw in training.
    num_steps: of the whole run; only learning-rate schedules depend on it.
    mesh: where the state lives.
  Raises:
    ValueError: two updates of one name, or parameters that are not float32.
  """
  abstract = abstract_state(updates, seed=seed, num_steps=num_steps, mesh=mesh)
  _check_float32(abstract)
  init = _boxed_init(updates, seed=seed, num_steps=num_steps)
  places = jax.tree.map(lambda x: x.sharding, abstract)
  with jax.set_mesh(mesh):
    return jax.jit(lambda: mesh_lib.unbox(init()), out_shardings=places)()


def _boxed_init(
  updates: Sequence[Update], *, seed: int, num_steps: int
) -> Callable[[], TrainState]:
  """The initial state with logical axes: optimisers copy the boxes along."""

  def init() -> TrainState:
    key = jax.random.key(seed)
    nets = {}
    for update in updates:
      params = update.init(named_key(key, update.net))
      optimizer = net_optimizer(update, num_steps=num_steps)
      nets[update.net] = NetState(
        params=params,
        opt_state=optimizer.init(params),
        ema=(
          jax.tree.map(jnp.copy, params) if update.optimizer.ema_decay else None
        ),
        averages={name: jnp.zeros(()) for name in sorted(update.averages)},
      )
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      nets=nets,
      rng=jax.random.key_data(key),
    )

  return init


def check_updates(updates: Sequence[Update]) -> None:
  """Raises a ValueError if a list of updates cannot be run."""
  names = [update.net for update in updates]
  if not names or len(set(names)) != len(names):
    raise ValueError(
      f'updates of nets {names}: wanted distinct names, not none'
    )
  for update in updates:
    if update.every < 1 or update.start < 0:
      raise ValueError(
        f'every={update.every}, start={update.start} of {update.net}: wanted '
        'every >= 1 and start >= 0'
      )
  if not any(update.is_always_due for update in updates):
    raise ValueError('no update runs in each step; one must')


def _check_float32(state: TrainState) -> None:
  for name, net in state.nets.items():
    for path, leaf in jax.tree_util.tree_leaves_with_path(net.params):
      if leaf.dtype != jnp.float32:
        raise ValueError(
          f'{name}{jax.tree_util.keystr(path)} is {leaf.dtype}; parameters '
          'are float32 (compute may be bfloat16)'
        )
