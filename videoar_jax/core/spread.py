"""How the videos of one job are spread: over devices, and over processes.

Each process works on videos of its own, on a mesh of its own devices: video i
falls to process i modulo their number. Nobody waits for another one until the
end, when what they found is put together.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import processes
from videoar_jax.core.mesh import (
  MeshConfig,
  batch_sharding,
  batch_ways,
  make_mesh,
)

_BLOCK_BYTES = 2**24  # of a process, gathered at a time
_SIZE = re.compile(r'-1|[0-9]{1,7}')


def parse_mesh(text: str) -> MeshConfig:
  """Sizes of mesh axes: `data=4,fsdp=2`.

  Args:
    text: an axis that is left out has size 1, but `data` the devices left over.
  Raises:
    ValueError: an axis that does not exist or comes twice, or no size.
  """
  axes = [field.name for field in dataclasses.fields(MeshConfig)]
  sizes = {}
  for item in text.split(','):
    name, _, size = item.strip().partition('=')
    if name not in axes or name in sizes or not _SIZE.fullmatch(size):
      raise ValueError(
        f'mesh={text}: {item!r} is not a new axis and its size; write '
        f'data=4,fsdp=2, of the axes {", ".join(axes)}'
      )
    sizes[name] = int(size)
  return MeshConfig(**sizes)


def own_mesh(config: MeshConfig | None, *, count: int) -> Mesh:
  """A mesh of this process's devices.

  Args:
    config: sizes of the axes. Where they take a part of the devices that
      divides them, the others stay idle.
    count: videos of this process. Without a config, so many devices stand on
      the data axis as there are videos, or the next number that divides all.
  Raises:
    ValueError: the sizes do not fit the devices.
  """
  devices = jax.local_devices()
  if config is None:
    least = min(max(count, 1), len(devices))
    size = next(
      n for n in range(least, len(devices) + 1) if not len(devices) % n
    )
    return make_mesh(MeshConfig(data=size), devices[:size])
  sizes = dataclasses.astuple(config)
  size = int(np.prod(sizes))
  if min(sizes) > 0 and len(devices) % size == 0:
    devices = devices[:size]
  return make_mesh(config, devices)


def describe(mesh: Mesh) -> str:
  """The devices of each process, for a reader."""
  text, there = mesh_lib.describe(mesh), jax.local_device_count()
  return text if mesh.size == there else f'{text}, of {there} devices'


def rounded(size: int, mesh: Mesh | None) -> int:
  """A batch at least so large that splits over a mesh; None: over nothing."""
  return (
    size if mesh is None else -(-size // batch_ways(mesh)) * batch_ways(mesh)
  )


def put_batch(tree: Any, mesh: Mesh | None) -> Any:
  """Splits rows over a mesh of this process; None leaves them on the host."""
  return tree if mesh is None else jax.device_put(tree, batch_sharding(mesh))


def on_mesh(
  function: Callable[..., Any], mesh: Mesh | None
) -> Callable[..., Any]:
  """A function that is called with a mesh in context, if there is one."""
  if mesh is None:
    return function

  def call(*arguments: Any, **named: Any) -> Any:
    with jax.set_mesh(mesh):
      return function(*arguments, **named)

  return call


def own(count: int) -> np.ndarray:
  """Which of so many videos this process works on, in order."""
  return np.arange(jax.process_index(), count, jax.process_count())


def own_rows(rows: np.ndarray) -> np.ndarray:
  """This process's share of rows that each process has."""
  return rows if jax.process_count() == 1 else rows[own(len(rows))]


def total(values: Any) -> np.ndarray:
  """The sum over all processes of an array of numbers."""
  values = np.asarray(values)
  return gather(values[None], jax.process_count()).sum(axis=0)


def meet() -> None:
  """Returns once all processes are here."""
  processes.agree(0)


def gather(rows: np.ndarray, count: int) -> np.ndarray:
  """All processes' rows in order, on each of them.

  Args:
    rows: of this process's own videos, any dtype.
    count: videos in all.
  """
  if jax.process_count() == 1:
    return rows
  place = {int(index): row for row, index in enumerate(own(count))}
  blocks = gather_blocks(
    lambda index_n: rows[[place[int(i)] for i in index_n]], count
  )
  return np.concatenate(list(blocks))


def gather_blocks(
  read: Callable[[np.ndarray], np.ndarray], count: int
) -> Iterator[np.ndarray]:
  """Yields all processes' rows in order, some at a time, on each of them.

  Args:
    read: rows of some of this process's own videos, by their indices; of none
      an array of the right shape and dtype without rows.
    count: videos in all.
  """
  mine, ways = own(count), jax.process_count()
  blank = read(mine[:0])
  item = max(1, blank.dtype.itemsize * int(np.prod(blank.shape[1:])))
  size = max(1, _BLOCK_BYTES // item)
  for start in range(0, -(-count // ways), size):
    rows = read(mine[start : start + size])
    if ways > 1:
      rows = _interleaved(rows, min(size, -(-count // ways) - start))
    yield rows[: count - start * ways]


def _interleaved(rows: np.ndarray, size: int) -> np.ndarray:
  """Row 0 of each process in order, then row 1, …; each gives `size`."""
  rows = np.ascontiguousarray(rows)
  padded = np.zeros((size, *rows.shape[1:]), rows.dtype)
  padded[: len(rows)] = rows
  # As bytes: devices know neither float64 nor int64.
  data = padded.reshape(size, -1).view(np.uint8)
  with jax.transfer_guard('allow'):
    found = multihost_utils.process_allgather((jax.process_index(), data))
  order, data = np.argsort(found[0]), found[1]
  data = np.ascontiguousarray(np.swapaxes(data[order], 0, 1))
  whole = data.reshape(-1, data.shape[-1]).view(rows.dtype)
  return whole.reshape(-1, *rows.shape[1:])
