"""What this device can do at most: bytes copied, operations a second."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

_BYTES = {'cpu': 2**28}  # of the array that is copied
_MANY_BYTES = 2**31  # the same on other platforms
_SIDE = {'cpu': 2048}  # of the matrices that are multiplied
_LARGE_SIDE = 8192  # the same on other platforms
_REPEATS = 5


def measure_ceilings(dtype: str) -> dict[str, float]:
  """Measures the first device.

  Args:
    dtype: of the matrices.

  Returns:
    `copy_bytes_per_s`, read and written, and `flops_per_s`, of the best of five
    tries.
  """
  backend = jax.default_backend()
  count = _BYTES.get(backend, _MANY_BYTES) // 4
  side = _SIDE.get(backend, _LARGE_SIDE)
  copy = jax.jit(lambda x: x + 1.0)
  multiply = jax.jit(jnp.matmul)
  # Some devices multiply constants faster than what a network holds.
  array = jnp.resize(jax.random.normal(jax.random.key(0), 2**20), count)
  matrix = jax.random.normal(jax.random.key(1), (side, side), dtype)
  return {
    'copy_bytes_per_s': 8 * count / best_time(copy, array),
    'flops_per_s': 2 * side**3 / best_time(multiply, matrix, matrix),
  }


def best_time(function: Callable, *arguments, repeats: int = _REPEATS) -> float:
  """Seconds of the fastest of some calls, after one that does not count."""
  jax.block_until_ready(function(*arguments))
  times = []
  for _ in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    times.append(time.perf_counter() - started)
  return min(times)
