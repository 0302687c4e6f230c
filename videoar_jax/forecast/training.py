"""A step of training, compiled for devices that need not be there."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from videoar_jax.benchmark import ahead
from videoar_jax.benchmark.hlo import read_traffic
from videoar_jax.benchmark.program import parse
from videoar_jax.benchmark.sampling import CLASSES
from videoar_jax.benchmark.training import (
  batch_shapes,
  clip_plan,
  make_update,
)
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import placement, topology
from videoar_jax.core.config import from_section
from videoar_jax.families.kinds import make_family
from videoar_jax.forecast.collectives import read_collectives
from videoar_jax.forecast.roofline import make_bounds
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.perceptual import Network, lpips_shapes
from videoar_jax.train import sections
from videoar_jax.train.state import Update, abstract_state
from videoar_jax.train.step import lower_step, step_flops
from videoar_jax.train.tokenizer_recipe import tokenizer_updates


@dataclasses.dataclass(frozen=True)
class Job:
  """What a step is made of: networks, and shapes of a batch.

  Attributes:
    updates: the networks in training.
    batch: shapes and dtypes of a global batch.
    frozen: those of networks that are only read.
  """

  updates: tuple[Update, ...]
  batch: dict[str, Any]
  frozen: dict[str, Any]


def generator_job(config: Any, tokenizer: Any) -> Job:
  """A generator's, on features of its tokenizer.

  Args:
    config: of the run.
    tokenizer: section `tokenizer` of a tokenizer's run.

  Raises:
    ValueError: they do not fit.
  """
  shape = from_section(TokenizerConfig, tokenizer)
  family = make_family(config, shape).of_classes(CLASSES)
  plan = clip_plan(config, family)
  batch = batch_shapes(family, plan, config.data.batch_size)
  return Job((make_update(config, family),), batch, {})


def tokenizer_job(config: Any) -> Job:
  """A tokenizer's, with its judge, on the clips of its first stream.

  Raises:
    ValueError: clips and networks do not fit.
  """
  updates = tokenizer_updates(config).updates
  data = config.data
  clip = (data.batch_size, data.num_frames, data.height, data.width, 3)
  frozen = {}
  if config.losses.perceptual:
    frozen['lpips'] = lpips_shapes(Network.VGG16)
  return Job(updates, {'video': jax.ShapeDtypeStruct(clip, np.uint8)}, frozen)


def make_job(config: Any, tokenizer: Any) -> Job:
  """What the step of a run's config is made of."""
  if config.recipe == sections.TOKENIZER:
    return tokenizer_job(config)
  return generator_job(config, tokenizer)


def forecast_step(
  config: Any, tokenizer: Any, *, name: str, slices: int = 1
) -> dict:
  """Compiles the step of a run's config for a topology, and reads it.

  Args:
    config: of the run; its mesh and batch are used.
    tokenizer: section `tokenizer` of a tokenizer's run, for a generator.
    name: of the topology, see `core.topology`.
    slices: how many of them.

  Returns:
    Numbers of each device that JAX lists (tpu7x has two a chip), but for the
    global `batch_size`, `parameters` and `flops` of the model's step: bytes of
    `parameter_bytes`, `average_bytes` and `optimizer_bytes` of the state;
    `peak_bytes` of `hbm_bytes`, and whether it `fits`; `compiler_flops`, which
    counts a loop's once; `collectives`, a list by kind; `least_s`, a bound of
    the step, its parts and the `most_mfu` that it allows (`roofline.Bounds`);
    `compile_s`; `refused`, why there is no program.

  Raises:
    ValueError: the run's mesh or batch do not fit the devices.
  """
  job = make_job(config, tokenizer)
  devices = topology.devices(name, slices=slices)
  mesh = mesh_lib.make_mesh(
    from_section(mesh_lib.MeshConfig, config, 'mesh'), devices
  )
  accumulate, steps = config.train.accumulate, config.train.num_steps
  placement.check_batch_size(config.data.batch_size, mesh, accumulate)
  state = abstract_state(job.updates, seed=0, num_steps=steps, mesh=mesh)
  batch = ahead.placed(job.batch, mesh_lib.batch_sharding(mesh))
  frozen = ahead.placed(job.frozen, mesh_lib.replicated(mesh))
  started = time.perf_counter()
  lowered = lower_step(
    job.updates,
    state,
    batch,
    frozen,
    mesh=mesh,
    num_steps=steps,
    accumulate=accumulate,
  )
  lower_s = time.perf_counter() - started
  compiled, facts = ahead.compile_lowered(lowered)
  flops = step_flops(
    job.updates,
    state,
    job.batch,
    job.frozen,
    step=steps - 1,
    accumulate=accumulate,
  )
  chip = topology.chip(name)
  hbm = chip.hbm_bytes / chip.devices
  return {
    'topology': name,
    'slices': slices,
    'chips': len(devices) // chip.devices,
    'mesh': dict(mesh.shape),
    'batch_size': config.data.batch_size,
    'parameters': _count(state),
    **_state_bytes(state),
    'flops': flops,
    'lower_s': lower_s,
    **facts,
    'hbm_bytes': hbm,
    'fits': compiled is not None,  # the compiler knows what it may take
    **(read_program(compiled, name, mesh, flops, slices) if compiled else {}),
  }


def _count(state: Any) -> int:
  return sum(
    x.size for net in state.nets.values() for x in jax.tree.leaves(net.params)
  )


def _state_bytes(state: Any) -> dict[str, float]:
  """What each device holds of it."""
  nets = state.nets.values()
  return {
    'parameter_bytes': local_bytes([net.params for net in nets]),
    'average_bytes': local_bytes([net.ema for net in nets]),
    'optimizer_bytes': local_bytes([net.opt_state for net in nets]),
  }


def local_bytes(tree: Any) -> int:
  """Bytes that a device holds of a tree of shapes with shardings."""
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )


def read_program(
  compiled: Any, name: str, mesh: Mesh, flops: float, slices: int
) -> dict[str, Any]:
  """What a compiled step sends and reads, and how long that takes."""
  text = compiled.as_text()
  sent = read_collectives(parse(text), devices=mesh.size, slices=slices)
  traffic = read_traffic(text)
  bounds = make_bounds(
    topology.chip(name),
    sent.found,
    flops=flops / mesh.size,
    memory_bytes=traffic.num_bytes,
  )
  return {
    'memory_traffic_bytes': traffic.num_bytes,
    'unknown_loops': sorted({*sent.unknown_loops, *traffic.unknown_loops}),
    'compiler_flops': (compiled.cost_analysis() or {}).get('flops'),
    'collectives': sum_up(sent.found),
    **dataclasses.asdict(bounds),
    'least_s': bounds.least_s,
    'bound_by': bounds.bound_by,
    'most_mfu': bounds.most_mfu,
  }


def sum_up(collectives: Sequence[Any]) -> list[Mapping[str, Any]]:
  """Collectives by kind, and whether they run beside computations.

  Returns:
    For each: `kind`; `hidden`; `count` of them in the program; `times` that
    they run in a step; `moved_bytes`.
  """
  sums: dict[Any, dict[str, Any]] = {}
  for one in collectives:
    key = {'kind': one.kind, 'hidden': one.hidden}
    zero = {**key, 'count': 0, 'times': 0.0, 'moved_bytes': 0.0}
    total = sums.setdefault(tuple(key.values()), zero)
    total['count'] += 1
    total['times'] += one.times
    total['moved_bytes'] += one.moved_bytes
  return sorted(sums.values(), key=lambda x: -x['moved_bytes'])
