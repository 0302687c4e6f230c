"""Programs compiled ahead of time, for devices that need not be there."""

import re
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from videoar_jax.core import topology

_UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
_MEMORY = re.compile(r'Used ([\d.]+)([KMGT]?) of')
_MEMORY_OF_PART = re.compile(r'\(([\d.]+)([KMGT]?)\) exceeds')


def environment(name: str | None) -> Mapping[str, str]:
  """What a process needs to compile for a topology; None: for this machine."""
  # A program that was kept takes no time to compile.
  own = {'JAX_ENABLE_COMPILATION_CACHE': 'false'}
  return own | (topology.ENVIRONMENT if name else {})


def devices(name: str | None) -> Sequence[Any]:
  """Devices of a topology; None: of this machine."""
  return topology.devices(name) if name else jax.devices()


def placed(shapes: Any, sharding: Any) -> Any:
  """Shapes of a tree of arrays or shapes, all of one sharding."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
  )


def compile_lowered(lowered: Any) -> tuple[Any, dict]:
  """Compiles, and says what that took.

  Args:
    lowered: of `jitted.lower(…)`.

  Returns:
    The compiled program, None where the compiler found too little memory; and
    `compile_s`; `compile_cpu_s` of all threads; `peak_bytes` of a device, or
    what the compiler says that it would be; `refused`, its reason.
  """
  before, started = _cpu_s(), time.perf_counter()
  compiled = refused = None
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    refused = ' '.join(str(error).split())
  facts = {
    'compile_s': time.perf_counter() - started,
    'compile_cpu_s': _cpu_s() - before,
  }
  if compiled is None:
    peak = named_bytes(refused)
  else:
    peak = compiled.memory_analysis().peak_memory_in_bytes
  return compiled, {**facts, 'peak_bytes': peak, 'refused': refused}


def named_bytes(refusal: str) -> float | None:
  """The bytes that a compiler says it lacks room for; None: it names none."""
  found = _MEMORY.search(refusal) or _MEMORY_OF_PART.search(refusal)
  return found and float(found[1]) * _UNITS[found[2]]


def _cpu_s() -> float:
  """Seconds of the processor that this process has had, in all threads."""
  used = (
    resource.getrusage(who)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  )
  return sum(x.ru_utime + x.ru_stime for x in used)
