"""Where the time of a run goes, and how fast its steps go."""

import contextlib
import time
from collections.abc import Iterator

import jax
from jax.sharding import Mesh

from videoar_jax.core.chips import chip_of

BEGIN = 'begin'
COMPILE = 'compile'
STEPS = 'steps'
DATA = 'data'
EVALUATE = 'evaluate'
SAVE = 'save'
KINDS = (BEGIN, COMPILE, STEPS, DATA, EVALUATE, SAVE)


class Clock:
  """Seconds by what they are spent on; at any time that is one thing.

  Attributes:
    kind: what the time is spent on now.
    events: how often anything was told; stands still while a run hangs.
  """

  def __init__(self):
    self.kind, self.events = BEGIN, 0
    self._at = time.monotonic()
    self._seconds = dict.fromkeys(KINDS, 0.0)

  def begin(self, kind: str) -> None:
    """From now on the time is spent on another thing."""
    now = time.monotonic()
    self._seconds[self.kind] += now - self._at
    self._at, self.kind = now, kind
    self.events += 1

  def step(self) -> None:
    """A step has ended, or one before it."""
    self.events += 1

  @contextlib.contextmanager
  def spending(self, kind: str) -> Iterator[None]:
    """Within, the time is spent on another thing."""
    before = self.kind
    self.begin(kind)
    try:
      yield
    finally:
      self.begin(before)

  def move(self, seconds: float, *, to: str) -> None:
    """Counts some of what was just spent on steps as spent on another thing."""
    if self.kind == STEPS:
      self._seconds[STEPS] -= seconds
      self._seconds[to] += seconds

  def seconds(self) -> dict[str, float]:
    """What was spent on each kind so far."""
    self.begin(self.kind)
    return dict(self._seconds)

  def training_s(self) -> float:
    """What was spent on steps, compilation and waits for data included."""
    seconds = self.seconds()
    return sum(seconds[kind] for kind in (COMPILE, STEPS, DATA))


class Pace:
  """How fast steps go since the last line of metrics."""

  def __init__(self, clock: Clock, mesh: Mesh):
    self._clock, self._device = clock, mesh.local_devices[0]
    self._chip = chip_of(self._device)
    self._chips = mesh.size / (self._chip.devices if self._chip else 1)
    self.restart()

  def restart(self) -> None:
    """Begins anew."""
    self._began_s = self._clock.training_s()
    self._steps, self._clips, self._flops, self._data_wait_s = 0, 0, 0.0, 0.0

  def add(self, *, clips: int, flops: float) -> None:
    """Counts a step: clips of all processes, operations of all devices."""
    self._steps += 1
    self._clips += clips
    self._flops += flops

  def wait(self, seconds: float, *, idle: bool) -> None:
    """Counts a wait for a batch; idle: the devices had nothing left to do."""
    self._data_wait_s += seconds
    if idle:
      self._clock.move(seconds, to=DATA)

  @property
  def steps(self) -> int:
    return self._steps

  def figures(self) -> dict[str, float]:
    """Of the mean step: see docs/monitoring.md.

    `mfu` is there where the chip is known, `tflops_per_chip` where operations
    are counted, `memory_peak_bytes` where the device tells it.
    """
    steps = max(self._steps, 1)
    seconds = (self._clock.training_s() - self._began_s) / steps
    found = {
      'clips_per_s': self._clips / steps / seconds,
      'step_s': seconds,
      'data_wait_s': self._data_wait_s / steps,
    }
    if self._flops:
      rate = self._flops / steps / seconds / self._chips
      found['tflops_per_chip'] = rate / 1e12
      if self._chip:
        found['mfu'] = rate / self._chip.flops_per_s
    if peak := peak_bytes(self._device):
      found['memory_peak_bytes'] = peak
    return found


def peak_bytes(device: jax.Device) -> int | None:
  """The most memory a device has held; None where it is the host's."""
  return (device.memory_stats() or {}).get('peak_bytes_in_use')
