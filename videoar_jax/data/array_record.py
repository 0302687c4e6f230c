"""Videos decoded once to the training resolution, lossless.

Eight frames at a time are one still picture: the first as it is, the others as
differences (modulo 256) from the frame before, in lossless WebP. On UCF-101 at
128x128 this takes about 0.17 to 0.47 of the raw bytes, where a PNG for each
frame takes 0.43 to 0.59 and three times as long to read; a window of 17 frames
opens at most four groups. JPEG would be smaller, but the Fréchet video
distance feels lossy copies of its reference clips, and prepared clips should
equal those decoded from the files, bit for bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable

import numpy as np
from PIL import Image

from videoar_jax.core import structure
from videoar_jax.data import decode, shards, transforms
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadRecordError
from videoar_jax.data.source import SourceKind

GROUP = 8
CODEC = 'webp_lossless_differences_8'
_WEBP_SIDE = 16_383


@dataclasses.dataclass(frozen=True)
class ArrayRecordSource:
  """A random window of a prepared video at each access.

  Attributes:
    records: the split's records.
    classes: names of the labels.
    num_frames: T.
    frame_stride: every how many-th frame.
  """

  records: shards.ShardReader
  classes: tuple[str, ...]
  num_frames: int
  frame_stride: int = 1

  def __len__(self) -> int:
    return len(self.records)

  def name(self, index: int) -> str:
    return self.records[index][0]['name']

  def load(self, index: int, rng: np.random.Generator) -> dict:
    """Reads one clip; BadRecordError if the video is too short."""

    def window(header: dict, parts: list) -> dict:
      places = self._places(header['num_frames'], rng)
      return {
        'video': decode_frames(header, parts, places),
        'label': header['label'],
      }

    return self.records.read(index, window)

  def _places(self, available: int, rng: np.random.Generator) -> range:
    """The frames of a random window."""
    start = transforms.window_start(
      rng, available, self.num_frames, self.frame_stride
    )
    if start < 0:
      raise BadRecordError(
        decode.too_short(available, self.num_frames, self.frame_stride)
      )
    return range(
      start, start + self.num_frames * self.frame_stride, self.frame_stride
    )

  def explain(self, index: int) -> str:
    available = self.records[index][0]['num_frames']
    return decode.too_short(available, self.num_frames, self.frame_stride)


def open_source(
  path: str, config: DataConfig, *, train: bool
) -> ArrayRecordSource:
  """Opens a split that `data.prepare` wrote.

  Raises:
    ValueError: not such a folder, shards missing, truncated or altered, or
      prepared at another resolution than the config's.
  """
  manifest = shards.read_manifest(path, 'videos')
  settings = manifest['plan']
  prepared = settings['height'], settings['width']
  if prepared != (config.height, config.width):
    raise ValueError(
      f'height, width = {config.height}, {config.width}: {path} was prepared '
      f'at {prepared[0]}, {prepared[1]}; use those, or prepare again'
    )
  split = shards.SPLITS[0 if train else 1]
  return ArrayRecordSource(
    shards.ShardReader(path, manifest, split, header_shape(*prepared)),
    tuple(manifest['classes']),
    config.num_frames,
    config.frame_stride,
  )


def _identify(path: str, config: DataConfig) -> str:
  """The digests of all shards, as the manifest states them."""
  del config
  manifest = shards.read_manifest(path, 'videos')
  said = [manifest['classes'], manifest['splits']]
  return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


ARRAY_RECORD = SourceKind(
  name='array_record', open=open_source, identify=_identify
)


def header_shape(height: int, width: int) -> dict:
  """What the headers of records of one size hold besides."""
  return {
    'num_frames': structure.at_least(1),
    'height': structure.at_least(height, below=height + 1),
    'width': structure.at_least(width, below=width + 1),
    'codec': str,
  }


def encode_video(
  frames: Iterable[np.ndarray],
  *,
  name: str,
  label: int,
  height: int,
  width: int,
  rate: float,
) -> tuple[bytes, int]:
  """Makes one record of a video.

  Args:
    frames: uint8 (H, W, 3), any size.
    name: what messages call it.
    label: index of its class.
    height: pixels to fit to.
    width: pixels to fit to.
    rate: frames per second as filmed, for the record.
  Returns:
    The record and its number of frames.
  """
  check_size(height, width)
  parts, group, count = [], [], 0
  for frame in frames:
    group.append(transforms.fit_frame(frame, height, width))
    count += 1
    if len(group) == GROUP:
      parts.append(_encode_group(np.stack(group)))
      group = []
  if group:
    parts.append(_encode_group(np.stack(group)))
  header = {
    'name': name,
    'label': label,
    'num_frames': count,
    'height': height,
    'width': width,
    'rate': rate,
    'codec': CODEC,
  }
  return shards.pack(header, parts), count


def decode_frames(header: dict, parts, places: Iterable[int]) -> np.ndarray:
  """Frames at `places` of a record: uint8 (T, H, W, 3).

  Raises:
    ValueError: of another codec, or its parts are not what the header says.
    OSError: a part is no picture.
  """
  if header['codec'] != CODEC:
    raise ValueError(
      f'{header["name"]}: codec {header["codec"]!r}, wanted {CODEC!r}'
    )
  if len(parts) != -(-header['num_frames'] // GROUP):
    raise ValueError(f'{header["num_frames"]} frames in {len(parts)} parts')
  groups, frames = {}, []
  for place in places:
    which, within = divmod(place, GROUP)
    if which not in groups:
      groups[which] = _decode_group(parts[which], header)
    frames.append(groups[which][within])
  return np.stack(frames)


def check_size(height: int, width: int) -> None:
  """Raises ValueError where a group is larger than a WebP may be."""
  if height * GROUP > _WEBP_SIDE or width > _WEBP_SIDE:
    raise ValueError(
      f'height, width = {height}, {width}: at most {_WEBP_SIDE // GROUP}, '
      f'{_WEBP_SIDE} can be stored'
    )


def _encode_group(frames_gHWc: np.ndarray) -> bytes:
  _, _, width, channels = frames_gHWc.shape
  change_gHWc = frames_gHWc.copy()
  change_gHWc[1:] -= frames_gHWc[:-1]
  picture = Image.fromarray(change_gHWc.reshape(-1, width, channels))
  file = io.BytesIO()
  # The fastest setting: slower ones save a tenth for seven times the time.
  picture.save(file, format='WEBP', lossless=True, quality=0, method=0)
  return file.getvalue()


def _decode_group(part, header: dict) -> np.ndarray:
  height, width = header['height'], header['width']
  picture = Image.open(io.BytesIO(part), formats=['WEBP'])
  count, rest = divmod(picture.height, height)
  if rest or picture.width != width or not 0 < count <= GROUP:
    raise ValueError(
      f'a part of {picture.height}x{picture.width} pixels, for up to {GROUP} '
      f'frames of {height}x{width}'
    )
  change_gHWc = np.asarray(picture.convert('RGB')).reshape(
    count, height, width, 3
  )
  return np.cumsum(change_gHWc, axis=0, dtype=np.uint8)
