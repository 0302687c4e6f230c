"""A generator's training step, compiled ahead of time and not run."""

import math
import re
import time
from typing import Any

from jax.extend.mlir import ir

from videoar_jax.benchmark import ahead, training
from videoar_jax.benchmark.program import parse
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import placement, topology
from videoar_jax.core.config import from_section
from videoar_jax.train.state import abstract_state
from videoar_jax.train.step import lower_step


def measure_compile(
  config: Any, tokenizer: Any, attention: str, remat: str, name: str | None
) -> dict:
  """Compiles the step of a run's own batch and mesh, on features.

  Args:
    config: of a generator's run.
    tokenizer: section `tokenizer` of a tokenizer's run.
    attention: the kernel, see `AttentionKernel`.
    remat: what is computed again, see `Remat`.
    name: of the topology; None: this machine's devices.

  Returns:
    `lower_s`, tracing and lowering; `compile_s`; `compile_cpu_s`, of all
    threads; `peak_bytes` of a device and `hbm_bytes`, what it has, None for
    this machine; `fits`, whether they do; `refused`, why there is no program;
    `constant_bytes` of the program before it is compiled; of the compiled
    one, `instructions` and `text_bytes`, None where there is none.

  Raises:
    ValueError: the run's mesh or batch do not fit the devices.
  """
  family = training.choose_family(config, tokenizer, attention, remat)
  plan = training.clip_plan(config, family)
  config_of_mesh = from_section(mesh_lib.MeshConfig, config, 'mesh')
  mesh = mesh_lib.make_mesh(config_of_mesh, ahead.devices(name))
  size, accumulate = config.data.batch_size, config.train.accumulate
  placement.check_batch_size(size, mesh, accumulate)
  batch = ahead.placed(
    training.batch_shapes(family, plan, size), mesh_lib.batch_sharding(mesh)
  )
  updates = [training.make_update(config, family)]
  length = {'num_steps': config.train.num_steps, 'mesh': mesh}
  started = time.perf_counter()
  state = abstract_state(updates, seed=0, **length)
  lowered = lower_step(
    updates, state, batch, {}, accumulate=accumulate, **length
  )
  lower_s = time.perf_counter() - started
  compiled, facts = ahead.compile_lowered(lowered)
  text = compiled and compiled.as_text()
  hbm = topology.chip(name).hbm_bytes if name else None
  return {
    'batch_size': size,
    'attention': attention,
    'remat': remat,
    'devices': mesh.size,
    'lower_s': lower_s,
    **facts,
    'hbm_bytes': hbm,
    'fits': hbm and compiled is not None and facts['peak_bytes'] <= hbm,
    'constant_bytes': constant_bytes(lowered),
    'instructions': text and len(parse(text).instructions),
    'text_bytes': text and len(text),
  }


def constant_bytes(lowered: Any) -> int:
  """Bytes of the arrays that are part of a program before it is compiled."""
  total = 0

  def add(operation: Any) -> ir.WalkResult:
    nonlocal total
    if operation.name == 'stablehlo.constant':
      total += _num_bytes(str(operation.results[0].type))
    return ir.WalkResult.ADVANCE

  # Its text would hold every number of every constant.
  lowered.compiler_ir('stablehlo').operation.walk(add)
  return total


def _num_bytes(tensor: str) -> int:
  """Bytes of a type as `tensor<3x5xf32>`."""
  shape, element = re.fullmatch(r'tensor<((?:\d+x)*)(.+)>', tensor).groups()
  bits = re.search(r'\d+', element)
  width = max(8, int(bits[0])) // 8 if bits else 0
  parts = 2 if element.startswith('complex') else 1
  return math.prod(map(int, re.findall(r'\d+', shape))) * width * parts
