"""The least time that a program can take, by the rates that makers state.

Products of matrices, the main memory and the network are each taken at their
full rate and all at once; only collectives that nothing runs beside are waited
for. Real steps take longer.
"""

import dataclasses
from collections.abc import Sequence

from videoar_jax.core.chips import Chip
from videoar_jax.forecast.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Bounds:
  """Seconds of a program on each chip.

  Attributes:
    compute_s: of the model's own products.
    memory_s: of what is read from the main memory, and written to it.
    network_s: of all collectives.
    waiting_s: of those that nothing runs beside.
  """

  compute_s: float
  memory_s: float
  network_s: float
  waiting_s: float

  @property
  def least_s(self) -> float:
    """All together."""
    return max(self._beside.values()) + self.waiting_s

  @property
  def bound_by(self) -> str:
    """Which of them takes the longest."""
    longest = max(self._beside, key=self._beside.__getitem__)
    waits = self.waiting_s > self._beside[longest]
    return 'network' if waits else longest

  @property
  def _beside(self) -> dict[str, float]:
    """Seconds of what goes on at once."""
    return {
      'compute': self.compute_s,
      'memory': self.memory_s,
      'network': self.network_s - self.waiting_s,
    }

  @property
  def most_mfu(self) -> float:
    """The share of the chip's rate that the model can have."""
    return self.compute_s / self.least_s if self.least_s else 0.0


def make_bounds(
  chip: Chip,
  collectives: Sequence[Collective],
  *,
  flops: float,
  memory_bytes: float,
) -> Bounds:
  """The bounds of a program.

  Args:
    chip: that it runs on, a TPU's.
    collectives: of a device.
    flops: of the model, of a device.
    memory_bytes: that a device reads and writes.
  """
  share = chip.devices

  def seconds(one: Collective) -> float:
    # What is stated of links counts both directions.
    within = one.within_bytes / (chip.link_bytes_per_s / 2 / share)
    if one.slices == 1:
      return within
    return max(within, one.between_bytes / (chip.slice_bytes_per_s / share))

  return Bounds(
    compute_s=flops / (chip.flops_per_s / share),
    memory_s=memory_bytes / (chip.copy_bytes_per_s / share),
    network_s=sum(map(seconds, collectives)),
    waiting_s=sum(seconds(one) for one in collectives if not one.hidden),
  )
