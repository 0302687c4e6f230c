"""Bitwise cross-entropy: one two-way classifier per bit.

Source: Infinity (arXiv:2412.04431) §3, the loss of VideoAR (arXiv:2601.05966)
§4.2.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.objectives.corruption import (
  CorruptionConfig,
  corrupt,
  draw_flip_ratios,
)
from videoar_jax.objectives.frame_mask import FrameMaskConfig, draw_frame_mask
from videoar_jax.plan.pyramid import Pyramid
from videoar_jax.transformer.model import VideoAR
from videoar_jax.transformer.prefix import drop_condition


def token_weights(plan: Pyramid) -> np.ndarray:
  """Weight of each token, ∝ √(area_K / area_k), summing to one.

  Without it the finest scale, which has most tokens, is nearly all of the
  loss.

  Args:
    plan: order of prediction.

  Returns:
    float32 (l,).
  """
  areas = np.asarray([unit.num_tokens for unit in plan.units])
  weights = np.repeat(np.sqrt(areas.max() / areas), areas)
  return (weights / weights.sum()).astype(np.float32)


def bitwise_cross_entropy(
  logits_blq2: jax.Array, targets_blq: jax.Array
) -> jax.Array:
  """-log P(target bit), averaged over the bits of a token: (b, l), nats."""
  margin = logits_blq2[..., 1] - logits_blq2[..., 0]
  sign = 2.0 * targets_blq - 1.0
  return jnp.mean(jax.nn.softplus(-sign * margin), axis=-1)


def scale_metrics(logits_blq2, targets_blq, plan: Pyramid):
  """Cross-entropy and share of bits predicted rightly, per scale."""
  margin = logits_blq2[..., 1] - logits_blq2[..., 0]
  right_l = jnp.mean((margin > 0) == (targets_blq > 0.5), axis=(0, 2))
  nats_l = jnp.mean(bitwise_cross_entropy(logits_blq2, targets_blq), axis=0)
  metrics = {}
  for k in range(len(plan.scales)):
    of_scale = (plan.scale_l == k).astype(np.float32)
    of_scale /= of_scale.sum()
    metrics[f'bit_accuracy/scale{k}'] = jnp.sum(right_l * of_scale)
    metrics[f'bit_nats/scale{k}'] = jnp.sum(nats_l * of_scale)
  metrics['bit_accuracy'] = jnp.mean(right_l)
  return metrics


def batch_condition(batch: Mapping[str, jax.Array]) -> jax.Array:
  """What the videos of a batch are conditioned on: prompts, else classes."""
  return batch['prompt'] if 'prompt' in batch else batch['label']


def make_transformer_objective(
  model: VideoAR,
  *,
  plan_of: Callable[[tuple[int, int, int]], Pyramid],
  corruption: CorruptionConfig,
  frame_mask: FrameMaskConfig,
  dropout: float | None = None,
):
  """Builds the transformer's objective for the update list.

  Args:
    model: the transformer.
    plan_of: (t, h, w) of features to the order of their prediction.
    corruption: flip ratios of the history.
    frame_mask: which past frames are hidden.
    dropout: share of examples without their condition; None: the model's.

  Returns:
    objective(params, batch, context) -> (loss, metrics); the batch holds
    'features' (bthwd), and 'prompt' (b, n) or 'label' (b,), int32.
  """
  if dropout is None:
    dropout = model.config.condition_dropout

  def objective(params, batch, context):
    ratio_rng, flip_rng, drop_rng, mask_rng = jax.random.split(context.rng, 4)
    features = batch['features'].astype(jnp.float32)
    plan = plan_of(features.shape[1:4])
    ratio = draw_flip_ratios(
      ratio_rng,
      corruption,
      batch=features.shape[0],
      num_frames=plan.num_frames,
      num_scales=len(plan.scales),
    )
    tokens = corrupt(features, ratio, flip_rng, plan=plan)
    condition = drop_condition(
      model.config, batch_condition(batch), drop_rng, share=dropout
    )
    groups = None
    if frame_mask.is_on:
      groups = draw_frame_mask(
        mask_rng, frame_mask, plan=plan, batch=features.shape[0]
      )
    logits = model.apply(
      {'params': params},
      tokens.inputs_blq,
      condition,
      plan=plan,
      groups=groups,
      method='forward',
    )
    nats_bl = bitwise_cross_entropy(logits, tokens.targets_blq)
    loss = jnp.mean(jnp.sum(nats_bl * token_weights(plan), axis=-1))
    metrics = scale_metrics(logits, tokens.targets_blq, plan)
    metrics['flip_ratio'] = jnp.mean(tokens.flipped_blq)
    return loss, metrics

  return objective
