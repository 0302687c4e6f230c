"""Videos of any length to the Wan VAE's latents and back, frame by frame.

As `tokenizer.stream` for bits: a call takes what frames there are and returns
what is complete by now. Memory is that of one latent frame; two compiled
programs serve each direction, the first latent frame and any later one. How a
video is cut into calls changes no bit of the result.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.compiler import jit
from videoar_jax.tokenizer.autoencoder import to_float, to_uint8
from videoar_jax.tokenizer.stream import DecodeState, EncodeState
from videoar_jax.tokenizer.wan_config import WanVaeConfig
from videoar_jax.tokenizer.wan_vae import WanVae, make_wan_vae


class WanCodec:
  """A trained Wan VAE on uint8 videos, whole or as a stream.

  Latents are means, normalised: what generators see. A state serves one call:
  its memory goes to the next state.

  Attributes:
    config: its shape.
  """

  def __init__(self, config: WanVaeConfig, params: Any):
    self.config = config
    self._params = jax.device_put(params)
    self._model = make_wan_vae(config)

  def encode_stream(
    self, video_bTHWc: np.ndarray, state: EncodeState | None = None
  ) -> tuple[np.ndarray, EncodeState]:
    """Encodes the next frames of videos.

    Args:
      video_bTHWc: uint8, any number of frames, none included.
      state: what the call before returned; None begins a video.
    Returns:
      The latent frames that are complete by now, f_bthwd float32, t >= 0; and
      the state for the next call.
    Raises:
      ValueError: not uint8, or a height or width that latent cells do not
        cover.
    """
    shape, dtype = video_bTHWc.shape, video_bTHWc.dtype
    if len(shape) != 5 or shape[-1] != 3 or dtype != np.uint8:
      raise ValueError(
        f'videos of shape {shape}, {dtype}: wanted uint8 (b, T, H, W, 3)'
      )
    self.config.check_resolution(*shape[2:4])
    conv, frames = None, np.asarray(video_bTHWc)
    if state is not None:
      conv = state.conv
      frames = np.concatenate([state.waiting, frames], axis=1)
    found = [self._no_latents(frames)]
    while True:
      size = self.config.time_factor if conv is not None else 1
      if frames.shape[1] < size:
        break
      piece, frames = frames[:, :size], frames[:, size:]
      f, conv = _encode(self._model, self._params, piece, conv)
      found.append(np.asarray(f))
    state = EncodeState(waiting=frames.copy(), conv=conv)
    return np.concatenate(found, axis=1), state

  def finish_encoding(self, state: EncodeState) -> np.ndarray:
    """The latent frame of the frames that still wait, if any.

    The last frame is repeated to complete it; a decoder's frames beyond the
    video's length are to be cut off.
    """
    waiting = state.waiting
    if not waiting.shape[1]:
      return self._no_latents(waiting)
    missing = self.config.time_factor - waiting.shape[1]
    repeated = np.repeat(waiting[:, -1:], missing, axis=1)
    return self.encode_stream(repeated, state)[0]

  def decode_stream(
    self, f_bthwd: np.ndarray, state: DecodeState | None = None
  ) -> tuple[np.ndarray, DecodeState]:
    """Decodes the next latent frames of videos.

    Args:
      f_bthwd: as `encode_stream` gives them, t >= 0.
      state: what the call before returned; None begins a video.
    Returns:
      The frames, uint8 bTHWc, 1 for the first latent frame and τ for each
      later one; and the state for the next call.
    Raises:
      ValueError: latents of another width.
    """
    shape, config = f_bthwd.shape, self.config
    if len(shape) != 5 or shape[-1] != config.latent_width:
      raise ValueError(
        f'latents of shape {shape}: wanted (b, t, h, w, {config.latent_width})'
      )
    conv = None if state is None else state.conv
    size = [side * config.space_factor for side in shape[2:4]]
    videos = [np.zeros((shape[0], 0, *size, 3), np.uint8)]
    for t in range(shape[1]):
      piece = f_bthwd[:, t : t + 1]
      video, conv = _decode(self._model, self._params, piece, conv)
      videos.append(np.asarray(video))
    return np.concatenate(videos, axis=1), DecodeState(conv=conv)

  def encode(self, video_bTHWc: np.ndarray) -> np.ndarray:
    """Latents of whole videos; a last one is completed by repetition."""
    f_bthwd, state = self.encode_stream(video_bTHWc)
    return np.concatenate([f_bthwd, self.finish_encoding(state)], axis=1)

  def decode(
    self, f_bthwd: np.ndarray, *, num_frames: int | None = None
  ) -> np.ndarray:
    """Whole videos, cut to `num_frames`, uint8 bTHWc."""
    return self.decode_stream(f_bthwd)[0][:, :num_frames]

  def reconstruct(self, video_bTHWc: np.ndarray) -> np.ndarray:
    """What is left of videos after the way through their latents, uint8."""
    latents = self.encode(video_bTHWc)
    return self.decode(latents, num_frames=video_bTHWc.shape[1])

  def _no_latents(self, video_bTHWc: np.ndarray) -> np.ndarray:
    config = self.config
    b, _, *size, _ = video_bTHWc.shape
    size = [side // config.space_factor for side in size]
    return np.zeros((b, 0, *size, config.latent_width), np.float32)


@jit(static_argnums=0, donate_argnums=3)
def _encode(model: WanVae, params, video_bTHWc, conv):
  latents, conv = model.apply(
    {'params': params}, to_float(video_bTHWc), conv, method='encode_chunk'
  )
  return model.config.normalised(latents.mean_bthwd), conv


@jit(static_argnums=0, donate_argnums=3)
def _decode(model: WanVae, params, f_bthwd, conv):
  f_bthwd = model.config.denormalised(f_bthwd.astype(jnp.float32))
  video, conv = model.apply(
    {'params': params}, f_bthwd, conv, method='decode_chunk'
  )
  return to_uint8(video), conv
