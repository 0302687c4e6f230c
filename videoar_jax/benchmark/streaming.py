"""A tokenizer's streams: memory against length, time per latent frame."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from videoar_jax.benchmark import process
from videoar_jax.core.config import from_section
from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.stream import Codec

_PIECE = 32  # frames at a time, as `python -m videoar_jax.tokenizer` reads them


def measure_stream(section: Any, num_frames: int) -> dict:
  """Encodes and decodes a video of noise as streams, with random weights.

  Args:
    section: `tokenizer` of a run's config.
    num_frames: of the video.

  Returns:
    frames; peak_host_bytes and peak_device_bytes of this process, which
    should do nothing else; first_s, until the first piece has come back, with
    compilation; steady_ms_per_frame, encoding and decoding, of the pieces
    after the second, None where there are none.
  """
  config = from_section(TokenizerConfig, section)
  tokenizer = Codec(config, _random_params(config))
  encoding = decoding = None
  frames, times = 0, []
  started = time.perf_counter()
  for piece in _noise(num_frames, config.resolution):
    bits, encoding = tokenizer.encode_stream(piece, encoding)
    video, decoding = tokenizer.decode_stream(bits, decoding)
    frames += video.shape[1]
    times.append((time.perf_counter(), frames))
  later = times[1:]
  steady = None
  if len(later) > 1:
    (since, before), (until, after) = later[0], later[-1]
    steady = (until - since) / (after - before) * 1000
  return {
    'frames': num_frames,
    'peak_host_bytes': process.peak_host_bytes(),
    'peak_device_bytes': process.peak_device_bytes(),
    'first_s': times[0][0] - started,
    'steady_ms_per_frame': steady,
  }


def _random_params(config: TokenizerConfig):
  model = make_tokenizer(config)
  clip = np.zeros((1, 1, *config.resolution, 3), np.float32)
  return unbox(jax.jit(model.init)(jax.random.key(0), clip)['params'])


def _noise(num_frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
  rng = np.random.default_rng(0)
  while num_frames:
    count = min(_PIECE, num_frames)
    yield rng.integers(0, 256, (1, count, *size, 3), dtype=np.uint8)
    num_frames -= count
