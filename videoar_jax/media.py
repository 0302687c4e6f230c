"""Videos from and to files: mp4, GIF, WebP, and PNG contact sheets.

Videos are uint8 (T, H, W, 3) in RGB everywhere. Files are written whole or not
at all, live ones aside; where the disk is full or forbids it, an OSError says
so and names the file.
"""

import contextlib
import errno
import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction

import einops
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from videoar_jax.core import fields, files
from videoar_jax.core.lazy import Lazy

av = Lazy('av')  # only files of videos need it

# Frames per second that a file can state; bounds of `fields.Range`.
FRAME_RATES = {'least': 0.01, 'most': 1000}
VIDEO_SUFFIXES = ('.avi', '.gif', '.m4v', '.mkv', '.mov', '.mp4', '.webm')

# Formats that FFmpeg may read; none of them plays other files.
_FORMATS = 'avi,gif,m4v,matroska,mov,mpeg,mpegts,mpegvideo'
_NO_FORMAT = 'no AVI, GIF, MP4, MOV, MKV, WebM or MPEG file; convert it to one'

# A fragment for each frame, written at once, and no frame held back.
_LIVE_FILE = {
  'movflags': 'frag_every_frame+empty_moov+default_base_moof',
  'flush_packets': '1',
}
_LIVE_CODING = {'tune': 'zerolatency'}
_BAR = 16  # height of the strip that holds a label, pixels
_GAP = 2
_COLUMN_GAP = 8  # and _GAP, between columns of strips
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def open_video(path: str | os.PathLike) -> 'av.container.InputContainer':
  """Opens a video file, and no other file that it may refer to.

  Playlists, addresses and patterns are not followed, whatever the file holds
  and however it is named.

  Raises:
    OSError: it is missing, or of no format of `VIDEO_SUFFIXES`.
  """
  allowed = {'format_whitelist': _FORMATS, 'protocol_whitelist': 'file'}
  # Titles that are no text would stop a PyAV before 19.
  is_older = int(av.__version__.partition('.')[0]) < 19
  more = {'metadata_errors': 'replace'} if is_older else {}
  try:
    return av.open(f'file:{os.fspath(path)}', options=allowed, **more)
  except av.ArgumentError:
    raise OSError(errno.EINVAL, _NO_FORMAT, os.fspath(path)) from None


def read_video(
  path: str | os.PathLike, *, max_frames: int | None = None
) -> np.ndarray:
  """Decodes a video file.

  Args:
    path: see `open_video`.
    max_frames: stop after so many frames; None reads them all.
  Returns:
    uint8 (T, H, W, 3), RGB, T >= 1. A file cut short gives the frames before
    the cut.
  Raises:
    ValueError: the file is missing, not a video, holds no whole frame, or
      changes its size midway.
  """
  if max_frames is not None and max_frames < 1:
    raise ValueError(f'max_frames={max_frames}: wanted at least 1, or None')
  if not os.path.isfile(path):
    raise ValueError(f'{path}: no such file')
  frames, error = _decode(path, max_frames)
  if not frames:
    reason = error or 'no video frame in it'
    raise ValueError(f'{path}: not a readable video: {reason}')
  sizes = {frame.shape for frame in frames}
  if len(sizes) > 1:
    raise ValueError(f'{path}: frames of several sizes: {sorted(sizes)}')
  return np.stack(frames)


def write_mp4(
  path: str | os.PathLike, video_THWc: np.ndarray, *, fps: float = 8
) -> None:
  """Writes H.264 in yuv420p at high quality (CRF 12), which everything plays.

  Args:
    path: ends in .mp4.
    video_THWc: uint8; an odd height or width gains a copy of its last row or
      column, because yuv420p holds even sizes only.
    fps: frames per second.
  Raises:
    ValueError: not a uint8 (T, H, W, 3), or `fps` not within FRAME_RATES.
    OSError: it cannot be written.
  """
  _check(video_THWc)
  with Mp4Writer(path, fps=fps) as writer:
    writer.add(video_THWc)


