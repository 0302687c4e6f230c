"""A video's bits in a file: a zip archive, which any zip program can list.

  about.json      shape of the tokenizer, digest of its weights, the video's
                  length and frame rate
  bits/000000     the bits of some latent frames, eight to a byte, the first
                  bit highest: latent frame by latent frame, scale by scale,
                  row by row, bit by bit

The archive's checksums tell a damaged file, its directory at the end a
truncated one. Nothing is inflated before its size is known to be right, and
nothing is ever unpickled.
"""

import contextlib
import dataclasses
import json
import math
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from videoar_jax import media
from videoar_jax.core import files, structure
from videoar_jax.core.archive import Archive
from videoar_jax.tokenizer.config import TokenizerConfig

FORMAT = 'videoar_jax tokens 1'
_ABOUT = 'about.json'
_MOST_ABOUT = 2**16  # bytes
_LATENT_FRAMES = 64  # of a member
_FIX = 'make it with: python -m videoar_jax.tokenizer encode'


def _is_format(value: Any) -> None:
  if value != FORMAT:
    raise ValueError(f'wanted {FORMAT!r}')


def _is_size(value: Any) -> None:
  structure.check(value, [structure.at_least(1)], where='size')
  if len(value) != 2:
    raise ValueError('wanted height and width')


def _is_frame_rate(value: Any) -> None:
  structure.positive(value)
  media.check_frame_rate(value)


def _are_scales(value: Any) -> None:
  structure.check(value, [_is_size], where='scales')
  if not value:
    raise ValueError('wanted at least one')


_SHAPE = {
  'format': _is_format,
  'digest': str,
  'scales': _are_scales,
  'latent_width': structure.at_least(1),
  'num_frames': structure.at_least(1),
  'latent_frames': structure.at_least(1),
  'fps': _is_frame_rate,
}


