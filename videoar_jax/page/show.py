"""Pictures, videos and words as HTML that needs no other file."""

import base64
import html
import io
import pathlib
import tempfile

import numpy as np
from PIL import Image

from videoar_jax import media

FPS = 8
_SMALL = 256  # pixels of the longer side


def frame(frame_HWc: np.ndarray, about: str) -> str:
  """A frame of a video that is being made.

  Args:
    frame_HWc: uint8.
    about: what it is, for those who do not see it.
  """
  file = io.BytesIO()
  picture = _enlarged(frame_HWc[None])[0]
  Image.fromarray(picture).save(file, 'WEBP', quality=90, method=0)
  return _screen(file.getvalue(), picture.shape, about)


def video(video_THWc: np.ndarray, about: str, name: str) -> tuple[str, str]:
  """A video that plays again and again, and links that save it.

  Args:
    video_THWc: uint8.
    about: as of `frame`.
    name: of the saved files, without suffix.
  Returns:
    HTML of the picture, and of the links.
  """
  with tempfile.TemporaryDirectory() as folder:
    webp, mp4 = (pathlib.Path(folder) / f'video.{x}' for x in ('webp', 'mp4'))
    media.write_webp(webp, _enlarged(video_THWc), fps=FPS)
    media.write_mp4(mp4, video_THWc, fps=FPS)
    moving, playable = webp.read_bytes(), mp4.read_bytes()
  links = ''.join(
    f'<a download="{_text(name)}{end}" href="{_data(content, kind)}">{shown}'
    '</a>'
    for shown, end, kind, content in (
      ('WebP', '.webp', 'image/webp', moving),
      ('MP4', '.mp4', 'video/mp4', playable),
    )
  )
  return (
    _screen(moving, video_THWc.shape[1:], about),
    f'<span class="save">Save as {links}</span>',
  )


def note(text: str, *, after: str = '') -> str:
  """A line under the video; `after` is HTML that follows it."""
  return f'<div class="note" role="status"><p>{_text(text)}</p>{after}</div>'


def progress(text: str, *, done: int, total: int) -> str:
  """A line under the video, with a bar."""
  bar = f'<progress value="{done}" max="{total}"></progress>'
  return note(text, after=bar)


def fault(text: str) -> str:
  """What is wrong with what was asked for."""
  return f'<div class="note fault" role="alert"><p>{_text(text)}</p></div>'


def heading(title: str, about: str) -> str:
  """The top of the page."""
  return f'<header><h1>{_text(title)}</h1><p>{_text(about)}</p></header>'


def _enlarged(video_THWc: np.ndarray) -> np.ndarray:
  """Small videos by whole pixels, as WebP halves the resolution of colours."""
  times = max(1, _SMALL // max(video_THWc.shape[1:3]))
  return video_THWc.repeat(times, axis=1).repeat(times, axis=2)


def _screen(webp: bytes, shape: tuple[int, ...], about: str) -> str:
  # Decoded at once, so that the page does not flicker from frame to frame.
  return (
    f'<div class="screen" style="aspect-ratio: {shape[1]} / {shape[0]}">'
    f'<img decoding="sync" alt="{_text(about)}" '
    f'src="{_data(webp, "image/webp")}"></div>'
  )


def _data(content: bytes, kind: str) -> str:
  return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def _text(text: str) -> str:
  """Text as HTML; braces and dollars, too, as Gradio reads templates."""
  escaped = html.escape(text.encode('utf-8', 'backslashreplace').decode())
  for mark in '{}$`':
    escaped = escaped.replace(mark, f'&#{ord(mark)};')
  return escaped
