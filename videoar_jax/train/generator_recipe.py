"""Training a generator over a frozen tokenizer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from etils import epath
from jax.sharding import Mesh

from videoar_jax import media
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.config import from_section
from videoar_jax.core.export import load_weights, tree_digest, write_export
from videoar_jax.data.config import DataConfig
from videoar_jax.data.features import check_digest
from videoar_jax.data.pipeline import make_source
from videoar_jax.objectives.bitwise import make_transformer_objective
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.sample.sampler import (
  SamplingConfig,
  make_sample_program,
  sample_videos,
)
from videoar_jax.tokenizer.autoencoder import make_tokenizer, to_float
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import tokenizer_config
from videoar_jax.train.heldout import make_heldout
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.recipe import (
  Recipe,
  held_out_batches,
  picture_path,
)
from videoar_jax.train.state import TrainState, Update
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import make_transformer

NET = 'transformer'
_SHOWN_CLASSES = 9
_FEATURES = 'features:'


def make_generator_recipe(
  config: Any, *, workdir: epath.Path, mesh: Mesh
) -> Recipe:
  """Builds what trains a generator.

  The tokenizer is copied into the workdir, so that its checkpoints need
  nothing outside. The data set's classes are written into the config.

  Args:
    config: sections data, transformer, corruption, frame_mask, optimizer,
      sampling, and the path `tokenizer`.
    workdir: where the run lives.
    mesh: where the state lives.

  Returns:
    The recipe.

  Raises:
    ValueError: the tokenizer, the data and the transformer do not fit.
  """
  data = from_section(DataConfig, config.data)
  transformer = from_section(TransformerConfig, config.transformer)
  frozen, tokenizer = _frozen_tokenizer(config, data, workdir)
  frozen = mesh_lib.replicate(frozen, mesh)
  config = _with_classes(config, data, transformer)
  frames = tokenizer.latent_frames(data.num_frames)
  plan = next_scale_plan(frames, tokenizer.scales)
  model = make_transformer(
    transformer,
    num_bits=tokenizer.latent_width,
    num_scales=len(tokenizer.scales),
  )

  def init(key):
    inputs = jnp.zeros((1, plan.num_tokens, tokenizer.latent_width))
    label = jnp.zeros((1,), jnp.int32)
    return model.init(key, inputs, label, plan=plan)['params']

  def objective(**overrides):
    return _on_videos_too(
      make_transformer_objective(
        model,
        plan=plan,
        scales=tokenizer.scales,
        frame_mask=from_section(FrameMaskConfig, config.frame_mask),
        **overrides,
      ),
      tokenizer,
    )

  corruption = from_section(CorruptionConfig, config.corruption)
  update = Update(
    net=NET,
    init=init,
    objective=objective(corruption=corruption),
    optimizer=from_section(OptimizerConfig, config.optimizer),
  )
  # Held out, the history is clean: losses of different settings compare.
  clean = objective(corruption=CorruptionConfig(flip_max=0.0), dropout=0.0)
  batches = held_out_batches(data, config.train.eval_batches)
  return Recipe(
    updates=(update,),
    streams=(data,),
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


def _frozen_tokenizer(config, data: DataConfig, workdir: epath.Path):
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
  tokenizer.latent_frames(data.num_frames)
  tokenizer.check_resolution(data.height, data.width)
  if data.source.startswith(_FEATURES):
    digest = tree_digest(loaded.nets['autoencoder'])
    check_digest(data.source.removeprefix(_FEATURES), digest)
  nets = {'autoencoder': loaded.nets['autoencoder']}
  if not kept.exists():
    write_export(kept, nets, loaded.config, step=loaded.step)
  return nets, tokenizer


def _with_classes(config, data: DataConfig, transformer: TransformerConfig):
  """The config with the data set's class names; checks their number."""
  classes = tuple(make_source(data, train=True).classes)
  if len(classes) != transformer.num_classes:
    raise ValueError(
      f'transformer.num_classes={transformer.num_classes}: {data.source} has '
      f'{len(classes)} classes; use that number'
    )
  resolved = ml_collections.ConfigDict(config)
  with resolved.unlocked():
    resolved.classes = classes
  return resolved


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
      batch = {'features': features, 'label': batch['label']}
    return objective(params, batch, context)

  return on_either


def _make_visualise(config, tokenizer, transformer, frozen, *, workdir, mesh):
  """Builds visualise(state, step): a sample of each of the first classes."""
  sampling = SamplingConfig(
    num_frames=config.data.num_frames,
    guidance=config.sampling.guidance,
    temperature=config.sampling.temperature,
    seed=config.seed,
  )
  program = make_sample_program(tokenizer, transformer, sampling)
  labels = list(range(min(_SHOWN_CLASSES, transformer.num_classes)))

  def visualise(state: TrainState, step: int) -> None:
    nets = {**frozen, NET: state.nets[NET].ema}
    with jax.set_mesh(mesh):
      videos = list(sample_videos(program, nets, labels, sampling=sampling))
    path = picture_path(workdir, f'samples_{step:07d}.png')
    if path is not None:
      names = [config.classes[label] for label in labels]
      media.write_contact_sheet(path, videos, labels=names)

  return visualise
