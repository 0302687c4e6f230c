"""Evaluation at full size, with stand-ins that cost little.

  python tests/full_size.py FOLDER --protocol=ucf101_train10k_17f_128
  python tests/full_size.py FOLDER --num_videos=500 [--baselines …]

runs `videoar_jax.evaluate` of a generator with random weights and two layers,
on a made-up data set of the size of UCF-101, 128×128, with one layer in place
of I3D's: everything else is as it is. Writes FOLDER/result.json, and prints one
JSON object: seconds, the most memory that the process held, and the distance.
"""

import dataclasses
import json
import pathlib
import resource
import sys
import time

import jax
import numpy as np
from tiny_runs import make_runs

from videoar_jax.commands import evaluate
from videoar_jax.core import command
from videoar_jax.core.placement import replicate
from videoar_jax.data import kinds
from videoar_jax.data.source import SourceKind
from videoar_jax.evaluate import i3d

CLASSES = tuple(f'Class{i:03d}' for i in range(101))
TRAIN, TEST = 9_537, 3_783  # videos of UCF-101's split 1
LENGTH = 40  # frames of a video
SIDE, FRAMES = 128, 17
POOL = 32  # of a frame, in what stands for I3D


@dataclasses.dataclass(frozen=True)
class MadeUp:
  """Videos that cost nothing: a small picture that wanders."""

  num_frames: int
  first: int
  count: int

  classes = CLASSES

  def __len__(self):
    return self.count

  def name(self, index):
    return f'made up {index}'

  def load(self, index, rng):
    index += self.first
    own = np.random.default_rng(index)
    picture = own.integers(0, 256, (16 + LENGTH, 16, 3), np.uint8)
    start = int(rng.integers(LENGTH - self.num_frames))
    frames = [picture[start + t :][:16] for t in range(self.num_frames)]
    video = np.stack(frames).repeat(SIDE // 16, 1).repeat(SIDE // 16, 2)
    return {'video': video, 'label': index % len(CLASSES)}

  def explain(self, index):
    return 'made up clips cannot fail'


def open_source(path, config, *, train):
  first, count = (0, TRAIN) if train else (TRAIN, TEST)
  return MadeUp(config.num_frames, first, count)


def load_network(config, *, path=None, mesh=None):
  """One layer on pooled pixels, with I3D's way of reading videos."""
  rng = np.random.default_rng(0)
  cells = (i3d.SIDE // POOL) ** 2 * 3
  w = rng.standard_normal((cells, i3d.NUM_CLASSES)).astype(np.float32)
  units = {'w': w if mesh is None else replicate(w, mesh)}
  return i3d.I3D(config, units, '0' * 64, mesh)


@jax.jit
def network(units, x):
  cells = i3d.SIDE // POOL
  x = x.mean(axis=1).reshape(len(x), cells, POOL, cells, POOL, 3)
  return x.mean(axis=(2, 4)).reshape(len(x), -1) @ units['w']


def put_stand_ins():
  """Puts the made-up data set and network where the command finds them."""
  kinds.SOURCES['made_up'] = SourceKind(
    name='made_up', open=open_source, identify=lambda path, config: path
  )
  i3d.load_i3d, i3d._network = load_network, network


def make_generator(folder):
  """Makes the generator once; its path."""
  if not (folder / 'generator' / 'config.json').exists():
    size = {'num_frames': FRAMES, 'height': SIDE, 'width': SIDE}
    make_runs(folder, patch=SIDE // 16, size=size, classes=CLASSES)
  return folder / 'generator'


def main(folder, words):
  folder.mkdir(parents=True, exist_ok=True)
  path = make_generator(folder)
  put_stand_ins()
  begin = time.monotonic()
  out = folder / 'result.json'
  given = [f'--checkpoint={path}', '--data=made_up:1', f'--out={out}']
  status = command.run(evaluate, ['evaluate', *given, *words])
  if status:
    sys.exit(status)
  result = json.loads(out.read_text())
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
  figures = {key: result[key] for key in ('num_real', 'fvd', 'fvd_sd')}
  print(
    json.dumps(
      {
        'seconds': round(time.monotonic() - begin, 1),
        'most_memory_mib': most,
        'repeats': len(result['repeats']),
        **figures,
      }
    )
  )


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]), sys.argv[2:])
