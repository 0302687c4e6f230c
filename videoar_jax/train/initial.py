"""Starts a run from the weights of another, as in training by stages.

A tokenizer of single frames starts one of clips: with one frame a causal
kernel meets nothing but its last time slice, and the others stay at zero, so
what comes out for a single frame is the same. Source: VideoAR
(arXiv:2601.05966) App. A; zeros by default: docs/paper.md, Inflation.
"""

import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import placement
from videoar_jax.core.console import note
from videoar_jax.core.digest import flatten
from videoar_jax.core.export import load_weights
from videoar_jax.core.fit import check_fits
from videoar_jax.train.state import Origin, TrainState

INFLATIONS = ('zeros', 'random')
_TOKENIZER, _GENERATOR = 'autoencoder', 'transformer'
_PREFIX = 'prefix'


def start_from(
  state: TrainState,
  origins: Mapping[str, Origin],
  *,
  inflation: str = 'zeros',
  seed: int = 0,
  classes: Sequence[str] = (),
) -> TrainState:
  """Puts other runs' averaged weights in the place of initial parameters.

  Args:
    state: a first state; its optimisers, step and key are kept.
    origins: network -> where its weights are; those that are not named keep
      their initial parameters.
    inflation: 'zeros' takes the weights as they are, 'random' those of
      `fill_past`.
    seed: of the latter.
    classes: of a generator by class, which may be others than the other run's:
      see `with_classes`. Where prompts condition one of the two and classes the
      other, what stands for them keeps its initial parameters.

  Returns:
    The state, each array placed as it was.

  Raises:
    CheckpointError: nothing to be trusted there, or of another recipe.
    ValueError: a network is missing there, or its arrays do not fit (see
      `check_fits`); or inflation is unknown or does not fit.
  """
  if inflation not in INFLATIONS:
    raise ValueError(f'inflation={inflation!r}: use {" or ".join(INFLATIONS)}')
  load = functools.cache(load_weights)
  nets = dict(state.nets)
  for name, origin in origins.items():
    net, loaded = nets[name], load(origin.path, expect=origin.recipe)
    if origin.net not in loaded.nets:
      if origin.optional:
        if jax.process_index() == 0:
          note(f'{origin.path} has no {origin.net}, which begins anew')
        continue
      raise ValueError(
        f'init_from={origin.path}: no {origin.net} there, only '
        f'{", ".join(sorted(loaded.nets))}'
      )
    given, initial, anew = loaded.nets[origin.net], net.params, {}
    if origin.net == _GENERATOR:
      given = with_classes(given, loaded.config.get('classes'), classes)
      given, initial, anew = _without_other_prefix(given, initial)
    check_fits(
      flatten(given),
      flatten(initial),
      where=f'init_from={origin.path}: {origin.net}',
      fix='train with the config of that run',
    )
    if inflation == 'random' and origin.net == _TOKENIZER:
      given = fill_past(given, seed=seed)
    params = placement.place(
      # Copies, as on a CPU JAX keeps the array that it is given.
      jax.tree.map(lambda x, old: np.array(x, old.dtype), given, initial),
      jax.tree.map(lambda x: x.sharding, initial),
    )
    params = {**params, **anew}
    # Of its own: a step gives its input's buffers away.
    ema = None if net.ema is None else jax.tree.map(jnp.copy, params)
    nets[name] = net.replace(params=params, ema=ema)
  return state.replace(nets=nets)


def with_classes(
  params: Any, old: Sequence[str] | None, new: Sequence[str]
) -> Any:
  """A generator's parameters for other classes.

  A class of the same name keeps its tokens; one that is new begins with those
  that stand for no class in particular.

  Args:
    params: a generator's, by class or by text.
    old: names of its classes.
    new: names of the classes that are wanted.
  Returns:
    The parameters as they are, where classes do not condition it or are the
    same.
  """
  old = tuple(old or ())
  table = params.get(_PREFIX, {}).get('table')
  if table is None or old == tuple(new) or len(table) != len(old) + 1:
    return params
  unknown = [name for name in new if name not in old]
  if unknown and jax.process_index() == 0:
    note(f'new classes begin as no class in particular: {", ".join(unknown)}')
  rows = [old.index(name) if name in old else len(old) for name in new]
  prefix = {**params[_PREFIX], 'table': table[[*rows, len(old)]]}
  return {**params, _PREFIX: prefix}


def _without_other_prefix(given: Any, initial: Any) -> tuple[Any, Any, Any]:
  """Takes the prefix out of both where prompts condition only one of them.

  Returns:
    What is left of either, and of the initial parameters what was taken out.
  """
  prefixes = [params.get(_PREFIX) for params in (given, initial)]
  if None in prefixes or prefixes[0].keys() == prefixes[1].keys():
    return given, initial, {}
  if jax.process_index() == 0:
    note('prompts condition one of the two runs: what they mean is learnt anew')
  rest = [
    {name: x for name, x in params.items() if name != _PREFIX}
    for params in (given, initial)
  ]
  return *rest, {_PREFIX: initial[_PREFIX]}


def fill_past(given: Any, *, seed: int) -> Any:
  """Gives the slices of kernels that see the past random values.

  An image tokenizer leaves them zero. Filled, it encodes single frames as
  before; it decodes them otherwise, since where time is doubled a frame's copy
  has the frame for its past. Values are normal with the deviation of the whole
  kernel's fan-in. Source: VideoAR App. A (random; it gives no deviation).

  Args:
    given: a tokenizer's parameters, on the host.
    seed: of the values.

  Raises:
    ValueError: a past slice is not zero, so that single frames were not all it
      was trained on.
  """

  def fill(path, x):
    if x.ndim != 5 or x.shape[0] == 1:
      return x
    name = jax.tree_util.keystr(path)
    if np.any(x[:-1]):
      raise ValueError(
        f"inflation='random': {name} of init_from has learnt from past frames "
        "already; use 'zeros', or start from a tokenizer of single frames"
      )
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    past = rng.standard_normal(x[:-1].shape) * np.prod(x.shape[:-1]) ** -0.5
    return np.concatenate([past.astype(x.dtype), x[-1:]])

  return jax.tree_util.tree_map_with_path(fill, given)
