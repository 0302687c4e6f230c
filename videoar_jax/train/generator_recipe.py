"""Training a generator over a frozen tokenizer."""

import dataclasses
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from videoar_jax import media
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.config import from_section
from videoar_jax.core.export import load_weights, tree_digest, write_export
from videoar_jax.data.config import DataConfig
from videoar_jax.data.features import check_digest
from videoar_jax.objectives.bitwise import make_transformer_objective
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.plan.kinds import make_plan
from videoar_jax.plan.unit import UnitPlan
from videoar_jax.sample.sampler import (
  SamplingConfig,
  make_prompt_encoder,
  make_sample_program,
  sample_videos,
)
from videoar_jax.tokenizer.autoencoder import make_tokenizer, to_float
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import tokenizer_config
from videoar_jax.train.condition import check_last_stage, resolve_condition
from videoar_jax.train.heldout import make_heldout
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.recipe import (
  Recipe,
  held_out_batches,
  more_streams,
  picture_path,
)
from videoar_jax.train.state import TrainState, Update
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import make_transformer
from videoar_jax.transformer.prefix import blank_condition

NET = 'transformer'
_SHOWN_CLASSES = 9
_FEATURES = 'features:'


def make_generator_recipe(
  config: Any, *, workdir: epath.Path, mesh: Mesh
) -> Recipe:
  """Builds what trains a generator.

  The tokenizer is copied into the workdir, so that its checkpoints need
  nothing outside. The data set's classes and the prompts' tokenizer are written
  into the config.

  Args:
    config: sections data, more_data, transformer, prompts, corruption,
      frame_mask, optimizer, sampling, and the path `tokenizer`. Held out, only
      `data` is looked at.
    workdir: where the run lives.
    mesh: where the state lives.

  Returns:
    The recipe.

  Raises:
    ValueError: the tokenizer, the data and the transformer do not fit.
  """
  data = from_section(DataConfig, config.data)
  streams = (data, *more_streams(config))
  transformer = from_section(TransformerConfig, config.transformer)
  frozen, tokenizer = _frozen_tokenizer(config, streams, workdir)
  config = resolve_condition(config, streams, transformer)
  check_last_stage(config, tree_digest(frozen['autoencoder']))
  prompts = make_prompt_encoder(config, transformer)
  frozen = mesh_lib.replicate(frozen, mesh)
  objective = _objectives(config, tokenizer, transformer)
  for stream in streams:
    _check_stream(config, tokenizer, transformer, stream)
  update = Update(
    net=NET,
    init=_initialiser(tokenizer, transformer),
    objective=objective(from_section(CorruptionConfig, config.corruption)),
    optimizer=from_section(OptimizerConfig, config.optimizer),
  )
  # Held out, the history is clean: losses of different settings compare.
  clean = objective(CorruptionConfig(flip_max=0.0), dropout=0.0)
  batches = held_out_batches(data, config.train.eval_batches, prompts=prompts)
  return Recipe(
    updates=(update,),
    streams=streams,
    prompts=prompts,
    frozen=frozen,
    evaluate=make_heldout(
      [dataclasses.replace(update, objective=clean)],
      batches=batches,
      mesh=mesh,
      frozen=frozen,
    ),
    visualise=_make_visualise(
      config, tokenizer, transformer, frozen, workdir=workdir, mesh=mesh
    ),
    config=config,
  )


def _initialiser(tokenizer: TokenizerConfig, transformer: TransformerConfig):
  plan = make_plan(transformer.plan, 1, tokenizer.scales)
  model = _model(tokenizer, transformer)

  def init(key):
    inputs = np.zeros((1, plan.num_tokens, tokenizer.latent_width), np.float32)
    condition = blank_condition(transformer, 1)
    return model.init(key, inputs, condition, plan=plan)['params']

  return init


def _model(tokenizer: TokenizerConfig, transformer: TransformerConfig):
  return make_transformer(
    transformer,
    num_bits=tokenizer.latent_width,
    num_scales=tokenizer.num_scales,
  )


