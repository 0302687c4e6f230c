"""The VideoAR transformer. Source: VideoAR (arXiv:2601.05966) §4.2, Eq. 5-7."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import rope
from videoar_jax.core.attention import (
  AttentionKernel,
  Keys,
  cached_attention,
  self_attention,
)
from videoar_jax.core.attention import attend as attend_to
from videoar_jax.core.kv_cache import KVCache
from videoar_jax.core.layers import RMSNorm, fan_in_normal, logical
from videoar_jax.core.mask import GroupMask
from videoar_jax.core.mesh import constrain
from videoar_jax.core.precision import HIGHEST
from videoar_jax.plan.place import Place, reads_unwritten
from videoar_jax.plan.unit import UnitPlan
from videoar_jax.transformer.block import Attend, Block
from videoar_jax.transformer.config import (
  Condition,
  Positions,
  TransformerConfig,
)
from videoar_jax.transformer.prefix import Prefix, prefix_lengths
from videoar_jax.transformer.stack import stack


class Tokens(NamedTuple):
  """What the network reads of units.

  Attributes:
    inputs_blq: the features that each starts from, float32; of a plan
      `from_last` twice as wide.
    position_l3: (t, h, w), before the shift by the prefix's length.
    scale_l: index of the scale.
    starts_l: whether a learned start token takes the place of the features.
  """

  inputs_blq: jax.Array
  position_l3: jax.Array | np.ndarray
  scale_l: np.ndarray
  starts_l: jax.Array | np.ndarray


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

  @nn.compact
  def __call__(
    self,
    condition_bx: jax.Array | None,
    tokens: Tokens | None,
    *,
    attend: Attend,
    length_b: jax.Array | None = None,
  ):
    """All layers over the prefix, the tokens, or both; see the methods below.

    Args:
      condition_bx: what the prefix says; None: no prefix.
      tokens: of units; None: none.
      attend: how queries, keys and values meet, see `Block`.
      length_b: prefix tokens that are seen, see `prefix_lengths`.

    Returns:
      Logits of the tokens, float32 blq2, or None; and the keys and values that
      `attend` kept, or None.
    """
    parts = []
    if condition_bx is not None:
      parts.append((self._prefix(condition_bx), self._prefix_angles()))
    if tokens is not None:
      angles = self._angles(tokens.position_l3, length_b)
      parts.append((self._embed(tokens), angles))
    x_bld = jnp.concatenate([x for x, _ in parts], axis=1)
    # Angles of prompts differ by example, those of the prefix do not.
    batch = parts[-1][1].shape[:-2]
    angles_lp = jnp.concatenate(
      [jnp.broadcast_to(x, (*batch, *x.shape[-2:])) for _, x in parts], axis=-2
    )
    x_bld, own = self._layers(x_bld, rope.turn(angles_lp), attend)
    own = own and KVCache(*own)
    if tokens is None:
      return None, own
    return self._logits(x_bld[:, -tokens.scale_l.shape[0] :]), own

  def forward(
    self,
    inputs_blq: jax.Array,
    condition_bx: jax.Array,
    *,
    plan: UnitPlan,
    groups: GroupMask | None = None,
    has_start: bool = True,
  ) -> jax.Array:
    """Logits of a whole plan.

    Args:
      inputs_blq: the features that each token starts from, float32.
      condition_bx: classes or prompts (see `prefix`).
      plan: the order of prediction.
      groups: what each example hides of the plan's tokens.
      has_start: units that see no other start from a learned token, whatever
        their inputs.

    Returns:
      logits_blq2, float32.

    Raises:
      ValueError: a learned position would be missing.
    """
    config, prefix = self.config, self.config.prefix_length
    config.check_reach(plan)
    length_b = prefix_lengths(config, condition_bx)
    seen_bl = None
    if length_b is not None:
      pad = ((0, 0), (0, plan.num_tokens))
      seen_bl = jnp.pad(self._prefix_mask(length_b), pad, constant_values=True)
    mask = plan.mask(prefix)
    groups = groups and groups.behind(prefix)

    def attend(q, k, v, layer):
      del layer
      out = self_attention(
        q,
        k,
        v,
        mask=mask,
        groups=groups,
        seen_bl=seen_bl,
        kernel=AttentionKernel(config.attention),
      )
      return out, None

    tokens = Tokens(
      inputs_blq,
      plan.position_l3,
      plan.scale_l,
      plan.starts_u[plan.unit_l] & has_start,
    )
    return self(condition_bx, tokens, attend=attend, length_b=length_b)[0]

  def prefill(self, condition_bx: jax.Array, *, plan: UnitPlan) -> KVCache:
    """A cache for a plan, with the prefix in it.

    Args:
      condition_bx: classes or prompts.
      plan: of the units that there is room for.
    """
    length_b = prefix_lengths(self.config, condition_bx)
    seen = None
    if length_b is not None:
      seen = self._prefix_mask(length_b)[:, None]

    def attend(q, k, v, layer):
      del layer
      own = _own(k, v)
      return attend_to(q, [own._replace(allowed_blm=seen)]), own[:2]

    own = self(condition_bx, None, attend=attend)[1]
    return own.room(
      self.config.prefix_length + plan.num_tokens, zeros=reads_unwritten(plan)
    )

  def decode(
    self,
    inputs_blq: jax.Array,
    cache: KVCache,
    *,
    place: Place,
    length_b: jax.Array | None = None,
    has_start: bool = True,
  ) -> tuple[jax.Array, KVCache]:
    """Logits of one unit that sees a cache, and its own keys and values.

    Args:
      inputs_blq: the features that each of its tokens starts from, float32.
      cache: from `prefill`, with the units before; it is only read.
      place: of the unit.
      length_b: of the condition, see `prefix_lengths`.
      has_start: see `forward`.

    Returns:
      logits_blq2, float32; what the cache is to hold of the unit.
    """
    seen = self._prefix_mask(length_b)
    seen = seen if seen.ndim == 2 else seen[None]
    rest = jnp.broadcast_to(place.seen_m, (len(seen), *place.seen_m.shape))
    seen_bm = jnp.concatenate([seen, rest], axis=-1)
    reaches = [self.config.prefix_length + tokens for tokens in place.reaches]

    def attend(q, k, v, layer):
      own = _own(k, v)
      attended = cached_attention(
        q,
        own,
        layer=layer,
        cache=cache,
        seen_bm=seen_bm,
        reaches=reaches,
        reach=place.reach,
      )
      return attended, own[:2]

    tokens = Tokens(
      inputs_blq,
      place.position_l3,
      place.scale_l,
      jnp.full(len(place.scale_l), place.starts & has_start),
    )
    return self(None, tokens, attend=attend, length_b=length_b)

  def _layers(self, x_bld, turn: rope.Turn, attend: Attend):
    """All layers: as they lie apart, or in a scan of stacked ones."""
    config = self.config
    x_bld = constrain(x_bld.astype(config.dtype), 'batch', 'length', 'channels')
    if self.has_variable('params', layer_name(0)):
      owns = []
      for i in range(config.num_layers):
        layer = Block(config, attend, name=layer_name(i))
        x_bld, own = layer(x_bld, turn, i)
        owns.append(own)
      return x_bld, None if owns[0] is None else tuple(zip(*owns))
    layers = stack(
      Block, remat=config.remat, length=config.num_layers, shared=1
    )
    layers = layers(config, attend, name='layers')
    return layers(x_bld, turn, jnp.arange(config.num_layers))

  def _prefix_mask(self, length_b) -> jax.Array:
    """Which prefix tokens are seen: (prefix,), or (b, prefix) of prompts."""
    place = jnp.arange(self.config.prefix_length)
    if length_b is None:
      return jnp.ones_like(place, bool)
    return place < length_b[:, None]

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
    pairs = rope.interleaved(config.head_width, 3, base=config.rope_base)
    return rope.angles(position_x3, pairs)

  def _prefix(self, condition_bx):
    """Tokens of the prefix (b, prefix, d)."""
    tokens = Prefix(self.config, name='prefix')(condition_bx)
    if self.config.positions == Positions.LEARNED:
      tokens = tokens + self._learned_positions(
        'prefix_positions', (self.config.prefix_length,)
      )
    return tokens.astype(self.config.dtype)

  def _learned_positions(self, name: str, shape: tuple[int, ...]) -> jax.Array:
    axes = (None,) * len(shape)
    init = logical(nn.initializers.normal(0.1), *axes, 'embed')
    return self.param(name, init, (*shape, self.config.width))

  def _embed(self, tokens: Tokens) -> jax.Array:
    """proj(features), or the start token, and the scale's embedding."""
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
    inputs_blq = tokens.inputs_blq * q**0.5
    product = functools.partial(jnp.einsum, precision=HIGHEST)
    x = product('blq,qd->bld', inputs_blq[..., :q], project)
    if inputs_blq.shape[-1] > q:
      of_last = self.param(
        'project_last', logical(fan_in_normal(q), 'bits', 'embed'), (q, d)
      )
      x = x + product('blq,qd->bld', inputs_blq[..., q:], of_last)
    x = jnp.where(jnp.asarray(tokens.starts_l)[:, None], start, x)
    x = x + jnp.take(scales, jnp.asarray(tokens.scale_l), axis=0)
    if self.config.positions == Positions.LEARNED:
      table = self._learned_positions(
        'positions', (3, self.config.max_positions)
      )
      axis = jnp.arange(3)
      x = x + jnp.sum(table[axis, jnp.asarray(tokens.position_l3)], axis=-2)
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
    return jnp.einsum('bld,dqr->blqr', x, head, precision=HIGHEST)


def layer_name(i: int) -> str:
  """Name of a layer's parameters where layers lie apart."""
  return f'layer_{i}'


def _own(k_blnk: jax.Array, v_blnk: jax.Array) -> Keys:
  return Keys(k_blnk.swapaxes(1, 2), v_blnk.swapaxes(1, 2))


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
