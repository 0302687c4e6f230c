"""The VideoAR transformer. Source: VideoAR §4.2, Eq. 5-7 (PAPER §1.2)."""

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
from videoar_jax.core.layers import RMSNorm, fan_in_normal, logical
from videoar_jax.core.mesh import constrain
from videoar_jax.plan.unit import Unit, UnitPlan
from videoar_jax.transformer.block import Attend, Block
from videoar_jax.transformer.config import Remat, TransformerConfig
from videoar_jax.transformer.prefix import ClassPrefix


class VideoAR(nn.Module):
  """Predicts the bits of every unit from the features of those before it.

  Attributes:
    config: shape of the transformer.
    num_bits: bits of a token, q.
    num_scales: scales of the tokenizer.
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
    label_b: jax.Array,
    *,
    plan: UnitPlan,
    unit: Unit | None = None,
    frame: jax.Array | int = 0,
    cache: KVCache | None = None,
    extra_mask_bll: jax.Array | None = None,
  ):
    """Logits of a whole plan; or, with a cache, of one unit.

    Args:
      inputs_blq: the features that each token starts from, float32; those of
        the very first unit are not read (a learned start token is).
      label_b: class, int32; num_classes stands for unconditional.
      plan: the order of prediction. With a cache, of the frames it has room
        for: a later frame takes the place of the oldest one, which is seen no
        more.
      unit: with a cache, the unit whose tokens inputs_blq holds, taken as
        frame 0; None there means the prefix alone.
      frame: with a cache, the unit's frame, from 0; may be traced.
      cache: keys and values of what came before.
      extra_mask_bll: per-example mask over the plan's tokens, training only.

    Returns:
      logits_blq2 float32; with a cache also the new cache (and no logits for
      the prefix).
    """
    prefix = self.config.prefix_length
    if cache is None:
      return self._whole(inputs_blq, label_b, plan, extra_mask_bll)
    if unit is None:
      x = self._prefix(label_b)
      angles = self._angles(np.zeros((0, 3), np.int32), with_prefix=True)
      visible = np.arange(prefix + plan.num_tokens) < prefix
      _, cache = self._cached(x, angles, cache, 0, jnp.asarray(visible))
      return cache
    first = plan.units.index(unit)
    offset, visible = self._place(plan, first, frame)
    position = jnp.asarray(unit.positions()) + jnp.asarray([1, 0, 0]) * frame
    scale_l = np.full(unit.num_tokens, unit.scale)
    is_first = jnp.asarray((first == 0) & (jnp.asarray(frame) == 0))
    x = self._embed(inputs_blq, scale_l, jnp.full(unit.num_tokens, is_first))
    angles = self._angles(position)
    x, cache = self._cached(x, angles, cache, offset, visible)
    return self._logits(x), cache

  def _place(self, plan: UnitPlan, first: int, frame):
    """Where a unit of a frame lies in the cache, and what it sees of it."""
    prefix = self.config.prefix_length
    per_frame = plan.offsets[self.num_scales]
    own = frame % plan.num_frames
    token = np.arange(plan.num_tokens)
    slot, within = token // per_frame, token % per_frame
    visible = jnp.where(
      slot == own, within < plan.offsets[first + 1], slot < frame
    )
    visible = jnp.concatenate([jnp.ones(prefix, bool), visible])
    return prefix + own * per_frame + plan.offsets[first], visible

  def _whole(self, inputs_blq, label_b, plan, extra_mask_bll):
    prefix = self.config.prefix_length
    mask = plan.mask(prefix)
    if extra_mask_bll is not None:
      pad = ((0, 0), (prefix, 0), (prefix, 0))
      extra_mask_bll = jnp.pad(extra_mask_bll, pad, constant_values=True)

    def attend(q, k, v, cache):
      out = block_attention(
        q,
        k,
        v,
        mask=mask,
        extra_mask_bll=extra_mask_bll,
        kernel=AttentionKernel(self.config.attention),
      )
      return out, cache

    first = np.arange(plan.num_tokens) < plan.units[0].num_tokens
    x = self._embed(inputs_blq, plan.scale_l, first)
    x = jnp.concatenate([self._prefix(label_b), x], axis=1)
    angles = self._angles(plan.position_l3, with_prefix=True)
    x, _ = self._run(constrain(x, 'batch', None, None), angles, None, attend)
    return self._logits(x[:, prefix:])

  def _cached(self, x_bld, angles_lp, cache: KVCache, offset, visible_m):
    def attend(q, k, v, layer_cache):
      return cached_attention(
        q,
        k,
        v,
        cache_bmnk=layer_cache,
        offset=offset,
        visible_m=visible_m,
      )

    pair = (cache.k_xbmnk, cache.v_xbmnk)
    x_bld, pair = self._run(x_bld, angles_lp, pair, attend)
    return x_bld, KVCache(*pair)

  def _angles(self, position_l3, *, with_prefix: bool = False):
    """Rotary angles; visual positions are shifted by the prefix's length."""
    prefix = self.config.prefix_length
    position = jnp.asarray(position_l3) + prefix
    if with_prefix:
      text = jnp.repeat(jnp.arange(prefix)[:, None], 3, axis=1)
      position = jnp.concatenate([text, position])
    return rope.angles(
      position, self.config.head_width, base=self.config.rope_base
    )

  def _prefix(self, label_b):
    config = self.config
    return ClassPrefix(
      config.num_classes, config.prefix_length, config.width, name='prefix'
    )(label_b).astype(config.dtype)

  def _embed(self, inputs_blq, scale_l, first_l):
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
    x = jnp.einsum('blq,qd->bld', inputs_blq * q**0.5, project)
    x = jnp.where(jnp.asarray(first_l)[:, None], start, x)
    x = x + jnp.take(scales, jnp.asarray(scale_l), axis=0)
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
  """
  return VideoAR(config, num_bits=num_bits, num_scales=num_scales)


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