@dataclasses.dataclass(frozen=True)
class About:
  """What a token file says of itself.

  Attributes:
    digest: of the tokenizer's weights.
    scales: of a latent frame.
    latent_width: bits of a token.
    num_frames: of the video.
    latent_frames: of its code.
    fps: frames per second.
  """

  digest: str
  scales: tuple[tuple[int, int], ...]
  latent_width: int
  num_frames: int
  latent_frames: int
  fps: float

  @property
  def bits_per_latent_frame(self) -> int:
    return sum(h * w for h, w in self.scales) * self.latent_width

  @property
  def num_bits(self) -> int:
    return self.latent_frames * self.bits_per_latent_frame

  @property
  def num_members(self) -> int:
    """Members of the archive that hold the bits."""
    return -(-self.latent_frames // _LATENT_FRAMES)

  @property
  def members(self) -> list[str]:
    """Their names."""
    return [f'bits/{i:06d}' for i in range(self.num_members)]

  def check_made_by(self, config: TokenizerConfig) -> None:
    """Raises a ValueError unless a tokenizer of this shape writes such a file.

    Args:
      config: the tokenizer's.
    """
    if self.scales not in config.schedules:
      raise ValueError(
        f"scales {self.scales} are none of the tokenizer's: {config.schedules}"
      )
    if self.latent_width != config.latent_width:
      raise ValueError(
        f'latent_width={self.latent_width}: the tokenizer has '
        f'{config.latent_width}'
      )
    most = config.pixel_frames(self.latent_frames)
    least = max(most - config.time_factor, 0) + 1
    if not least <= self.num_frames <= most:
      raise ValueError(
        f'num_frames={self.num_frames}: {self.latent_frames} latent frames '
        f'hold {least} to {most}'
      )


class TokenWriter:
  """Writes the bits of one video as they come.

  A context manager: the file appears at its end, and not after an error.

  Attributes:
    about: what the file says of itself, up to now.
  """

  def __init__(self, path: str, *, digest: str, fps: float):
    media.check_frame_rate(fps)
    self.about = About(
      digest=digest,
      scales=(),
      latent_width=0,
      num_frames=0,
      latent_frames=0,
      fps=float(fps),
    )
    self._path = path
    self._rows: list[np.ndarray] = []
    self._members = 0
    self._ending = contextlib.ExitStack()

  def __enter__(self) -> 'TokenWriter':
    partial = self._ending.enter_context(files.replacing(self._path))
    self._archive = zipfile.ZipFile(partial, 'w')
    self._ending.push(self._finish)
    return self

  def __exit__(self, *raised) -> None:
    self._ending.__exit__(*raised)

  def add(self, bits: list[np.ndarray], *, num_frames: int) -> None:
    """Takes the bits that are complete by now.

    Args:
      bits: of the next latent frames, per scale (1, t, h, w, q), t >= 0.
      num_frames: of the video, read since the last call.
    """
    t, width = bits[0].shape[1], bits[0].shape[-1]
    flat = [
      np.asarray(scale[0], bool).reshape(t, math.prod(scale.shape[2:]))
      for scale in bits
    ]
    self._rows.extend(np.concatenate(flat, axis=1))
    self.about = dataclasses.replace(
      self.about,
      scales=tuple(scale.shape[2:4] for scale in bits),
      latent_width=width,
      num_frames=self.about.num_frames + num_frames,
      latent_frames=self.about.latent_frames + t,
    )
    while len(self._rows) >= _LATENT_FRAMES:
      self._flush()

  def _flush(self) -> None:
    rows, self._rows = (
      self._rows[:_LATENT_FRAMES],
      self._rows[_LATENT_FRAMES:],
    )
    data = np.packbits(np.concatenate(rows)).tobytes()
    self._archive.writestr(f'bits/{self._members:06d}', data)
    self._members += 1

  def _finish(self, kind: type | None, *_) -> None:
    """Completes the archive; after an error, closes it all the same."""
    try:
      if kind is None:
        if self._rows:
          self._flush()
        text = json.dumps({'format': FORMAT, **dataclasses.asdict(self.about)})
        self._archive.writestr(_ABOUT, text, zipfile.ZIP_DEFLATED)
      self._archive.close()
    except BaseException:
      # Its directory may not fit the disk, either.
      with contextlib.suppress(OSError, ValueError):
        self._archive.close()
      if kind is None:
        raise


def read_about(path: str) -> About:
  """What the file says of itself.

  Raises:
    ValueError: missing, damaged, or no token file.
  """
  with Archive(path, fix=_FIX) as archive:
    return _about(archive)


def read_bits(path: str) -> Iterator[list[np.ndarray]]:
  """Yields bits per scale, (1, t, h_k, w_k, q) bool, 1 <= t <= 64.

  Raises:
    ValueError: missing, damaged, or no token file.
  """
  with Archive(path, fix=_FIX) as archive:
    about = _about(archive)
    left = about.latent_frames
    for name in about.members:
      t = min(_LATENT_FRAMES, left)
      left -= t
      count = t * about.bits_per_latent_frame
      size = -(-count // 8)
      data = archive.read(name, most=size)
      if len(data) != size:
        raise ValueError(
          f'{path}: damaged token file: {name} has {len(data)} bytes, wanted '
          f'{size}; {_FIX}'
        )
      rows = np.unpackbits(np.frombuffer(data, np.uint8), count=count)
      yield _by_scale(rows.astype(bool).reshape(t, -1), about)


def _by_scale(rows: np.ndarray, about: About) -> list[np.ndarray]:
  sizes = [h * w * about.latent_width for h, w in about.scales]
  parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
  return [
    part.reshape(1, len(rows), h, w, about.latent_width)
    for part, (h, w) in zip(parts, about.scales)
  ]


def _about(archive: Archive) -> About:
  """Reads about.json, and checks that the archive holds what it says."""
  values = files.parse_json(
    archive.read(_ABOUT, most=_MOST_ABOUT),
    _SHAPE,
    where=f'{archive.path}, {_ABOUT}',
    fix=_FIX,
  )
  del values['format']
  scales = tuple(tuple(size) for size in values.pop('scales'))
  try:
    about = About(scales=scales, **values)
  except TypeError:
    raise ValueError(
      f'{archive.path}: {_ABOUT} holds more than a token file of {FORMAT!r}; '
      f'{_FIX}'
    ) from None
  # Counted first, as `members` may be a very long list.
  if len(archive.names) != 1 + about.num_members or {*archive.names} != {
    _ABOUT,
    *about.members,
  }:
    raise ValueError(
      f'{archive.path}: damaged token file: {len(archive.names)} members, not '
      f'{_ABOUT} and the {about.num_members} that {about.latent_frames} latent '
      f'frames take; {_FIX}'
    )
  return about
