"""Bytes that the sampler's rollout moves, ahead of time, beside the least."""

import math
from typing import Any

import jax
import numpy as np

from videoar_jax.benchmark import ahead
from videoar_jax.benchmark.hlo import Traffic, read_traffic
from videoar_jax.benchmark.sampling import CLASSES
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import topology
from videoar_jax.core.config import from_section
from videoar_jax.families.family import Family
from videoar_jax.families.kinds import make_family
from videoar_jax.sample.program import Chosen, SamplingConfig, choose
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.prefix import blank_condition

_GREATEST = 10  # parts that are named
# Read by rows, not as a whole.
_TABLES = ('prefix', 'prefix_positions', 'positions')


def measure_traffic(
  config: Any, tokenizer: Any, batch_size: int, name: str | None
) -> dict:
  """Compiles a guided rollout for one device, and counts what it moves.

  Args:
    config: of a generator's run.
    tokenizer: section `tokenizer` of a tokenizer's run.
    batch_size: videos at a time.
    name: of the topology that the device is of; None: this machine's.

  Returns:
    `traffic_bytes` of a batch; `weight_bytes`, which each unit reads, and
    `units`; `floor_bytes`, their product; `ratio`, of the two; `traffic_s` and
    `floor_s` at the chip's bandwidth, None for this machine; `compile_s` and
    `compile_cpu_s`; `peak_bytes` of the device's memory; `refused`, why there
    is no program; `kinds`, bytes by kind of array; `parts`, the greatest
    contributors; `unknown_loops`, which count once.
  """
  shape = from_section(TokenizerConfig, tokenizer)
  family = make_family(config, shape).without_remat.of_classes(CLASSES)
  chosen = choose(family, clip_sampling(config, batch_size))
  mesh = mesh_lib.make_mesh(devices=ahead.devices(name)[:1])
  with jax.set_mesh(mesh):
    weights = jax.eval_shape(family.inference_params, family.shapes())
    lowered = _lower(chosen, weights, batch_size, mesh)
  compiled, facts = ahead.compile_lowered(lowered)
  units, weight_bytes = len(chosen.plan.units), read_bytes(weights)
  rate = topology.chip(name).copy_bytes_per_s if name else math.nan
  moved = _moved(family, chosen, weights, batch_size, compiled)
  floor = units * weight_bytes
  return {
    'batch_size': batch_size,
    'traffic_bytes': moved and moved.num_bytes,
    'units': units,
    'weight_bytes': weight_bytes,
    'floor_bytes': floor,
    'ratio': moved and moved.num_bytes / floor,
    'traffic_s': moved and name and moved.num_bytes / rate,
    'floor_s': name and floor / rate,
    **facts,
    **_told(moved),
  }


def clip_sampling(config: Any, batch_size: int) -> SamplingConfig:
  """Samples as a generator's config trains and previews them."""
  data = config.data
  return SamplingConfig(
    num_frames=data.num_frames,
    guidance=config.sampling.guidance,
    size=(data.height, data.width),
    batch_size=batch_size,
  )


def _lower(chosen: Chosen, weights: Any, batch_size: int, mesh: Any) -> Any:
  """The rollout alone, of shapes, for the mesh in context."""
  whole = mesh_lib.replicated(mesh)
  arguments = (
    {chosen.family.net: weights},
    blank_condition(chosen.family.transformer, batch_size),
    np.zeros(batch_size, np.uint32),
    np.uint32(0),
    chosen.drawing,
  )
  return jax.jit(chosen.roll).lower(*ahead.placed(arguments, whole))


def read_bytes(weights: Any) -> int:
  """Bytes of the weights that each unit reads: of the layers and both ends."""
  read = {name: x for name, x in weights.items() if name not in _TABLES}
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(read))


def _moved(
  family: Family, chosen: Chosen, weights: Any, batch_size: int, compiled: Any
) -> Traffic | None:
  if compiled is None:
    return None
  given = {'plan': chosen.plan, 'guided': chosen.guided}
  state = jax.eval_shape(
    lambda params, condition: family.begin(
      params, condition_bx=condition, **given
    ),
    weights,
    blank_condition(family.transformer, batch_size),
  )
  cache = frozenset(x.size for x in jax.tree.leaves(state.cache))
  return read_traffic(compiled.as_text(), weights='nets', cache=cache)


def _told(moved: Traffic | None) -> dict:
  """What a program moves, in numbers."""
  if moved is None:
    return {'kinds': [], 'parts': [], 'unknown_loops': []}
  return {
    'kinds': [list(pair) for pair in moved.by_kind.items()],
    'parts': [
      {
        'num_bytes': part.num_bytes,
        'share': part.num_bytes / moved.num_bytes,
        'kind': part.kind,
        'opcode': part.opcode,
        'op_name': part.op_name,
      }
      for part in moved.parts[:_GREATEST]
    ],
    'unknown_loops': list(moved.unknown_loops),
  }