def _objectives(
  config: Any, tokenizer: TokenizerConfig, transformer: TransformerConfig
):
  """Builds objective(corruption, …), on features or on videos."""

  def plan_of(shape: tuple[int, int, int]) -> UnitPlan:
    scales = tokenizer.scales_of(shape[1:])
    return make_plan(transformer.plan, shape[0], scales)

  def objective(corruption: CorruptionConfig, **overrides):
    return _on_videos_too(
      make_transformer_objective(
        _model(tokenizer, transformer),
        plan_of=plan_of,
        corruption=corruption,
        frame_mask=from_section(FrameMaskConfig, config.frame_mask),
        **overrides,
      ),
      tokenizer,
    )

  return objective


def _check_stream(
  config: Any,
  tokenizer: TokenizerConfig,
  transformer: TransformerConfig,
  data: DataConfig,
) -> None:
  """Raises ValueError where a stream's clips do not fit the settings."""
  frames = tokenizer.latent_frames(data.num_frames)
  scales = tokenizer.scales_for(data.height, data.width)
  plan = make_plan(transformer.plan, frames, scales)
  transformer.check_reach(plan)
  from_section(CorruptionConfig, config.corruption).bounds(frames)
  masked = from_section(FrameMaskConfig, config.frame_mask).is_on
  if masked and plan.block_frames > 1:
    raise ValueError(
      f'frame_mask: plan {plan.name} predicts all frames together, none is '
      'past; set frame_mask.window=0 and frame_mask.probability=0'
    )


def _frozen_tokenizer(
  config, streams: tuple[DataConfig, ...], workdir: epath.Path
):
  """Loads the tokenizer, checks it against the data, copies it."""
  kept = workdir / 'tokenizer'
  if kept.exists():
    loaded = load_weights(kept, expect='tokenizer')
  elif config.tokenizer:
    loaded = load_weights(config.tokenizer, expect='tokenizer')
  else:
    raise ValueError(
      "tokenizer='': a generator needs a trained tokenizer; pass "
      '--config.tokenizer=WORKDIR_OR_EXPORT'
    )
  tokenizer = tokenizer_config(loaded)
  digest = tree_digest(loaded.nets['autoencoder'])
  for data in streams:
    tokenizer.latent_frames(data.num_frames)
    tokenizer.check_resolution(data.height, data.width)
    if data.source.startswith(_FEATURES):
      check_digest(data.source.removeprefix(_FEATURES), digest)
  nets = {'autoencoder': loaded.nets['autoencoder']}
  if not kept.exists():
    write_export(kept, nets, loaded.config, step=loaded.step)
  return nets, tokenizer


def _on_videos_too(objective, tokenizer: TokenizerConfig):
  """Lets an objective on features take pixels, encoded by the tokenizer."""
  model = make_tokenizer(tokenizer)

  def on_either(params, batch, context):
    if 'features' not in batch:
      features = model.apply(
        {'params': context.nets['autoencoder']},
        to_float(batch['video']),
        method='encode',
      )
      batch = {**batch, 'features': features}
    return objective(params, batch, context)

  return on_either


def _make_visualise(config, tokenizer, transformer, frozen, *, workdir, mesh):
  """Builds visualise(state, step): a sample of each of the first classes."""
  sampling = SamplingConfig(
    num_frames=config.data.num_frames,
    guidance=config.sampling.guidance,
    temperature=config.sampling.temperature,
    top_p=config.sampling.top_p,
    seed=config.seed,
    size=(config.data.height, config.data.width),
  )
  program = make_sample_program(tokenizer, transformer, sampling)
  names = config.classes[:_SHOWN_CLASSES]
  prompts = make_prompt_encoder(config, transformer)
  conditions = np.arange(len(names), dtype=np.int32)
  if prompts is not None:
    conditions = prompts.encode_classes(names)

  def visualise(state: TrainState, step: int) -> None:
    nets = {**frozen, NET: state.nets[NET].ema}
    with jax.set_mesh(mesh):
      videos = list(sample_videos(program, nets, conditions, sampling=sampling))
    path = picture_path(workdir, f'samples_{step:07d}.png')
    if path is not None:
      media.write_contact_sheet(path, videos, labels=names)

  return visualise
