"""What a recipe is, and what all of them share."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from videoar_jax import media
from videoar_jax.core import files, placement
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.config import from_section
from videoar_jax.data.config import DataConfig
from videoar_jax.data.mixture import clips_of_step, make_mixture
from videoar_jax.data.pipeline import make_batches, make_source
from videoar_jax.data.prompts import PromptEncoder
from videoar_jax.train import loop
from videoar_jax.train.metrics import Telling
from videoar_jax.train.state import Origin, TrainState, Update

NEWEST = 'newest.npz'
_HELD_OUT_SEED = 1_000_003


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """Everything of a training run that depends on what is trained.

  Attributes:
    updates: the networks in training.
    streams: the data that its batches are drawn from, turn by turn.
    prompts: of the streams' prompts, if they have any.
    frozen: parameters of networks that are only read.
    evaluate: held-out metrics of the averaged parameters.
    visualise: writes pictures of the averaged parameters' work.
    telling: the figure that lines of progress show beside the loss.
    config: the resolved config, which travels with the checkpoints.
    begin: called once nothing stands against training any more.
  """

  updates: tuple[Update, ...]
  streams: tuple[DataConfig, ...]
  prompts: PromptEncoder | None = None
  frozen: dict[str, Any]
  evaluate: Callable[[TrainState], dict[str, float]]
  visualise: Callable[[TrainState, int], None]
  telling: Telling
  config: Any
  begin: Callable[[], None] = lambda: None


def run_recipe(
  recipe: Recipe, *, workdir: epath.Path, mesh: Mesh, profile_steps: str = ''
) -> None:
  """Trains a recipe to its end; see `loop.run`."""
  config = recipe.config
  loop.say(f'device: {mesh_lib.describe(mesh)}')
  for stream in recipe.streams:
    loop.say(f'data: {_describe(stream, recipe.prompts)}')

  def batches_from(step: int):
    return make_mixture(
      recipe.streams,
      seed=config.seed,
      start_step=step,
      rows_of=functools.partial(placement.batch_rows, mesh),
      prompts=recipe.prompts,
    )

  def clips_of(step: int):
    return clips_of_step(
      recipe.streams, seed=config.seed, step=step, prompts=recipe.prompts
    )

  loop.run(
    workdir=workdir,
    config=config,
    loop=from_section(loop.LoopConfig, config, 'train'),
    updates=recipe.updates,
    batches_from=batches_from,
    mesh=mesh,
    seed=config.seed,
    frozen=recipe.frozen,
    evaluate=recipe.evaluate,
    visualise=recipe.visualise,
    telling=recipe.telling,
    begin=recipe.begin,
    clips_of=clips_of,
    profile_steps=profile_steps,
  )


def _describe(stream: DataConfig, prompts: PromptEncoder | None) -> str:
  """What a stream's clips are, and how many there are."""
  source = make_source(stream, train=True, prompts=prompts)
  return (
    f'{stream.source}: {len(source)} clips of {len(source.classes)} classes, '
    f'{stream.num_frames} × {stream.height} × {stream.width}, '
    f'{stream.batch_size} a step'
  )


def origin_of(
  config: Any, net: str, *, optional: bool = False
) -> Origin | None:
  """The network of that name in the run that `init_from` names, if any."""
  if not config.init_from:
    return None
  path, recipe = config.init_from, config.recipe
  return Origin(path=path, recipe=recipe, net=net, optional=optional)


def held_out_batches(
  data: DataConfig,
  num_batches: int,
  *,
  mesh: Mesh,
  prompts: PromptEncoder | None = None,
) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
  """The same few held-out batches at every call, for this process."""

  def batches():
    stream = make_batches(
      data,
      train=False,
      seed=_HELD_OUT_SEED,
      rows=placement.batch_rows(mesh, data.batch_size),
      prompts=prompts,
    )
    for _, batch in zip(range(num_batches), stream):
      yield batch

  return batches


def write_work(
  workdir: epath.Path,
  name: str,
  videos: Sequence[np.ndarray],
  labels: Sequence[str],
  *,
  moving: bool = True,
) -> None:
  """Writes what a network can do, from the first process only.

  `samples/NAME.png` is a contact sheet, one for each step that is looked at;
  `samples/newest.npz` holds the videos themselves, of the last step alone.

  Args:
    workdir: of the run.
    name: of the sheet, with the step.
    videos: uint8 (T, H, W, 3) each, of one shape.
    labels: one for each.
    moving: they are videos, and no pictures one after another.
  """
  if jax.process_index():
    return
  folder = workdir / 'samples'
  folder.mkdir(parents=True, exist_ok=True)
  media.write_contact_sheet(folder / f'{name}.png', videos, labels=labels)
  if not moving:
    return
  with files.replacing(folder / NEWEST) as partial:
    np.savez_compressed(
      partial, videos=np.stack(videos), prompts=np.asarray(labels)
    )
