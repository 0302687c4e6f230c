"""A transformer's parameters: the first ones, and those of a checkpoint."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from videoar_jax.core.config import from_saved
from videoar_jax.core.export import CheckpointError, Loaded, check_net
from videoar_jax.plan.kinds import make_plan
from videoar_jax.transformer.config import Condition, TransformerConfig
from videoar_jax.transformer.model import VideoAR, layer_name
from videoar_jax.transformer.prefix import blank_condition

NET = 'transformer'


def init_params(model: VideoAR, key: jax.Array) -> Any:
  """Initial parameters with their logical axes, which depend on no length."""
  plan = make_plan(model.config.plan, 1, ((1, 1),))
  inputs = jnp.zeros((1, plan.num_tokens, plan.input_width(model.num_bits)))
  condition = blank_condition(model.config, 1)
  variables = model.init(key, inputs, condition, plan=plan, method='forward')
  return variables['params']


def transformer_config(
  loaded: Loaded, shapes: Callable[[TransformerConfig], Any]
) -> TransformerConfig:
  """A transformer's config out of its checkpoint.

  Args:
    loaded: the checkpoint.
    shapes: of a config, the parameters' shapes and dtypes.
  Raises:
    ValueError: there is none, its weights are of another network, or its
      classes have not as many names.
  """
  config = from_saved(TransformerConfig, loaded.config, 'transformer')
  check_net(
    loaded,
    NET,
    lambda: shapes(config),
    sizes=(
      config.num_layers,
      config.width,
      config.num_heads,
      config.num_classes,
      config.vocabulary,
      config.prefix_length,
    ),
  )
  count = len(loaded.config.get('classes', ()))
  if config.condition == Condition.CLASS and count != config.num_classes:
    raise CheckpointError(
      f'{loaded.path}: names of {count} classes, its transformer has '
      f'{config.num_classes}; give weights with their own config'
    )
  return config


def inference_params(params: Any, config: TransformerConfig) -> Any:
  """Parameters as a rollout reads them fastest; changes no prediction.

  A rollout reads all layers for every unit. So they lie apart, which spares
  copies of them, and so do the weights of products that a checkpoint holds as
  one. Matrices are cast to `config.dtype` once instead of at each use.

  Args:
    params: of the transformer, as training has them, or from here.
    config: its shape.
  """
  if 'layers' not in params:
    return params

  def one(path: Any, x: jax.Array, i: int) -> Any:
    # Norms, one gain for each channel, stay float32.
    x = x[i].astype(config.dtype if x.ndim > 2 else x.dtype)
    return tuple(x) if path[-1].key in ('qkv', 'gate_up') else x

  rest = {name: params[name] for name in params if name != 'layers'}
  for i in range(config.num_layers):
    rest[layer_name(i)] = jax.tree_util.tree_map_with_path(
      functools.partial(one, i=i), params['layers']
    )
  return rest
