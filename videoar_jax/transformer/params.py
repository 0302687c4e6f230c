"""A transformer's parameters: the first ones, and those of a checkpoint."""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from videoar_jax.core.config import from_saved
from videoar_jax.core.export import CheckpointError, Loaded, check_net
from videoar_jax.core.mesh import platform
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

  A rollout reads all weights for every unit. So those of products that a
  checkpoint holds as one array lie apart, which spares a copy of them, and
  matrices are cast to `config.dtype` once instead of at each use. On CPU layers
  lie apart, too; elsewhere a scan reads a layer where it lies, and one program
  for all layers compiles sooner.

  Args:
    params: of the transformer, as training has them, or from here.
    config: its shape.
  """
  if 'layers' not in params or isinstance(params['layers']['qkv'], tuple):
    return params

  def split(path: Any, x: jax.Array) -> Any:
    # Norms, one gain for each layer and channel, stay float32.
    x = x.astype(config.dtype if x.ndim > 2 else x.dtype)
    several = path[-1].key in ('qkv', 'gate_up')
    return tuple(jnp.unstack(x, axis=1)) if several else x

  layers = jax.tree_util.tree_map_with_path(split, params['layers'])
  if platform() != 'cpu':
    return {**params, 'layers': layers}
  rest = {name: params[name] for name in params if name != 'layers'}
  for i in range(config.num_layers):
    rest[layer_name(i)] = jax.tree.map(operator.itemgetter(i), layers)
  return rest
