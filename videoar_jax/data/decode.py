"""Frames of a video file, by PyAV, without trusting the file.

Frames are taken one by one as they are stored, whatever their time stamps say.
A file is refused as soon as FFmpeg finds fault with it: it would conceal what
is damaged, and skip what is missing. Formats have no checksums, so that damage
which still decodes goes unseen. A picture is a video of one frame (see
`pictures`).

Threads are off: clips are short and many, and decoding runs in worker
processes already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
from collections.abc import Iterator

import numpy as np

from videoar_jax import media
from videoar_jax.core.lazy import Lazy
from videoar_jax.data import pictures, transforms
from videoar_jax.data.failures import BadRecordError

av = Lazy('av')  # only files of videos need it

_UNEVEN = 1.5  # longest over shortest time between frames of a variable rate


@dataclasses.dataclass(frozen=True)
class FrameRate:
  """Frames per second of a video.

  Attributes:
    fps: the mean; 0 where the file does not say.
    varies: whether some frames are shown clearly longer than others.
  """

  fps: float
  varies: bool = False


@dataclasses.dataclass(frozen=True)
class _Packet:
  """What is kept of a packet, which holds one frame: not its bytes."""

  pts: int | None
  dts: int | None
  is_keyframe: bool


def read_window(
  path: str,
  rng: np.random.Generator,
  *,
  num_frames: int,
  stride: int = 1,
  size: tuple[int, int] | None = None,
) -> list[np.ndarray]:
  """Decodes every `stride`-th frame of a random stretch of the video.

  Args:
    path: of the file.
    rng: draws the stretch.
    num_frames: frames wanted.
    stride: every how many-th.
    size: (height, width) that each frame is fitted to as soon as it is
      decoded (see `transforms.fit_frame`); None: as filmed.
  Returns:
    num_frames frames, uint8 (H, W, 3), RGB, on white where transparent.
  Raises:
    BadRecordError: the file is damaged, empty, no video, or too short.
  """
  if pictures.is_picture(path):
    if num_frames > 1:
      raise BadRecordError(too_short(1, num_frames, stride))
    return [_fit(pictures.read_picture(path), size)]
  with _opened(path) as (container, stream):
    packets = _packets(container, stream)
    start = transforms.window_start(rng, len(packets), num_frames, stride)
    if start < 0:
      raise BadRecordError(too_short(len(packets), num_frames, stride))
    places = range(start, start + num_frames * stride, stride)
    frames = None
    if container.format.name != 'avi':
      frames = _decode_from_key_frame(container, stream, packets, places, size)
    if frames is None:
      frames = _decode_in_order(container, stream, packets, places, size)
  return frames


def iterate_frames(path: str) -> Iterator[np.ndarray]:
  """Yields all frames in order, uint8 (H, W, 3), RGB.

  Raises:
    BadRecordError: as for `read_window`, if need be after some frames.
  """
  if pictures.is_picture(path):
    yield pictures.read_picture(path)
    return
  with _opened(path) as (container, stream):
    packets, count = _packets(container, stream), 0
    _seek(container, stream, packets[0])
    for frame in container.decode(stream):
      yield _to_rgb(frame)
      count += 1
    if count < len(packets):
      raise BadRecordError(f'damaged: {count} of {len(packets)} frames')


def frame_rate(path: str) -> FrameRate:
  """The frame rate, from the time stamps where it varies.

  Raises:
    BadRecordError: as for `read_window`.
  """
  if pictures.is_picture(path):
    return FrameRate(0.0)
  with _opened(path) as (container, stream):
    stated = float(stream.average_rate or 0)
    times = _times(_packets(container, stream))
    if container.format.name == 'avi' or len(times) < 3:
      return FrameRate(stated)
    gaps = np.diff(times)
    if gaps.max() <= _UNEVEN * gaps.min() + 1:
      return FrameRate(stated)
    span = float((times[-1] - times[0]) * stream.time_base)
    return FrameRate((len(times) - 1) / span, varies=True)


def too_short(available: int, num_frames: int, stride: int = 1) -> str:
  """The reason given for a video shorter than a clip."""
  span = (num_frames - 1) * stride + 1
  return f'too short: {available} frames, a clip spans {span}'


@contextlib.contextmanager
def _opened(path: str):
  """Opens the file, and turns FFmpeg's errors inside into BadRecordError."""
  try:
    size = os.path.getsize(path)
    if not size:
      raise BadRecordError('empty file')
    _check_riff_length(path, size)
    with media.open_video(path) as container:
      if not container.streams.video:
        raise BadRecordError('holds no video stream')
      stream = container.streams.video[0]
      if stream.codec_context is None:
        raise BadRecordError('of a codec that FFmpeg does not know')
      stream.thread_type = 'NONE'
      stream.codec_context.options = {'err_detect': 'explode'}
      if stream.metadata.get('alpha_mode') == '1':
        raise BadRecordError(
          'its transparency lies in a second stream, which is not decoded; '
          'convert it to a video without'
        )
      yield container, stream
  except (av.FFmpegError, OSError) as error:
    reason = error.strerror or type(error).__name__
    raise BadRecordError(f'unreadable: {reason}') from error


