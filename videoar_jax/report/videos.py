"""Moving pictures side by side, each over its label."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from videoar_jax import media
from videoar_jax.core import archive
from videoar_jax.report import markup

MOST = 64  # videos of a page
MOST_OF_ONE = 8  # of one label
_FPS = 8
_GAP = 2  # pixels between the two of a pair
_CELL, _SHARE = 132, 29.0  # of a square: pixels, or percent of a narrow page
_LARGE = 1.5  # pixels of a page for one of a video, at least


@dataclasses.dataclass(frozen=True)
class Labelled:
  """Videos and what each is called.

  Attributes:
    videos_nTHWc: uint8, n >= 1.
    labels: one for each.
  """

  videos_nTHWc: np.ndarray
  labels: Sequence[str]


def read_samples(path: pathlib.Path) -> Labelled:
  """Reads what `videoar_jax.sample` writes, or training in between.

  Raises:
    ValueError: the file is damaged, or its arrays are of another structure.
  """
  with archive.Archive(path, fix='sample again') as file:
    videos = file.read_array('videos')
    if not (videos.dtype == np.uint8 and videos.ndim == 5 and videos.size):
      raise _misfit(path, 'videos')
    if 'prompts.npy' in file.names:
      return Labelled(videos, _texts(file, path, 'prompts', len(videos)))
    labels = file.read_array('labels')
    if labels.dtype.kind not in 'iu' or labels.shape != videos.shape[:1]:
      raise _misfit(path, 'labels')
    classes = _texts(file, path, 'classes')
  if not 0 <= labels.min() <= labels.max() < len(classes):
    raise ValueError(
      f'{path}: labels {labels.min()} to {labels.max()} of {len(classes)} '
      'classes; sample again'
    )
  return Labelled(videos, [classes[label] for label in labels])


def _texts(file, path: pathlib.Path, name: str, count: int | None = None):
  found = file.read_array(name)
  fits = found.dtype.kind == 'U' and found.ndim == 1 and found.size
  if not fits or count not in (None, len(found)):
    raise _misfit(path, name)
  return [str(text) for text in found]


def _misfit(path: pathlib.Path, name: str) -> ValueError:
  return ValueError(f'{path}: `{name}` does not fit; sample again')


def join_pairs(shown: Labelled) -> Labelled:
  """Joins each two videos in turn, as originals and copies, to a wide one."""
  first_nTHWc, second_nTHWc = shown.videos_nTHWc[::2], shown.videos_nTHWc[1::2]
  count = len(second_nTHWc)
  if not count:
    return shown
  gap = np.full_like(second_nTHWc[:, :, :, :_GAP], 255)
  pairs = zip(shown.labels[::2], shown.labels[1::2])
  return Labelled(
    np.concatenate([first_nTHWc[:count], gap, second_nTHWc], axis=3),
    [f'{first}, {second}' for first, second in pairs],
  )


def grid(shown: Labelled) -> str:
  """The first videos of each label, side by side, as many as a page bears.

  Raises:
    ValueError: the videos are of no shape that media know.
  """
  chosen = choose(shown.labels)
  height, width = shown.videos_nTHWc.shape[2:4]
  aspect = width / height
  cell = max(_CELL * aspect, _LARGE * width)
  share = min(100.0, _SHARE * max(1.0, cell / _CELL))
  figures = ''.join(
    f'<figure>{_image(shown.videos_nTHWc[i], shown.labels[i])}'
    f'<figcaption>{markup.text(_words(shown.labels[i]))}</figcaption></figure>'
    for i in chosen
  )
  return (
    f'<div class="videos" style="--cell: {cell:.0f}px; --share: {share:.0f}%">'
    f'{figures}</div>'
  )


def describe(shown: Labelled) -> str:
  """How many videos there are, how many `grid` shows, and of what size."""
  count, frames, height, width = shown.videos_nTHWc.shape[:4]
  words = f'{count:,} videos of {frames} frames, {height}×{width} pixels.'
  chosen = len(choose(shown.labels))
  return words if chosen == count else f'{chosen} of {words}'


def _words(label: str) -> str:
  """A label as it is read: names of classes break lines where words end."""
  return label.replace('_', ' ')


def choose(labels: Sequence[str]) -> list[int]:
  """Indices of the first few of each label, label by label."""
  places: dict[str, list[int]] = {}
  for i, label in enumerate(labels):
    places.setdefault(label, []).append(i)
  each = max(1, min(MOST_OF_ONE, MOST // len(places)))
  return [i for found in places.values() for i in found[:each]][:MOST]


def _image(video_THWc: np.ndarray, label: str) -> str:
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'video.webp'
    media.write_webp(path, video_THWc, fps=_FPS)
    return markup.image(path.read_bytes(), 'image/webp', about=label)