class Mp4Writer:
  """Writes a video piece by piece, in constant memory; see `write_mp4`.

  A context manager. The file appears at its end, and not after an error.
  With `live` it appears with the first frame, other programs can play it while
  it grows, and what was added can be played however the writer is left, even if
  the process is killed; it is larger.

  Raises:
    ValueError: `fps` is not within FRAME_RATES, or the name not one of an mp4.
    OSError: the file cannot be written, or not any further.
  """

  def __init__(
    self, path: str | os.PathLike, *, fps: float = 8, live: bool = False
  ):
    check_frame_rate(fps)
    if not str(path).lower().endswith('.mp4'):
      raise ValueError(f'{path}: the name of a video must end in .mp4')
    self._path, self._rate = str(path), Fraction(fps).limit_denominator(1001)
    self._container = self._stream = None
    self._live = live
    self._ending = contextlib.ExitStack()

  def __enter__(self) -> 'Mp4Writer':
    return self

  def __exit__(self, *raised) -> None:
    self._ending.__exit__(*raised)

  def add(self, video_THWc: np.ndarray) -> None:
    """Appends frames, uint8, all of one size.

    Raises:
      ValueError: not a uint8 (T, H, W, 3), or of another size than before.
    """
    _check(video_THWc)
    height, width = video_THWc.shape[1:3]
    video_THWc = pad_even(video_THWc)
    size = video_THWc.shape[1:3]
    if self._stream is None:
      self._open(size)
    if size != (self._stream.height, self._stream.width):
      raise ValueError(
        f'frames of {height}×{width} after frames of {self._stream.height}×'
        f'{self._stream.width}: a video has one size'
      )
    with self._told():
      for image in video_THWc:
        frame = av.VideoFrame.from_ndarray(
          np.ascontiguousarray(image), format='rgb24'
        )
        self._container.mux(self._stream.encode(frame))

  def _open(self, size: tuple[int, int]) -> None:
    """Begins the file, once the size of its frames is known."""
    path = self._path
    if not self._live:
      path = self._ending.enter_context(files.replacing(path))
    coding = {'crf': '12', 'preset': 'medium'}
    with self._told():
      self._container = av.open(
        str(path), 'w', format='mp4', options=_LIVE_FILE if self._live else {}
      )
    self._ending.push(self._finish)
    self._stream = self._container.add_stream(
      'libx264',
      rate=self._rate,
      options=coding | (_LIVE_CODING if self._live else {}),
    )
    self._stream.height, self._stream.width = size
    self._stream.pix_fmt = 'yuv420p'

  def _finish(self, kind: type | None, *_) -> None:
    """Completes the file; after an error, as far as that can be done."""
    try:
      with self._told():
        self._container.mux(self._stream.encode())
        self._container.close()
    except OSError:
      with contextlib.suppress(av.FFmpegError):
        self._container.close()
      if kind is None:
        raise

  @contextlib.contextmanager
  def _told(self) -> Iterator[None]:
    """Makes FFmpeg's errors OSErrors that name the file."""
    try:
      yield
    except av.FFmpegError as error:
      raise OSError(error.errno, error.strerror, self._path) from error


def pad_even(video_THWc: np.ndarray) -> np.ndarray:
  """Repeats the last row or column of an odd height or width, for yuv420p."""
  height, width = video_THWc.shape[1:3]
  even = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
  return np.pad(video_THWc, even, mode='edge')


