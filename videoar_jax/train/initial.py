"""Starts a run from the weights of another, as in training by stages.

A tokenizer of single frames starts one of clips: with one frame a causal
kernel meets nothing but its last time slice, and the others stay at zero, so
what comes out for a single frame is the same. Source: VideoAR App. A.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.digest import flatten
from videoar_jax.core.export import load_weights
from videoar_jax.train.state import TrainState

_SHOWN_NAMES = 8


def start_from(state: TrainState, path: Any, *, recipe: str) -> TrainState:
  """Puts another run's averaged weights in the place of initial parameters.

  Args:
    state: a first state; its optimisers, step and key are kept.
    path: anything that `--checkpoint` takes. Networks that it lacks keep
      their initial parameters, as a discriminator that comes in later.
    recipe: what the other run must have trained.

  Returns:
    The state, each array placed as it was.

  Raises:
    CheckpointError: nothing to be trusted there, or of another recipe.
    ValueError: no network is shared, or the arrays of one differ in name or
      shape.
  """
  loaded = load_weights(path, expect=recipe)
  nets = {}
  if loaded.nets.keys().isdisjoint(state.nets):
    raise ValueError(
      f'init_from={path}: none of {", ".join(sorted(state.nets))} there, only '
      f'{", ".join(sorted(loaded.nets))}'
    )
  for name, net in state.nets.items():
    if name not in loaded.nets:
      nets[name] = net
      continue
    given = loaded.nets[name]
    _check_same_arrays(
      flatten(given), flatten(net.params), where=f'{path}: {name}'
    )
    params = mesh_lib.place(
      jax.tree.map(lambda x, old: np.asarray(x, old.dtype), given, net.params),
      jax.tree.map(lambda x: x.sharding, net.params),
    )
    nets[name] = net.replace(params=params, ema=jax.tree.map(jnp.copy, params))
  return state.replace(nets=nets)


def _check_same_arrays(given, wanted, *, where: str) -> None:
  wrong = [f'{name} is missing' for name in sorted(wanted.keys() - given)]
  wrong += [
    f'{name} is not in this one' for name in sorted(given.keys() - wanted)
  ]
  wrong += [
    f'{name} is {given[name].shape}, wanted {wanted[name].shape}'
    for name in sorted(wanted.keys() & given)
    if given[name].shape != wanted[name].shape
  ]
  if wrong:
    more = len(wrong) - _SHOWN_NAMES
    lines = wrong[:_SHOWN_NAMES] + [f'and {more} more'] * (more > 0)
    raise ValueError(
      f'init_from={where} is of another architecture; train with the config '
      'of that run:' + ''.join(f'\n  {line}' for line in lines)
    )
