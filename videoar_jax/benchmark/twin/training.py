"""A training step in PyTorch, with all that ours does.

Flipped histories, dropped conditions, bitwise loss and its metrics, clipping,
AdamW over a schedule, the average of the parameters, and a check that loss and
gradient are finite.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F

from videoar_jax.benchmark.twin import features
from videoar_jax.benchmark.twin.transformer import Transformer
from videoar_jax.objectives.bitwise import token_weights
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.train.optimizer import OptimizerConfig, make_schedule


class Step:
  """Trains a transformer on features.

  Attributes:
    model: the transformer, which is trained in place.
    averaged: its averaged copy; None where none is kept.
  """

  def __init__(
    self,
    model: Transformer,
    *,
    corruption: CorruptionConfig,
    optimizer: OptimizerConfig,
    num_steps: int,
  ):
    self.model, self._corruption, self._config = model, corruption, optimizer
    self.averaged = copy.deepcopy(model) if optimizer.ema_decay else None
    self._params = list(model.parameters())
    decayed, rest = _by_decay(model)
    self._rule = torch.optim.AdamW(
      [
        {'params': decayed, 'weight_decay': optimizer.weight_decay},
        {'params': rest, 'weight_decay': 0.0},
      ],
      betas=(optimizer.beta1, optimizer.beta2),
      eps=optimizer.epsilon,
      fused=True,
    )
    schedule = make_schedule(optimizer, num_updates=num_steps)
    self._rates = np.asarray(schedule(np.arange(num_steps + 1)))
    self._count = 0
    self._weight_l = torch.from_numpy(token_weights(model.plan))

  def __call__(
    self, f_bthwd: torch.Tensor, condition_b: torch.Tensor
  ) -> dict[str, float]:
    """Learns from a batch; returns its metrics."""
    model, config = self.model, self._corruption
    ratio = features.draw_flip_ratios(config, len(f_bthwd), model.plan)
    inputs, targets, flipped = features.corrupt(f_bthwd, ratio, model.plan)
    dropped = torch.rand(len(condition_b)) < model.config.condition_dropout
    condition = condition_b.masked_fill(dropped, model.config.num_classes)
    logits = model(inputs, condition)
    margin = logits[..., 1] - logits[..., 0]
    nats_bl = F.softplus((1.0 - 2.0 * targets) * margin).mean(dim=-1)
    loss = (nats_bl * self._weight_l).sum(dim=-1).mean()
    self._rule.zero_grad(set_to_none=True)
    loss.backward()
    norm = self._update(loss)
    metrics = self._metrics(margin, targets, nats_bl)
    metrics |= {'loss': loss.detach(), 'grad_norm': norm, 'flip_ratio': flipped}
    return {name: float(x) for name, x in metrics.items()}

  @torch.no_grad()
  def _update(self, loss: torch.Tensor) -> torch.Tensor:
    """Changes the parameters; returns the gradient's norm."""
    most = self._config.clip_norm or float('inf')
    norm = torch.nn.utils.clip_grad_norm_(self._params, most)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
      return norm
    for group in self._rule.param_groups:
      group['lr'] = float(self._rates[self._count + 1])
    self._rule.step()
    if self.averaged is not None:
      decay = (1.0 + self._count) / (10.0 + self._count)
      decay = min(self._config.ema_decay, decay)
      averaged = list(self.averaged.parameters())
      torch._foreach_lerp_(averaged, self._params, 1.0 - decay)
    self._count += 1
    return norm

  @torch.no_grad()
  def _metrics(self, margin_blq, targets_blq, nats_bl) -> dict:
    """Share of right bits and cross-entropy, by scale."""
    right_l = ((margin_blq > 0) == (targets_blq > 0.5)).float().mean((0, 2))
    nats_l = nats_bl.mean(0)
    metrics = {'bit_accuracy': right_l.mean()}
    for k in range(len(self.model.plan.scales)):
      of_scale = self.model.scale_l == k
      metrics[f'bit_accuracy/scale{k}'] = right_l[of_scale].mean()
      metrics[f'bit_nats/scale{k}'] = nats_l[of_scale].mean()
    return metrics


def _by_decay(model: Transformer) -> tuple[list, list]:
  """Matrices, which decay, and gains, vectors and scales, which do not."""
  kept = {id(model.scales), *(id(layer.gain) for layer in model.layers)}
  decayed, rest = [], []
  for x in model.parameters():
    (rest if x.ndim < 2 or id(x) in kept else decayed).append(x)
  return decayed, rest
