"""Bits to features, what units start from, and histories with flipped bits."""

import torch
import torch.nn.functional as F

from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.plan.pyramid import Pyramid

Size = tuple[int, int]


def bilinear(f_bhwd: torch.Tensor, size: Size) -> torch.Tensor:
  """Resizes (b, h, w, d), channels last in memory, to (b, *size, d)."""
  if tuple(f_bhwd.shape[1:3]) == tuple(size):
    return f_bhwd
  resized = F.interpolate(
    f_bhwd.permute(0, 3, 1, 2), size=size, mode='bilinear', align_corners=False
  )
  return resized.permute(0, 2, 3, 1)


def area(f_bhwd: torch.Tensor, size: Size) -> torch.Tensor:
  """The same by averages of what a new cell touches."""
  if tuple(f_bhwd.shape[1:3]) == tuple(size):
    return f_bhwd
  resized = F.adaptive_avg_pool2d(f_bhwd.permute(0, 3, 1, 2), size)
  return resized.permute(0, 2, 3, 1)


def accumulate(
  total_bhwd: torch.Tensor | None, bits_bhwq: torch.Tensor, size: Size
) -> torch.Tensor:
  """Adds the upsampled code of one scale's bits to the sum so far."""
  code = bilinear((2.0 * bits_bhwq - 1.0) * bits_bhwq.shape[-1] ** -0.5, size)
  return code if total_bhwd is None else total_bhwd + code


def draw_flip_ratios(
  config: CorruptionConfig, batch: int, plan: Pyramid
) -> torch.Tensor:
  """See `objectives.corruption.draw_flip_ratios`: (b, t, s)."""
  low, high = (
    torch.as_tensor(bound, dtype=torch.float32)
    for bound in config.bounds(plan.num_frames)
  )
  uniform = torch.rand(batch, plan.num_frames, len(plan.scales))
  ratio = low[:, None] + (high - low)[:, None] * uniform
  if config.inherit:
    for t in range(1, plan.num_frames):
      last = ratio[:, t - 1, -1]
      ratio[:, t, 0] = last + (high[t] - last) * uniform[:, t, 0]
  return ratio


@torch.no_grad()
def corrupt(
  f_bthwd: torch.Tensor, ratio_bts: torch.Tensor, plan: Pyramid
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
  """See `objectives.corruption.corrupt`.

  Args:
    f_bthwd: latents.
    ratio_bts: flip ratios.
    plan: order of prediction.

  Returns:
    Inputs and targets of the plan, (b, l, q), and the share of flipped bits.
  """
  b, t = f_bthwd.shape[:2]
  f = f_bthwd.flatten(0, 1)
  size = plan.scales[-1]
  total, targets, totals, flipped = torch.zeros_like(f), [], [], 0.0
  for s, scale in enumerate(plan.scales):
    bits = (area(f - total, scale) > 0).float()
    flips = torch.rand_like(bits) < ratio_bts[:, :, s].reshape(-1, 1, 1, 1)
    total = accumulate(total, torch.where(flips, 1.0 - bits, bits), size)
    targets.append(bits)
    totals.append(total)
    flipped += flips.sum()
  last = totals[-1].unflatten(0, (b, t))
  before = torch.cat([torch.zeros_like(last[:, :1]), last[:, :-1]], dim=1)
  inputs = [
    bilinear(x, scale)
    for x, scale in zip([before.flatten(0, 1), *totals], plan.scales)
  ]
  targets_blq = _in_order(targets, b)
  return _in_order(inputs, b), targets_blq, flipped / targets_blq.numel()


def _in_order(scales_xhwd: list[torch.Tensor], batch: int) -> torch.Tensor:
  """Frame by frame, scale by scale: (b, l, d)."""
  rows = torch.cat([x.flatten(1, 2) for x in scales_xhwd], dim=1)
  return rows.unflatten(0, (batch, -1)).flatten(1, 2)
