"""The training loop: restore, step, log, evaluate, save; resumes itself."""

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
from etils import epath
from jax.sharding import Mesh

from videoar_jax.core import config as config_lib
from videoar_jax.core import console, export, manifest
from videoar_jax.core.archive import check_memory
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.train import metrics as metrics_lib
from videoar_jax.train import starts, tracking
from videoar_jax.train.cadence import LoopConfig
from videoar_jax.train.clock import Clock
from videoar_jax.train.initial import start_from
from videoar_jax.train.preemption import StopRequest
from videoar_jax.train.profile import parse_steps
from videoar_jax.train.runner import Batch, Runner, say
from videoar_jax.train.state import (
  TrainState,
  Update,
  abstract_state,
  create_state,
)

# What a resumed run may change (* is any name): how long, how often it reports,
# and where it runs; not what it computes.
MAY_CHANGE = (
  'train.num_steps',
  'train.log_every',
  'train.checkpoint_every',
  'train.checkpoint_every_s',
  'train.eval_every',
  'train.eval_batches',
  'train.sample_every',
  'train.keep',
  'train.wandb',
  'train.max_bad_updates',
  'train.spike_factor',
  'train.hang_after_s',
  'data.num_workers',
  'data.max_bad_share',
  'more_data.*.num_workers',
  'more_data.*.max_bad_share',
  'mesh.*',
  # Of no effect by text; by class the names of the classes say as much.
  'transformer.num_classes',
  # The path alone: a copy in the workdir is what a generator goes on with.
  'tokenizer',
)

_SHOWN = 100  # characters of a value in a message


def run(
  *,
  workdir: Any,
  config: ml_collections.ConfigDict,
  loop: LoopConfig,
  updates: Sequence[Update],
  batches_from: Callable[[int], Iterator[Batch]],
  mesh: Mesh,
  seed: int = 0,
  frozen: Mapping[str, Any] | None = None,
  evaluate: Callable[[TrainState], Mapping[str, float] | None] | None = None,
  visualise: Callable[[TrainState, int], None] | None = None,
  telling: metrics_lib.Telling | None = None,
  best_metric: str = 'loss',
  begin: Callable[[], None] = lambda: None,
  clips_of: Callable[[int], Sequence[str]] | None = None,
  profile_steps: str = '',
) -> TrainState:
  """Trains to `loop.num_steps`; the same call again resumes or returns.

  A SIGTERM or Ctrl-C finishes the step, saves and raises `Stopped`.

  Args:
    workdir: gets config.json, metrics.jsonl, times.jsonl, tensorboard/ and
      checkpoints/.
    config: the resolved config, stored beside and inside the checkpoints.
    loop: the section `train` of it.
    updates: what is trained.
    batches_from: `(step) -> iterator` of this process's batches, the first
      for that step; the position in the data is the step. A key `failed` is
      not passed on to it.
    mesh: where to train.
    seed: of initial parameters and random draws.
    frozen: networks that are used and not trained, placed on the mesh.
    evaluate: held-out metrics of a state (`heldout.make_heldout`).
    visualise: writes samples or reconstructions of a state after a step.
    telling: the figure that lines of progress show beside the loss.
    best_metric: of `evaluate`; the checkpoint where it is lowest is kept.
    begin: called before the first step, once nothing stands against it.
    clips_of: names of the clips in the batch of a step, counted from 0, for
      what is told of a bad one.
    profile_steps: a range of steps to trace, see `profile`; '': none.
  Raises:
    ValueError: workdir is of another config, the batch does not fit the mesh,
      or Weights & Biases is asked for and cannot begin.
    CheckpointError: no checkpoint can be trusted (here or where a network has
      its origin), or the last one could not be written.
    TrainingError: too many updates in a row were not finite.
    Stopped: a signal came; everything is saved.
  """
  clock = Clock()
  traced = parse_steps(profile_steps, num_steps=loop.num_steps)
  tracking.check_installed(loop.wandb)
  workdir = epath.Path(workdir)
  checkpoints = Checkpoints(workdir / export.CHECKPOINTS, keep=loop.keep)
  _check_config(workdir, config)
  start, state, best = _restore(
    checkpoints, updates, config, seed=seed, num_steps=loop.num_steps, mesh=mesh
  )
  _save_config(workdir, config)
  if start >= loop.num_steps:
    say(f'{workdir} is trained already: {start} of {loop.num_steps} steps')
    return state
  begin()
  _tell_start(workdir, state, step=start)
  runner = Runner(
    workdir=workdir,
    config=config,
    loop=loop,
    updates=updates,
    mesh=mesh,
    frozen=dict(frozen or {}),
    checkpoints=checkpoints,
    evaluate=evaluate,
    visualise=visualise,
    telling=telling,
    best_metric=best_metric,
    clips_of=clips_of,
    traced=traced,
    state=state,
    done=start,
    best=best,
    clock=clock,
  )
  try:
    with StopRequest() as request:
      runner.train(batches_from(start), request)
  finally:
    runner.close()
  return runner.state


