"""The figures of several draws as one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Figures that each draw has, where there are any.
AVERAGED = (
  'fvd',
  'fvd_inf',
  'kvd',
  'kvd_stderr',
  'psnr',
  'ssim',
  'lpips',
  'identical_frames',
  'class_accuracy',
  'class_accuracy_real',
)
_FACTS = ('seed', 'videos_substituted')
_NO_SPREAD = ('kvd_stderr', 'identical_frames')
# Entries of a result that are of the first draw alone.
_FIRST = (
  'halves',
  'i3d_classes',
  'i3d_classes_real',
  'baselines',
  'h264',
  'probe',
  'memorisation',
  'intervals',
  'between_groups',
  'bit_entropy',
  'bit_entropy_least',
  'class_accuracy_by_class',
  'class_accuracy_real_by_class',
  'videos_substituted',
)


def combined(
  first: dict[str, Any], figures: Sequence[dict[str, Any]]
) -> dict[str, Any]:
  """The result of several draws.

  Args:
    first: the result of the first one.
    figures: of each draw its `seed`, and among others those of `AVERAGED`.
  Returns:
    `first`, in which the figures of `AVERAGED`, and `gfvd` or `rfvd`, are means
    over the draws (`kvd_stderr` too: that of one draw); `repeats`, the figures
    of each draw; by figure `…_sd`, the standard deviation over draws, None of
    one draw; and of several draws `of_first_repeat`, the names of what is of
    the first alone.
  """
  result = {name: value for name, value in first.items() if name != 'seed'}
  for name in AVERAGED:
    if name not in first:
      continue
    values = [x[name] for x in figures]
    if len(values) > 1:
      known = all(value is not None for value in values)
      result[name] = float(np.mean(values)) if known else None
    if name not in _NO_SPREAD:
      result[f'{name}_sd'] = _spread(values)
  for name in ('gfvd', 'rfvd'):
    if name in first:
      result[name] = result['fvd']
  result['repeats'] = [
    {name: x[name] for name in (*_FACTS, *AVERAGED) if name in x}
    for x in figures
  ]
  if len(figures) > 1:
    result['of_first_repeat'] = [name for name in _FIRST if name in first]
  return result


def _spread(values: list[float | None]) -> float | None:
  if len(values) < 2 or any(value is None for value in values):
    return None
  with np.errstate(invalid='ignore'):  # of infinite ones
    return float(np.std(values, ddof=1))
