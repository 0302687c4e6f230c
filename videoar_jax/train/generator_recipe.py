"""Training a generator over a frozen tokenizer."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from videoar_jax.core import placement
from videoar_jax.core.config import from_section, of_section
from videoar_jax.core.export import Loaded, tree_digest
from videoar_jax.data.config import DataConfig
from videoar_jax.families.family import Family
from videoar_jax.families.kinds import make_family
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.sample.program import SamplingConfig, make_sample_program
from videoar_jax.sample.sampler import make_prompt_encoder, sample_videos
from videoar_jax.tokenizer.autoencoder import (
  Autoencoder,
  boxed_shapes,
  to_float,
)
from videoar_jax.tokenizer.features import note_length, tokenizer_config
from videoar_jax.train.condition import check_last_stage, resolve_condition
from videoar_jax.train.frozen import keep_tokenizer, load_tokenizer
from videoar_jax.train.heldout import make_heldout
from videoar_jax.train.metrics import Telling
from videoar_jax.train.recipe import (
  Recipe,
  held_out_batches,
  origin_of,
  write_work,
)
from videoar_jax.train.sections import read_optimizer, read_streams
from videoar_jax.train.state import TrainState, Update

_SHOWN_CLASSES = 9


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
  optimizer = read_optimizer(config, 'optimizer')
  corruption = from_section(CorruptionConfig, config, 'corruption')
  named = read_streams(config)
  loaded = load_tokenizer(config, workdir)
  autoencoder = loaded.nets['autoencoder']
  digest = tree_digest(autoencoder)
  _check_streams(config, loaded, named, digest)
  streams = tuple(named.values())
  config = resolve_condition(config, streams, workdir=workdir)
  check_last_stage(config, digest)
  family = make_family(config, tokenizer_config(loaded))
  prompts = make_prompt_encoder(config, family.transformer)
  shapes = boxed_shapes(family.tokenizer)
  frozen = {'autoencoder': placement.place_net(autoencoder, shapes, mesh)}
  objective = _objectives(config, family)
  update = Update(
    net=family.net,
    init=family.init,
    origin=origin_of(config, family.net),
    objective=objective(corruption),
    optimizer=optimizer,
  )
  # Held out, the history is clean: losses of different settings compare.
  clean = objective(CorruptionConfig(flip_max=0.0), dropout=0.0)
  batches = held_out_batches(
    streams[0], config.train.eval_batches, mesh=mesh, prompts=prompts
  )
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
      config, family, prompts, frozen, workdir=workdir, mesh=mesh
    ),
    telling=Telling('bit_accuracy', 'bit acc'),
    config=config,
    begin=lambda: keep_tokenizer(loaded, workdir),
  )


def _objectives(config: Any, family: Family):
  """Builds objective(corruption, …), on features or on videos."""
  frame_mask = from_section(FrameMaskConfig, config, 'frame_mask')

  def objective(corruption: CorruptionConfig, **overrides):
    on_features = family.objective(corruption, frame_mask, **overrides)
    return _on_videos_too(on_features, family.autoencoder)

  return objective


def _check_streams(
  config: Any, loaded: Loaded, streams: Mapping[str, DataConfig], digest: str
) -> None:
  """Raises ValueError where clips do not fit the tokenizer or the settings."""
  family = make_family(config, tokenizer_config(loaded))
  corruption = from_section(CorruptionConfig, config, 'corruption')
  masked = from_section(FrameMaskConfig, config, 'frame_mask').is_on
  for name, data in streams.items():
    with of_section(name):
      frames = family.tokenizer.latent_frames(data.num_frames)
      family.tokenizer.scales_for(data.height, data.width)
    data.kind.check_tokenizer(data.path, digest)
    with of_section('corruption'):
      corruption.bounds(frames)
    with of_section('transformer'):
      plan = family.plan(frames, data.height, data.width)
    if masked and not family.is_causal:
      raise ValueError(
        f'frame_mask: plan {plan.name} predicts all frames together, none is '
        'past; set frame_mask.window=0 and frame_mask.probability=0'
      )
  if jax.process_index() == 0:
    note_length(loaded, max(data.num_frames for data in streams.values()))


def _on_videos_too(objective, model: Autoencoder):
  """Lets an objective on features take pixels, encoded by the tokenizer."""

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


def _make_visualise(config, family, prompts, frozen, *, workdir, mesh):
  """Builds visualise(state, step): a sample of each of the first classes."""
  sampling = SamplingConfig(
    num_frames=config.data.num_frames,
    guidance=config.sampling.guidance,
    temperature=config.sampling.temperature,
    top_p=config.sampling.top_p,
    seed=config.seed,
    size=(config.data.height, config.data.width),
  )
  program = make_sample_program(family, sampling)
  names = config.classes[:_SHOWN_CLASSES]
  conditions = np.arange(len(names), dtype=np.int32)
  if prompts is not None:
    conditions = prompts.encode_classes(names)

  def visualise(state: TrainState, step: int) -> None:
    nets = {**frozen, family.net: state.nets[family.net].averaged}
    with jax.set_mesh(mesh):
      videos = list(sample_videos(program, nets, conditions, sampling=sampling))
    write_work(workdir, f'samples_{step:07d}', videos, names)

  return visualise
