"""Whether arrays are those of a network."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from videoar_jax.core.manifest import CheckpointError


def check_fits(
  given: Mapping[str, Any], wanted: Mapping[str, Any], *, where: str, fix: str
) -> None:
  """Checks arrays by name.

  Args:
    given: name -> NumPy array.
    wanted: name -> anything with shape and dtype.
    where: what to call them: 'runs/x: autoencoder'.
    fix: what the user can do.
  Raises:
    CheckpointError: an array is missing, unknown, of another shape or dtype,
      or holds NaN or infinity.
  """
  faults = [f'{name} is missing' for name in wanted if name not in given]
  faults += [f'{name} is unknown' for name in given if name not in wanted]
  for name in given.keys() & wanted.keys():
    if fault := _misfit(given[name], wanted[name]):
      faults.append(f'{name} {fault}')
  if faults:
    more = f', and {len(faults) - 1} more arrays' if len(faults) > 1 else ''
    raise CheckpointError(f'{where}: {min(faults)}{more}; {fix}')


def _misfit(x: np.ndarray, wanted: Any) -> str:
  if x.shape != wanted.shape or x.dtype != wanted.dtype:
    return (
      f'is {x.dtype}{list(x.shape)}, wanted {wanted.dtype}{list(wanted.shape)}'
    )
  # Where the sum is finite, so is each number.
  with np.errstate(invalid='ignore'):
    finite = np.isfinite(np.sum(x, dtype=np.float64))
  return '' if finite else 'holds NaN or infinity'
