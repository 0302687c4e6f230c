"""The autoencoder's objective. Source: VideoAR (arXiv:2601.05966) Eq. 4."""

from typing import Any

import jax
import jax.numpy as jnp

from videoar_jax.objectives import reconstruction
from videoar_jax.objectives.adversarial import Opponent, adversarial_term
from videoar_jax.objectives.context import Context, Objective
from videoar_jax.objectives.reconstruction import TokenizerLossConfig
from videoar_jax.tokenizer.autoencoder import Autoencoder, to_float


def make_tokenizer_objective(
  model: Autoencoder,
  config: TokenizerLossConfig,
  opponent: Opponent | None = None,
) -> Objective:
  """Builds the autoencoder's objective for the update list.

  Args:
    model: the autoencoder.
    config: weights of the losses.
    opponent: the discriminator; None leaves the adversarial loss out.

  Returns:
    objective(params, batch, context) -> (loss, metrics); the batch holds
    'video', uint8 bTHWc. `context.shared` is the forward pass with `params`,
    through which gradients flow (`forward.make_forward`). `context.nets` holds
    'lpips' where the perceptual loss is on, and 'discriminator' where there is
    an opponent.
  """

  def objective(params, batch, context):
    frame_rng, _ = jax.random.split(context.rng)
    video = to_float(batch['video'])
    forward = context.shared
    f, codes, decoded = forward.f_bthwd, forward.codes, forward.decoded_bTHWc

    def pixel_loss(decoded):
      return _pixel_loss(config, decoded, video, frame_rng, context)

    loss, metrics = pixel_loss(decoded)
    terms = {
      'commitment': reconstruction.commitment_loss(codes),
      'residual': reconstruction.residual_loss(f, codes),
      'entropy': reconstruction.entropy_loss(
        codes, sharpness=config.entropy_sharpness
      ),
    }
    loss += sum(getattr(config, name) * term for name, term in terms.items())
    if opponent is not None:
      term, own = adversarial_term(
        opponent,
        decoded,
        context,
        pixel_loss=lambda x: pixel_loss(x)[0],
        last_layer=lambda x: _last_layer(
          model, params, codes[-1].total_bthwd, x
        ),
      )
      loss, metrics = loss + term, {**metrics, **own}
    mse01 = jnp.mean(jnp.square(jnp.clip(decoded, -1, 1) - video)) / 4.0
    metrics |= {
      **terms,
      'psnr': -10.0 * jnp.log10(mse01),
      'latent_rms': jnp.sqrt(jnp.mean(jnp.sum(f * f, -1))),
      **reconstruction.bit_metrics(codes),
      **reconstruction.energy_metrics(f, codes),
    }
    return loss, metrics

  return objective


def _pixel_loss(
  config: TokenizerLossConfig, decoded, video, rng, context: Context
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The losses of what is seen, weighed and summed, and each alone."""
  error = decoded - video
  terms = {
    'l1': jnp.mean(jnp.abs(error)),
    'l2': jnp.mean(jnp.square(error)),
  }
  if config.perceptual:
    terms['perceptual'] = reconstruction.perceptual_loss(
      context.nets['lpips'],
      decoded,
      video,
      num_frames=config.perceptual_frames,
      rng=rng,
    )
  loss = sum(getattr(config, name) * term for name, term in terms.items())
  return loss, terms


def _last_layer(
  model: Autoencoder, params: Any, total_bthwd: jax.Array, cotangent: jax.Array
) -> jax.Array:
  """Gradient with respect to the decoder's last kernel.

  The decoder is written down once more, which the compiler merges with the
  first time.
  """
  params, total = jax.lax.stop_gradient((params, total_bthwd))

  def decode(kernel):
    decoder = params['decoder']
    last = {**decoder['conv_out'], 'kernel': kernel}
    own = {**params, 'decoder': {**decoder, 'conv_out': last}}
    return model.apply({'params': own}, total, method='decode')

  _, pull = jax.vjp(decode, params['decoder']['conv_out']['kernel'])
  return pull(cotangent)[0]
