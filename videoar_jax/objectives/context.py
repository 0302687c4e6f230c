"""What an objective may read besides its own parameters and its batch."""

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
  """

  rng: jax.Array
  nets: Mapping[str, Any] = flax.struct.field(default_factory=dict)
  step: jax.Array | int = 0
  averages: Mapping[str, jax.Array] = flax.struct.field(default_factory=dict)


Objective = Callable[
  [Any, Mapping[str, jax.Array], Context],
  tuple[jax.Array, dict[str, jax.Array]],
]
