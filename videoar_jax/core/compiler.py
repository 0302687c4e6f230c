"""How programs are compiled, device by device: the one place that says it.

On CPU three of XLA's choices cost time. Its YNNPACK convolutions take half
again to twice as long as the others; its products of matrices stay with it,
which is faster for them. Operations that do not wait for one another run at
once, each on all cores: one after the other they are done sooner. And barriers
are dropped early on, which lets cosines be worked out in every layer and copies
the whole cache before each write: they are kept.

On TPU weights that are sharded over many chips would be brought together by
adding up arrays padded with zeros, which moves twice the bytes and waits. So
gathers stay gathers, and run beside the products before them. Gradients are
added up and scattered while nothing else runs, unless the chip's SparseCores do
it: v5p and v6e have such cores, v5e has none, and for TPU7x it is the rule.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

from videoar_jax.core import chips
from videoar_jax.core.mesh import device_kind, platform

_OPTIONS = {
  'cpu': {
    'xla_cpu_experimental_ynn_fusion_type': (
      'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'
    ),
    'xla_cpu_enable_concurrency_optimized_scheduler': False,
    'xla_disable_hlo_passes': 'cse_barrier_expander',
  },
  'tpu': {
    'xla_enable_async_all_gather': True,
    'xla_tpu_enable_async_collective_fusion': True,
    'xla_tpu_enable_async_collective_fusion_fuse_all_gather': True,
    'xla_tpu_enable_async_collective_fusion_multiple_steps': True,
    'xla_tpu_overlap_compute_collective_tc': True,
    'xla_tpu_prefer_async_allgather_to_allreduce': True,
  },
}
_BY_SPARSE_CORES = {
  'xla_tpu_enable_sparse_core_collective_offload_all_reduce': True,
  'xla_tpu_enable_sparse_core_collective_offload_reduce_scatter': True,
}
# Chip -> options besides those of its platform.
_CHIP_OPTIONS = {'v5p': _BY_SPARSE_CORES, 'v6e': _BY_SPARSE_CORES}


class Jit:
  """`jax.jit` with the options of where it first runs.

  Has what a jitted function has: `lower`, `trace`, and so on. Called within
  another program it is a part of that.
  """

  def __init__(self, function: Callable, **options: Any):
    functools.update_wrapper(self, function)
    self._function, self._options = function, options

  def __call__(self, *arguments: Any, **named: Any) -> Any:
    leaves = jax.tree.leaves((arguments, named))
    if any(isinstance(x, jax.core.Tracer) for x in leaves):
      return self._function(*arguments, **named)
    return self._jitted(*arguments, **named)

  def __getattr__(self, name: str) -> Any:
    if name.startswith('__'):
      raise AttributeError(name)
    return getattr(self._jitted, name)

  @functools.cached_property
  def _jitted(self) -> Any:
    return jax.jit(
      self._function, compiler_options=options_here(), **self._options
    )


def jit(function: Callable | None = None, **options: Any) -> Any:
  """As `jax.jit`, also as a decorator with options; see `Jit`."""
  if function is None:
    return functools.partial(jit, **options)
  return Jit(function, **options)


def options_here() -> dict[str, Any]:
  """XLA's options for the devices that the program being traced is for."""
  return compiler_options(platform(), chips.name_of(device_kind()))


@functools.cache
def compiler_options(where: str, chip: str = '') -> dict[str, Any]:
  """XLA's options, of those that this version of it knows.

  For a platform that is not here, ahead of time, they are taken as known.

  Args:
    where: 'cpu', 'gpu' or 'tpu'.
    chip: its name in `chips.CHIPS`, or ''.
  """
  options = {**_OPTIONS.get(where, {}), **_CHIP_OPTIONS.get(chip, {})}
  if where != jax.default_backend():
    return dict(options)
  known = {}
  for name, value in options.items():
    try:
      probe = jax.jit(
        jax.lax.optimization_barrier, compiler_options={name: value}
      )
      probe.lower(0.0).compile()
    except (jax.errors.JaxRuntimeError, ValueError):
      continue
    known[name] = value
  return known
