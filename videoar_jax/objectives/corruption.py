"""Cross-frame error correction: histories with flipped bits.

At sampling the transformer reads its own mistakes; in training it reads
histories whose bits were flipped, and predicts the bits that correct them.
Source: VideoAR (arXiv:2601.05966) Eq. 8 and App. A; Infinity
(arXiv:2412.04431) alg. 2. What they leave open: docs/paper.md, Flipped
histories.
"""

import dataclasses
from typing import Annotated

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import fields
from videoar_jax.plan.pyramid import Pyramid
from videoar_jax.tokenizer.quantizer import encode_scales
from videoar_jax.transformer.inputs import token_inputs

_USELESS = 0.5  # at a flip ratio of one half a bit carries nothing
_Ratio = Annotated[float, fields.Range(least=0, most=_USELESS)]


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
  """How many bits of the history are flipped (VideoAR App. A).

  Attributes:
    flip_min: least ratio at frame 0.
    flip_max: greatest ratio at frame 0; 0 turns corruption off.
    time_ramp: δ, added to both for every further latent frame.
    inherit: draw the first scale of a frame from above the ratio of the last
      scale of the frame before.
  """

  flip_min: _Ratio = 0.0
  flip_max: _Ratio = 0.25
  time_ramp: fields.NonNegative = 0.01
  inherit: bool = True

  def __post_init__(self):
    fields.check(self)
    if self.flip_min > self.flip_max:
      raise ValueError(
        f'flip_min={self.flip_min}: wanted at most flip_max={self.flip_max}'
      )

  def bounds(self, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest ratio of each latent frame, capped at one half.

    Raises:
      ValueError: the cap would bind for more than a third of the frames.
    """
    if self.flip_max == 0.0:
      return np.zeros(num_frames), np.zeros(num_frames)
    ramp = self.time_ramp * np.arange(num_frames)
    high = self.flip_max + ramp
    capped = int(np.sum(high > _USELESS + 1e-9))
    if 3 * capped > num_frames:
      raise ValueError(
        f'time_ramp={self.time_ramp}: flip ratios pass {_USELESS} in {capped} '
        f'of {num_frames} latent frames; lower time_ramp or flip_max='
        f'{self.flip_max}'
      )
    return (
      np.minimum(self.flip_min + ramp, _USELESS),
      np.minimum(high, _USELESS),
    )


@flax.struct.dataclass
class TransformerBatch:
  """What the transformer reads and must predict, tokens in plan order.

  Attributes:
    inputs_blq: features that each token starts from, float32.
    targets_blq: bits {0, 1}, float32.
    flipped_blq: which bits of the history were flipped, bool.
  """

  inputs_blq: jax.Array
  targets_blq: jax.Array
  flipped_blq: jax.Array


def draw_flip_ratios(
  rng: jax.Array,
  config: CorruptionConfig,
  *,
  batch: int,
  num_frames: int,
  num_scales: int,
) -> jax.Array:
  """Draws a flip ratio per example, latent frame and scale (Eq. 8).

  Args:
    rng: key.
    config: bounds, ramp and inheritance.
    batch: examples.
    num_frames: latent frames.
    num_scales: scales of a frame.

  Returns:
    ratio_bts, float32: U(low_t, high_t); with inheritance the first scale of
    frame t > 0 is U(ratio of the last scale of frame t - 1, high_t).
  """
  low, high = (
    jnp.asarray(bound, jnp.float32)[:, None]
    for bound in config.bounds(num_frames)
  )
  uniform = jax.random.uniform(rng, (batch, num_frames, num_scales))
  ratio = low + (high - low) * uniform
  if not config.inherit:
    return ratio

  def inherit(last_b, frame):
    ratio_bs, uniform_b, high_1 = frame
    first_b = last_b + (high_1 - last_b) * uniform_b
    # With a single scale the first is also the last.
    ratio_bs = ratio_bs.at[:, 0].set(first_b)
    return ratio_bs[:, -1], ratio_bs

  frames = (
    jnp.swapaxes(ratio[:, 1:], 0, 1),
    uniform[:, 1:, 0].T,
    jnp.broadcast_to(high[1:], (num_frames - 1, batch)),
  )
  _, rest = jax.lax.scan(inherit, ratio[:, 0, -1], frames)
  return jnp.concatenate([ratio[:, :1], jnp.swapaxes(rest, 0, 1)], axis=1)


def corrupt(
  f_bthwd: jax.Array,
  ratio_bts: jax.Array,
  rng: jax.Array,
  *,
  plan: Pyramid,
) -> TransformerBatch:
  """Flips bits, requantises what follows, and lays tokens out in plan order.

  Scale k of a frame is coded from what the *flipped* coarser scales left
  over: that code is the target. The inputs are built from the flipped codes:
  scale k > 1 from the sum of the frame's coarser scales, the first scale of a
  block of frames from all of the frame before it (VideoAR Eq. 6 and §4.2). A
  ratio of 0 gives the clean code.

  Args:
    f_bthwd: latents.
    ratio_bts: flip ratios.
    rng: key of the flips.
    plan: order of prediction, of as many frames.

  Returns:
    Inputs, targets and flips of the plan.
  """
  flips, scales = [], plan.scales
  areas = [h * w for h, w in scales]
  # One draw for all scales: each one costs the compiler a second.
  uniform = jax.random.uniform(
    rng, (*f_bthwd.shape[:2], sum(areas), f_bthwd.shape[-1])
  )
  uniform_s = jnp.split(uniform, np.cumsum(areas)[:-1], axis=2)

  def flip(k: int, bits: jax.Array) -> jax.Array:
    drawn = uniform_s[k].reshape(bits.shape)
    flips.append(drawn < ratio_bts[:, :, k, None, None, None])
    return jnp.abs(bits - flips[-1])

  codes = encode_scales(jax.lax.stop_gradient(f_bthwd), scales, alter=flip)
  totals = [code.total_bthwd for code in codes]
  return TransformerBatch(
    inputs_blq=token_inputs(totals, plan),
    targets_blq=plan.gather([code.bits_bthwq for code in codes]),
    flipped_blq=plan.gather(flips),
  )
