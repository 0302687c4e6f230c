"""Training a tokenizer: its updates, held-out loss, pictures."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from jax.sharding import Mesh

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import placement
from videoar_jax.core.config import from_section, of_section
from videoar_jax.data.config import DataConfig
from videoar_jax.objectives.adversarial import (
  AdversarialConfig,
  Opponent,
  make_discriminator_objective,
)
from videoar_jax.objectives.context import Stage
from videoar_jax.objectives.forward import make_forward
from videoar_jax.objectives.reconstruction import TokenizerLossConfig
from videoar_jax.objectives.tokenizer import make_tokenizer_objective
from videoar_jax.tokenizer.autoencoder import Autoencoder, make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.discriminator import (
  DiscriminatorConfig,
  make_discriminator,
)
from videoar_jax.tokenizer.features import make_reconstructor
from videoar_jax.tokenizer.perceptual import Network, load_lpips
from videoar_jax.train.heldout import make_heldout
from videoar_jax.train.metrics import Telling
from videoar_jax.train.recipe import (
  Recipe,
  held_out_batches,
  origin_of,
  write_work,
)
from videoar_jax.train.runner import say
from videoar_jax.train.sections import read_optimizer, read_streams
from videoar_jax.train.state import TrainState, Update

NET = 'autoencoder'
DISCRIMINATOR = 'discriminator'
_SHOWN_CLIPS = 4


def make_tokenizer_recipe(
  config: Any, *, workdir: epath.Path, mesh: Mesh
) -> Recipe:
  """Builds what trains a tokenizer.

  Args:
    config: sections data, more_data, tokenizer, losses, adversarial,
      discriminator, optimizer, discriminator_optimizer (see configs/). Held
      out, only `data` is looked at.
    workdir: pictures go to its samples/.
    mesh: where the run lives.

  Returns:
    The recipe.

  Raises:
    ValueError: a clip's frames or resolution do not fit the tokenizer or the
      discriminator, a stream holds no videos, or the weights of LPIPS are
      missing.
  """
  parts = tokenizer_updates(config)
  if (copies := mesh_lib.copies(mesh)) > 1:
    say(
      f'a tokenizer goes over data and fsdp alone: on this mesh {copies} '
      'devices compute the same; use mesh.tensor=1 and mesh.sequence=1'
    )
  model, losses, streams = parts.model, parts.losses, parts.streams
  update = parts.updates[0]
  frozen = {}
  if losses.perceptual:
    frozen['lpips'] = placement.replicate(load_lpips(Network.VGG16), mesh)
  # Held out, all scales are decoded and nobody judges: the losses of one run
  # compare over time, and those of runs of different settings too.
  whole = dataclasses.replace(losses, drop_probability=0.0)
  held_out = dataclasses.replace(
    update,
    stage=Stage(NET, make_forward(model, whole)),
    objective=make_tokenizer_objective(model, whole),
  )
  batches = held_out_batches(streams[0], config.train.eval_batches, mesh=mesh)
  reconstruct = make_reconstructor(model.config)

  def visualise(state: TrainState, step: int) -> None:
    clips = placement.shard_batch(next(batches()), mesh)['video']
    with jax.set_mesh(mesh):
      decoded, _ = reconstruct(state.nets[NET].averaged, clips)
    clips, decoded = placement.to_host((clips, decoded))
    name = f'reconstructions_{step:07d}'
    write_work(workdir, name, **_side_by_side(clips, decoded))

  return Recipe(
    updates=parts.updates,
    streams=streams,
    frozen=frozen,
    evaluate=make_heldout(
      [held_out], batches=batches, mesh=mesh, frozen=frozen
    ),
    visualise=visualise,
    telling=Telling('psnr', 'PSNR'),
    config=config,
  )


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a config says of training a tokenizer; no weights, no data.

  Attributes:
    model: the autoencoder.
    losses: its own.
    streams: the data.
    updates: the autoencoder's, and its judge's if it has one.
  """

  model: Autoencoder
  losses: TokenizerLossConfig
  streams: tuple[DataConfig, ...]
  updates: tuple[Update, ...]


