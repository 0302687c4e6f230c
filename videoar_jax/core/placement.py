"""Arrays of the host on the devices of a mesh, and back."""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from videoar_jax.core.mesh import (
  batch_sharding,
  batch_ways,
  replicated,
  shardings,
)


def check_batch_size(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
  """Raises a ValueError if a global batch does not split over the mesh."""
  parts = batch_ways(mesh) * accumulate
  if batch_size % parts:
    raise ValueError(
      f'batch_size={batch_size}: does not divide into {batch_ways(mesh)} '
      f'device groups (mesh data x fsdp) x {accumulate} accumulated parts; '
      f'use a multiple of {parts}'
    )


def batch_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
  """The rows of a global batch that this process's devices hold, ascending.

  Processes share rows where `tensor` or `sequence` goes over several of them.

  Raises:
    ValueError: the batch does not split over the mesh.
  """
  check_batch_size(batch_size, mesh)
  rows = np.arange(batch_size)
  return np.unique(np.concatenate([rows[x] for x in _parts(mesh, batch_size)]))


def shard_batch(batch: Any, mesh: Mesh) -> Any:
  """Puts this process's rows of a batch on its devices.

  Args:
    batch: tree of NumPy arrays, whose first dimension is `batch_rows`.
    mesh: the mesh.
  Returns:
    The tree of global arrays, first dimension the global batch.
  """
  ways = batch_ways(mesh)
  # One row for each part tells how many parts are here.
  here = len(batch_rows(mesh, ways))

  def put(x: np.ndarray) -> jax.Array:
    rows, rest = divmod(len(x), here)
    if rest:
      check_batch_size(len(x) * ways // here, mesh)
    size = rows * ways
    held = batch_rows(mesh, size)

    def part(index: tuple[slice, ...]) -> np.ndarray:
      # Those of a device follow one another here, too: nothing is copied.
      first, end = np.searchsorted(held, index[0].indices(size)[:2])
      return x[first:end, *index[1:]]

    return jax.make_array_from_callback(
      (size, *x.shape[1:]), batch_sharding(mesh), part
    )

  with _asked_for():
    return jax.tree.map(put, batch)


def _parts(mesh: Mesh, batch_size: int) -> Sequence[slice]:
  """The rows of each device of this process."""
  found = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  return [index[0] for index in found.values()]


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Puts a tree of host arrays whole on every device."""
  return place(tree, jax.tree.map(lambda _: replicated(mesh), tree))


def place_net(params: Any, boxed_shapes: Any, mesh: Mesh) -> Any:
  """Puts a network's host arrays where their logical axes say.

  Args:
    params: the arrays.
    boxed_shapes: their shapes and axes, as for `mesh.shardings`.
    mesh: the mesh.
  """
  return place(params, shardings(boxed_shapes, mesh))


def place(tree: Any, shardings: Any) -> Any:
  """Puts a tree of host arrays, whole on every process, where each belongs."""

  def put(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
    return jax.make_array_from_callback(
      np.shape(x), sharding, lambda index: np.asarray(x)[index]
    )

  with _asked_for():
    return jax.tree.map(put, tree, shardings)


def to_host(tree: Any) -> Any:
  """Fetches arrays whole as NumPy, also those spread over processes.

  Every process must call it.
  """

  def fetch(x: jax.Array) -> np.ndarray:
    if getattr(x, 'is_fully_addressable', True):
      return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)

  with _asked_for():
    return jax.tree.map(fetch, tree)


def _asked_for() -> contextlib.AbstractContextManager:
  """Lets the arrays pass that a caller moves by name.

  A guard against transfers takes some of JAX's ways of moving them for
  transfers that nobody wanted.
  """
  return jax.transfer_guard('allow')
