"""Arguments of the API: their kinds, and what is wrong with others."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from videoar_jax.core import fields, spread

Path = str | os.PathLike
Condition = str | int | Sequence[str | int] | None
Size = tuple[int, int]


def path(name: str, value: Any) -> Path:
  """The name of a file or a folder."""
  if not isinstance(value, Path) or not os.fspath(value):
    raise ValueError(f'{name}={value!r}: wanted a path')
  return value


def whole(name: str, value: Any, *, least: int | None = None) -> Any:
  """A whole number from `least` upwards, or None."""
  if value is None:
    return None
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    raise ValueError(f'{name}={value!r}: wanted a whole number')
  if fault := fields.Range(least=least).fault(int(value)):
    raise ValueError(f'{name}={value!r}: {fault}')
  return int(value)


def number(name: str, value: Any) -> Any:
  """A number, or None."""
  if value is None:
    return None
  kinds = int | float | np.integer | np.floating
  if isinstance(value, bool) or not isinstance(value, kinds):
    raise ValueError(f'{name}={value!r}: wanted a number')
  return float(value)


def size(value: Any) -> Any:
  """Height and width, or None."""
  if value is None:
    return None
  if not isinstance(value, tuple | list) or len(value) != 2:
    raise ValueError(f'size={value!r}: wanted (height, width)')
  return tuple(whole('size', side) for side in value)


def mesh(value: Any) -> Mesh | None:
  """A mesh of this process's devices, by its sizes as text, or None."""
  if value is None:
    return None
  if not isinstance(value, str):
    raise ValueError(f'mesh={value!r}: wanted text, as data=4,fsdp=2')
  return spread.own_mesh(spread.parse_mesh(value), count=1)
