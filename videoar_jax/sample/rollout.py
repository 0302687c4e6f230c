"""The rollout: frame by frame, and within a frame scale by scale.

A rollout can stop after any frame and go on from its state: in one go, in
pieces, or a frame at a time, the bits are the same.
"""

import einops
import flax.struct
import jax
import jax.numpy as jnp

from videoar_jax.core import resize
from videoar_jax.core.attention import KVCache
from videoar_jax.plan.unit import Unit, UnitPlan
from videoar_jax.sample.bits import draw_bits
from videoar_jax.tokenizer.quantizer import accumulate
from videoar_jax.transformer.model import VideoAR, empty_cache

# Per scale (b, t, h_k, w_k, q), {0, 1}, float32.
Bits = tuple[jax.Array, ...]


@flax.struct.dataclass
class Rollout:
  """What was sampled.

  Attributes:
    bits: per scale (b, t, h_k, w_k, q), {0, 1}, float32.
    f_bthwd: the features they stand for, float32.
  """

  bits: Bits
  f_bthwd: jax.Array


@flax.struct.dataclass
class RolloutState:
  """What the next frame is sampled from; its size does not grow.

  Attributes:
    cache: keys and values of the prefix and of the frames there is room for;
      with guidance those of the unconditional pass follow along the batch.
    before_bhwd: features of the frame before; zeros at the start.
    frame: the next latent frame, int32.
  """

  cache: KVCache
  before_bhwd: jax.Array
  frame: jax.Array


def begin(
  model: VideoAR, params, *, plan: UnitPlan, label_b: jax.Array, guided: bool
) -> RolloutState:
  """Reads the prefix.

  Args:
    model: the transformer.
    params: its parameters.
    plan: a next-scale plan of as many frames as are kept: all of the video, or
      a frame and the window of those before it that it may see.
    label_b: classes, int32.
    guided: whether an unconditional pass is kept beside the conditional one.
  """
  batch = label_b.shape[0]
  if guided:
    nothing = jnp.full_like(label_b, model.config.num_classes)
    label_b = jnp.concatenate([label_b, nothing])
  cache = empty_cache(model, plan, label_b.shape[0])
  size = plan.units[model.num_scales - 1].size
  return RolloutState(
    cache=_apply(model, params, plan, None, label_b=label_b, cache=cache),
    before_bhwd=jnp.zeros((batch, *size, model.num_bits), jnp.float32),
    frame=jnp.zeros((), jnp.int32),
  )


def advance(
  model: VideoAR,
  params,
  state: RolloutState,
  *,
  plan: UnitPlan,
  key_b: jax.Array,
  gamma_ts: jax.Array,
  temperature: float,
  given: Bits | None = None,
) -> tuple[RolloutState, Rollout]:
  """Samples the next frames, each from everything before it that is kept.

  Args:
    model: the transformer.
    params: its parameters.
    state: from `begin`, or from the call before.
    plan: as for `begin`.
    key_b: one key per sample, the same in all calls of one video.
    gamma_ts: strength of guidance of these frames and their scales; read only
      where the state was begun with guidance.
    temperature: of the bits.
    given: bits of the frames, which are then read instead of drawn.

  Returns:
    The state after the frames; their bits and features.
  """
  units = plan.units[: model.num_scales]

  def frame_step(state, frame):
    gamma_s, given_s = frame
    total, bits, cache = jnp.zeros_like(state.before_bhwd), [], state.cache
    for s, unit in enumerate(units):
      source = state.before_bhwd if s == 0 else total
      logits, cache = _logits(
        model, params, plan, unit, source, state.frame, cache, gamma_s[s]
      )
      if given is not None:
        drawn = given_s[s]
      else:
        place = state.frame * len(units) + s
        keys = jax.vmap(jax.random.fold_in, (0, None))(key_b, place)
        drawn = draw_bits(logits, keys, temperature=temperature)
        drawn = einops.rearrange(drawn, 'b (h w) q -> b h w q', h=unit.size[0])
      total = accumulate(total, drawn)
      bits.append(drawn)
    state = RolloutState(cache, total, state.frame + 1)
    return state, (tuple(bits), total)

  given_t = None
  if given is not None:
    given_t = tuple(jnp.swapaxes(scale, 0, 1) for scale in given)
  frames = (jnp.asarray(gamma_ts), given_t)
  state, (bits, totals) = jax.lax.scan(frame_step, state, frames)
  return state, Rollout(
    bits=tuple(jnp.swapaxes(scale, 0, 1) for scale in bits),
    f_bthwd=jnp.swapaxes(totals, 0, 1),
  )


def rollout(
  model: VideoAR,
  params,
  *,
  plan: UnitPlan,
  label_b: jax.Array,
  key_b: jax.Array,
  gamma_ts: jax.Array,
  guided: bool,
  temperature: float,
  given: Bits | None = None,
) -> Rollout:
  """Samples a whole video; see `begin` and `advance`.

  Args:
    gamma_ts: for all frames of the video, the given ones included.
    given: bits of the first frames, which come back as they are.
  """
  state = begin(model, params, plan=plan, label_b=label_b, guided=guided)
  parts, first = [], 0
  if given is not None:
    first = given[0].shape[1]
    state, part = advance(
      model,
      params,
      state,
      plan=plan,
      key_b=key_b,
      gamma_ts=gamma_ts[:first],
      temperature=temperature,
      given=given,
    )
    parts.append(part)
  if first < len(gamma_ts):
    _, part = advance(
      model,
      params,
      state,
      plan=plan,
      key_b=key_b,
      gamma_ts=gamma_ts[first:],
      temperature=temperature,
    )
    parts.append(part)
  return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)


def _logits(model, params, plan, unit: Unit, source_bhwd, frame, cache, gamma):
  """Logits of a unit, guided where the cache holds both passes."""
  inputs = resize.bilinear(source_bhwd, unit.size)
  inputs = einops.rearrange(inputs, 'b h w q -> b (h w) q')
  batch = inputs.shape[0]
  guided = cache.k_xbmnk.shape[1] == 2 * batch
  if guided:
    inputs = jnp.concatenate([inputs, inputs])
  logits, cache = _apply(
    model, params, plan, inputs, unit=unit, frame=frame, cache=cache
  )
  if guided:
    with_class, without = jnp.split(logits, 2)
    logits = gamma * with_class + (1.0 - gamma) * without
  return logits, cache


def _apply(model, params, plan, inputs, *, cache, label_b=None, **place):
  return model.apply(
    {'params': params}, inputs, label_b, plan=plan, cache=cache, **place
  )
