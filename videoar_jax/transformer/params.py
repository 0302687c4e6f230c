"""A transformer's parameters: the first ones, and those of a checkpoint."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

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
    params: of the transformer, as training has them, or from here; arrays on
      the host or on devices, which stay there, or in boxes with logical axes.
    config: its shape.
  """
  if 'layers' not in params or isinstance(params['layers']['qkv'], tuple):
    return params

  def split(path: Any, x: Any) -> Any:
    # Norms, one gain for each layer and channel, stay float32.
    shape = _shape(x)
    if len(shape) > 2:
      x = _cast(x, jnp.dtype(config.dtype))
    several = path[-1].key in ('qkv', 'gate_up')
    return tuple(_at(x, i, 1) for i in range(shape[1])) if several else x

  layers = jax.tree_util.tree_map_with_path(
    split, params['layers'], is_leaf=_is_box
  )
  if platform() != 'cpu':
    return {**params, 'layers': layers}
  rest = {name: params[name] for name in params if name != 'layers'}
  for i in range(config.num_layers):
    layer = functools.partial(_at, place=i, axis=0)
    rest[layer_name(i)] = jax.tree.map(layer, layers, is_leaf=_is_box)
  return rest


def inference_shapes(model: VideoAR) -> Any:
  """What `inference_params` gives: shapes and dtypes with logical axes."""
  return jax.eval_shape(
    lambda: inference_params(
      init_params(model, jax.random.key(0)), model.config
    )
  )


def _is_box(x: Any) -> bool:
  return isinstance(x, nn.LogicallyPartitioned)


def _shape(x: Any) -> tuple[int, ...]:
  return x.value.shape if _is_box(x) else x.shape


def _cast(x: Any, dtype: Any) -> Any:
  if _is_box(x):
    return x.replace(value=_cast(x.value, dtype))
  return x if x.dtype == dtype else x.astype(dtype)


def _at(x: Any, place: int, axis: int) -> Any:
  """A part of an array along an axis; one on the host stays there."""
  if _is_box(x):
    names = (*x.names[:axis], *x.names[axis + 1 :])
    return x.replace(value=_at(x.value, place, axis), names=names)
  if isinstance(x, np.ndarray):
    return x[(slice(None),) * axis + (place,)]
  return jax.lax.index_in_dim(x, place, axis, keepdims=False)
