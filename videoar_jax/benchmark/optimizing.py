"""An update of the tokenizer's parameters: time by optimiser."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.config import from_section
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train.muon import matrix_of
from videoar_jax.train.optimizer import OptimizerConfig, make_optimizer

OPTAX_MUON = 'optax_muon'
KINDS = ('adamw', 'muon', OPTAX_MUON)
_UPDATES = 10  # that are timed, after the first
_LENGTH = 1000  # of the schedule, which the time does not depend on


def measure_optimizer(config: Any, kind: str) -> dict:
  """Times updates with a gradient of noise, on one device.

  Args:
    config: of a tokenizer's run.
    kind: of `KINDS`; `optax_muon` is Muon as optax.contrib has it.

  Returns:
    `parameters`; `first_s`, with compilation; `update_s`, the mean of ten.
  """
  model = make_tokenizer(from_section(TokenizerConfig, config, 'tokenizer'))
  pixels = jnp.zeros((1, 1, config.data.height, config.data.width, 3))
  boxed = jax.jit(lambda key: model.init(key, pixels)['params'])(
    jax.random.key(0)
  )
  params, axes = mesh_lib.unbox(boxed), mesh_lib.logical_axes(boxed)
  rule = _rule(from_section(OptimizerConfig, config, 'optimizer'), kind, axes)
  update = jax.jit(rule.update)
  gradient = optax.tree.random_like(jax.random.key(1), params)
  state = rule.init(params)
  started = time.perf_counter()
  updates, state = jax.block_until_ready(update(gradient, state, params))
  first_s = time.perf_counter() - started
  started = time.perf_counter()
  for _ in range(_UPDATES):
    updates, state = update(gradient, state, params)
  jax.block_until_ready(updates)
  return {
    'kind': kind,
    'parameters': sum(x.size for x in jax.tree.leaves(params)),
    'first_s': first_s,
    'update_s': (time.perf_counter() - started) / _UPDATES,
  }


def _rule(
  config: OptimizerConfig, kind: str, axes: Any
) -> optax.GradientTransformation:
  if kind != OPTAX_MUON:
    config = dataclasses.replace(config, kind=kind, warmup_steps=0)
    return make_optimizer(config, num_updates=_LENGTH, axes=axes)
  return contrib.muon(
    config.learning_rate,
    weight_decay=config.weight_decay,
    muon_weight_dimension_numbers=jax.tree.map(
      _dimensions, axes, is_leaf=lambda x: isinstance(x, tuple)
    ),
  )


def _dimensions(names: Any) -> contrib.MuonDimensionNumbers | None:
  matrix = matrix_of(names)
  return matrix and contrib.MuonDimensionNumbers(matrix.summed, matrix.made)
