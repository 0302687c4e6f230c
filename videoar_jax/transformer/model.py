"""The VideoAR transformer. Source: VideoAR (arXiv:2601.05966) §4.2, Eq. 5-7."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import rope
from videoar_jax.core.attention import (
  AttentionKernel,
  KVCache,
  block_attention,
  cached_attention,
)
from videoar_jax.core.config import from_saved
from videoar_jax.core.export import CheckpointError, Loaded, check_net
from videoar_jax.core.layers import RMSNorm, fan_in_normal, logical
from videoar_jax.core.mesh import constrain, unbox
from videoar_jax.plan.kinds import make_plan
from videoar_jax.plan.unit import Unit, UnitPlan
from videoar_jax.transformer.block import Attend, Block
from videoar_jax.transformer.config import (
  Condition,
  Positions,
  Remat,
  TransformerConfig,
)
from videoar_jax.transformer.prefix import (
  Prefix,
  blank_condition,
  prefix_lengths,
)

NET = 'transformer'


class VideoAR(nn.Module):
  """Predicts the bits of every unit from the features of those before it.

  Attributes:
    config: shape of the transformer.
    num_bits: bits of a token, q.
    num_scales: scales of the tokenizer's longest schedule.
  """

  config: TransformerConfig
  num_bits: int
  num_scales: int

  def _run(self, x_bld, angles_lp, cache_x, attend: Attend):
    """All layers, final norm and head; parameters are declared here alone."""
    config = self.config
    block = Block
    if config.remat != Remat.NONE and cache_x is None:
      policy = None
      if config.remat == Remat.DOTS:
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
      block = nn.remat(Block, prevent_cse=False, policy=policy)
    layers = nn.scan(
      block,
      variable_axes={'params': 0},
      split_rngs={'params': True},
      in_axes=(nn.broadcast, 0),
      out_axes=0,
      length=config.num_layers,
      metadata_params={nn.PARTITION_NAME: 'layers'},
    )
    x_bld = x_bld.astype(config.dtype)
    x_bld, cache_x = layers(config, attend, name='layers')(
      x_bld, angles_lp, cache_x
    )
    return x_bld, cache_x

  @nn.compact
  def __call__(
    self,
    inputs_blq: jax.Array,
    condition_bx: jax.Array,
    *,
    plan: UnitPlan,
    unit: Unit | None = None,
    frame: jax.Array | int = 0,
    cache: KVCache | None = None,
    length_b: jax.Array | None = None,
    extra_mask_bll: jax.Array | None = None,
  ):
    """Logits of a whole plan; or, with a cache, of one unit.

    Args:
      inputs_blq: the features that each token starts from, float32, of the
        plan's `input_width`; those of the very first unit are not read (a
        learned start token is).
      condition_bx: classes or prompts (see `prefix`), not read for a unit.
      plan: the order of prediction. With a cache, of the blocks it has room
        for: a later one takes the place of the oldest, which is seen no more.
      unit: with a cache, the unit whose tokens inputs_blq holds, taken as of
        the first block; None there means the prefix alone.
      frame: with a cache, the unit's first frame, from 0; may be traced.
      cache: keys and values of what came before.
      length_b: with a cache and a unit, what `prefix_lengths` says.
      extra_mask_bll: per-example mask over the plan's tokens, training only.

    Returns:
      logits_blq2 float32; with a cache also the new cache (and no logits for
      the prefix).
    """
    if cache is None:
      return self._whole(inputs_blq, condition_bx, plan, extra_mask_bll)
    if unit is None:
      return self._read_prefix(condition_bx, plan, cache)
    first = plan.block.index(unit)
    offset, visible = self._place(plan, first, frame, length_b)
    position = jnp.asarray(unit.positions()) + jnp.asarray([1, 0, 0]) * frame
    scale_l = np.full(unit.num_tokens, unit.scale)
    is_first = jnp.asarray((first == 0) & (jnp.asarray(frame) == 0))
    is_first_l = jnp.full(unit.num_tokens, is_first)
    x = self._embed(inputs_blq, plan, scale_l, position, is_first_l)
    angles = self._angles(position, length_b)
    x, cache = self._cached(x, angles, cache, offset, visible)
    return self._logits(x), cache

  def _read_prefix(self, condition_bx, plan: UnitPlan, cache: KVCache):
    """The cache with the prefix in it."""
    prefix, length_b = self._prefix(condition_bx)
    count = self.config.prefix_length + plan.num_tokens
    seen = self._prefix_mask(length_b)
    rest = count - seen.shape[-1]
    visible = jnp.pad(seen, [(0, 0)] * (seen.ndim - 1) + [(0, rest)])
    angles = self._prefix_angles()
    return self._cached(prefix, angles, cache, 0, visible)[1]

  def _place(self, plan: UnitPlan, first: int, frame, length_b):
    """Where a unit of a frame lies in the cache, and what it sees of it."""
    block = frame // plan.block_frames
    per_block = plan.offsets[len(plan.block)]
    own = block % (plan.num_frames // plan.block_frames)
    token = np.arange(plan.num_tokens)
    slot, within = token // per_block, token % per_block
    visible = jnp.where(
      slot == own, within < plan.offsets[first + 1], slot < block
    )
    seen = self._prefix_mask(length_b)
    visible = jnp.broadcast_to(visible, (*seen.shape[:-1], len(token)))
    visible = jnp.concatenate([seen, visible], axis=-1)
    offset = self.config.prefix_length + own * per_block + plan.offsets[first]
    return offset, visible

  def _prefix_mask(self, length_b) -> jax.Array:
    """Which prefix tokens are seen: (prefix,), or (b, prefix) of prompts."""
    place = jnp.arange(self.config.prefix_length)
    if length_b is None:
      return jnp.ones_like(place, bool)
    return place < length_b[:, None]

  def _whole(self, inputs_blq, condition_bx, plan, extra_mask_bll):
    config, prefix = self.config, self.config.prefix_length
    config.check_reach(plan)
    mask = plan.mask(prefix)
    if extra_mask_bll is not None:
      pad = ((0, 0), (prefix, 0), (prefix, 0))
      extra_mask_bll = jnp.pad(extra_mask_bll, pad, constant_values=True)
    tokens, length_b = self._prefix(condition_bx)
    key_mask_bl = None
    if length_b is not None:
      pad = ((0, 0), (0, plan.num_tokens))
      key_mask_bl = jnp.pad(
        self._prefix_mask(length_b), pad, constant_values=True
      )

    def attend(q, k, v, cache):
      out = block_attention(
        q,
        k,
        v,
        mask=mask,
        extra_mask_bll=extra_mask_bll,
        key_mask_bl=key_mask_bl,
        kernel=AttentionKernel(config.attention),
      )
      return out, cache

    first = np.arange(plan.num_tokens) < plan.units[0].num_tokens
    x = self._embed(inputs_blq, plan, plan.scale_l, plan.position_l3, first)
    x = jnp.concatenate([tokens, x], axis=1)
    of_prefix = self._prefix_angles()
    angles = self._angles(plan.position_l3, length_b)
    of_prefix = jnp.broadcast_to(
      of_prefix, (*angles.shape[:-2], *of_prefix.shape)
    )
    angles = jnp.concatenate([of_prefix, angles], axis=-2)
    x, _ = self._run(constrain(x, 'batch', None, None), angles, None, attend)
    return self._logits(x[:, prefix:])

  def _cached(self, x_bld, angles_lp, cache: KVCache, offset, visible_xm):
    def attend(q, k, v, layer_cache):
      return cached_attention(
        q,
        k,
        v,
        cache_bmnk=layer_cache,
        offset=offset,
        visible_xm=visible_xm,
      )

    pair = (cache.k_xbmnk, cache.v_xbmnk)
    x_bld, pair = self._run(x_bld, angles_lp, pair, attend)
    return x_bld, KVCache(*pair)

  def _angles(self, position_l3, length_b) -> jax.Array:
    """Rotary angles (l, k/2), shifted by the prefix; (b, l, k/2) of prompts."""
    shift = self.config.prefix_length
    if length_b is not None:
      shift = length_b[:, None, None]
    return self._rotary(jnp.asarray(position_l3) + shift)

  def _prefix_angles(self) -> jax.Array:
    """Rotary angles of prefix token n, which lies at (n, n, n)."""
    place = jnp.arange(self.config.prefix_length)[:, None]
    return self._rotary(jnp.repeat(place, 3, axis=1))

  def _rotary(self, position_x3) -> jax.Array:
    config = self.config
    if config.positions == Positions.LEARNED:
      position_x3 = jnp.zeros_like(position_x3)
    return rope.angles(position_x3, config.head_width, base=config.rope_base)

  def _prefix(self, condition_bx):
    """Prefix tokens, and how many of them are seen."""
    tokens = Prefix(self.config, name='prefix')(condition_bx)
    if self.config.positions == Positions.LEARNED:
      tokens = tokens + self._learned_positions(
        'prefix_positions', (self.config.prefix_length,)
      )
    length_b = prefix_lengths(self.config, condition_bx)
    return tokens.astype(self.config.dtype), length_b

  def _learned_positions(self, name: str, shape: tuple[int, ...]) -> jax.Array:
    axes = (None,) * len(shape)
    init = logical(nn.initializers.normal(0.1), *axes, 'embed')
    return self.param(name, init, (*shape, self.config.width))

  def _embed(self, inputs_blq, plan, scale_l, position_l3, first_l):
    """proj(features) + scale embedding; the first unit is the start token."""
    d, q = self.config.width, self.num_bits
    project = self.param(
      'project', logical(fan_in_normal(q), 'bits', 'embed'), (q, d)
    )
    start = self.param(
      'start', logical(nn.initializers.normal(0.5), 'embed'), (d,)
    )
    scales = self.param(
      'scales',
      logical(nn.initializers.normal(0.5), 'scales', 'embed'),
      (self.num_scales, d),
    )
    # Features are sums of unit vectors; bring each channel to order one.
    inputs_blq = inputs_blq * q**0.5
    x = jnp.einsum('blq,qd->bld', inputs_blq[..., :q], project)
    if plan.from_last:
      of_last = self.param(
        'project_last', logical(fan_in_normal(q), 'bits', 'embed'), (q, d)
      )
      x = x + jnp.einsum('blq,qd->bld', inputs_blq[..., q:], of_last)
    x = jnp.where(jnp.asarray(first_l)[:, None], start, x)
    x = x + jnp.take(scales, jnp.asarray(scale_l), axis=0)
    if self.config.positions == Positions.LEARNED:
      table = self._learned_positions(
        'positions', (3, self.config.max_positions)
      )
      axis = jnp.arange(3)
      x = x + jnp.sum(table[axis, jnp.asarray(position_l3)], axis=-2)
    return x.astype(self.config.dtype)

  def _logits(self, x_bld):
    """Final norm and one two-way classifier per bit, float32."""
    d, q = self.config.width, self.num_bits
    x = RMSNorm(name='norm_out')(x_bld).astype(jnp.float32)
    head = self.param(
      'head',
      logical(fan_in_normal(d, gain=0.1), 'embed', 'bits', None),
      (d, q, 2),
    )
    return jnp.einsum('bld,dqr->blqr', x, head)


def make_transformer(
  config: TransformerConfig, *, num_bits: int, num_scales: int
) -> VideoAR:
  """Builds the transformer that predicts a tokenizer's bits.

  Args:
    config: its shape.
    num_bits: the tokenizer's latent_width.
    num_scales: the tokenizer's number of scales.
  Raises:
    ValueError: of how many classes is not known yet.
  """
  if config.condition == Condition.CLASS and not config.num_classes:
    raise ValueError(
      'num_classes=0: the number is left to the data, and there is none here; '
      'give it'
    )
  return VideoAR(config, num_bits=num_bits, num_scales=num_scales)


def init_params(model: VideoAR, key: jax.Array) -> Any:
  """Initial parameters with their logical axes, which depend on no length."""
  plan = make_plan(model.config.plan, 1, ((1, 1),))
  inputs = jnp.zeros((1, plan.num_tokens, plan.input_width(model.num_bits)))
  condition = blank_condition(model.config, 1)
  return model.init(key, inputs, condition, plan=plan)['params']


@functools.cache
def param_shapes(
  config: TransformerConfig, *, num_bits: int, num_scales: int
) -> Any:
  """Shapes and dtypes of the parameters; nothing is computed."""
  model = make_transformer(config, num_bits=num_bits, num_scales=num_scales)
  init = functools.partial(init_params, model)
  return unbox(jax.eval_shape(init, jax.random.key(0)))


def transformer_config(
  loaded: Loaded, *, num_bits: int, num_scales: int
) -> TransformerConfig:
  """A transformer's config out of its checkpoint.

  Args:
    loaded: the checkpoint.
    num_bits: the tokenizer's latent_width.
    num_scales: the tokenizer's number of scales.
  Raises:
    ValueError: there is none, its weights are of another network, or its
      classes have not as many names.
  """
  config = from_saved(TransformerConfig, loaded.config, 'transformer')
  check_net(
    loaded,
    NET,
    lambda: param_shapes(config, num_bits=num_bits, num_scales=num_scales),
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
  """Parameters in the dtype that they are used in; changes no logit.

  The matrices of the layers are cast to `config.dtype` at each use: cast once,
  a rollout, which reads them all for every unit, reads half as much.

  Args:
    params: of the transformer.
    config: its shape.
  """
  layers = jax.tree.map(
    # Norms, one gain per layer and channel, stay float32.
    lambda x: x.astype(config.dtype) if x.ndim > 2 else x,
    params['layers'],
  )
  return {**params, 'layers': layers}


def empty_cache(model: VideoAR, plan: UnitPlan, batch: int) -> KVCache:
  """A cache for the prefix and the frames of a plan."""
  config = model.config
  return KVCache.zeros(
    layers=config.num_layers,
    batch=batch,
    tokens=config.prefix_length + plan.num_tokens,
    heads=config.num_heads,
    head_width=config.head_width,
    dtype=jnp.dtype(config.dtype),
  )
