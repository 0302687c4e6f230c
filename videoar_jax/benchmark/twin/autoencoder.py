"""The tokenizer's networks in PyTorch, without the parts only training needs.

Arrays are (b, t, h, w, c) in memory; convolutions see them as channels-last.
"""

import torch
import torch.nn.functional as F
from torch import nn

from videoar_jax.tokenizer.config import TokenizerConfig

_MIDDLE_BLOCKS = 2
_EPSILON = 1e-6


class CausalConv(nn.Module):
  """3D convolution with zero frames before the first and none after.

  Attributes:
    strides: (t, h, w).
    double: rows and columns are doubled first.
    double_time: frames, too, but for the first.
  """

  def __init__(
    self,
    width_in: int,
    width: int,
    *,
    kernel: tuple[int, int, int] = (3, 3, 3),
    strides: tuple[int, int, int] = (1, 1, 1),
    double: bool = False,
    double_time: bool = False,
  ):
    super().__init__()
    self.strides, self.double, self.double_time = strides, double, double_time
    kept = torch.channels_last_3d
    weight = torch.zeros(width, width_in, *kernel)
    self.weight = nn.Parameter(weight.contiguous(memory_format=kept))
    self.bias = nn.Parameter(torch.zeros(width))

  def forward(self, x_bthwc: torch.Tensor) -> torch.Tensor:
    zeros = self.weight.shape[2] - 1
    side = (self.weight.shape[3] - 1) // 2
    if self.double:
      x = self._doubled(x_bthwc)
    elif self.strides[1] == 2:
      x, side = F.pad(x_bthwc, (0, 0, 0, 1, 0, 1, zeros, 0)), 0
    else:
      x = F.pad(x_bthwc, (0, 0, 0, 0, 0, 0, zeros, 0)) if zeros else x_bthwc
    out = F.conv3d(
      x.permute(0, 4, 1, 2, 3),
      self.weight,
      self.bias,
      stride=self.strides,
      padding=(0, side, side),
    )
    return out.permute(0, 2, 3, 4, 1)

  def _doubled(self, x_bthwc: torch.Tensor) -> torch.Tensor:
    """Copies of cells behind zero frames, in one write."""
    b, t, h, w, c = x_bthwc.shape
    times, zeros = (2, 1) if self.double_time else (1, 2)
    out = x_bthwc.new_empty(b, zeros + t * times, 2 * h, 2 * w, c)
    out[:, :zeros] = 0.0
    cells = out[:, zeros:].unflatten(3, (w, 2)).unflatten(2, (h, 2))
    cells.unflatten(1, (t, times)).copy_(
      x_bthwc[:, :, None, :, None, :, None, :]
    )
    return out


class Norm(nn.Module):
  """RMS norm of channels, or group norm of each frame."""

  def __init__(self, width: int, config: TokenizerConfig):
    super().__init__()
    self.groups = config.norm_groups if config.norm == 'group' else 0
    self.weight = nn.Parameter(torch.ones(width))
    self.bias = nn.Parameter(torch.zeros(width)) if self.groups else None

  def forward(self, x_bthwc: torch.Tensor) -> torch.Tensor:
    width = x_bthwc.shape[-1:]
    if not self.groups:
      return F.rms_norm(x_bthwc, width, self.weight, _EPSILON)
    frames = x_bthwc.flatten(0, 1).permute(0, 3, 1, 2)
    normed = F.group_norm(frames, self.groups, self.weight, self.bias, _EPSILON)
    return normed.permute(0, 2, 3, 1).unflatten(0, x_bthwc.shape[:2])


class ResBlock(nn.Module):
  """Twice norm, silu and conv, added to a shortcut."""

  def __init__(self, width_in: int, width: int, config: TokenizerConfig):
    super().__init__()
    kernel = (3 if config.block == 'full' else 1, 3, 3)
    self.norm1 = Norm(width_in, config)
    self.conv1 = CausalConv(width_in, width)
    self.norm2 = Norm(width, config)
    self.conv2 = CausalConv(width, width, kernel=kernel)
    self.shortcut = None
    if width_in != width:
      self.shortcut = CausalConv(width_in, width, kernel=(1, 1, 1))

  def forward(self, x_bthwc: torch.Tensor) -> torch.Tensor:
    h = self.conv1(F.silu(self.norm1(x_bthwc), inplace=True))
    h = self.conv2(F.silu(self.norm2(h), inplace=True))
    shortcut = x_bthwc if self.shortcut is None else self.shortcut(x_bthwc)
    return h.add_(shortcut)


class Encoder(nn.Module):
  """Pixels to latents."""

  def __init__(self, config: TokenizerConfig):
    super().__init__()
    self.patch = config.patch
    widths = [config.base_width * m for m in config.multipliers]
    halvings = len(widths) - 1
    self.conv_in = CausalConv(3 * config.patch**2, widths[0])
    self.body, last = nn.ModuleDict(), widths[0]
    for level, width in enumerate(widths):
      for i in range(config.encoder_blocks):
        self.body[f'level{level}_block{i}'] = ResBlock(last, width, config)
        last = width
      if level < halvings:
        in_time = level >= halvings - config.num_time_levels
        strides = (2 if in_time else 1, 2, 2)
        self.body[f'level{level}_down'] = CausalConv(
          last, width, strides=strides
        )
        last = width
    for i in range(_MIDDLE_BLOCKS):
      self.body[f'middle_block{i}'] = ResBlock(last, widths[-1], config)
      last = widths[-1]
    self.norm_out = Norm(last, config)
    self.conv_out = CausalConv(last, config.latent_width)

  @torch.inference_mode()
  def forward(self, x_bTHWc: torch.Tensor) -> torch.Tensor:
    p = self.patch
    x = x_bTHWc.unflatten(3, (-1, p)).unflatten(2, (-1, p))
    x = self.conv_in(x.permute(0, 1, 2, 4, 3, 5, 6).flatten(4))
    for module in self.body.values():
      x = module(x)
    return self.conv_out(F.silu(self.norm_out(x), inplace=True))


class Decoder(nn.Module):
  """Latents to pixels."""

  def __init__(self, config: TokenizerConfig):
    super().__init__()
    self.config = config
    widths = [config.base_width * m for m in config.multipliers]
    self.conv_in = CausalConv(config.latent_width, widths[-1])
    self.body, last = nn.ModuleDict(), widths[-1]
    for i in range(_MIDDLE_BLOCKS):
      self.body[f'middle_block{i}'] = ResBlock(last, last, config)
    for level in reversed(range(len(widths))):
      for i in range(config.decoder_blocks):
        name = f'level{level}_block{i}'
        self.body[name] = ResBlock(last, widths[level], config)
        last = widths[level]
      if level > 0:
        in_time = level >= len(widths) - config.num_time_levels
        self.body[f'level{level}_up'] = CausalConv(
          last, widths[level], double=True, double_time=in_time
        )
        last = widths[level]
    self.norm_out = Norm(last, config)
    self.conv_out = CausalConv(last, 3 * config.patch**2)

  @torch.inference_mode()
  def forward(self, f_bthwd: torch.Tensor) -> torch.Tensor:
    """Videos, uint8 (b, T, H, W, 3)."""
    x = self.conv_in(f_bthwd * self.config.latent_width**0.5)
    for module in self.body.values():
      x = module(x)
    x = self.conv_out(F.silu(self.norm_out(x), inplace=True))
    p = self.config.patch
    x = x.unflatten(-1, (p, p, 3)).permute(0, 1, 2, 4, 3, 5, 6)
    x = x.flatten(4, 5).flatten(2, 3)
    return (x + 1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
