"""Notices where a loss or a gradient jumps."""

import collections
import math

import numpy as np

_LEAST, _MOST = 50, 200  # steps that say what is usual
_FLOOR = 0.01  # deviations below this share of what is usual are taken as it


class Spikes:
  """What is usual of each of several numbers, and which ones are far above.

  A number is a spike where it is more than `factor` deviations above the median
  of the last 200; a deviation is 1.4826 times the median distance from it,
  which for normal noise is the standard deviation, and at least 1% of it. There
  are none before 50 numbers are known.
  """

  def __init__(self, factor: float):
    """Args: factor: deviations; 0: nothing is a spike."""
    self._factor = factor
    self._seen: dict[str, collections.deque[float]] = {}

  def see(self, name: str, value: float) -> float | None:
    """Takes a number; returns what is usual if this one is a spike."""
    if not self._factor or not math.isfinite(value):
      return None
    seen = self._seen.setdefault(name, collections.deque(maxlen=_MOST))
    usual = None
    if len(seen) >= _LEAST:
      middle = float(np.median(seen))
      deviation = 1.4826 * float(np.median(np.abs(np.subtract(seen, middle))))
      deviation = max(deviation, _FLOOR * abs(middle))
      if value > middle + self._factor * deviation:
        usual = middle
    seen.append(value)
    return usual
