"""The transformer's config."""

import dataclasses
import enum
from typing import Annotated

from videoar_jax.core import fields
from videoar_jax.core.attention import AttentionKernel
from videoar_jax.plan.kinds import PLANS
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


def _one_of(kinds: type[enum.Enum]) -> fields.Choice:
  return fields.Choice(tuple(kind.value for kind in kinds))


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Shape of the VideoAR transformer; defaults: L (docs/paper.md, Transformer).

  Attributes:
    num_layers: layers.
    width: model width.
    num_heads: attention heads; width / num_heads must be even.
    hidden_ratio: SwiGLU width over model width.
    plan: what is predicted next; see `plan.kinds`.
    condition: 'class' or 'text'.
    num_classes: classes; label num_classes stands for "unconditional". 0: as
      many as the data has, which training writes into the run's config.
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

  num_layers: Annotated[int, fields.Range(least=1, most=1000)] = 24
  width: fields.Size = 1536
  num_heads: fields.Size = 12
  hidden_ratio: Annotated[float, fields.Range(above=0, most=100)] = 4.0
  plan: Annotated[str, fields.Choice(tuple(PLANS))] = 'next_scale'
  condition: Annotated[str, _one_of(Condition)] = Condition.CLASS.value
  num_classes: fields.Natural = 0
  vocabulary: fields.Natural = 0
  prefix_length: fields.Size = 1
  positions: Annotated[str, _one_of(Positions)] = Positions.ROPE.value
  rope_base: fields.Positive = 10_000.0
  max_positions: fields.Size = 64
  condition_dropout: fields.Share = 0.1
  remat: Annotated[str, _one_of(Remat)] = Remat.FULL.value
  attention: Annotated[str, _one_of(AttentionKernel)] = (
    AttentionKernel.AUTO.value
  )
  dtype: fields.Dtype = 'bfloat16'

  def __post_init__(self):
    fields.check(self)
    if self.width % self.num_heads or self.head_width % 2:
      raise ValueError(
        f'num_heads={self.num_heads}: width={self.width} must divide into '
        'heads of an even width'
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

  def of_classes(self, number: int) -> 'TransformerConfig':
    """With this number of classes, where it was left to the data."""
    return dataclasses.replace(self, num_classes=self.num_classes or number)

  @property
  def head_width(self) -> int:
    return self.width // self.num_heads

  @property
  def hidden(self) -> int:
    return round(self.width * self.hidden_ratio)