def _check_riff_length(path: str, size: int) -> None:
  """An AVI states its length at its head; FFmpeg plays a stump all the same."""
  with open(path, 'rb') as file:
    head = file.read(12)
  if head[:4] == b'RIFF' and head[8:] == b'AVI ':
    stated = struct.unpack('<I', head[4:8])[0] + 8
    if size < stated:
      raise BadRecordError(f'truncated: {size} of {stated} bytes')


def _packets(container, stream) -> list[_Packet]:
  """All packets in file order, without decoding; one holds one frame."""
  packets = []
  with _no_complaints(container):
    for packet in container.demux(stream):
      # The flushing packet at the end has neither time.
      if (packet.pts, packet.dts) == (None, None) or packet.is_discard:
        continue
      if packet.is_corrupt:
        raise BadRecordError('truncated: its last frame is incomplete')
      packets.append(_Packet(packet.pts, packet.dts, packet.is_keyframe))
  if not packets:
    raise BadRecordError('holds no frames')
  if container.format.name != 'avi' and len(packets) < stream.frames:
    raise BadRecordError(f'truncated: {len(packets)} of {stream.frames} frames')
  return packets


@contextlib.contextmanager
def _no_complaints(container):
  """Raises BadRecordError if reading a Matroska file left something out.

  FFmpeg looks for the next part that it can read, and but logs an error.
  """
  if 'matroska' not in container.format.name:
    yield
    return
  level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
  av.logging.set_level(av.logging.ERROR)
  av.logging.set_skip_repeated(False)
  try:
    with av.logging.Capture() as complaints:
      yield
  finally:
    av.logging.set_level(level)
    av.logging.set_skip_repeated(skip)
  if complaints:
    raise BadRecordError(f'damaged: {complaints[0][2].strip()}')


def _times(packets: list[_Packet]) -> list[int]:
  """The presentation times there are, in order."""
  return sorted(packet.pts for packet in packets if packet.pts is not None)


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
  if not any(component.is_alpha for component in frame.format.components):
    return frame.to_ndarray(format='rgb24')
  return pictures.on_white(frame.to_ndarray(format='rgba'))


def _fit(image_HWc: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
  return image_HWc if size is None else transforms.fit_frame(image_HWc, *size)


def _decode_from_key_frame(container, stream, packets, places, size):
  """Decodes from the last key frame before the clip, matching time stamps.

  Only for containers that store presentation times; AVI has none, and those
  FFmpeg guesses are out of order after B-frames.

  Returns:
    The frames, or None if the time stamps do not serve.
  """
  times = _times(packets)
  if len(set(times)) < len(packets):
    return None
  wanted = [times[place] for place in places]
  keys = [p for p in packets if p.is_keyframe and p.pts <= wanted[0]]
  if not keys:
    return None
  # Seeking by the decoding time lands on this key frame or one before it:
  # never on a later one, whose leading B-frames would lack their reference.
  _seek(container, stream, keys[-1])
  found, missing = {}, set(wanted)
  for frame in container.decode(stream):
    if frame.pts in missing:
      missing.remove(frame.pts)
      found[frame.pts] = _fit(_to_rgb(frame), size)
    if not missing:
      return [found[time] for time in wanted]
  return None


def _seek(container, stream, packet) -> None:
  # Matroska leaves the first decoding times unset.
  time = packet.pts if packet.dts is None else packet.dts
  container.seek(time, stream=stream)


def _decode_in_order(container, stream, packets, places, size) -> list:
  """Decodes from the start and counts; converts only the frames wanted."""
  _seek(container, stream, packets[0])
  frames, count = [], 0
  for frame in container.decode(stream):
    if count in places:
      frames.append(_fit(_to_rgb(frame), size))
    count += 1
    if len(frames) == len(places):
      return frames
  raise BadRecordError(f'ends after {count} of {len(packets)} frames')
