"""The first videos of an evaluation, in files to look at."""

import numpy as np
from etils import epath

from videoar_jax import media
from videoar_jax.core import files
from videoar_jax.evaluate import draws
from videoar_jax.evaluate.task import Task

_SHEET_VIDEOS = 16  # more rows do not fit a picture


def save_videos(folder: epath.Path, task: Task, drawn: draws.Drawn) -> None:
  """Writes videos.npz and contact_sheet.png; originals only beside copies.

  Args:
    folder: made where there is none.
    task: what was measured.
    drawn: with the first videos of each set.
  """
  saved, classes = drawn.saved(), np.asarray(drawn.draw.classes)
  real, count = saved[draws.REAL], len(saved[draws.REAL])
  labels_n = drawn.wanted_n[:count]
  shown = {'reconstructed' if task.paired else 'generated': saved[draws.OWN]}
  if draws.H264 in saved:
    shown['h264'] = saved[draws.H264]
  folder.mkdir(parents=True, exist_ok=True)
  with files.replacing(folder / 'videos.npz') as partial:
    np.savez(
      partial,
      real=real,
      labels=labels_n,
      real_labels=drawn.real.labels_n[:count],
      classes=classes,
      **shown,
    )
  if task.paired:
    shown = {'original': real, **shown}
  rows = [
    (videos_nTHWc[i], f'{classes[labels_n[i]]}, {name}')
    for i in range(min(count, _SHEET_VIDEOS))
    for name, videos_nTHWc in shown.items()
  ]
  videos, labels = zip(*rows)
  media.write_contact_sheet(folder / 'contact_sheet.png', videos, labels=labels)
