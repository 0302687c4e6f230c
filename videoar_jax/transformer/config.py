"""The transformer's config."""

import dataclasses
import enum

from videoar_jax.core.attention import AttentionKernel


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
    num_classes: classes; label num_classes stands for "unconditional".
    prefix_length: prefix tokens of a class.
    rope_base: base of the rotary frequency table.
    condition_dropout: share of training examples without their class.
    remat: what the backward pass computes again.
    attention: attention kernel of training.
    dtype: dtype of activations; parameters, norms, softmax, logits: float32.
  """

  num_layers: int = 24
  width: int = 1536
  num_heads: int = 12
  hidden_ratio: float = 4.0
  num_classes: int = 101
  prefix_length: int = 1
  rope_base: float = 10_000.0
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
    if self.prefix_length < 1:
      raise ValueError(
        f'prefix_length={self.prefix_length}: the class needs at least 1 token'
      )
    if not 0.0 <= self.condition_dropout <= 1.0:
      raise ValueError(
        f'condition_dropout={self.condition_dropout}: a share lies in [0, 1]'
      )
    for name, kinds in (('remat', Remat), ('attention', AttentionKernel)):
      if getattr(self, name) not in list(kinds):
        raise ValueError(
          f'{name}={getattr(self, name)!r}: use one of '
          + ', '.join(kind.value for kind in kinds)
        )

  @property
  def head_width(self) -> int:
    return self.width // self.num_heads

  @property
  def hidden(self) -> int:
    return round(self.width * self.hidden_ratio)
