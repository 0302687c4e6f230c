"""The transformer in PyTorch: a whole plan at once, or unit by unit."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from videoar_jax.benchmark.twin import features
from videoar_jax.core import rope
from videoar_jax.plan.pyramid import Pyramid
from videoar_jax.transformer.config import Remat, TransformerConfig

_EPSILON = 1e-6

# (queries, keys, values), each (b, n, l, k) -> what they attended to.
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Layer(nn.Module):
  """Attention with normed, turned queries and keys, then SwiGLU.

  Pairs that a rotary angle turns lie side by side in a head, so that a turn is
  one complex product; see `weights`.
  """

  def __init__(self, config: TransformerConfig):
    super().__init__()
    d, k = config.width, config.head_width
    self.shape = (config.num_heads, k)
    self.attention_norm = nn.RMSNorm(d, eps=_EPSILON)
    self.qkv = nn.Linear(d, 3 * d, bias=False)
    self.gain = nn.Parameter(torch.ones(2, 1, k))  # of queries and of keys
    self.out = nn.Linear(d, d, bias=False)
    self.mlp_norm = nn.RMSNorm(d, eps=_EPSILON)
    self.gate_up = nn.Linear(d, 2 * config.hidden, bias=False)
    self.down = nn.Linear(config.hidden, d, bias=False)

  def forward(self, x_bld, turn_lp, attend: Attend):
    n, k = self.shape
    qkv = self.qkv(self.attention_norm(x_bld)).unflatten(-1, (3, n, k))
    pair = F.rms_norm(qkv[:, :, :2], (k,), eps=_EPSILON) * self.gain
    pair = torch.view_as_complex(pair.unflatten(-1, (-1, 2)))
    pair = torch.view_as_real(pair * turn_lp[:, None, None]).flatten(-2)
    queries, keys = pair.permute(2, 0, 3, 1, 4)
    out = attend(queries, keys, qkv[:, :, 2].transpose(1, 2))
    x_bld = x_bld + self.out(out.transpose(1, 2).flatten(2))
    gate, up = self.gate_up(self.mlp_norm(x_bld)).chunk(2, dim=-1)
    return x_bld + self.down(F.silu(gate) * up)


class Transformer(nn.Module):
  """Logits of bits; one plan's positions and masks are worked out once.

  Attributes:
    config: shape of the network.
    plan: of the videos.
    num_bits: bits of a token.
  """

  def __init__(self, config: TransformerConfig, plan: Pyramid, num_bits: int):
    super().__init__()
    self.config, self.plan, self.num_bits = config, plan, num_bits
    d, prefix = config.width, config.prefix_length
    self.table = nn.Embedding(config.num_classes + 1, prefix * d)
    self.project = nn.Linear(num_bits, d, bias=False)
    self.start = nn.Parameter(torch.zeros(d))
    self.scales = nn.Parameter(torch.zeros(len(plan.scales), d))
    self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
    self.norm_out = nn.RMSNorm(d, eps=_EPSILON)
    self.head = nn.Linear(d, 2 * num_bits, bias=False)
    self.scale_l = torch.from_numpy(plan.scale_l).long()
    self.first = plan.units[0].num_tokens  # these see no unit before theirs
    self.turn_lp = self._turns()
    self.split_attention(True)

  def split_attention(self, split: bool) -> None:
    """Attention of `forward`: a product per block of frames, or one of all."""
    mask = self.plan.mask(self.config.prefix_length)
    dense = torch.from_numpy(mask.dense())
    cuts = [(run.start, run.stop) for run in mask.runs]
    if not split:
      cuts = [(0, len(dense))]
    # Added to the scores; a block's queries see no key behind their own.
    self.runs = [
      (start, stop, torch.where(dense[start:stop, :stop], 0.0, -torch.inf))
      for start, stop in cuts
    ]

  def _turns(self) -> torch.Tensor:
    """e^(i·angle) of prefix and tokens, complex (prefix + l, k/2)."""
    config, prefix = self.config, self.config.prefix_length
    front = np.repeat(np.arange(prefix)[:, None], 3, axis=1)
    position = np.concatenate([front, self.plan.position_l3 + prefix])
    axis = np.arange(config.head_width // 2) % 3
    table = rope.frequencies(config.head_width, base=config.rope_base)
    angle = torch.from_numpy(position.astype(np.float32)[:, axis] * table)
    return torch.polar(torch.ones_like(angle), angle)

  def prefix(self, condition_b: torch.Tensor) -> torch.Tensor:
    """Tokens of classes, (b, prefix, d)."""
    return self.table(condition_b).unflatten(-1, (-1, self.config.width))

  def embed(self, inputs_blq, start: int, stop: int) -> torch.Tensor:
    """Tokens start:stop of the plan from the features they start from."""
    x = self.project(inputs_blq * self.num_bits**0.5)
    if start < self.first:
      count = self.first - start
      begun = self.start.expand(x.shape[0], count, -1)
      x = torch.cat([begun, x[:, count:]], dim=1)
    return x + self.scales[self.scale_l[start:stop]]

  def logits(self, x_bld: torch.Tensor) -> torch.Tensor:
    """(b, l, q, 2)."""
    return self.head(self.norm_out(x_bld)).unflatten(-1, (-1, 2))

  def forward(self, inputs_blq, condition_b) -> torch.Tensor:
    """Logits of the whole plan, block-causal: (b, l, q, 2)."""
    tokens = self.embed(inputs_blq, 0, self.plan.num_tokens)
    x = torch.cat([self.prefix(condition_b), tokens], dim=1)
    for layer in self.layers:
      if self.config.remat == Remat.FULL:
        x = checkpoint(
          layer, x, self.turn_lp, self._masked, use_reentrant=False
        )
      else:
        x = layer(x, self.turn_lp, self._masked)
    return self.logits(x[:, self.config.prefix_length :])

  def _masked(self, queries, keys, values):
    """Block by block over the keys that any of its queries sees."""
    parts = [
      F.scaled_dot_product_attention(
        queries[:, :, start:stop],
        keys[:, :, :stop],
        values[:, :, :stop],
        attn_mask=mask,
      )
      for start, stop, mask in self.runs
    ]
    return torch.cat(parts, dim=2)


class Rollout:
  """A video's bits, unit by unit, with a cache that is written in place."""

  def __init__(self, model: Transformer, batch: int, gamma_ts: np.ndarray):
    """Makes room.

    Args:
      model: the transformer.
      batch: videos at a time.
      gamma_ts: strength of guidance; all 1 needs no second pass.
    """
    self.model, self.gamma_ts = model, gamma_ts.tolist()
    self.guided = bool((gamma_ts != 1.0).any())
    config, plan = model.config, model.plan
    self.cache = torch.zeros(
      (
        config.num_layers,
        2,
        batch * (2 if self.guided else 1),
        config.num_heads,
        config.prefix_length + plan.num_tokens,
        config.head_width,
      )
    )

  @torch.inference_mode()
  def __call__(
    self,
    condition_b: torch.Tensor,
    uniform: Callable[[int], torch.Tensor],
    *,
    temperature: float,
    top_p: float,
  ) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Draws a batch.

    Args:
      condition_b: classes.
      uniform: (frame) -> numbers in [0, 1) for its bits, (b, l, q).
      temperature: of the bits, above 0.
      top_p: see `rollout.bits.draw_bits`.

    Returns:
      Bits of each scale (b, t, h, w, q), and the features (b, t, h, w, q).
    """
    model, plan = self.model, self.model.plan
    if self.guided:
      none = torch.full_like(condition_b, model.config.num_classes)
      condition_b = torch.cat([condition_b, none])
    self._run(model.prefix(condition_b), 0)
    bits: list[list[torch.Tensor]] = [[] for _ in plan.scales]
    frames = []
    for t in range(plan.num_frames):
      total = None
      numbers = uniform(t).split([h * w for h, w in plan.scales], dim=1)
      for s, (h, w) in enumerate(plan.scales):
        margin = self._margin(self._inputs(frames, total, t, s), t, s)
        one = torch.sigmoid(margin / temperature)
        if top_p < 1.0:
          one[one >= top_p] = 1.0
          one[one <= 1.0 - top_p] = 0.0
        drawn = (numbers[s] < one).float().unflatten(1, (h, w))
        bits[s].append(drawn)
        total = features.accumulate(total, drawn, plan.scales[-1])
      frames.append(total)
    return [torch.stack(x, dim=1) for x in bits], torch.stack(frames, dim=1)

  def _inputs(self, frames, total_bhwd, t: int, s: int) -> torch.Tensor:
    """What a unit starts from, (b, l, q)."""
    plan = self.model.plan
    source = total_bhwd if s else frames[-1] if t else None
    if source is None:  # the start token is read in its place
      batch = self.cache.shape[2] // (2 if self.guided else 1)
      size = (batch, *plan.scales[s], self.model.num_bits)
      return torch.zeros(size).flatten(1, 2)
    return features.bilinear(source, plan.scales[s]).flatten(1, 2)

  def _margin(self, inputs_blq, t: int, s: int) -> torch.Tensor:
    """log P(1) / P(0) of a unit's bits, guided: (b, l, q)."""
    model = self.model
    unit = t * len(model.plan.scales) + s
    start, stop = model.plan.offsets[unit : unit + 2]
    x = model.embed(inputs_blq, start, stop)
    if self.guided:
      x = x.repeat(2, 1, 1)
    x = self._run(x, model.config.prefix_length + start)
    logits = model.logits(x)
    margin = logits[..., 1] - logits[..., 0]
    if not self.guided:
      return margin
    conditional, without = margin.chunk(2)
    return torch.lerp(without, conditional, self.gamma_ts[t][s])

  def _run(self, x_bld: torch.Tensor, start: int) -> torch.Tensor:
    """All layers over tokens that lie at `start` in the cache."""
    stop = start + x_bld.shape[1]
    turn = self.model.turn_lp[start:stop]
    for layer, (k_cache, v_cache) in zip(self.model.layers, self.cache):

      def attend(queries, keys, values, k_cache=k_cache, v_cache=v_cache):
        k_cache[:, :, start:stop] = keys
        v_cache[:, :, start:stop] = values
        return F.scaled_dot_product_attention(
          queries, k_cache[:, :, :stop], v_cache[:, :, :stop]
        )

      x_bld = layer(x_bld, turn, attend)
    return x_bld
