"""The rollout: block by block of a plan, and within a block scale by scale.

A rollout can stop after any block and go on from its state: in one go, in
pieces, or a block at a time, the bits are the same. VideoAR's blocks are single
latent frames.
"""

import einops
import flax.struct
import jax
import jax.numpy as jnp

from videoar_jax.core.attention import KVCache
from videoar_jax.plan.unit import Unit, UnitPlan
from videoar_jax.sample.bits import draw_bits, draw_uniform
from videoar_jax.tokenizer.quantizer import accumulate
from videoar_jax.transformer.inputs import unit_inputs
from videoar_jax.transformer.model import VideoAR, empty_cache
from videoar_jax.transformer.prefix import prefix_lengths, unconditional

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
  """What the next block is sampled from; its size does not grow.

  Attributes:
    cache: keys and values of the prefix and of the frames there is room for;
      with guidance those of the unconditional pass follow along the batch.
    length_b: tokens of the prompts; None of classes.
    before_bhwd: features of the frame before; zeros at the start.
    frame: the next latent frame, int32.
  """

  cache: KVCache
  length_b: jax.Array | None
  before_bhwd: jax.Array
  frame: jax.Array


def begin(
  model: VideoAR, params, *, plan: UnitPlan, condition_bx, guided: bool
) -> RolloutState:
  """Reads the prefix.

  Args:
    model: the transformer.
    params: its parameters.
    plan: of as many frames as are kept: all of the video, or a frame and the
      window of those before it that it may see.
    condition_bx: classes or prompts.
    guided: whether an unconditional pass is kept beside the conditional one.
  """
  batch = condition_bx.shape[0]
  if guided:
    nothing = unconditional(model.config, condition_bx)
    condition_bx = jnp.concatenate([condition_bx, nothing])
  cache = model.apply(
    {'params': params},
    None,
    condition_bx,
    plan=plan,
    cache=empty_cache(model, plan, condition_bx.shape[0]),
  )
  size = plan.scales[-1]
  return RolloutState(
    cache=cache,
    length_b=prefix_lengths(model.config, condition_bx),
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
  top_p: float = 1.0,
  given: Bits | None = None,
) -> tuple[RolloutState, Rollout]:
  """Samples the next frames, each from everything before it that is kept.

  Args:
    model: the transformer.
    params: its parameters.
    state: from `begin`, or from the call before.
    plan: as for `begin`.
    key_b: one key per sample, the same in all calls of one video.
    gamma_ts: strength of guidance of these frames and their scales, whole
      blocks of the plan; read only where the state was begun with guidance.
    temperature: of the bits.
    top_p: see `draw_bits`.
    given: bits of the frames, which are then read instead of drawn.

  Returns:
    The state after the frames; their bits and features.
  """
  step, ends = plan.block_frames, plan.offsets[1 : len(plan.block)]
  per_block = plan.offsets[len(plan.block)]

  def block_step(state, block):
    gamma_ts, given_s = block
    before = jnp.repeat(state.before_bhwd[:, None], step, axis=1)
    total, bits, cache = jnp.zeros_like(before), [], state.cache
    if given is None:
      # One draw for all scales: each one costs the compiler time.
      uniform = draw_uniform(
        key_b, state.frame // step, (per_block, model.num_bits)
      )
      uniform_s = jnp.split(uniform, ends, axis=1)
    for s, unit in enumerate(plan.block):
      inputs = unit_inputs(total if s else before, before, unit.size, plan)
      logits, cache = _logits(
        model, params, plan, unit, inputs, state, cache, gamma_ts[:, s]
      )
      if given is not None:
        drawn = given_s[s]
      else:
        drawn = draw_bits(
          logits, uniform_s[s], temperature=temperature, top_p=top_p
        )
        drawn = einops.rearrange(
          drawn, 'b (t h w) q -> b t h w q', t=step, h=unit.size[0]
        )
      total = accumulate(total, drawn)
      bits.append(drawn)
    state = state.replace(
      cache=cache, before_bhwd=total[:, -1], frame=state.frame + step
    )
    return state, (tuple(bits), total)

  blocks = einops.rearrange(jnp.asarray(gamma_ts), '(n t) s -> n t s', t=step)
  given_n = None
  if given is not None:
    given_n = tuple(
      einops.rearrange(scale, 'b (n t) ... -> n b t ...', t=step)
      for scale in given
    )
  state, sampled = jax.lax.scan(block_step, state, (blocks, given_n))
  bits, f_bthwd = jax.tree.map(
    lambda x: einops.rearrange(x, 'n b t ... -> b (n t) ...'), sampled
  )
  return state, Rollout(bits=bits, f_bthwd=f_bthwd)


def rollout(
  model: VideoAR,
  params,
  *,
  plan: UnitPlan,
  condition_bx: jax.Array,
  gamma_ts: jax.Array,
  guided: bool,
  given: Bits | None = None,
  **drawing,
) -> Rollout:
  """Samples a whole video; see `begin` and `advance`.

  Args:
    gamma_ts: for all frames of the video, the given ones included.
    given: bits of the first frames, which come back as they are.
    **drawing: key_b, temperature and top_p of `advance`.
  """
  state = begin(
    model, params, plan=plan, condition_bx=condition_bx, guided=guided
  )
  drawing = {'plan': plan, **drawing}
  parts, first = [], 0
  if given is not None:
    first = given[0].shape[1]
    state, part = advance(
      model, params, state, gamma_ts=gamma_ts[:first], given=given, **drawing
    )
    parts.append(part)
  if first < len(gamma_ts):
    _, part = advance(
      model, params, state, gamma_ts=gamma_ts[first:], **drawing
    )
    parts.append(part)
  return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)


def _logits(
  model, params, plan, unit: Unit, inputs_bthwq, state, cache, gamma_t
):
  """Logits of a unit, guided where the cache holds both passes."""
  inputs = einops.rearrange(inputs_bthwq, 'b t h w q -> b (t h w) q')
  batch = inputs.shape[0]
  guided = cache.k_xbmnk.shape[1] == 2 * batch
  if guided:
    inputs = jnp.concatenate([inputs, inputs])
  logits, cache = model.apply(
    {'params': params},
    inputs,
    None,
    plan=plan,
    unit=unit,
    frame=state.frame,
    cache=cache,
    length_b=state.length_b,
  )
  if guided:
    conditional, without = jnp.split(logits, 2)
    gamma_l11 = jnp.repeat(gamma_t, unit.size[0] * unit.size[1])[:, None, None]
    logits = gamma_l11 * conditional + (1.0 - gamma_l11) * without
  return logits, cache
