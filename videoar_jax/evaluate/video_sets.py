"""Reads a set of videos from a folder or an .npz file."""

import os
import pathlib

import numpy as np

from videoar_jax import media
from videoar_jax.core import archive, buckets


def load_videos(
  path: str | os.PathLike, *, num_frames: int | None = None
) -> np.ndarray:
  """Reads a set of videos.

  Args:
    path: a folder, searched with its subfolders for video files, in the order
      of their names; or an .npz file whose array `videos` is uint8 0..255 or
      float 0..1, of shape (N, T, H, W, 3).
    num_frames: keep the first so many frames of each video; None keeps all.
  Returns:
    (N, T, H, W, 3), uint8 or float32.
  Raises:
    ValueError: nothing there, a file that cannot be read (none is left out: a
      set of fewer videos is another figure), lengths or sizes that differ, a
      wrong key, shape, dtype or range.
  """
  buckets.check_on_disk(path)
  path = pathlib.Path(path)
  if num_frames is not None and num_frames < 1:
    raise ValueError(f'num_frames={num_frames}: wanted at least 1')
  if path.is_dir():
    return _from_folder(path, num_frames)
  if path.suffix == '.npz' and path.is_file():
    return _first_frames(_from_npz(path), path, num_frames)
  if not path.exists():
    raise ValueError(f'{path}: no such folder or .npz file; check the path')
  raise ValueError(f'{path}: wanted a folder of videos or an .npz file')


def video_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The video files in a folder and its subfolders, in order of their paths."""
  return sorted(
    file
    for file in folder.rglob('*')
    if file.suffix.lower() in media.VIDEO_SUFFIXES and file.is_file()
  )


def _from_folder(folder: pathlib.Path, num_frames: int | None) -> np.ndarray:
  files = video_files(folder)
  if not files:
    kinds = ', '.join(media.VIDEO_SUFFIXES)
    raise ValueError(f'{folder}: no video in it; wanted files of {kinds}')
  videos = []
  for file in files:
    video = media.read_video(file, max_frames=num_frames)
    videos.append(_first_frames(video[None], file, num_frames)[0])
    first, shape = videos[0].shape, videos[-1].shape
    if shape != first:
      what = 'frames' if shape[0] != first[0] else 'height and width'
      raise ValueError(
        f'{file}: (T, H, W, 3) is {shape}, but {first} in {files[0]}; a set '
        f'needs one number of {what}'
        + ('; keep the first n with num_frames' if what == 'frames' else '')
      )
  return np.stack(videos)


def _first_frames(videos, path, num_frames: int | None) -> np.ndarray:
  if num_frames is None:
    return videos
  if videos.shape[1] < num_frames:
    raise ValueError(
      f'{path}: {videos.shape[1]} frames, but num_frames={num_frames}'
    )
  return videos[:, :num_frames]


def _from_npz(path: pathlib.Path) -> np.ndarray:
  fix = 'save it with np.savez(path, videos=...)'
  with archive.Archive(path, fix=fix) as file:
    videos = file.read_array('videos')
  return check_videos(videos, name=f'{path}: `videos`')


def check_videos(videos: np.ndarray, *, name: str) -> np.ndarray:
  """A set of videos, uint8 or float32.

  Args:
    videos: any array.
    name: what to call it.
  Raises:
    ValueError: not (N, T, H, W, 3), or neither uint8 nor float 0..1.
  """
  if videos.ndim != 5 or videos.shape[-1] != 3 or 0 in videos.shape:
    raise ValueError(f'{name} of shape {videos.shape}; wanted (N, T, H, W, 3)')
  if videos.dtype == np.uint8:
    return videos
  if videos.dtype.kind != 'f':
    raise ValueError(
      f'{name} of dtype {videos.dtype}; wanted uint8 0..255 or float 0..1'
    )
  low, high = float(videos.min()), float(videos.max())
  if not (low >= 0 and high <= 1):
    raise ValueError(
      f'{name} of dtype {videos.dtype} spans {low:g}..{high:g}; '
      'wanted 0..1, or uint8 for 0..255'
    )
  return videos.astype(np.float32)
