"""Renders moving shapes as videos in class folders, to try a pipeline with.

  python launch/render_clips.py OUT

OUT gets <class>/<number>.mp4, eight classes of motion with four videos each,
17 frames of 32×32, and trainlist.txt, which names three of each four. A video
that is there is not made again.
"""

import pathlib
import sys

from videoar_jax import media
from videoar_jax.core import files
from videoar_jax.data import synthetic

_VIDEOS, _TRAINED = 4, 3  # of a class
_FRAMES, _SIDE, _FPS = 17, 32, 8


def render(out: pathlib.Path) -> None:
  """Writes the videos, each whole or not at all, and then the list."""
  train = []
  for index in range(_VIDEOS * len(synthetic.CLASSES)):
    video_THWc, label = synthetic.render(
      0, index, num_frames=_FRAMES, height=_SIDE, width=_SIDE
    )
    number = index // len(synthetic.CLASSES)
    name = f'{synthetic.CLASSES[label]}/{number}.mp4'
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
      media.write_mp4(path, video_THWc, fps=_FPS)
    if number < _TRAINED:
      train.append(name)
  with files.replacing(out / 'trainlist.txt') as partial:
    partial.write_text('\n'.join(sorted(train)) + '\n')


if __name__ == '__main__':
  if len(sys.argv) != 2:
    sys.exit(__doc__)
  render(pathlib.Path(sys.argv[1]))
