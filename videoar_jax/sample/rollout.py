"""The rollout: frame by frame, and within a frame scale by scale."""

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


@flax.struct.dataclass
class Rollout:
  """What was sampled.

  Attributes:
    bits: per scale (b, t, h_k, w_k, q), {0, 1}, float32.
    f_bthwd: the features they stand for, float32.
  """

  bits: tuple[jax.Array, ...]
  f_bthwd: jax.Array


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
) -> Rollout:
  """Samples all units of a plan, each from everything before it.

  Args:
    model: the transformer.
    params: its parameters.
    plan: a next-scale plan.
    label_b: classes, int32.
    key_b: one key per sample.
    gamma_ts: strength of guidance by frame and scale.
    guided: False runs the conditional pass alone (all strengths are 1).
    temperature: of the bits.

  Returns:
    Bits and features.
  """
  units = plan.units[: model.num_scales]
  batch = label_b.shape[0]
  if guided:
    nothing = jnp.full_like(label_b, model.config.num_classes)
    label_b = jnp.concatenate([label_b, nothing])
  apply = _bind(model, params, plan, label_b)
  cache = apply(None, cache=empty_cache(model, plan, label_b.shape[0]))

  def frame_step(carry, frame):
    cache, before = carry
    t, gamma_s = frame
    total, bits = jnp.zeros_like(before), []
    for s, unit in enumerate(units):
      source = before if s == 0 else total
      inputs = resize.bilinear(source, unit.size)
      inputs = einops.rearrange(inputs, 'b h w q -> b (h w) q')
      if guided:
        inputs = jnp.concatenate([inputs, inputs])
      logits, cache = apply(inputs, unit=unit, frame=t, cache=cache)
      if guided:
        with_class, without = jnp.split(logits, 2)
        logits = gamma_s[s] * with_class + (1.0 - gamma_s[s]) * without
      keys = jax.vmap(jax.random.fold_in, (0, None))(key_b, t * len(units) + s)
      drawn = draw_bits(logits, keys, temperature=temperature)
      drawn = einops.rearrange(drawn, 'b (h w) q -> b h w q', h=unit.size[0])
      total = accumulate(total, drawn)
      bits.append(drawn)
    return (cache, total), (tuple(bits), total)

  before = jnp.zeros((batch, *units[-1].size, model.num_bits), jnp.float32)
  frames = (jnp.arange(plan.num_frames), jnp.asarray(gamma_ts))
  _, (bits, totals) = jax.lax.scan(frame_step, (cache, before), frames)
  return Rollout(
    bits=tuple(jnp.swapaxes(scale, 0, 1) for scale in bits),
    f_bthwd=jnp.swapaxes(totals, 0, 1),
  )


def _bind(model, params, plan, label_b):
  """The transformer as a function of inputs, unit, frame and cache."""

  def apply(inputs, *, cache: KVCache, unit: Unit | None = None, frame=0):
    return model.apply(
      {'params': params},
      inputs,
      label_b,
      plan=plan,
      unit=unit,
      frame=frame,
      cache=cache,
    )

  return apply
