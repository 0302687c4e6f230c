"""A tiny tokenizer shape and transformer, shared by the model tests."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.mesh import unbox
from videoar_jax.families.bits import BitsFamily
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.plan.pyramid import Pyramid
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import make_transformer
from videoar_jax.transformer.prefix import blank_condition

SCALES = ((1, 1), (2, 1), (2, 3), (3, 5))
NUM_BITS = 7
TOKENIZER = TokenizerConfig(
  base_width=8,
  multipliers=(1, 2),
  num_time_levels=1,
  encoder_blocks=1,
  decoder_blocks=1,
  latent_width=8,
  scales=((1, 1), (2, 2), (4, 4)),
  norm_groups=4,
  dtype='float32',
)
TRANSFORMER = TransformerConfig(
  num_layers=2,
  width=24,
  num_heads=2,
  num_classes=5,
  prefix_length=2,
  hidden_ratio=2.0,
  remat='none',
  dtype='float32',
)


def input_width(plan):
  """Channels that a token of the plan starts from."""
  return plan.input_width(NUM_BITS) if isinstance(plan, Pyramid) else NUM_BITS


def transformer(**changes):
  """The tiny transformer with some fields of its config changed."""
  return make_transformer(
    dataclasses.replace(TRANSFORMER, **changes),
    num_bits=NUM_BITS,
    num_scales=len(SCALES),
  )


def family(scales=SCALES, **changes):
  """The tiny transformer over the bits of a tokenizer of such scales."""
  tokenizer = dataclasses.replace(
    TOKENIZER, latent_width=NUM_BITS, scales=scales
  )
  config = dataclasses.replace(TRANSFORMER, **changes)
  return BitsFamily(config, tokenizer)


def transformer_params(seed=0, *, plan=None, **changes):
  """Random parameters, all of them away from where they are initialised."""
  plan = plan or next_scale_plan(1, SCALES)
  model = transformer(**changes)
  inputs = jnp.zeros((1, plan.num_tokens, input_width(plan)))

  def init(key):
    condition = blank_condition(model.config, 1)
    variables = model.init(key, inputs, condition, plan=plan, method='forward')
    return unbox(variables['params'])

  rng = np.random.default_rng(seed)

  def draw(path, x):
    gain = 1.0 if path[-1].key == 'scale' else 0.0
    return jnp.float32(gain + 0.3 * rng.normal(size=x.shape))

  # No initialiser is compiled.
  shapes = jax.eval_shape(init, jax.random.key(0))
  return jax.tree_util.tree_map_with_path(draw, shapes)
