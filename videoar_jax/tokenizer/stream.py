"""Videos of any length to bits and back, a latent frame at a time.

Every call takes as many frames as there are and returns what is complete by
now, with the state for the next call. Frames beyond the grid of 1 + kτ wait in
the state. Memory is that of one latent frame, whatever the video's length, and
two compiled programs serve each direction: the first latent frame, and any
later one. How a video is cut into calls changes no bit of the result.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.compiler import jit
from videoar_jax.core.export import load_weights
from videoar_jax.tokenizer.autoencoder import (
  Autoencoder,
  make_tokenizer,
  to_float,
  to_uint8,
)
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.conv import StreamState
from videoar_jax.tokenizer.features import tokenizer_config
from videoar_jax.tokenizer.quantizer import (
  Scales,
  decode_scales,
  encode_scales,
)

Bits = list[np.ndarray]


@flax.struct.dataclass
class EncodeState:
  """What an encoder carries from call to call: a pytree of arrays.

  Attributes:
    waiting: frames whose latent frame is not complete, uint8 bTHWc, T < τ.
    conv: past of every convolution; None before the first frame.
  """

  waiting: np.ndarray
  conv: StreamState | None = None


@flax.struct.dataclass
class DecodeState:
  """What a decoder carries from call to call.

  Attributes:
    conv: past of every convolution; None before the first latent frame.
  """

  conv: StreamState | None = None


class Codec:
  """A trained tokenizer: videos to bits and back, whole or as a stream.

  Attributes:
    config: its shape.
    digest: of the weights.
  """

  def __init__(self, config: TokenizerConfig, params: Any, *, digest: str = ''):
    self.config, self.digest = config, digest
    self._params = jax.device_put(params)
    self._model = make_tokenizer(config)

  @classmethod
  def load(cls, checkpoint: Any) -> 'Codec':
    """Reads a tokenizer from anything that `--checkpoint` takes.

    Raises:
      CheckpointError: nothing to be trusted there, or no tokenizer.
    """
    loaded = load_weights(checkpoint, expect='tokenizer')
    return cls(
      tokenizer_config(loaded),
      loaded.nets['autoencoder'],
      digest=loaded.digests['autoencoder'],
    )

  def encode_stream(
    self, video_bTHWc: np.ndarray, state: EncodeState | None = None
  ) -> tuple[Bits, EncodeState]:
    """Encodes the next frames of videos.

    Args:
      video_bTHWc: uint8, any number of frames, none included.
      state: what the call before returned; None begins a video.
    Returns:
      Per scale the bits of the latent frames that are complete by now,
      (b, t, h_k, w_k, q), bool, t >= 0; and the state for the next call.
    Raises:
      ValueError: a resolution that the tokenizer has no scales for, or not
        uint8.
    """
    scales = self._scales_of(video_bTHWc)
    conv, frames = None, np.asarray(video_bTHWc)
    if state is not None:
      conv = state.conv
      frames = np.concatenate([state.waiting, frames], axis=1)
    found = [self._no_bits(len(frames), scales)]
    while True:
      size = self.config.time_factor if conv is not None else 1
      if frames.shape[1] < size:
        break
      piece, frames = frames[:, :size], frames[:, size:]
      bits, conv = _encode(self._model, scales, self._params, piece, conv)
      found.append([np.asarray(scale, bool) for scale in bits])
    return _join(found), EncodeState(waiting=frames.copy(), conv=conv)

  def finish_encoding(self, state: EncodeState) -> Bits:
    """The latent frame of the frames that still wait, if any.

    The last frame is repeated to complete it; a decoder's frames beyond the
    video's length are to be cut off.
    """
    waiting = state.waiting
    if not waiting.shape[1]:
      return self._no_bits(len(waiting), self._scales_of(waiting))
    missing = self.config.time_factor - waiting.shape[1]
    repeated = np.repeat(waiting[:, -1:], missing, axis=1)
    return self.encode_stream(repeated, state)[0]

  def decode_stream(
    self,
    bits: Bits,
    state: DecodeState | None = None,
    *,
    num_scales: int | None = None,
  ) -> tuple[np.ndarray, DecodeState]:
    """Decodes the next latent frames of videos.

    Args:
      bits: per scale (b, t, h_k, w_k, q), t >= 0, of all scales.
      state: what the call before returned; None begins a video.
      num_scales: decode the coarsest so many alone; None: all.
    Returns:
      The frames, uint8 bTHWc, 1 for the first latent frame and τ for each
      later one; and the state for the next call.
    Raises:
      ValueError: num_scales below 1 or above the number of scales, or bits of
        other sizes than the tokenizer's scales.
    """
    scales = self._scales_of_bits(bits)
    count = _checked(num_scales, len(scales))
    conv = None if state is None else state.conv
    batch, latent_frames = bits[0].shape[:2]
    factor = self.config.space_factor
    size = (factor * scales[-1][0], factor * scales[-1][1])
    videos = [np.zeros((batch, 0, *size, 3), np.uint8)]
    for t in range(latent_frames):
      piece = [scale[:, t : t + 1] for scale in bits[:count]]
      video, conv = _decode(self._model, scales, self._params, piece, conv)
      videos.append(np.asarray(video))
    return np.concatenate(videos, axis=1), DecodeState(conv=conv)

  def encode(self, video_bTHWc: np.ndarray) -> Bits:
    """Bits of whole videos; a last latent frame is completed by repetition."""
    bits, state = self.encode_stream(video_bTHWc)
    return _join([bits, self.finish_encoding(state)])

  def decode(
    self, bits: Bits, *, num_frames: int | None = None, num_scales=None
  ) -> np.ndarray:
    """Whole videos, cut to `num_frames`, uint8 bTHWc."""
    return self.decode_stream(bits, num_scales=num_scales)[0][:, :num_frames]

  def _no_bits(self, batch: int, scales: Scales) -> Bits:
    q = self.config.latent_width
    return [np.zeros((batch, 0, *size, q), bool) for size in scales]

  def _scales_of(self, video_bTHWc: np.ndarray) -> Scales:
    shape, dtype = video_bTHWc.shape, video_bTHWc.dtype
    if len(shape) != 5 or shape[-1] != 3 or dtype != np.uint8:
      raise ValueError(
        f'videos of shape {shape}, {dtype}: wanted uint8 (b, T, H, W, 3)'
      )
    return self.config.scales_for(*shape[2:4])

  def _scales_of_bits(self, bits: Bits) -> Scales:
    shapes = [scale.shape for scale in bits]
    if not shapes or any(len(shape) != 5 for shape in shapes):
      raise ValueError(
        f'bits of shapes {shapes}: wanted (b, t, h, w, bits) for each scale'
      )
    batch, frames = shapes[0][:2]
    scales = self.config.scales_of(shapes[-1][2:4])
    width = self.config.latent_width
    wanted = [(batch, frames, *size, width) for size in scales]
    if shapes != wanted:
      raise ValueError(f'bits of shapes {shapes}: wanted {wanted}')
    return scales


def _checked(num_scales: int | None, known: int) -> int:
  if num_scales is not None and not 1 <= num_scales <= known:
    raise ValueError(
      f'num_scales={num_scales}: the tokenizer has {known} scales; use 1 to '
      f'{known}'
    )
  return num_scales or known


@jit(static_argnums=(0, 1))
def _encode(model: Autoencoder, scales: Scales, params, video_bTHWc, conv):
  f, conv = model.apply(
    {'params': params}, to_float(video_bTHWc), conv, method='encode_chunk'
  )
  codes = encode_scales(f, scales)
  return [code.bits_bthwq > 0 for code in codes], conv


@jit(static_argnums=(0, 1))
def _decode(model: Autoencoder, scales: Scales, params, bits, conv):
  f = decode_scales([scale.astype(jnp.float32) for scale in bits], scales)
  video, conv = model.apply({'params': params}, f, conv, method='decode_chunk')
  return to_uint8(video), conv


def _join(parts: list[Bits]) -> Bits:
  return [np.concatenate(scale, axis=1) for scale in zip(*parts)]
