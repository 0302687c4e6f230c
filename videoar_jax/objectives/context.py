"""What an objective may read besides its own parameters and its batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class Context:
  """The rest of the world as an objective sees it.

  Attributes:
    rng: typed key, of this update and step.
    nets: name -> parameters of the other networks and the frozen ones.
    step: steps done before this one, int32.
    averages: name -> running mean of a metric of this objective, float32; see
      `Update.averages`.
    shared: what the update's stage gave, see `Stage`; None without one.
  """

  rng: jax.Array
  nets: Mapping[str, Any] = flax.struct.field(default_factory=dict)
  step: jax.Array | int = 0
  averages: Mapping[str, jax.Array] = flax.struct.field(default_factory=dict)
  shared: Any = None


@dataclasses.dataclass(frozen=True)
class Stage:
  """Work of a training step that several updates share.

  It runs once in a step, and only if an update that reads it is due. The
  update of its own network, where that is due, is differentiated through it;
  the others get its values alone.

  Attributes:
    net: whose parameters it takes, in training or frozen.
    run: `(params, batch, context) -> results`, a tree of arrays; the context
      has the key and the other networks of that network's update. Where a
      batch is cut into parts, those of all parts are kept.
  """

  net: str
  run: Callable[[Any, Mapping[str, jax.Array], Context], Any]


Objective = Callable[
  [Any, Mapping[str, jax.Array], Context],
  tuple[jax.Array, dict[str, jax.Array]],
]
