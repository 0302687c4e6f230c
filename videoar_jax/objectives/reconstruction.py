"""Tokenizer losses that need no further network. Source: VideoAR Eq. 4."""

import dataclasses

import jax
import jax.numpy as jnp

from videoar_jax.tokenizer.autoencoder import Autoencoder, to_float
from videoar_jax.tokenizer.quantizer import (
  ScaleCode,
  bits_to_code,
  encode_scales,
)


@dataclasses.dataclass(frozen=True)
class TokenizerLossConfig:
  """Weights of the tokenizer's losses; the paper gives none (PAPER §2, §3).

  Attributes:
    l1: weight of the mean absolute pixel error.
    l2: weight of the mean squared pixel error.
    commitment: weight of |u - code|², averaged.
    residual: weight of |f - Σ codes|², averaged, times d. The codes of every
      scale have length one; without this term latents outgrow what their sum
      can reach, and all scales of a token repeat the same bits. VAR's
      commitment; Infinity has none.
    entropy: weight of H(bit | token) - H(bit), summed over bits.
    entropy_sharpness: slope of the soft bit, over 4/√d; Infinity's is 100.
  """

  l1: float = 1.0
  l2: float = 1.0
  commitment: float = 0.25
  residual: float = 0.0
  entropy: float = 0.001
  entropy_sharpness: float = 100.0


def binary_entropy(logit: jax.Array) -> jax.Array:
  """Entropy in nats of a bit with P(1) = sigmoid(logit), stable."""
  p = jax.nn.sigmoid(logit)
  return p * jax.nn.softplus(-logit) + (1.0 - p) * jax.nn.softplus(logit)


def entropy_of(p: jax.Array) -> jax.Array:
  """Entropy in nats of a bit with P(1) = p."""
  p = jnp.clip(p, 1e-6, 1.0 - 1e-6)
  return -p * jnp.log(p) - (1.0 - p) * jnp.log1p(-p)


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
  Source: InfinityStar (PAPER §2), p = sigmoid(4·sharpness·u/√d).

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


def make_tokenizer_objective(model: Autoencoder, config: TokenizerLossConfig):
  """Builds the autoencoder's objective for the update list.

  Args:
    model: the autoencoder.
    config: weights of the losses.

  Returns:
    objective(params, batch, rng, nets) -> (loss, metrics); the batch holds
    'video', uint8 bTHWc.
  """

  def objective(params, batch, rng, nets):
    del rng, nets
    video = to_float(batch['video'])
    f = model.apply({'params': params}, video, method='encode')
    codes = encode_scales(f, model.config.scales)
    decoded = model.apply(
      {'params': params}, codes[-1].total_bthwd, method='decode'
    )
    error = decoded - video
    l1, l2 = jnp.mean(jnp.abs(error)), jnp.mean(jnp.square(error))
    commitment = commitment_loss(codes)
    residual = residual_loss(f, codes)
    entropy = entropy_loss(codes, sharpness=config.entropy_sharpness)
    loss = (
      config.l1 * l1
      + config.l2 * l2
      + config.commitment * commitment
      + config.residual * residual
      + config.entropy * entropy
    )
    mse01 = jnp.mean(jnp.square(jnp.clip(decoded, -1, 1) - video)) / 4.0
    metrics = {
      'l1': l1,
      'l2': l2,
      'psnr': -10.0 * jnp.log10(mse01),
      'commitment': commitment,
      'residual': residual,
      'entropy': entropy,
      'latent_rms': jnp.sqrt(jnp.mean(jnp.sum(f * f, -1))),
      **bit_metrics(codes),
    }
    return loss, metrics

  return objective
