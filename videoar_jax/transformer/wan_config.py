"""Config of Wan's transformer."""

import dataclasses
import math
from typing import Annotated

from videoar_jax.core import fields, rope
from videoar_jax.core.attention import AttentionKernel
from videoar_jax.transformer.config import Remat


@dataclasses.dataclass(frozen=True)
class WanConfig:
  """Shape of Wan2.1's text-to-video transformer; defaults: 1.3B.

  Attributes:
    num_layers: layers.
    width: model width.
    num_heads: attention heads; width / num_heads must be even.
    hidden: width between the two matrices of a layer's MLP.
    latent_width: channels of the latents.
    patch: latent (frames, rows, columns) of one token.
    time_width: sinusoids that a time becomes, even.
    text_length: rows of a text, those past its end being zeros.
    text_width: channels of the text encoder.
    remat: what the backward pass computes again.
    attention: kernel of self-attention and cross-attention.
    dtype: of the products of matrices within layers. Parameters, time, norms,
      modulation, softmax, first and last layer: float32.
    stream_dtype: of what the layers add to. float32 as in the original; in
      bfloat16, as in diffusers, a backward pass keeps half.
  """

  num_layers: Annotated[int, fields.Range(least=1, most=1000)] = 30
  width: fields.Size = 1536
  num_heads: fields.Size = 12
  hidden: fields.Size = 8960
  latent_width: fields.Size = 16
  patch: tuple[fields.Size, fields.Size, fields.Size] = (1, 2, 2)
  time_width: fields.Size = 256
  text_length: fields.Size = 512
  text_width: fields.Size = 4096
  remat: Annotated[str, fields.Choice(tuple(x.value for x in Remat))] = (
    Remat.FULL.value
  )
  attention: Annotated[
    str, fields.Choice(tuple(x.value for x in AttentionKernel))
  ] = AttentionKernel.AUTO.value
  dtype: fields.Dtype = 'bfloat16'
  stream_dtype: fields.Dtype = 'float32'

  def __post_init__(self):
    fields.check(self)
    if self.width % self.num_heads or self.head_width % 2:
      raise ValueError(
        f'num_heads={self.num_heads}: width={self.width} must divide into '
        'heads of an even width'
      )
    if self.time_width % 2:
      raise ValueError(
        f'time_width={self.time_width}: wanted an even number, a cosine and a '
        'sine of each frequency'
      )

  @property
  def head_width(self) -> int:
    return self.width // self.num_heads

  @property
  def patch_width(self) -> int:
    """Numbers of one token, as latents and as a prediction."""
    return self.latent_width * math.prod(self.patch)

  @property
  def pairs(self) -> rope.Pairs:
    """A third of a head's pairs for rows and for columns, the rest for time."""
    space = self.head_width // 6
    return rope.contiguous((self.head_width // 2 - 2 * space, space, space))
