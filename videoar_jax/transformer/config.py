"""The transformer's config."""

import dataclasses
import enum

from videoar_jax.core.attention import AttentionKernel
from videoar_jax.plan.kinds import check_plan
from videoar_jax.plan.unit import UnitPlan


class Condition(enum.StrEnum):
  """What a video is conditioned on: its class, or a prompt's tokens."""

  CLASS = 'class'
  TEXT = 'text'


class Positions(enum.StrEnum):
  """How a token knows its place.

  ROPE: rotary angles over (t, h, w); LEARNED: a learned embedding for each t, h
  and w, the baseline of the paper's ablation.
  """

  ROPE = 'rope'
  LEARNED = 'learned'


class Remat(enum.StrEnum):
  """What the backward pass computes again.

  NONE: nothing; FULL: everything inside a layer; DOTS: all but products of
  matrices without a batch axis.
  """

  NONE = 'none'
  FULL = 'full'
  DOTS = 'dots'


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Shape of the VideoAR transformer; defaults: L (PAPER §1.2, App. A).

  Attributes:
    num_layers: layers.
    width: model width.
    num_heads: attention heads; width / num_heads must be even.
    hidden_ratio: SwiGLU width over model width.
    plan: what is predicted next; see `plan.kinds`.
    condition: 'class' or 'text'.
    num_classes: classes; label num_classes stands for "unconditional".
    vocabulary: of the prompts' tokens; 0 without prompts.
    prefix_length: prefix tokens of a class, or the most of a prompt.
    positions: 'rope' or 'learned'.
    rope_base: base of the rotary frequency table.
    max_positions: learned positions on each axis.
    condition_dropout: share of training examples without their condition.
    remat: what the backward pass computes again.
    attention: attention kernel of training.
    dtype: dtype of activations; parameters, norms, softmax, logits: float32.
  """

  num_layers: int = 24
  width: int = 1536
  num_heads: int = 12
  hidden_ratio: float = 4.0
  plan: str = 'next_scale'
  condition: str = Condition.CLASS.value
  num_classes: int = 101
  vocabulary: int = 0
  prefix_length: int = 1
  positions: str = Positions.ROPE.value
  rope_base: float = 10_000.0
  max_positions: int = 64
  condition_dropout: float = 0.1
  remat: str = Remat.FULL.value
  attention: str = AttentionKernel.AUTO.value
  dtype: str = 'bfloat16'

  def __post_init__(self):
    if self.width % self.num_heads or self.head_width % 2:
      raise ValueError(
        f'num_heads={self.num_heads}: width={self.width} must divide into '
        'heads of an even width'
      )
    check_plan(self.plan)
    for name in ('prefix_length', 'max_positions'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name}={getattr(self, name)}: wanted at least 1')
    if not 0.0 <= self.condition_dropout <= 1.0:
      raise ValueError(
        f'condition_dropout={self.condition_dropout}: a share lies in [0, 1]'
      )
    for name, kinds in (
      ('condition', Condition),
      ('positions', Positions),
      ('remat', Remat),
      ('attention', AttentionKernel),
    ):
      if getattr(self, name) not in list(kinds):
        raise ValueError(
          f'{name}={getattr(self, name)!r}: use one of '
          + ', '.join(kind.value for kind in kinds)
        )

    if (self.vocabulary > 0) != (self.condition == Condition.TEXT):
      raise ValueError(
        f'vocabulary={self.vocabulary}, condition={self.condition!r}: prompts '
        'need a vocabulary, and classes none'
      )

  def check_reach(self, plan: UnitPlan) -> None:
    """Raises ValueError where a learned position would be missing."""
    need = 1 + int(plan.position_l3.max())
    if self.positions == Positions.LEARNED and need > self.max_positions:
      raise ValueError(
        f'max_positions={self.max_positions}: the video has {need} learned '
        'positions on an axis; train with more, or sample fewer frames'
      )

  @property
  def head_width(self) -> int:
    return self.width // self.num_heads

  @property
  def hidden(self) -> int:
    return round(self.width * self.hidden_ratio)
