"""The autoencoder's forward pass, which it and its discriminator share."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from videoar_jax.objectives.context import Context
from videoar_jax.objectives.reconstruction import TokenizerLossConfig
from videoar_jax.tokenizer.autoencoder import Autoencoder, to_float
from videoar_jax.tokenizer.quantizer import ScaleCode, encode_scales


@flax.struct.dataclass
class Forward:
  """A batch through bits and back.

  Attributes:
    f_bthwd: the encoder's latents.
    codes: of each scale; the last one's total is what was decoded.
    decoded_bTHWc: about [-1, 1], of the scales that were kept.
    is_whole: whether all scales were kept, whatever was drawn.
  """

  f_bthwd: jax.Array
  codes: list[ScaleCode]
  decoded_bTHWc: jax.Array
  is_whole: bool = flax.struct.field(pytree_node=False)


def make_forward(model: Autoencoder, config: TokenizerLossConfig):
  """Builds the stage that the autoencoder's and its judge's updates read.

  Args:
    model: the autoencoder.
    config: which scales may be dropped.

  Returns:
    forward(params, batch, context) -> Forward; the batch holds 'video', uint8
    bTHWc.

  Raises:
    ValueError: all scales might be dropped.
  """
  fewest = min(len(scales) for scales in model.config.schedules)
  if config.drop_scales >= fewest:
    raise ValueError(
      f'drop_scales={config.drop_scales}: the tokenizer has {fewest} scales, '
      'and at least one must stay'
    )

  def forward(params: Any, batch: Any, context: Context) -> Forward:
    _, drop_rng = jax.random.split(context.rng)
    video = to_float(batch['video'])
    f = model.apply({'params': params}, video, method='encode')
    scales = model.config.scales_of(f.shape[2:4])
    keep = _draw_kept(drop_rng, config, video.shape[0], len(scales))
    codes = encode_scales(f, scales, keep_bs=keep)
    total = codes[-1].total_bthwd
    decoded = model.apply({'params': params}, total, method='decode')
    return Forward(f, codes, decoded, is_whole=keep is None)

  return forward


def decode_whole(
  model: Autoencoder, params: Any, forward: Forward
) -> jax.Array:
  """What all scales decode to: once more where some may be left out."""
  if forward.is_whole:
    return forward.decoded_bTHWc
  scales = model.config.scales_of(forward.f_bthwd.shape[2:4])
  total = encode_scales(forward.f_bthwd, scales)[-1].total_bthwd
  return model.apply({'params': params}, total, method='decode')


def _draw_kept(rng, config: TokenizerLossConfig, batch: int, num_scales: int):
  """Which scales of which clip are decoded: (b, k), or None for all."""
  if not config.drop_scales or not config.drop_probability:
    return None
  drawn = jax.random.uniform(rng, (batch, num_scales))
  droppable = jnp.arange(num_scales) >= num_scales - config.drop_scales
  return ~(droppable & (drawn < config.drop_probability))
