"""Clips as H.264 at a given number of bits, to compare a tokenizer with.

libx264, preset veryslow, two passes, 4:2:0. Bits are those of the slices:
parameter sets, equal for all clips of a size, and x264's signature are left
out, as a tokenizer's shape and weights are.
"""

import pathlib
import re
import tempfile
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from videoar_jax import media
from videoar_jax.core.lazy import Lazy

av = Lazy('av')

_FPS = 25  # only scales the bit rate
_ROUNDS = 8  # of two passes, at rates that close in on the number of bits
_CLOSE = 0.01
_RAISE = 1.5  # by this, where a rate is refused
# A start code, then a byte whose last five bits are the unit's type.
_UNIT = re.compile(rb'\x00\x00\x01')
_SLICES = range(1, 6)


class Coded(NamedTuple):
  """A clip after H.264.

  Attributes:
    video_THWc: decoded, uint8.
    num_bits: that it took.
  """

  video_THWc: np.ndarray
  num_bits: int


def code_at(video_THWc: np.ndarray, num_bits: int) -> Coded:
  """Codes a clip in as nearly so many bits as the encoder's rate control can.

  Args:
    video_THWc: uint8, RGB; odd sides gain a copy of the last row or column
      for coding.
    num_bits: wanted.
  Returns:
    The nearest of eight attempts; small clips leave gaps of some percent
    between what neighbouring quantisers take. Where every rate is refused,
    the coarsest quantiser's, which takes more.
  Raises:
    ValueError: not uint8 (T, H, W, 3), or num_bits below 1.
  """
  if video_THWc.ndim != 4 or video_THWc.dtype != np.uint8:
    raise ValueError(
      f'video of shape {video_THWc.shape}, {video_THWc.dtype}: wanted uint8 '
      '(T, H, W, 3)'
    )
  if num_bits < 1:
    raise ValueError(f'num_bits={num_bits}: wanted at least 1')
  height, width = video_THWc.shape[1:3]
  padded = media.pad_even(video_THWc)
  rate, low, high = num_bits * _FPS / len(padded), None, None
  most = 8 * _FPS * padded[0].size  # what the pixels take uncompressed
  best, packets = None, []
  for _ in range(_ROUNDS):
    found = _two_passes(padded, rate)
    # The encoder refuses a rate that its coarsest quantiser exceeds.
    bits = 8 * sum(map(_slice_bytes, found)) if found else num_bits / _RAISE
    if found and (best is None or abs(bits - num_bits) < abs(best - num_bits)):
      best, packets = bits, found
    if abs(bits - num_bits) <= _CLOSE * num_bits:
      break
    low, high = (rate, high) if bits < num_bits else (low, rate)
    both = low is not None and high is not None
    rate = (low * high) ** 0.5 if both else rate * num_bits / bits
    if rate > most:
      break  # the finest quantiser takes fewer
  if best is None:
    packets = _encode(padded, rate, 'qp=51')
    best = 8 * sum(map(_slice_bytes, packets))
  video = _decode(packets)[:, :height, :width]
  return Coded(video, best)


def _two_passes(video_THWc: np.ndarray, rate: float) -> list[bytes] | None:
  """The packets; None where the rate is below what the encoder can do."""
  with tempfile.TemporaryDirectory() as folder:
    stats = pathlib.Path(folder, 'stats')
    _encode(video_THWc, rate, f'pass=1:stats={stats}')
    try:
      return _encode(video_THWc, rate, f'pass=2:stats={stats}')
    except av.error.ExternalError:
      return None


def _encode(video_THWc: np.ndarray, rate: float, parameters: str) -> list:
  encoder = av.CodecContext.create('libx264', 'w')
  encoder.height, encoder.width = video_THWc.shape[1:3]
  encoder.pix_fmt, encoder.bit_rate = 'yuv420p', max(1000, round(rate))
  encoder.framerate, encoder.time_base = Fraction(_FPS), Fraction(1, _FPS)
  encoder.thread_count = 1
  encoder.options = {'preset': 'veryslow', 'x264-params': parameters}
  packets = []
  for t, image in enumerate(video_THWc):
    frame = av.VideoFrame.from_ndarray(
      np.ascontiguousarray(image), format='rgb24'
    )
    frame.pts = t
    packets += encoder.encode(frame)
  return [bytes(packet) for packet in packets + encoder.encode(None)]


def _decode(packets: list[bytes]) -> np.ndarray:
  decoder = av.CodecContext.create('h264', 'r')
  decoder.thread_count = 1
  frames = []
  for data in packets:
    frames += decoder.decode(av.Packet(data))
  frames += decoder.decode(None)
  return np.stack([frame.to_ndarray(format='rgb24') for frame in frames])


def _slice_bytes(packet: bytes) -> int:
  """Bytes of a packet's slices, with their start codes."""
  starts = [match.start() for match in _UNIT.finditer(packet)]
  ends = [*starts[1:], len(packet)]
  return sum(
    end - start
    for start, end in zip(starts, ends)
    if packet[start + 3] & 31 in _SLICES
  )
