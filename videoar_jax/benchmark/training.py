"""A generator's training step: time, operations, share of the device's rate."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from videoar_jax.benchmark import ceilings, process
from videoar_jax.benchmark.sampling import CLASSES
from videoar_jax.core.config import from_section
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.core.placement import shard_batch
from videoar_jax.families.family import Family
from videoar_jax.families.kinds import make_family
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.plan.unit import UnitPlan
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.state import Update, create_state
from videoar_jax.train.step import make_step, step_flops
from videoar_jax.transformer.prefix import blank_condition

_STEPS = 3  # that are timed, after the first


def measure_training(
  config: Any, tokenizer: Any, batch_size: int, attention: str, remat: str
) -> dict:
  """Times steps on features of noise, on all devices there are.

  Args:
    config: of a generator's run.
    tokenizer: section `tokenizer` of a tokenizer's run.
    batch_size: clips of a step.
    attention: the kernel, see `AttentionKernel`.
    remat: what is computed again, see `Remat`.

  Returns:
    `first_s`, with compilation; `step_s`, the mean of three; `clips_per_s`;
    `flops` of a step, nothing computed again counted twice;
    `mfu`, these over the time and the measured rate of all devices' products
    of matrices; peaks of memory.
  """
  family = choose_family(config, tokenizer, attention, remat)
  plan = clip_plan(config, family)
  mesh = make_mesh(from_section(MeshConfig, config, 'mesh'))
  update = make_update(config, family)
  length = {'num_steps': config.train.num_steps, 'mesh': mesh}
  state = create_state([update], seed=0, **length)
  step = make_step([update], **length)
  batch = shard_batch(_noise(batch_shapes(family, plan, batch_size)), mesh)
  started = time.perf_counter()
  state, metrics = step(state, batch, {})
  jax.block_until_ready(metrics)
  first_s = time.perf_counter() - started
  started = time.perf_counter()
  for _ in range(_STEPS):
    state, metrics = step(state, batch, {})
  jax.block_until_ready(metrics)
  step_s = (time.perf_counter() - started) / _STEPS
  flops = step_flops([update], state, batch, {}, step=0)
  rate = ceilings.measure_ceilings(family.transformer.dtype)['flops_per_s']
  return {
    'batch_size': batch_size,
    'attention': attention,
    'remat': remat,
    'devices': mesh.size,
    'first_s': first_s,
    'step_s': step_s,
    'clips_per_s': batch_size / step_s,
    'flops': flops,
    'flops_per_s_device': rate,
    'mfu': flops / step_s / (rate * mesh.size),
    'peak_host_bytes': process.peak_host_bytes(),
    'peak_device_bytes': process.peak_device_bytes(),
  }


def choose_family(
  config: Any, tokenizer: Any, attention: str, remat: str
) -> Family:
  """A run's family with a kernel and a rematerialisation of choice."""
  shape = from_section(TokenizerConfig, tokenizer)
  family = make_family(config, shape).of_classes(CLASSES)
  transformer = dataclasses.replace(
    family.transformer, attention=attention, remat=remat
  )
  return dataclasses.replace(family, transformer=transformer)


def clip_plan(config: Any, family: Family) -> UnitPlan:
  """The plan of a run's clips."""
  data = config.data
  frames = family.tokenizer.latent_frames(data.num_frames)
  return family.plan(frames, data.height, data.width)


def make_update(config: Any, family: Family) -> Update:
  """A run's update, on features."""
  return Update(
    net=family.net,
    init=family.init,
    objective=family.objective(
      from_section(CorruptionConfig, config, 'corruption'),
      from_section(FrameMaskConfig, config, 'frame_mask'),
    ),
    optimizer=from_section(OptimizerConfig, config, 'optimizer'),
  )


def batch_shapes(family: Family, plan: UnitPlan, batch_size: int) -> dict:
  """Shapes and dtypes of a batch of features."""
  grid, width = plan.grids[-1].shape, family.tokenizer.latent_width
  condition = blank_condition(family.transformer, batch_size)
  return {
    'features': jax.ShapeDtypeStruct((batch_size, *grid, width), np.float32),
    'prompt' if condition.ndim > 1 else 'label': jax.ShapeDtypeStruct(
      condition.shape, condition.dtype
    ),
  }


def _noise(shapes: dict) -> dict:
  rng = np.random.default_rng(0)
  return {
    name: rng.standard_normal(x.shape, x.dtype)
    if name == 'features'
    else np.zeros(x.shape, x.dtype)
    for name, x in shapes.items()
  }
