"""Adversarial losses of the tokenizer and of its discriminator.

Source: VideoAR (arXiv:2601.05966) Eq. 4: GAN loss, LeCAM on the discriminator,
no weights given. Values of Open-MAGVIT2 and MAGVIT: docs/paper.md, Tokenizer
losses.
"""

import dataclasses
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from videoar_jax.core import fields
from videoar_jax.objectives.context import Context, Objective
from videoar_jax.objectives.forward import decode_whole
from videoar_jax.tokenizer.autoencoder import Autoencoder, to_float

REAL, FAKE = 'logit_real', 'logit_fake'
_LARGEST = 1e4  # of an adaptive weight


@dataclasses.dataclass(frozen=True)
class AdversarialConfig:
  """How autoencoder and discriminator play.

  Attributes:
    weight: of the autoencoder's adversarial loss; 0: no discriminator.
    balance: 'fixed' takes the weight as it is; 'adaptive' multiplies it by
      how much longer the gradient of the other losses of the decoded pixels
      is at the last layer (VQGAN, arXiv:2012.09841, Eq. 7).
    start: first step with a discriminator.
    loss: the discriminator's, 'hinge' or 'non_saturating' (softplus). The
      autoencoder's is softplus(-logit) for 'non_saturating', -logit for
      'hinge'.
    r1: weight of half the squared gradient of real clips' logits (R1,
      arXiv:1801.04406); 0: none.
    lecam: weight of the LeCAM penalty; 0: none.
    lecam_decay: decay of its running means of the logits.
  """

  weight: fields.NonNegative = 0.0
  balance: Annotated[str, fields.Choice(('fixed', 'adaptive'))] = 'fixed'
  start: fields.Natural = 0
  loss: Annotated[str, fields.Choice(('hinge', 'non_saturating'))] = 'hinge'
  r1: fields.NonNegative = 0.0
  lecam: fields.NonNegative = 0.001
  lecam_decay: fields.Decay = 0.999

  def __post_init__(self):
    fields.check(self)

  @property
  def averages(self) -> dict[str, float]:
    """Metrics of the discriminator whose running means are kept."""
    return dict.fromkeys((REAL, FAKE), self.lecam_decay) if self.lecam else {}


@dataclasses.dataclass(frozen=True)
class Opponent:
  """A discriminator, and how it and the autoencoder play."""

  model: nn.Module
  config: AdversarialConfig


def discriminator_loss(real: jax.Array, fake: jax.Array, kind: str):
  """Mean over logits of relu(1 - real) + relu(1 + fake), or softplus."""
  if kind == 'hinge':
    return jnp.mean(nn.relu(1.0 - real)) + jnp.mean(nn.relu(1.0 + fake))
  return jnp.mean(nn.softplus(-real)) + jnp.mean(nn.softplus(fake))


def generator_loss(fake: jax.Array, kind: str) -> jax.Array:
  """Mean of -logit (hinge) or softplus(-logit) (non_saturating)."""
  return -jnp.mean(fake) if kind == 'hinge' else jnp.mean(nn.softplus(-fake))


def lecam_penalty(
  real: jax.Array, fake: jax.Array, mean_real: jax.Array, mean_fake: jax.Array
) -> jax.Array:
  """relu(real - mean_fake)² + relu(mean_real - fake)².

  Keeps the discriminator's answers near the running means of those to the
  other kind of clip. Source: Tseng et al., arXiv:2104.03310, as MAGVIT
  computes it.

  Args:
    real: mean logit of the batch's real clips.
    fake: of its reconstructions.
    mean_real: running mean of the former.
    mean_fake: of the latter.
  """
  return jnp.square(nn.relu(real - mean_fake)) + jnp.square(
    nn.relu(mean_real - fake)
  )


def r1_penalty(logits_of, video_bTHWc: jax.Array) -> jax.Array:
  """½ E |∂ Σ logits / ∂ video|², the mean over clips.

  Args:
    logits_of: video -> logits; a clip's logits depend on no other clip.
    video_bTHWc: real clips.
  """
  gradient = jax.grad(lambda x: jnp.sum(logits_of(x)))(video_bTHWc)
  return 0.5 * jnp.mean(jnp.sum(jnp.square(gradient), axis=(1, 2, 3, 4)))


def make_discriminator_objective(
  autoencoder: Autoencoder, opponent: Opponent
) -> Objective:
  """Builds the discriminator's objective for the update list.

  Args:
    autoencoder: whose reconstructions it sees; its parameters are
      `context.nets['autoencoder']`, its forward pass `context.shared`.
    opponent: the discriminator.
  Returns:
    objective(params, batch, context) -> (loss, metrics); the batch holds
    'video', uint8 bTHWc.
  """
  config = opponent.config

  def objective(params, batch, context):
    video = to_float(batch['video'])
    decoded = decode_whole(
      autoencoder, context.nets['autoencoder'], context.shared
    )

    def logits_of(x):
      return opponent.model.apply({'params': params}, x)

    real, fake = jnp.split(logits_of(jnp.concatenate([video, decoded])), 2)
    loss = discriminator_loss(real, fake, config.loss)
    metrics = {
      REAL: jnp.mean(real),
      FAKE: jnp.mean(fake),
      'right': 0.5 * (jnp.mean(real > 0) + jnp.mean(fake < 0)),
      'adversarial': loss,
    }
    if config.lecam:
      metrics['lecam'] = lecam_penalty(
        metrics[REAL],
        metrics[FAKE],
        context.averages[REAL],
        context.averages[FAKE],
      )
      loss += config.lecam * metrics['lecam']
    if config.r1:
      metrics['r1'] = r1_penalty(logits_of, video)
      loss += config.r1 * metrics['r1']
    return loss, metrics

  return objective


def adversarial_term(
  opponent: Opponent,
  decoded_bTHWc: jax.Array,
  context: Context,
  *,
  pixel_loss,
  last_layer,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The autoencoder's adversarial loss, weighed; zero before its start.

  Args:
    opponent: the discriminator; its parameters are
      `context.nets['discriminator']`.
    decoded_bTHWc: reconstructions, in [-1, 1].
    context: of the autoencoder's objective.
    pixel_loss: decoded -> the other losses of the decoded pixels, a scalar.
    last_layer: gradient with respect to decoded -> gradient with respect to
      the decoder's last kernel; both are for the adaptive weight.
  """
  config, params = opponent.config, context.nets['discriminator']

  def loss_of(decoded):
    logits = opponent.model.apply({'params': params}, decoded)
    return generator_loss(logits, config.loss)

  def active(decoded):
    weight = jnp.float32(config.weight)
    if config.balance == 'adaptive':
      fixed = jax.lax.stop_gradient(decoded)
      ours = last_layer(jax.grad(loss_of)(fixed))
      others = last_layer(jax.grad(pixel_loss)(fixed))
      ratio = jnp.linalg.norm(others) / (jnp.linalg.norm(ours) + 1e-4)
      weight *= jax.lax.stop_gradient(jnp.minimum(ratio, _LARGEST))
    loss = loss_of(decoded)
    return weight * loss, {'adversarial': loss, 'adversarial_weight': weight}

  def waiting(decoded):
    del decoded
    zero = jnp.zeros(())
    return zero, {'adversarial': zero, 'adversarial_weight': zero}

  if not config.start:
    return active(decoded_bTHWc)
  started = jnp.asarray(context.step) >= config.start
  return jax.lax.cond(started, active, waiting, decoded_bTHWc)
