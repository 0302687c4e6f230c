"""Sampling whole videos, compiled for devices that need not be there."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from videoar_jax.benchmark import ahead
from videoar_jax.benchmark.sampling import CLASSES
from videoar_jax.benchmark.traffic import clip_sampling
from videoar_jax.core import flops as flops_lib
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import placement, topology
from videoar_jax.core.config import from_section
from videoar_jax.families.kinds import make_family
from videoar_jax.forecast.training import (
  local_bytes,
  read_program,
)
from videoar_jax.sample.program import choose, sample_program
from videoar_jax.tokenizer.autoencoder import param_shapes
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.prefix import blank_condition


def forecast_sampling(
  config: Any,
  tokenizer: Any,
  *,
  name: str,
  sizes: mesh_lib.MeshConfig,
  batch_size: int,
  changes: dict[str, Any],
) -> dict:
  """Compiles the program of a batch of videos for a topology, and reads it.

  Args:
    config: of a generator's run; its sections data and sampling say what is
      sampled.
    tokenizer: section `tokenizer` of a tokenizer's run.
    name: of the topology that one process's devices make up.
    sizes: of the mesh.
    batch_size: videos at a time.
    changes: fields of `SamplingConfig` to set.

  Returns:
    As `training.forecast_step`, of the program; of a device `weight_bytes`, and
    `cache_bytes` before padding; `units`, how often the weights are read; and
    `videos_per_s`, the most that the bound allows.

  Raises:
    ValueError: what was chosen does not fit the networks or the devices.
  """
  shape = from_section(TokenizerConfig, tokenizer)
  family = make_family(config, shape).without_remat.of_classes(CLASSES)
  sampling = dataclasses.replace(clip_sampling(config, batch_size), **changes)
  chosen = choose(family, sampling)
  devices = topology.devices(name)
  mesh = mesh_lib.make_mesh(sizes, devices)
  placement.check_batch_size(batch_size, mesh)
  decoder = ahead.placed(param_shapes(shape), mesh_lib.replicated(mesh))
  with jax.set_mesh(mesh):
    weights = _sharded(family.inference_shapes(), mesh)
    nets = {family.net: weights, 'autoencoder': decoder}
    arguments = _arguments(chosen, nets, mesh, batch_size)
    started = time.perf_counter()
    lowered = sample_program(chosen).lower(*arguments)
    lower_s = time.perf_counter() - started
    compiled, facts = ahead.compile_lowered(lowered)
  chip = topology.chip(name)
  hbm = chip.hbm_bytes / chip.devices
  found = {
    'topology': name,
    'slices': 1,
    'chips': len(devices) // chip.devices,
    'mesh': dict(mesh.shape),
    'batch_size': batch_size,
    'units': len(chosen.plan.units),
    'weight_bytes': local_bytes(nets),
    'cache_bytes': _cache_bytes(chosen, batch_size) / mesh.size,
    'flops': _count(chosen, arguments),
    'lower_s': lower_s,
    **facts,
    'hbm_bytes': hbm,
    'fits': compiled is not None,
  }
  if compiled is not None:
    found |= read_program(compiled, name, mesh, found['flops'], 1)
    found['videos_per_s'] = batch_size / found['least_s']
  return found


def _sharded(boxed: Any, mesh: Any) -> Any:
  places = mesh_lib.shardings(boxed, mesh)
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    mesh_lib.unbox(boxed),
    places,
  )


def _arguments(chosen: Any, nets: Any, mesh: Any, batch_size: int) -> tuple:
  """What the program is called with, as shapes on the mesh."""
  rows, whole = mesh_lib.batch_sharding(mesh), mesh_lib.replicated(mesh)
  condition = blank_condition(chosen.family.transformer, batch_size)
  return (
    nets,
    ahead.placed(condition, rows),
    ahead.placed(np.zeros(batch_size, np.uint32), rows),
    ahead.placed(np.uint32(0), whole),
    ahead.placed(chosen.drawing, whole),
  )


def _count(chosen: Any, arguments: tuple) -> float:
  """Operations of the model's products for the batch."""

  def program(nets, condition_bx, index_b, seed, drawing):
    rolled = chosen.roll(nets, condition_bx, index_b, seed, drawing)
    return chosen.decode(nets, rolled.f_bthwd)

  return flops_lib.count(program, *arguments)


def _cache_bytes(chosen: Any, batch_size: int) -> int:
  family = chosen.family
  state = jax.eval_shape(
    lambda params, condition: family.begin(
      params,
      plan=chosen.plan,
      condition_bx=condition,
      guided=chosen.guided,
    ),
    mesh_lib.unbox(family.inference_shapes()),
    blank_condition(family.transformer, batch_size),
  )
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.cache))
