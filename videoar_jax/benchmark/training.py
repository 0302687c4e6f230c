"""A generator's training step: time, operations, share of the device's rate."""

import dataclasses
import functools
import time
from typing import Any

import jax
import numpy as np

from videoar_jax.benchmark import ceilings, process
from videoar_jax.benchmark.sampling import CLASSES
from videoar_jax.core.config import from_section
from videoar_jax.core.mesh import MeshConfig, make_mesh, shard_batch
from videoar_jax.objectives.bitwise import make_transformer_objective
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.plan.kinds import make_plan
from videoar_jax.plan.unit import UnitPlan
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.state import Update, create_state
from videoar_jax.train.step import make_step
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import init_params, make_transformer
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
    `flops` of a step by `step_flops`, nothing computed again counted twice;
    `mfu`, these over the time and the measured rate of all devices' products
    of matrices; peaks of memory.
  """
  shape = from_section(TokenizerConfig, tokenizer)
  transformer = dataclasses.replace(
    from_section(TransformerConfig, config, 'transformer'),
    attention=attention,
    remat=remat,
  ).of_classes(CLASSES)
  frames = shape.latent_frames(config.data.num_frames)
  scales = shape.scales_for(config.data.height, config.data.width)
  plan = make_plan(transformer.plan, frames, scales)
  mesh = make_mesh(from_section(MeshConfig, config, 'mesh'))
  update = _update(config, shape, transformer, plan)
  length = {'num_steps': config.train.num_steps, 'mesh': mesh}
  state = create_state([update], seed=0, **length)
  step = make_step([update], **length)
  batch = shard_batch(_noise(shape, transformer, plan, batch_size), mesh)
  started = time.perf_counter()
  state, metrics = step(state, batch, {})
  jax.block_until_ready(metrics)
  first_s = time.perf_counter() - started
  started = time.perf_counter()
  for _ in range(_STEPS):
    state, metrics = step(state, batch, {})
  jax.block_until_ready(metrics)
  step_s = (time.perf_counter() - started) / _STEPS
  params = state.nets[update.net].params
  flops = batch_size * step_flops(transformer, plan, params)
  rate = ceilings.measure_ceilings(transformer.dtype)['flops_per_s']
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


def step_flops(config: TransformerConfig, plan: UnitPlan, params: Any) -> float:
  """Operations of a clip's forward and backward pass.

  Six for each weight of a matrix and token (two forward, four backward), and
  for each layer twelve D for each pair of tokens of which one sees the other.

  Args:
    config: the transformer's shape.
    plan: of the clip.
    params: the transformer's.
  """
  layers = sum(x.size for x in jax.tree.leaves(params['layers']))
  ends = sum(
    params[name].size
    for name in ('project', 'project_last', 'head')
    if name in params
  )
  tokens = config.prefix_length + plan.num_tokens
  pairs = sum(plan.mask(config.prefix_length).visible_l)
  dense = 6.0 * (layers * tokens + ends * plan.num_tokens)
  return dense + 12.0 * config.num_layers * config.width * pairs


def _update(
  config: Any,
  shape: TokenizerConfig,
  transformer: TransformerConfig,
  plan: UnitPlan,
) -> Update:
  model = make_transformer(
    transformer, num_bits=shape.latent_width, num_scales=shape.num_scales
  )
  return Update(
    net='transformer',
    init=functools.partial(init_params, model),
    objective=make_transformer_objective(
      model,
      plan_of=lambda _: plan,
      corruption=from_section(CorruptionConfig, config, 'corruption'),
      frame_mask=from_section(FrameMaskConfig, config, 'frame_mask'),
    ),
    optimizer=from_section(OptimizerConfig, config, 'optimizer'),
  )


def _noise(shape, transformer, plan: UnitPlan, batch_size: int) -> dict:
  rng = np.random.default_rng(0)
  size = (batch_size, plan.num_frames, *plan.scales[-1], shape.latent_width)
  condition = blank_condition(transformer, batch_size)
  return {
    'features': rng.standard_normal(size, np.float32),
    'prompt' if condition.ndim > 1 else 'label': condition,
  }