def write_gif(
  path: str | os.PathLike, video_THWc: np.ndarray, *, fps: float = 8
) -> None:
  """Writes an endlessly repeated GIF of 256 colours, shared by all frames.

  A GIF counts in hundredths of a second, to which `fps` is rounded.
  """
  _check(video_THWc)
  check_frame_rate(fps)
  images = [Image.fromarray(frame) for frame in video_THWc]
  # One palette over all frames: a palette for each flickers.
  every = max(1, len(images) // 16)
  sample = np.concatenate(video_THWc[::every], axis=0)
  palette = Image.fromarray(sample).quantize(256)
  images = [
    image.quantize(palette=palette, dither=Image.Dither.NONE)
    for image in images
  ]
  _save_animation(path, images, fps=fps, format='GIF')


def write_webp(
  path: str | os.PathLike, video_THWc: np.ndarray, *, fps: float = 8
) -> None:
  """Writes an endlessly repeated WebP at quality 90."""
  _check(video_THWc)
  check_frame_rate(fps)
  images = [Image.fromarray(frame) for frame in video_THWc]
  _save_animation(path, images, fps=fps, format='WEBP', quality=90, method=4)


def write_contact_sheet(
  path: str | os.PathLike,
  videos: Sequence[np.ndarray],
  *,
  labels: Sequence[str] | None = None,
  frames: Sequence[int] | int = 8,
) -> None:
  """Writes a PNG of frames side by side, one strip for each video.

  Strips lie below each other; many also stand in columns, read row by row, so
  that the picture is about as wide as it is high.

  Args:
    path: ends in .png.
    videos: uint8 (T, H, W, 3) each, of one size; their lengths may differ.
    labels: drawn above each strip.
    frames: indices of the frames shown, or how many, spread evenly from the
      first to the last.
  Raises:
    ValueError: no videos, sizes or label counts differ, or a frame index lies
      outside a video.
  """
  _check_same(videos, labels, same_length=False)
  strips = []
  for video in videos:
    shown = _pad(video[_chosen(len(video), frames)])
    strip = einops.rearrange(shown, 'T H W c -> 1 H (T W) c')
    strips.append(strip[:, :-_GAP, :-_GAP])
  height, width = strips[0].shape[1], max(x.shape[2] for x in strips)
  columns = math.ceil(math.sqrt(len(strips) * height / width))
  width += _COLUMN_GAP * (columns > 1)
  sheet_1HWc = labelled_grid(
    [_widen(strip, width) for strip in strips], labels, columns=columns
  )
  with files.replacing(path) as partial:
    Image.fromarray(sheet_1HWc[0]).save(partial, format='PNG')


def labelled_grid(
  videos_nTHWc: Sequence[np.ndarray],
  labels: Sequence[str] | None = None,
  *,
  columns: int = 4,
) -> np.ndarray:
  """Lays videos side by side in one, row by row, each under its label.

  Args:
    videos_nTHWc: uint8, of one length and size.
    labels: drawn above each video; None draws none.
    columns: videos in a row; places left over stay white.
  Returns:
    uint8 (T, rows * (H + gap), columns * (W + gap), 3).
  Raises:
    ValueError: no videos, shapes or label counts differ, or `columns` < 1.
  """
  _check_same(videos_nTHWc, labels, same_length=True)
  if columns < 1:
    raise ValueError(f'columns={columns}: wanted at least 1')
  cells = [_pad(video) for video in videos_nTHWc]
  for index, label in enumerate(labels or ()):
    bars = [_label(label, cells[index].shape[2])] * len(cells[index])
    cells[index] = np.concatenate([bars, cells[index]], axis=1)
  cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
  return einops.rearrange(
    cells, '(rows columns) T H W c -> T (rows H) (columns W) c', columns=columns
  )


def _decode(path, max_frames: int | None):
  """The frames that can be decoded, and what stopped the decoder, if it did."""
  frames = []
  try:
    with open_video(path) as container:
      if not container.streams.video:
        return frames, 'no video stream in it'
      stream = container.streams.video[0]
      # FFmpeg's own threads deadlock in forked data workers and gain little.
      stream.thread_type = 'NONE'
      for frame in container.decode(stream):
        frames.append(frame.to_ndarray(format='rgb24'))
        if len(frames) == max_frames:
          break
  except (av.FFmpegError, OSError, ValueError) as error:
    return frames, getattr(error, 'strerror', None) or str(error)
  return frames, None


def _save_animation(path, images, *, fps: float, **options) -> None:
  with files.replacing(path) as partial:
    images[0].save(
      partial,
      save_all=True,
      append_images=images[1:],
      duration=round(1000 / fps),
      loop=0,
      **options,
    )


def check_frame_rate(fps: float) -> None:
  """Raises a ValueError for frames per second that no file can state."""
  if fault := fields.Range(**FRAME_RATES).fault(fps):
    raise ValueError(f'fps={fps}: {fault}')


def _check(video: np.ndarray) -> None:
  if not isinstance(video, np.ndarray) or video.dtype != np.uint8:
    kind = getattr(video, 'dtype', type(video).__name__)
    raise ValueError(f'video of {kind}: wanted a NumPy array of uint8')
  if video.ndim != 4 or video.shape[-1] != 3 or 0 in video.shape:
    raise ValueError(f'video of shape {video.shape}: wanted (T, H, W, 3)')


def _check_same(videos, labels, *, same_length: bool) -> None:
  if not len(videos):
    raise ValueError('no videos to lay out')
  if labels is not None and len(labels) != len(videos):
    raise ValueError(f'{len(labels)} labels for {len(videos)} videos')
  for video in videos:
    _check(video)
  first = 0 if same_length else 1
  shapes = {video.shape[first:] for video in videos}
  if len(shapes) > 1:
    raise ValueError(f'videos of several shapes: {sorted(shapes)}')


def _chosen(length: int, frames: Sequence[int] | int) -> Sequence[int]:
  if isinstance(frames, int):
    if frames < 1:
      raise ValueError(f'frames={frames}: wanted at least 1')
    return np.linspace(0, length - 1, min(frames, length)).round().astype(int)
  outside = [i for i in frames if not 0 <= i < length]
  if outside or not len(frames):
    raise ValueError(f'frames={list(frames)}: wanted indices 0..{length - 1}')
  return frames


def _pad(video_THWc: np.ndarray) -> np.ndarray:
  edges = ((0, 0), (0, _GAP), (0, _GAP), (0, 0))
  return np.pad(video_THWc, edges, constant_values=255)


def _widen(video_THWc: np.ndarray, width: int) -> np.ndarray:
  edges = ((0, 0), (0, 0), (0, width - video_THWc.shape[2]), (0, 0))
  return np.pad(video_THWc, edges, constant_values=255)


def _label(text: str, width: int) -> np.ndarray:
  """A strip (16, width, 3) with the text, shortened to what fits."""
  image = Image.new('RGB', (width, _BAR), _PAPER)
  draw = ImageDraw.Draw(image)
  font = ImageFont.load_default(size=11)
  shown = text
  while shown and draw.textlength(shown, font=font) > width - 4:
    shown = shown[:-2] + '…' if len(shown) > 2 else ''
  draw.text((2, 1), shown, fill=_INK, font=font)
  return np.asarray(image)
