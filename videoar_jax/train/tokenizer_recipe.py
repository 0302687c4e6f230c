"""Training a tokenizer: the autoencoder's update, held-out loss, pictures."""

from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from jax.sharding import Mesh

from videoar_jax import media
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.config import from_section
from videoar_jax.data.config import DataConfig
from videoar_jax.objectives.reconstruction import (
  TokenizerLossConfig,
  make_tokenizer_objective,
)
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import make_reconstructor
from videoar_jax.train.heldout import make_heldout
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.recipe import (
  Recipe,
  held_out_batches,
  picture_path,
)
from videoar_jax.train.state import TrainState, Update

NET = 'autoencoder'
_SHOWN_CLIPS = 4


def make_tokenizer_recipe(
  config: Any, *, workdir: epath.Path, mesh: Mesh
) -> Recipe:
  """Builds what trains a tokenizer.

  Args:
    config: sections data, tokenizer, losses, optimizer (see configs/).
    workdir: pictures go to its samples/.
    mesh: where the run lives.

  Returns:
    The recipe.

  Raises:
    ValueError: a clip's frames or resolution do not fit the tokenizer.
  """
  data = from_section(DataConfig, config.data)
  tokenizer = from_section(TokenizerConfig, config.tokenizer)
  tokenizer.latent_frames(data.num_frames)
  tokenizer.check_resolution(data.height, data.width)
  model = make_tokenizer(tokenizer)
  objective = make_tokenizer_objective(
    model, from_section(TokenizerLossConfig, config.losses)
  )

  def init(key):
    shape = (1, 1, data.height, data.width, 3)
    return model.init(key, jnp.zeros(shape))['params']

  update = Update(
    net=NET,
    init=init,
    objective=objective,
    optimizer=from_section(OptimizerConfig, config.optimizer),
  )
  batches = held_out_batches(data, config.train.eval_batches)
  reconstruct = make_reconstructor(tokenizer)

  def visualise(state: TrainState, step: int) -> None:
    clips = mesh_lib.shard_batch(next(batches()), mesh)['video']
    with jax.set_mesh(mesh):
      decoded, _ = reconstruct(state.nets[NET].ema, clips)
    clips, decoded = mesh_lib.to_host((clips, decoded))
    path = picture_path(workdir, f'reconstructions_{step:07d}.png')
    if path is not None:
      media.write_contact_sheet(path, **_side_by_side(clips, decoded))

  return Recipe(
    updates=(update,),
    frozen={},
    evaluate=make_heldout([update], batches=batches, mesh=mesh),
    visualise=visualise,
    config=config,
  )


def _side_by_side(clips_bTHWc, decoded_bTHWc) -> dict[str, list]:
  """Rows of a contact sheet: a clip and its decoding, or single frames."""
  if clips_bTHWc.shape[1] == 1:
    return {
      'videos': [clips_bTHWc[:, 0], decoded_bTHWc[:, 0]],
      'labels': ['original', 'decoded'],
    }
  pairs = zip(clips_bTHWc[:_SHOWN_CLIPS], decoded_bTHWc)
  videos = [video for pair in pairs for video in pair]
  return {
    'videos': videos,
    'labels': ['original', 'decoded'] * (len(videos) // 2),
  }
