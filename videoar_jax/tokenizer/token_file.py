"""A video's bits in a file: a zip archive, which any zip program can list.

  about.json      shape of the tokenizer, digest of its weights, the video's
                  length and frame rate
  bits/000000     the bits of some latent frames, eight to a byte, the first
                  bit highest: latent frame by latent frame, scale by scale,
                  row by row, bit by bit

The archive's checksums tell a damaged file, its directory at the end a
truncated one. No file is ever unpickled.
"""

import dataclasses
import json
import os
import zipfile
from collections.abc import Iterator

import numpy as np

FORMAT = 'videoar_jax tokens 1'
_ABOUT = 'about.json'
_LATENT_FRAMES = 64  # of a member


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


class TokenWriter:
  """Writes the bits of one video as they come; complete once closed.

  What is written lies beside `path` as `path.partial` until then. A context
  manager, which removes that file where it is left without being closed.
  """

  def __init__(self, path: str, *, digest: str, fps: float):
    self._path, self._digest, self._fps = path, digest, fps
    self._scales, self._latent_width = (), 0
    self._archive = zipfile.ZipFile(f'{path}.partial', 'w')
    self._rows: list[np.ndarray] = []
    self._members = self._latent_frames = 0

  def __enter__(self) -> 'TokenWriter':
    return self

  def __exit__(self, *_) -> None:
    if self._archive.fp is not None:
      self._archive.close()
      os.unlink(f'{self._path}.partial')

  def add(self, bits: list[np.ndarray]) -> None:
    """Takes the bits of the next latent frames, per scale (1, t, h, w, q)."""
    t, self._latent_width = bits[0].shape[1], bits[0].shape[-1]
    self._scales = tuple(scale.shape[2:4] for scale in bits)
    flat = [np.asarray(scale[0], bool).reshape(t, -1) for scale in bits]
    self._rows.extend(np.concatenate(flat, axis=1))
    self._latent_frames += t
    while len(self._rows) >= _LATENT_FRAMES:
      self._flush()

  def close(self, *, num_frames: int) -> About:
    """Completes the file."""
    if self._rows:
      self._flush()
    about = About(
      digest=self._digest,
      scales=self._scales,
      latent_width=self._latent_width,
      num_frames=num_frames,
      latent_frames=self._latent_frames,
      fps=self._fps,
    )
    text = json.dumps({'format': FORMAT, **dataclasses.asdict(about)})
    self._archive.writestr(_ABOUT, text, zipfile.ZIP_DEFLATED)
    self._archive.close()
    os.replace(f'{self._path}.partial', self._path)
    return about

  def _flush(self) -> None:
    rows, self._rows = (
      self._rows[:_LATENT_FRAMES],
      self._rows[_LATENT_FRAMES:],
    )
    data = np.packbits(np.concatenate(rows)).tobytes()
    self._archive.writestr(f'bits/{self._members:06d}', data)
    self._members += 1


def read_about(path: str) -> About:
  """What the file says of itself.

  Raises:
    ValueError: missing, damaged, or no token file.
  """
  with _opened(path) as archive:
    return _about(path, archive)


def read_bits(path: str) -> Iterator[list[np.ndarray]]:
  """Yields bits per scale, (1, t, h_k, w_k, q) bool, 1 <= t <= 64.

  Raises:
    ValueError: missing, damaged, or no token file.
  """
  with _opened(path) as archive:
    about = _about(path, archive)
    for start in range(0, about.latent_frames, _LATENT_FRAMES):
      t = min(_LATENT_FRAMES, about.latent_frames - start)
      name = f'bits/{start // _LATENT_FRAMES:06d}'
      try:
        data = np.frombuffer(archive.read(name), np.uint8)
      except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: damaged token file: {error}') from None
      count = t * about.bits_per_latent_frame
      if len(data) != -(-count // 8):
        raise ValueError(
          f'{path}: damaged token file: {name} has {len(data)} bytes, wanted '
          f'{-(-count // 8)}'
        )
      rows = np.unpackbits(data, count=count).astype(bool).reshape(t, -1)
      yield _by_scale(rows, about)


def _by_scale(rows: np.ndarray, about: About) -> list[np.ndarray]:
  sizes = [h * w * about.latent_width for h, w in about.scales]
  parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
  return [
    part.reshape(1, len(rows), h, w, about.latent_width)
    for part, (h, w) in zip(parts, about.scales)
  ]


def _opened(path: str) -> zipfile.ZipFile:
  if not os.path.isfile(path):
    raise ValueError(f'{path}: no such file')
  try:
    return zipfile.ZipFile(path)
  except zipfile.BadZipFile as error:
    raise ValueError(
      f'{path}: not a whole token file ({error}); encode the video again'
    ) from None


def _about(path: str, archive: zipfile.ZipFile) -> About:
  try:
    values = json.loads(archive.read(_ABOUT))
    if values.pop('format') != FORMAT:
      raise ValueError
    values['scales'] = tuple(tuple(scale) for scale in values['scales'])
    return About(**values)
  except (KeyError, TypeError, ValueError, zipfile.BadZipFile):
    raise ValueError(
      f'{path}: not a token file of format {FORMAT!r}; make one with: python '
      '-m videoar_jax.tokenizer encode'
    ) from None
