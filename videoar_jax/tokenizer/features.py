"""A trained tokenizer as a function on uint8 clips."""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from videoar_jax.core import spread
from videoar_jax.core.compiler import jit
from videoar_jax.core.config import from_saved
from videoar_jax.core.console import note
from videoar_jax.core.export import (
  Loaded,
  check_net,
  load_weights,
  tree_digest,
)
from videoar_jax.core.placement import replicate
from videoar_jax.tokenizer.autoencoder import (
  make_tokenizer,
  param_shapes,
  to_float,
  to_uint8,
)
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.quantizer import encode_scales

NET = 'autoencoder'


def make_encoder(
  checkpoint: str, *, num_frames: int, mesh: Mesh | None = None
) -> tuple[str, Callable]:
  """Loads a tokenizer as an encoder of clips.

  Args:
    checkpoint: whatever `--checkpoint` accepts, of a tokenizer.
    num_frames: of the clips.
    mesh: of this process's devices, over which clips are split; None: the
      first device alone.

  Returns:
    The digest of its weights, and encode(video_bTHWc uint8) -> f_bthwd,
    float32 NumPy.

  Raises:
    ValueError: not a tokenizer's checkpoint; a clip of another resolution or
      number of frames than the tokenizer codes.
  """
  loaded = load_weights(checkpoint, expect='tokenizer')
  config = tokenizer_config(loaded)
  config.latent_frames(num_frames)
  note_length(loaded, num_frames)
  digest, params = tree_digest(loaded.nets[NET]), loaded.nets[NET]
  if mesh is not None:
    params = replicate(params, mesh)
  model = make_tokenizer(config)

  @jit
  def run(params, video):
    return model.apply({'params': params}, to_float(video), method='encode')

  def encode(video_bTHWc: np.ndarray) -> np.ndarray:
    config.check_resolution(*video_bTHWc.shape[2:4])
    video_bTHWc = spread.put_batch(video_bTHWc, mesh)
    return np.asarray(spread.on_mesh(run, mesh)(params, video_bTHWc))

  return digest, encode


def make_reconstructor(config: TokenizerConfig) -> Callable:
  """Builds reconstruct(params, video_bTHWc uint8) -> (uint8, bits per scale).

  Args:
    config: the tokenizer's shape.

  Returns:
    A compiled function; the video is what the decoder makes of the bits.
  """
  model = make_tokenizer(config)

  @jit
  def reconstruct(params, video_bTHWc):
    f = model.apply({'params': params}, to_float(video_bTHWc), method='encode')
    codes = encode_scales(f, config.scales_of(f.shape[2:4]))
    video = model.apply(
      {'params': params}, codes[-1].total_bthwd, method='decode'
    )
    return to_uint8(video), [code.bits_bthwq for code in codes]

  return reconstruct


def note_length(loaded: Loaded, num_frames: int) -> None:
  """Tells where a tokenizer codes longer clips than it has ever seen."""
  data = [loaded.config.data, *loaded.config.get('more_data', {}).values()]
  longest = max(stream.num_frames for stream in data)
  if num_frames > longest:
    note(
      f'num_frames={num_frames}: the tokenizer was trained on clips of at most '
      f'{longest} frames; what comes later may drift'
    )


def tokenizer_config(loaded: Loaded) -> TokenizerConfig:
  """The tokenizer's config out of its checkpoint.

  Raises:
    ValueError: there is none, or its weights are of another network.
  """
  config = from_saved(TokenizerConfig, loaded.config, 'tokenizer')
  check_net(
    loaded,
    NET,
    lambda: param_shapes(config),
    sizes=(
      config.base_width,
      config.latent_width,
      config.norm_groups,
      config.encoder_blocks,
      config.decoder_blocks,
      len(config.multipliers),
      *config.multipliers,
    ),
  )
  return config
