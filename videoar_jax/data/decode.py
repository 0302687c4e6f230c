"""Frames of a video file, by PyAV, without trusting the file.

A picture is a video of one frame (see `pictures`).

Threads are off: clips are short and many, and decoding runs in worker
processes already.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

import av
import numpy as np

from videoar_jax.data import pictures, transforms
from videoar_jax.data.failures import BadRecordError


def read_window(
  path: str,
  rng: np.random.Generator,
  *,
  num_frames: int,
  stride: int = 1,
) -> list[np.ndarray]:
  """Decodes every `stride`-th frame of a random stretch of the video.

  Returns:
    num_frames frames, uint8 (H, W, 3), RGB.
  Raises:
    BadRecordError: the file is damaged, empty, no video, or too short.
  """
  if pictures.is_picture(path):
    if num_frames > 1:
      raise BadRecordError(too_short(1, num_frames, stride))
    return [pictures.read_picture(path)]
  with _opened(path) as (container, stream):
    packets = _packets(container, stream, path)
    start = transforms.window_start(rng, len(packets), num_frames, stride)
    if start < 0:
      raise BadRecordError(too_short(len(packets), num_frames, stride))
    places = range(start, start + num_frames * stride, stride)
    frames = None
    if container.format.name != 'avi':
      frames = _decode_from_key_frame(container, stream, packets, places)
    if frames is None:
      frames = _decode_in_order(container, stream, packets, places)
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
    packets = _packets(container, stream, path)
    _seek(container, stream, packets[0])
    for frame in container.decode(stream):
      yield frame.to_ndarray(format='rgb24')


def frame_rate(path: str) -> float:
  """Frames per second as the file states it; 0 where it does not."""
  if pictures.is_picture(path):
    return 0.0
  with _opened(path) as (_, stream):
    return float(stream.average_rate or 0)


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
    with av.open(path) as container:
      if not container.streams.video:
        raise BadRecordError('holds no video stream')
      stream = container.streams.video[0]
      stream.thread_type = 'NONE'
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


def _packets(container, stream, path: str) -> list:
  """All packets in file order, without decoding; one holds one frame."""
  packets = [
    packet
    for packet in container.demux(stream)
    # The flushing packet at the end has neither time.
    if (packet.pts, packet.dts) != (None, None) and not packet.is_discard
  ]
  if not packets:
    raise BadRecordError('holds no frames')
  if any(packet.is_corrupt for packet in packets):
    raise BadRecordError('truncated: its last frame is incomplete')
  if container.format.name != 'avi' and len(packets) < stream.frames:
    raise BadRecordError(f'truncated: {len(packets)} of {stream.frames} frames')
  return packets


def _decode_from_key_frame(container, stream, packets, places):
  """Decodes from the last key frame before the clip, matching time stamps.

  Only for containers that store presentation times; AVI has none, and those
  FFmpeg guesses are out of order after B-frames.

  Returns:
    The frames, or None if the time stamps do not serve.
  """
  times = sorted(packet.pts for packet in packets if packet.pts is not None)
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
      found[frame.pts] = frame.to_ndarray(format='rgb24')
    if not missing:
      return [found[time] for time in wanted]
  return None


def _seek(container, stream, packet) -> None:
  # Matroska leaves the first decoding times unset.
  time = packet.pts if packet.dts is None else packet.dts
  container.seek(time, stream=stream)


def _decode_in_order(container, stream, packets, places) -> list[np.ndarray]:
  """Decodes from the start and counts; converts only the frames wanted."""
  _seek(container, stream, packets[0])
  frames, count = [], 0
  for frame in container.decode(stream):
    if count in places:
      frames.append(frame.to_ndarray(format='rgb24'))
    count += 1
    if len(frames) == len(places):
      return frames
  raise BadRecordError(f'ends after {count} of {len(packets)} frames')
