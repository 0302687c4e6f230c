"""The folder that samples are written to, by one process or by several.

`samples.json` says what its videos are. The same samples asked for again, after
a run that was cut short, are made as far as they are missing; of others, all
are made. Pixels, which an mp4 rounds, wait in `.samples/` until samples.npz is
written.
"""

import collections
import contextlib
import dataclasses
import io
import json
import pathlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import av
import jax
import numpy as np
from etils import epath

import videoar_jax
from videoar_jax import media
from videoar_jax.core import buckets, files, lock, processes, spread
from videoar_jax.core.console import note
from videoar_jax.sample.wanted import Wanted

ABOUT = 'samples.json'
SET = ('samples.npz', 'grid.gif', 'grid.webp', 'grid.png')
NAME_LENGTH = 40  # of a class or prompt, in names of files and pictures
_PARTS = '.samples'
_OWN = re.compile(r'[0-9]{5,}(_.*)?\.mp4')  # names of videos
SHEET_VIDEOS = 64  # more than these do not fit a picture


@dataclasses.dataclass
class Output:
  """What is written.

  Attributes:
    folder: to write to.
    wanted: the videos.
    about: whatever decides them, plain values; goes into samples.json.
    shape: of a video, THWc.
    streamed: frames are written as they are made, and the set of them is not.
    written: indices of this process's videos that can be played by now.
    complete: the set of the same videos is written already.
  """

  folder: epath.Path
  wanted: Wanted
  about: dict[str, Any]
  shape: tuple[int, int, int, int]
  streamed: bool = False
  written: list[int] = dataclasses.field(default_factory=list)
  complete: bool = False

  def path(self, index: int) -> epath.Path:
    """Of a video's file; its name holds the index among all videos."""
    return self.folder / file_name(index, self.wanted.names[index])

  def check(self, inputs: Sequence[str]) -> None:
    """Refuses to write over what is read, and tells what stays in the folder.

    Raises:
      ValueError: a file that is read, or no plain file, is in the way; or the
        disk has no room.
    """
    self._check_room()
    count = len(self.wanted)
    names = {self.path(i).name for i in range(count)}
    names |= {ABOUT, *(() if self.streamed else SET)}
    for name in sorted(names):
      files.check_replaceable(self.folder / name, inputs=inputs)
    found = self.folder.iterdir() if self.folder.exists() else ()
    old = sorted(
      path.name
      for path in found
      if (_OWN.fullmatch(path.name) or path.name in SET)
      and path.name not in names
    )
    if old and processes.is_first():
      more = ', …' if len(old) > 3 else ''
      note(
        f'{self.folder}: {len(old)} files of another run stay beside the new '
        f'ones: {", ".join(old[:3])}{more}'
      )

  def _check_room(self) -> None:
    """Raises where pixels, waiting and as a set, take more than is free."""
    if self.streamed or (self._has_set() and self._is_same()):
      return
    count, first = len(self.wanted), processes.is_first()
    if buckets.is_bucket(self.folder):
      nearest, there = pathlib.Path(tempfile.gettempdir()), 0
      videos = count if first else 1  # the set and each video are made here
    else:
      nearest = pathlib.Path(self.folder).absolute()
      while not nearest.exists():
        nearest = nearest.parent
      videos = 2 * count if first else len(spread.own(count))
      there = self._bytes_there()
    most = videos * int(np.prod(self.shape)) - there
    free = shutil.disk_usage(nearest).free
    if most > free:
      raise ValueError(
        f'{self.folder}: {count} videos of {self.shape} take up to '
        f'{most / 1e9:.1f} GB of disk at {nearest} until all are written, '
        f'{free / 1e9:.1f} are free; ask for fewer, or --stream them'
      )

  def _bytes_there(self) -> int:
    """Of what this process writes anew, or has written before."""
    first, count = processes.is_first(), len(self.wanted)
    indices = range(count) if first else spread.own(count).tolist()
    names = {self._part(index).name for index in indices}
    parts, whole = self.folder / _PARTS, self.folder / 'samples.npz'
    found = [*parts.iterdir()] if parts.exists() else []
    found = [path for path in found if path.name in names]
    if first and whole.exists():
      found.append(whole)
    return sum(path.stat().length for path in found)

  def held(self) -> contextlib.AbstractContextManager:
    """Holds the folder for all processes of this job."""
    return lock.hold(
      self.folder,
      what='sample',
      first=processes.is_first(),
      agree=lambda reason: processes.from_first(lambda: reason),
    )

  @contextlib.contextmanager
  def playable(self) -> Iterator[None]:
    """After an error or Ctrl-C, tells which videos can be played by then."""
    try:
      yield
    except BaseException:
      own = len(spread.own(len(self.wanted)))
      note(f'{len(self.written)} of {own} videos can be played')
      raise

  def begin(self) -> np.ndarray:
    """Makes the folder ready; the indices that this process is to make."""
    mine = spread.own(len(self.wanted))
    same = self._is_same()
    spread.meet()  # all have looked before one writes
    if not same:
      self._clear(mine)
    spread.meet()  # nothing is left that would be taken for what it is not
    if not same:
      self._write_about()
    if not self.streamed:
      there = processes.is_first() and self._has_set()
      self.complete = bool(processes.agree(int(there))[0])
      (self.folder / _PARTS).mkdir(exist_ok=True)
    missing = [i for i in mine.tolist() if not self._is_made(i)]
    self.written.extend(sorted({*mine.tolist()} - {*missing}))
    return np.array(missing, int)

  def add(self, index: int, video_THWc: np.ndarray, *, fps: float) -> None:
    """Writes a whole video."""
    if not self.complete:
      data = io.BytesIO()
      np.save(data, video_THWc)  # into a file its errors would name none
      with files.replacing(self._part(index)) as partial:
        partial.write_bytes(data.getvalue())
    media.write_mp4(self.path(index), video_THWc, fps=fps)
    self.written.append(index)

  def end(self, *, fps: float) -> None:
    """Writes the set of whole videos, once each process has made its own."""
    if not self.complete:
      blocks = spread.gather_blocks(self._read, len(self.wanted))
      self._write_set(blocks, fps)
    spread.meet()
    for index in spread.own(len(self.wanted)).tolist():
      self._part(index).unlink(missing_ok=True)
    spread.meet()  # hosts that share no folder have one each
    with contextlib.suppress(OSError, ValueError):  # whoever comes first
      parts = self.folder / _PARTS
      parts.rmtree(missing_ok=True) if processes.is_first() else parts.rmdir()

  def _has_set(self) -> bool:
    return all((self.folder / name).exists() for name in SET)

  def _about(self) -> dict[str, Any]:
    about = {**self.about, 'streamed': self.streamed, 'shape': self.shape}
    about['names'] = self.wanted.names
    about['versions'] = {
      'jax': jax.__version__,
      'videoar_jax': videoar_jax.__version__,
    }
    return json.loads(json.dumps(about))

  def _is_same(self) -> bool:
    try:
      return files.read_json(self.folder / ABOUT, dict) == self._about()
    except ValueError:  # none, or a damaged one
      return False

  def _clear(self, mine: np.ndarray) -> None:
    """Removes what would be taken for videos of this run."""
    for index in mine.tolist():
      self.path(index).unlink(missing_ok=True)
      self._part(index).unlink(missing_ok=True)
    if processes.is_first() and not self.streamed:
      for name in SET:
        (self.folder / name).unlink(missing_ok=True)

  def _write_about(self) -> None:
    self.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(self._about(), indent=2)
    if buckets.is_bucket(self.folder):
      if processes.is_first():
        (self.folder / ABOUT).write_text(text + '\n')
      return
    # All processes write the same at once, also into one folder.
    partial = self.folder / f'.{ABOUT}.{jax.process_index()}'
    try:
      with files.named(self.folder / ABOUT, partial=partial):
        partial.write_text(text + '\n')
        partial.replace(self.folder / ABOUT)
    finally:
      partial.unlink(missing_ok=True)

  def _part(self, index: int) -> epath.Path:
    return self.folder / _PARTS / f'{index:05d}.npy'

  def _is_made(self, index: int) -> bool:
    path = self.path(index)
    if buckets.is_bucket(path):  # where a file is whole or not at all
      made = path.exists()
    else:
      made = num_frames(path) == self.shape[0]
    if not made:
      return False
    if self.streamed or self.complete:
      return True
    part, whole = self._part(index), io.BytesIO()
    np.lib.format.write_array_header_1_0(whole, _header(self.shape))
    size = whole.tell() + int(np.prod(self.shape))
    return part.exists() and part.stat().length == size

  def _read(self, index_n: np.ndarray) -> np.ndarray:
    videos_nTHWc = np.empty((len(index_n), *self.shape), np.uint8)
    for video_THWc, index in zip(videos_nTHWc, index_n):
      with self._part(int(index)).open('rb') as file:
        video_THWc[:] = np.load(file, allow_pickle=False)
    return videos_nTHWc

  def _write_set(self, blocks: Iterable[np.ndarray], fps: float) -> None:
    """Writes samples.npz and the labelled grid; the first process does."""
    if not processes.is_first():
      collections.deque(blocks, maxlen=0)  # takes part in each of them
      return
    shown = self._write_videos(blocks)
    names = [x[:NAME_LENGTH] for x in self.wanted.names[: len(shown)]]
    columns = min(8, len(shown))
    grid = media.labelled_grid(shown, names, columns=columns)
    media.write_gif(self.folder / 'grid.gif', grid, fps=fps)
    media.write_webp(self.folder / 'grid.webp', grid, fps=fps)
    media.write_contact_sheet(self.folder / 'grid.png', shown, labels=names)

  def _write_videos(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Writes samples.npz block by block; returns the videos for the grid."""
    header = _header((len(self.wanted), *self.shape))
    shown = np.empty((0, *self.shape), np.uint8)
    with (
      files.replacing(self.folder / 'samples.npz') as partial,
      zipfile.ZipFile(partial, 'w', zipfile.ZIP_DEFLATED) as archive,
    ):
      with archive.open('videos.npy', 'w', force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
          file.write(block.tobytes())
          left = SHEET_VIDEOS - len(shown)
          shown = np.concatenate([shown, block[:left]])
      for name, values in self.wanted.facts.items():
        with archive.open(f'{name}.npy', 'w') as file:
          np.lib.format.write_array(file, values, allow_pickle=False)
    return shown


def _header(shape: Sequence[int]) -> dict[str, Any]:
  """Of an .npy file of pixels."""
  return {
    'descr': '|u1',
    'fortran_order': False,
    'shape': tuple(map(int, shape)),
  }


def file_name(index: int, name: str) -> str:
  """Of a video of a class or prompt."""
  words = re.sub(r'\W+', '_', name).strip('_')[:NAME_LENGTH]
  return f'{index:05d}{"_" if words else ""}{words}.mp4'


def num_frames(path: epath.Path) -> int:
  """Frames that a video file holds, whole or cut short; 0: no such file."""
  try:
    with media.open_video(path) as container:
      packets = container.demux(container.streams.video[0])
      return sum(1 for packet in packets if packet.size)
  except (av.FFmpegError, OSError, ValueError, IndexError):
    return 0