def tokenizer_updates(config: Any) -> Parts:
  """Reads the networks in training, and their losses, from a run's config.

  Raises:
    ValueError: see `make_tokenizer_recipe`.
  """
  tokenizer = from_section(TokenizerConfig, config, 'tokenizer')
  streams = _checked_streams(config, tokenizer)
  data = streams[0]
  model = make_tokenizer(tokenizer)
  losses = from_section(TokenizerLossConfig, config, 'losses')
  forward = Stage(NET, make_forward(model, losses))
  judge = _discriminator_update(config, streams, model, forward)

  def init(key):
    shape = (1, 1, data.height, data.width, 3)
    return model.init(key, jnp.zeros(shape))['params']

  update = Update(
    net=NET,
    init=init,
    origin=origin_of(config, NET),
    stage=forward,
    objective=make_tokenizer_objective(model, losses, judge and judge.opponent),
    optimizer=read_optimizer(config, 'optimizer'),
  )
  updates = (update, judge.update) if judge else (update,)
  return Parts(model, losses, streams, updates)


def _checked_streams(
  config: Any, tokenizer: TokenizerConfig
) -> tuple[DataConfig, ...]:
  """The streams of data, which a tokenizer of that shape can learn from."""
  named = read_streams(config)
  for name, stream in named.items():
    with of_section(name):
      tokenizer.latent_frames(stream.num_frames)
      tokenizer.check_resolution(stream.height, stream.width)
      if stream.kind.features:
        raise ValueError(
          f'source={stream.source!r} holds features, and a tokenizer learns '
          'from videos; give those that they were made of'
        )
  return tuple(named.values())


@dataclasses.dataclass(frozen=True)
class _Judge:
  opponent: Opponent
  update: Update


def _discriminator_update(
  config: Any,
  streams: tuple[DataConfig, ...],
  autoencoder: Autoencoder,
  forward: Stage,
) -> _Judge | None:
  """The discriminator and its update; None where its weight is 0."""
  adversarial = from_section(AdversarialConfig, config, 'adversarial')
  if not adversarial.weight:
    return None
  if adversarial.start >= config.train.num_steps:
    raise ValueError(
      f'adversarial.start={adversarial.start}: the run ends after train.'
      f'num_steps={config.train.num_steps}; start before, or set '
      'adversarial.weight=0'
    )
  shape = from_section(DiscriminatorConfig, config, 'discriminator')
  for stream in streams:
    shape.check_resolution(stream.height, stream.width)
  model, data = make_discriminator(shape), streams[0]
  opponent = Opponent(model, adversarial)

  def init(key):
    clip = jnp.zeros((1, data.num_frames, data.height, data.width, 3))
    return model.init(key, clip)['params']

  update = Update(
    net=DISCRIMINATOR,
    init=init,
    # A run without one may come before this one.
    origin=origin_of(config, DISCRIMINATOR, optional=True),
    stage=forward,
    objective=make_discriminator_objective(autoencoder, opponent),
    optimizer=read_optimizer(
      config, 'discriminator_optimizer', start=adversarial.start
    ),
    start=adversarial.start,
    averages=adversarial.averages,
  )
  return _Judge(opponent, update)


def _side_by_side(clips_bTHWc, decoded_bTHWc) -> dict[str, Any]:
  """Clips and their decodings in turn, labelled, or so of single frames."""
  labels = ['original', 'decoded']
  if clips_bTHWc.shape[1] == 1:
    videos = [clips_bTHWc[:, 0], decoded_bTHWc[:, 0]]
    return {'videos': videos, 'labels': labels, 'moving': False}
  pairs = zip(clips_bTHWc[:_SHOWN_CLIPS], decoded_bTHWc)
  videos = [video for pair in pairs for video in pair]
  return {'videos': videos, 'labels': labels * (len(videos) // 2)}
