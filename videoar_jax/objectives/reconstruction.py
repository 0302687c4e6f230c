"""Terms of the tokenizer's loss, and their weights.

Source: VideoAR (arXiv:2601.05966) Eq. 4.
"""

import dataclasses

import einops
import jax
import jax.numpy as jnp

from videoar_jax.core import fields
from videoar_jax.tokenizer.perceptual import Network, Params, lpips
from videoar_jax.tokenizer.quantizer import ScaleCode, bits_to_code


@dataclasses.dataclass(frozen=True)
class TokenizerLossConfig:
  """Weights of the tokenizer's losses.

  The paper gives none: docs/paper.md, Tokenizer losses.

  Attributes:
    l1: weight of the mean absolute pixel error.
    l2: weight of the mean squared pixel error.
    perceptual: weight of LPIPS with VGG16, per frame; 0: none, and no weights
      of it are needed.
    perceptual_frames: frames of each clip that LPIPS sees, drawn anew in each
      step; 0: all. VGG16 costs more than a small autoencoder.
    commitment: weight of |u - code|², averaged.
    residual: weight of |f - Σ codes|², averaged, times d. The codes of every
      scale have length one; without this term latents outgrow what their sum
      can reach, and all scales of a token repeat the same bits. VAR's
      commitment; Infinity has none.
    entropy: weight of H(bit | token) - H(bit), summed over bits.
    entropy_sharpness: slope of the soft bit, over 4/√d; Infinity's is 100.
    drop_scales: how many of the finest scales may be left out in training, so
      that the coarser ones alone decode well (InfinityStar's stochastic
      depth); 0: none.
    drop_probability: with which each of them is, clip by clip.
  """

  l1: fields.NonNegative = 1.0
  l2: fields.NonNegative = 1.0
  perceptual: fields.NonNegative = 0.0
  perceptual_frames: fields.Natural = 0
  commitment: fields.NonNegative = 0.25
  residual: fields.NonNegative = 0.0
  entropy: fields.NonNegative = 0.001
  entropy_sharpness: fields.Positive = 100.0
  drop_scales: fields.Natural = 0
  drop_probability: fields.Chance = 0.0

  def __post_init__(self):
    fields.check(self)


def binary_entropy(logit: jax.Array) -> jax.Array:
  """Entropy in nats of a bit with P(1) = sigmoid(logit), stable."""
  p = jax.nn.sigmoid(logit)
  return p * jax.nn.softplus(-logit) + (1.0 - p) * jax.nn.softplus(logit)


def entropy_of(p: jax.Array) -> jax.Array:
  """Entropy in nats of a bit with P(1) = p."""
  p = jnp.clip(p, 1e-6, 1.0 - 1e-6)
  return -p * jnp.log(p) - (1.0 - p) * jnp.log1p(-p)


def perceptual_loss(
  params: Params,
  decoded_bTHWc: jax.Array,
  video_bTHWc: jax.Array,
  *,
  num_frames: int,
  rng: jax.Array,
) -> jax.Array:
  """LPIPS with VGG16, the mean over frames.

  Args:
    params: from `load_lpips`.
    decoded_bTHWc: reconstructions in [-1, 1].
    video_bTHWc: originals.
    num_frames: frames of each clip that are compared; 0: all.
    rng: draws them.
  """
  frames = video_bTHWc.shape[1]
  if 0 < num_frames < frames:
    order = jax.random.uniform(rng, video_bTHWc.shape[:2]).argsort(axis=1)
    index = order[:, :num_frames, None, None, None]
    decoded_bTHWc, video_bTHWc = (
      jnp.take_along_axis(x, index, axis=1)
      for x in (decoded_bTHWc, video_bTHWc)
    )
  decoded, video = (
    einops.rearrange(x, 'b t h w c -> (b t) h w c')
    for x in (decoded_bTHWc, video_bTHWc)
  )
  return jnp.mean(lpips(params, decoded, video, network=Network.VGG16))


def commitment_loss(codes: list[ScaleCode]) -> jax.Array:
  """Mean over scales of mean((u - stop_gradient(code))²)."""
  losses = [
    jnp.mean(jnp.square(c.unit_bthwd - bits_to_code(c.bits_bthwq)))
    for c in codes
  ]
  return sum(losses) / len(losses)


def residual_loss(f_bthwd: jax.Array, codes: list[ScaleCode]) -> jax.Array:
  """Mean squared length of what the codes of all scales left over."""
  left = f_bthwd - jax.lax.stop_gradient(codes[-1].total_bthwd)
  return jnp.mean(jnp.sum(jnp.square(left), axis=-1))


def entropy_loss(codes: list[ScaleCode], *, sharpness: float) -> jax.Array:
  """Mean over scales of Σ_bits H(bit | token) - H(bit), in nats.

  Small when each token is sure of its bits and every bit is used both ways.
  Source: InfinityStar (arXiv:2511.04675), p = sigmoid(4·sharpness·u/√d).

  Args:
    codes: scale by scale.
    sharpness: slope of the soft bit.

  Returns:
    A scalar.
  """
  total = 0.0
  for code in codes:
    logit = (
      4.0 * sharpness * code.unit_bthwd * code.unit_bthwd.shape[-1] ** -0.5
    )
    sure = jnp.mean(jnp.sum(binary_entropy(logit), axis=-1))
    used = jnp.sum(entropy_of(jnp.mean(jax.nn.sigmoid(logit), (0, 1, 2, 3))))
    total += sure - used
  return total / len(codes)


def bit_metrics(codes: list[ScaleCode]) -> dict[str, jax.Array]:
  """Use of the bits of each scale: mean entropy in bits, share in use.

  A bit is in use when its entropy over the batch is above 0.2 bits.
  """
  metrics = {}
  for k, code in enumerate(codes):
    entropy = entropy_of(jnp.mean(code.bits_bthwq, (0, 1, 2, 3))) / jnp.log(2.0)
    metrics[f'bit_entropy/scale{k}'] = jnp.mean(entropy)
    metrics[f'bit_usage/scale{k}'] = jnp.mean(entropy > 0.2)
  return metrics


def energy_metrics(
  f_bthwd: jax.Array, codes: list[ScaleCode]
) -> dict[str, jax.Array]:
  """Share of the latents' squared length left over after each scale."""
  whole = jnp.mean(jnp.sum(jnp.square(f_bthwd), axis=-1))
  return {
    f'residual_energy/scale{k}': residual_loss(f_bthwd, codes[: k + 1]) / whole
    for k in range(len(codes))
  }
