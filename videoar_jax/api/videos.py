"""Videos as an array that shows and saves itself."""

import base64
import html
import os
import pathlib
import tempfile
import webbrowser
from collections.abc import Sequence
from typing import Any

import numpy as np

from videoar_jax import media

_FPS = 8.0
_SHOWN = 64  # more than these do not fit a page
_SIDE = 160  # pixels that a small video is shown at, at the least


class Videos(np.ndarray):
  """uint8 (n, T, H, W, 3): a NumPy array in all else.

  `videos[i]` is one video, (T, H, W, 3), which does the same. A notebook shows
  both as they move. What is computed of videos is a plain array.

  Attributes:
    labels: class or prompt of each; () where there are none.
  """

  def __new__(
    cls, videos_nTHWc: np.ndarray, labels: Sequence[str] = ()
  ) -> 'Videos':
    found = np.asarray(videos_nTHWc).view(cls)
    found.labels = tuple(labels)
    return found

  def __array_finalize__(self, source: Any) -> None:
    self.labels = ()
    if getattr(source, 'shape', None) == self.shape:
      self.labels = getattr(source, 'labels', ())

  def __array_wrap__(
    self, array: np.ndarray, context: Any = None, return_scalar: bool = False
  ) -> Any:
    plain = np.asarray(array)
    return plain[()] if return_scalar else plain

  def __getitem__(self, key: Any) -> Any:
    found = super().__getitem__(key)
    if self.ndim == 5 and self.labels and isinstance(found, Videos):
      if isinstance(key, int | np.integer):
        found.labels = (self.labels[key],)
      elif isinstance(key, slice):
        found.labels = self.labels[key]
    return found

  def grid(self, *, columns: int | None = None) -> np.ndarray:
    """All of them side by side, each under its label.

    Args:
      columns: videos in a row; None: about as many as rows.
    Returns:
      uint8 (T, height, width, 3), labels and gaps included; one video without a
      label comes back as it is.
    Raises:
      ValueError: not videos, or columns below 1.
    """
    videos = self._each()
    if len(videos) == 1 and not any(self.labels):
      return videos[0]
    if columns is None:
      columns = int(np.ceil(np.sqrt(len(videos))))
    labels = self.labels if any(self.labels) else None
    return media.labelled_grid(videos, labels, columns=columns)

  def save(
    self,
    path: str | os.PathLike,
    *,
    fps: float = _FPS,
    columns: int | None = None,
  ) -> None:
    """Writes them to one file, several as a grid.

    Args:
      path: ends in .mp4, .gif or .webp; or in .png for a sheet of frames, a
        row for each video.
      fps: frames per second.
      columns: see `grid`.
    Raises:
      ValueError: another ending, not videos, or an impossible rate.
      OSError: it cannot be written.
    """
    suffix = pathlib.Path(path).suffix.lower()
    write = {
      '.mp4': media.write_mp4,
      '.gif': media.write_gif,
      '.webp': media.write_webp,
    }.get(suffix)
    if write is not None:
      write(path, self.grid(columns=columns), fps=fps)
    elif suffix == '.png':
      labels = self.labels if any(self.labels) else None
      media.write_contact_sheet(path, self._each(), labels=labels)
    else:
      raise ValueError(
        f'{path}: the name must end in .mp4, .gif, .webp or .png'
      )

  def show(self, *, fps: float = _FPS, columns: int | None = None) -> None:
    """Shows them in the notebook, or else in the browser.

    Args:
      fps: frames per second.
      columns: see `grid`.
    Raises:
      ValueError: not videos, or an impossible rate.
    """
    page = self._page(fps=fps, columns=columns)
    try:
      from IPython import display, get_ipython
    except ImportError:
      get_ipython = None
    if get_ipython is not None and get_ipython() is not None:
      display.display(display.HTML(page))
      return
    with tempfile.NamedTemporaryFile(
      'w', suffix='.html', delete=False, encoding='utf-8'
    ) as file:
      file.write(f'<!DOCTYPE html><meta charset="utf-8">{page}')
    if not webbrowser.open(pathlib.Path(file.name).as_uri()):
      print(f'to be opened in a browser: {file.name}')

  def _repr_html_(self) -> str | None:
    try:
      return self._page()
    except ValueError:  # a part of one, which shows as an array
      return None

  def _page(self, *, fps: float = _FPS, columns: int | None = None) -> str:
    """The videos as HTML that needs nothing outside."""
    videos = self._each()
    shown = Videos(videos[:_SHOWN], self.labels[:_SHOWN])
    grid = shown.grid(columns=columns)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'grid.webp'
      media.write_webp(path, grid, fps=fps)
      data = base64.b64encode(path.read_bytes()).decode()
    times = max(1, _SIDE // shown.shape[3])
    about = html.escape(', '.join(dict.fromkeys(self.labels)), quote=True)
    picture = (
      f'<img alt="{about}" src="data:image/webp;base64,{data}" '
      f'style="width: {times * grid.shape[2]}px; max-width: 100%; '
      'image-rendering: pixelated">'
    )
    if len(videos) > _SHOWN:
      picture += f'<p>the first {_SHOWN} of {len(videos)} videos</p>'
    return picture

  def _each(self) -> np.ndarray:
    """The videos as a plain array, nTHWc.

    Raises:
      ValueError: they are none.
    """
    plain = np.asarray(self)
    if plain.ndim == 4:
      plain = plain[None]
    good = plain.ndim == 5 and plain.shape[-1] == 3 and plain.size
    if not good or plain.dtype != np.uint8:
      raise ValueError(
        f'array of shape {self.shape}, {self.dtype}: wanted videos, uint8 '
        '(n, T, H, W, 3)'
      )
    return plain
