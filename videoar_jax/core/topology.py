"""TPU topologies by name: devices to compile for, where there are none.

`pip install -e '.[plan]'` brings libtpu, whose compiler works without a TPU.
"""

import importlib.util
import re
from typing import Any

import jax
from jax.experimental import topologies

from videoar_jax.core.chips import CHIPS, Chip

FORMS = (
  "'v5e:4x4', 'v6e:4x4' (1x1 to 16x16 chips), 'v5p:4x4x4' (1x1x1 to 8x8x16) "
  "or 'tpu7x:2x2x2'"
)
# What a process needs in its environment before it imports JAX.
ENVIRONMENT = {
  'JAX_PLATFORMS': 'cpu',
  'TPU_SKIP_MDS_QUERY': '1',
  # As nothing here holds a TPU, several may compile at a time.
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  # These two keep libtpu from telling that it finds no TPU.
  'TPU_ACCELERATOR_TYPE': 'v5litepod-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
}
_NAME = re.compile(r'(v5e|v5p|v6e|tpu7x):([1-9]\d?(?:x[1-9]\d?){1,2})')
_SOLID = ('v5p', 'tpu7x')  # three numbers
# Clouds name v5p slices by their cores, two a chip.
_CORES = re.compile(r'(v5e|v5litepod|v5p|v6e)-(\d{1,5})')
_SHAPES = {
  'v5p': {1: '1x1x1', 4: '2x2x1', 8: '2x2x2', 16: '2x2x4', 32: '2x4x4'}
  | {64: '4x4x4', 128: '4x4x8', 256: '4x8x8', 512: '8x8x8'},
  'flat': {1: '1x1', 4: '2x2', 8: '2x4', 16: '4x4', 32: '4x8', 64: '8x8'}
  | {128: '8x16', 256: '16x16'},
}


def check_name(name: str) -> None:
  """Raises a ValueError for a name that is not of a topology."""
  match = _NAME.fullmatch(name)
  if match and (match[2].count('x') == 2) == (match[1] in _SOLID):
    return
  raise ValueError(f'topology={name}: wanted {FORMS}{_hint(name)}')


def _hint(name: str) -> str:
  """What to write for a name as clouds give it."""
  match = _CORES.fullmatch(name)
  if not match:
    return ''
  kind, number = match[1].replace('v5litepod', 'v5e'), int(match[2])
  if kind == 'v5p':
    shape = _SHAPES[kind].get(number // 2)
  else:
    shape = _SHAPES['flat'].get(number)
  return f"; for {name} write '{kind}:{shape}'" if shape else ''


def check_installed() -> None:
  """Raises a ValueError where libtpu is missing."""
  if importlib.util.find_spec('libtpu') is None:
    raise ValueError(
      'libtpu, the compiler for TPUs, is not installed; install it with '
      "pip install -e '.[plan]'"
    )


def chip(name: str) -> Chip:
  """What a chip of a named topology has."""
  check_name(name)
  return CHIPS[name.partition(':')[0]]


def devices(name: str, *, slices: int = 1) -> list[Any]:
  """The devices of a named topology, for `core.mesh.make_mesh`.

  Args:
    name: as 'v5e:4x4'; see `FORMS`.
    slices: how many of them.

  Raises:
    ValueError: no such topology, or libtpu is missing.
  """
  check_name(name)
  check_installed()
  shape = name.partition(':')[2]
  alone = set(shape.split('x')) == {'1'}
  # Else libtpu takes hosts of 2x2 chips.
  bounds = {'chips_per_host_bounds': (1, 1, 1)} if alone else {}
  if slices > 1:
    bounds['num_slices'] = slices
  try:
    found = topologies.get_topology_desc(
      platform='tpu', topology_name=name, **bounds
    )
  except jax.errors.JaxRuntimeError as error:
    if 'INVALID_ARGUMENT' not in str(error):
      raise
    raise ValueError(
      f'topology={name}: libtpu does not serve it '
      f'({" ".join(str(error).split())}); wanted {FORMS}'
    ) from None
  return list(found.devices)
