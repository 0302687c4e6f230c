"""Samples videos from a trained generator.

  python -m videoar_jax.sample --checkpoint=runs/generator --class=all \
    --num_videos=16 --out=samples/

Writes one mp4 per video, a labelled grid (grid.gif, grid.webp and the contact
sheet grid.png) and samples.npz (`videos` uint8 nTHWc, `labels`, `classes`).
"""

import pathlib
import sys

import jax
import numpy as np
from absl import app, flags

from videoar_jax import media
from videoar_jax.core import command
from videoar_jax.core.export import load_weights
from videoar_jax.sample import sampler as sampler_lib

_CHECKPOINT = flags.DEFINE_string(
  'checkpoint', None, 'Generator: workdir, step folder or export.'
)
_CLASS = flags.DEFINE_string(
  'class', 'all', "Name of a class, or 'all': the classes take turns."
)
_NUM_VIDEOS = flags.DEFINE_integer(
  'num_videos', None, 'Videos in all; default: one per class.'
)
_NUM_FRAMES = flags.DEFINE_integer(
  'num_frames', None, "Frames of a video; default: the training clips'."
)
_GUIDANCE = flags.DEFINE_string(
  'guidance',
  None,
  "Number, 'ucf', 'text' or start:end:within; default: the training config's.",
)
_TEMPERATURE = flags.DEFINE_float(
  'temperature', None, "Of the bits; 0: likeliest; default: the config's."
)
_SEED = flags.DEFINE_integer('seed', 0, 'Decides each sample with its index.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 8, 'Videos at a time.')
_FPS = flags.DEFINE_float('fps', 8, 'Frames per second of the files.')
_OUT = flags.DEFINE_string('out', None, 'The folder to write.')
_EMA = flags.DEFINE_bool('ema', True, 'Averaged weights, or the last ones.')

_SHEET_VIDEOS = 64  # more than these do not fit a picture


def main(argv: list[str]) -> None:
  command.check_arguments(argv, (_CHECKPOINT, _OUT))
  with command.refusals():
    run()


def run() -> None:
  """Loads, samples, writes."""
  loaded = load_weights(_CHECKPOINT.value, expect='generator', ema=_EMA.value)
  generator = sampler_lib.Generator.of(loaded)
  labels = chosen_labels(generator.classes)
  sampling = generator.sampling(
    num_frames=_NUM_FRAMES.value,
    guidance=_GUIDANCE.value,
    temperature=_TEMPERATURE.value,
    seed=_SEED.value,
    batch_size=_BATCH_SIZE.value,
  )
  program = generator.program(sampling)
  out = pathlib.Path(_OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  videos = []
  stream = sampler_lib.sample_videos(
    program, generator.nets, labels, sampling=sampling
  )
  for i, video in enumerate(stream):
    name = f'{i:05d}_{generator.classes[labels[i]]}.mp4'
    media.write_mp4(out / name, video, fps=_FPS.value)
    videos.append(video)
    _progress(i + 1, len(labels))
  write_set(out, np.stack(videos), labels, generator.classes)
  print(f'{len(videos)} videos written to {out}')


def chosen_labels(classes: tuple[str, ...]) -> list[int]:
  """The class of each sample, from --class and --num_videos.

  Raises:
    ValueError: no such class, or no videos.
  """
  if _CLASS.value == 'all':
    turn = list(range(len(classes)))
  else:
    turn = [sampler_lib.label_of(_CLASS.value, classes)]
  count = len(turn) if _NUM_VIDEOS.value is None else _NUM_VIDEOS.value
  if count < 1:
    raise ValueError(f'num_videos={count}: wanted at least 1')
  return [turn[i % len(turn)] for i in range(count)]


def write_set(out: pathlib.Path, videos_nTHWc, labels, classes) -> None:
  """Writes samples.npz and the labelled grid."""
  np.savez_compressed(
    out / 'samples.npz',
    videos=videos_nTHWc,
    labels=np.asarray(labels, np.int32),
    classes=np.asarray(classes),
  )
  shown = videos_nTHWc[:_SHEET_VIDEOS]
  names = [classes[label] for label in labels[: len(shown)]]
  columns = min(8, len(shown))
  grid = media.labelled_grid(shown, names, columns=columns)
  media.write_gif(out / 'grid.gif', grid, fps=_FPS.value)
  media.write_webp(out / 'grid.webp', grid, fps=_FPS.value)
  media.write_contact_sheet(out / 'grid.png', shown, labels=names)


def _progress(done: int, total: int) -> None:
  """One line per batch; on a terminal the line is rewritten."""
  if done % _BATCH_SIZE.value and done != total:
    return
  tty = sys.stderr.isatty()
  line = f'sampled {done}/{total} on {jax.default_backend()}'
  print(line, end='\r' if tty and done != total else '\n', file=sys.stderr)


if __name__ == '__main__':
  app.run(main)
