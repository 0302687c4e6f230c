"""Cuts MoCoGAN's strips to videos in class folders.

  python launch/strips_to_videos.py STRIPS OUT

A strip is a picture with the frames of a video side by side, each as wide as
the strip is high, named <Class>_<number>.jpg, in STRIPS or in folders below it.
OUT gets <Class>/v_<Class>_<number>.mkv, lossless (FFV1). Strips that are none
are skipped, counted and named.
"""

import pathlib
import sys

import av
import numpy as np

from videoar_jax.core import files
from videoar_jax.data import pictures
from videoar_jax.data.failures import BadRecordError

_FPS = 25


def convert(strips: pathlib.Path, out: pathlib.Path) -> dict[str, str]:
  """Converts every strip; returns the skipped ones and why.

  Raises:
    ValueError: there is no strip, or not one serves.
  """
  names = sorted(x for x in strips.rglob('*') if pictures.is_picture(x.name))
  if not names:
    raise ValueError(
      f'{strips}: no pictures there; wanted <Class>_<number>.jpg'
    )
  skipped = {}
  for path in names:
    kind, _, number = path.stem.rpartition('_')
    try:
      if not kind or not number.isdigit():
        raise BadRecordError('wanted a name like <Class>_<number>.jpg')
      frames = cut(pictures.read_picture(str(path)))
    except BadRecordError as error:
      skipped[str(path.relative_to(strips))] = str(error)
      continue
    folder = out / kind
    folder.mkdir(parents=True, exist_ok=True)
    write_lossless(folder / f'v_{kind}_{number}.mkv', frames)
  if len(skipped) == len(names):
    raise ValueError(f'{strips}: none of {len(names)} pictures is a strip')
  return skipped


def cut(strip_HWc: np.ndarray) -> np.ndarray:
  """The frames of a strip: (H, T·H, 3) to (T, H, H, 3), uint8.

  Raises:
    BadRecordError: the width is no multiple of the height, or one frame.
  """
  height, width = strip_HWc.shape[:2]
  if width % height or width == height:
    raise BadRecordError(
      f'{width}×{height}: wanted two square frames or more, side by side'
    )
  return strip_HWc.reshape(height, -1, height, 3).swapaxes(0, 1)


def write_lossless(path: pathlib.Path, video_THWc: np.ndarray) -> None:
  """Writes uint8 frames as FFV1, whole or not at all."""
  with (
    files.replacing(path) as partial,
    av.open(str(partial), 'w', format='matroska') as container,
  ):
    stream = container.add_stream('ffv1', rate=_FPS)
    stream.height, stream.width = video_THWc.shape[1:3]
    stream.pix_fmt = 'bgr0'
    for image in video_THWc:
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), 'rgb24')
      container.mux(stream.encode(frame.reformat(format='bgr0')))
    container.mux(stream.encode(None))


def main(words: list[str]) -> int:
  if len(words) != 2:
    print(__doc__, file=sys.stderr)
    return 2
  try:
    skipped = convert(*map(pathlib.Path, words))
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  for name, why in skipped.items():
    print(f'skipped {name}: {why}', file=sys.stderr)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