def _restore(
  checkpoints: Checkpoints,
  updates: Sequence[Update],
  config: ml_collections.ConfigDict,
  *,
  seed: int,
  num_steps: int,
  mesh: Mesh,
) -> tuple[int, TrainState, float | None]:
  """Steps done, the state after them and the best metric so far."""
  shape = {'seed': seed, 'num_steps': num_steps, 'mesh': mesh}
  abstract = abstract_state(updates, **shape)
  _check_memory(abstract, mesh)
  restored = checkpoints.restore(abstract, unread=_is_average)
  if restored is not None:
    return restored.step, restored.tree, restored.meta['best']
  state = create_state(updates, **shape)
  return 0, _first_state(updates, config, state, seed), None


def _tell_start(workdir: epath.Path, state: TrainState, *, step: int) -> None:
  """Says how large the networks are, and keeps that and where they train."""
  if step:
    say(f'resumed from checkpoint {step} of {workdir}')
  sizes = {
    name: sum(x.size for x in jax.tree.leaves(net.params))
    for name, net in state.nets.items()
  }
  shown = ', '.join(f'{k} {console.count(x)}' for k, x in sizes.items())
  say(f'parameters: {shown}')
  starts.write_start(workdir, step=step, parameters=sizes)


def _first_state(
  updates: Sequence[Update],
  config: ml_collections.ConfigDict,
  state: TrainState,
  seed: int,
) -> TrainState:
  """Initial parameters, or other runs' in their place."""
  origins = {x.net: x.origin for x in updates if x.origin is not None}
  for path in dict.fromkeys(origin.path for origin in origins.values()):
    say(f'starting from the weights of {path}')
  return start_from(
    state,
    origins,
    inflation=config.inflation,
    seed=seed,
    classes=config.get('classes', ()),
  )


def _check_config(
  workdir: epath.Path, config: ml_collections.ConfigDict
) -> None:
  """Checks that the config.json there, if any, is of the same run."""
  path = workdir / export.CONFIG
  if manifest.list_steps(workdir / export.CHECKPOINTS) and path.exists():
    differ = config_lib.differences(config_lib.load_config(path), config)
    fixed = {k: v for k, v in differ.items() if not _may_change(k)}
    if fixed:
      lines = ''.join(
        f'\n  {key}: {_shown(old)} there, {_shown(new)} now'
        for key, (old, new) in fixed.items()
      )
      raise ValueError(
        f'{workdir} holds a run of another config; use another --workdir, or '
        f'give these keys their old values:{lines}'
      )


def _is_average(name: str) -> bool:
  """Whether an array of a checkpoint is of averaged parameters.

  Runs without averages once kept a copy of the parameters in their place.
  """
  return name.split('/')[::2][:2] == ['nets', 'ema']


def _may_change(key: str) -> bool:
  return any(fnmatch.fnmatchcase(key, name) for name in MAY_CHANGE)


def _save_config(
  workdir: epath.Path, config: ml_collections.ConfigDict
) -> None:
  if jax.process_index() == 0:
    workdir.mkdir(parents=True, exist_ok=True)
    config_lib.save_config(config, workdir / export.CONFIG)


def _check_memory(state: TrainState, mesh: Mesh) -> None:
  """Raises a ValueError where the state alone is larger than the memory."""
  device = mesh.local_devices[0]
  wanted = sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(state)
  )
  if device.platform == 'cpu':
    wanted *= len(mesh.local_devices)  # all share the machine's memory
    room = None
  else:
    room = (device.memory_stats() or {}).get('bytes_limit', wanted)
  check_memory(
    wanted,
    'parameters, their averages and optimisers; make the networks smaller, or '
    'shard them over more devices (mesh.fsdp)',
    free=room,
  )


def _shown(value: Any) -> str:
  """A value in a message; a tokenizer's JSON would fill the screen."""
  text = repr(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'
