"""Decodes a data set once, or caches a tokenizer's features of it.

    python -m videoar_jax.data.prepare --source=ucf101:/data/UCF101.rar \\
        --height=128 --width=128 --out=/data/ucf
    python -m videoar_jax.data.prepare --source=folder:/data/mine \\
        --height=128 --width=128 --out=/data/mine_128
    python -m videoar_jax.data.prepare --features --checkpoint=runs/tokenizer \\
        --source=array_record:/data/ucf --windows=2 --flips --out=/data/cached
    python -m videoar_jax.data.prepare --text --checkpoint=umt5-xxl \\
        --prompts=prompts.txt --out=/data/embeddings

The third writes what `features:PATH` reads, the first two what
`array_record:PATH` does; the last caches what the text encoder of Wan makes of
prompts. Run again, the same command goes on where it stopped. Features use all
devices, and several processes share the work, each writing whole shards, where
they are started as for training.
"""

import dataclasses

from etils import epath

from videoar_jax.core import command, files, job, lock
from videoar_jax.data import embeddings, preparation, work
from videoar_jax.data.config import DataConfig
from videoar_jax.data.kinds import parse_source
from videoar_jax.data.prompts import NEGATIVE_PROMPT

FLAGS = command.Flags()

_SOURCE = FLAGS.text(
  'source',
  None,
  'ucf101:PATH, folder:PATH, images:PATH or tfds:PATH; for --features any',
)
_OUT = FLAGS.text('out', None, 'folder to write, on a disk or in a bucket')
_SPLIT_FILE = FLAGS.text(
  'split_file',
  '',
  'official list of training videos; the others are held out; for ucf101 also '
  'the zip of all lists, and it is found beside the videos',
)
_HEIGHT = FLAGS.count('height', 128, 'pixels')
_WIDTH = FLAGS.count('width', 128, 'pixels')
_NUM_SHARDS = FLAGS.count(
  'num_shards', 0, 'shards of the training split; 0: one for 256 videos', 0
)
_NUM_WORKERS = FLAGS.number(
  'num_workers', 0, 'decoding processes', int, least=0, most=1024
)
_MIN_FRAMES = FLAGS.count('min_frames', 17, 'shorter videos are bad')
_MAX_BAD_SHARE = FLAGS.number(
  'max_bad_share',
  0.05,
  'more bad videos than this share stop the run',
  least=0,
  most=1,
)
_FEATURES = FLAGS.switch('features', False, 'cache features of a tokenizer')
_CHECKPOINT = FLAGS.text(
  'checkpoint', '', 'features: the tokenizer; text: folder of the encoder'
)
_WINDOWS = FLAGS.count('windows', 1, 'features: windows per video')
_FLIPS = FLAGS.switch('flips', False, 'features: each window mirrored too')
_NUM_FRAMES = FLAGS.count('num_frames', 17, 'features: frames per clip')
_FRAME_STRIDE = FLAGS.count('frame_stride', 1, 'features: frame stride')
_NUM_CLIPS = FLAGS.count(
  'num_clips', 2000, 'features: clips of the synthetic source; a tenth held out'
)
_BATCH_SIZE = FLAGS.count('batch_size', 16, 'features: clips at once')
_SEED = FLAGS.number(
  'seed', 0, 'features: of the windows', int, least=0, most=2**32 - 1
)
_TEXT = FLAGS.switch('text', False, 'cache states of prompts')
_PROMPTS = FLAGS.text(
  'prompts', '', 'text: file of a prompt a line, or captions as .jsonl'
)
_NEGATIVE_PROMPT = FLAGS.text(
  'negative_prompt', NEGATIVE_PROMPT, 'text: encoded besides, for guidance'
)
_TEXT_TOKENIZER = FLAGS.text(
  'text_tokenizer', '', 'text: tokenizer.json, where it is not beside'
)
_DTYPE = FLAGS.choice(
  'dtype', 'bfloat16', ('bfloat16', 'float32'), 'text: of the products'
)

_JOB = job.define_flags(FLAGS)

_TEXT_ONLY = ('prompts', 'negative_prompt', 'text_tokenizer', 'dtype')
_VIDEOS_ONLY = ('min_frames',)
_FEATURES_ONLY = (
  'checkpoint',
  'windows',
  'flips',
  'num_frames',
  'frame_stride',
  'num_clips',
  'batch_size',
  'seed',
  *(flag.name for flag in _JOB),
)


def main(words: list[str]) -> None:
  if _TEXT.value:
    command.check_arguments(words, (_PROMPTS, _CHECKPOINT, _OUT))
    prepare_text()
    return
  command.check_arguments(words, (_SOURCE, _OUT))
  for name in filter(FLAGS.given, _TEXT_ONLY):
    raise command.UsageError(f'--{name} goes with --text')
  for name in _VIDEOS_ONLY if _FEATURES.value else _FEATURES_ONLY:
    if FLAGS.given(name):
      fault = 'does not go' if _FEATURES.value else 'goes'
      raise command.UsageError(f'--{name} {fault} with --features')
  inputs = (parse_source(_SOURCE.value)[1], _SPLIT_FILE.value)
  out = files.output_folder(_OUT.value, inputs=(*inputs, _CHECKPOINT.value))
  if _FEATURES.value:
    prepare_features(out)
  else:
    with lock.hold(out, what='prepare'):
      prepare_videos()


def prepare_videos() -> None:
  """Decodes --source at one resolution."""
  preparation.prepare_videos(
    _SOURCE.value,
    _OUT.value,
    height=_HEIGHT.value,
    width=_WIDTH.value,
    split_file=_SPLIT_FILE.value,
    num_shards=_NUM_SHARDS.value,
    num_workers=_NUM_WORKERS.value,
    min_frames=_MIN_FRAMES.value,
    max_bad_share=_MAX_BAD_SHARE.value,
  )


def prepare_features(out: epath.Path) -> None:
  """Encodes windows of --source with the tokenizer --checkpoint."""
  command.check_arguments([], (_CHECKPOINT,))
  # Imported here: plain preparation must not wait for, or need, JAX.
  from videoar_jax.core import cache, processes, start

  cache.keep_programs()
  with (
    start.together(FLAGS),
    lock.hold(
      out,
      what='prepare',
      first=processes.is_first(),
      agree=lambda reason: processes.from_first(lambda: reason),
    ),
  ):
    encode_videos()


def encode_videos() -> None:
  """The same, by one of the processes of a job."""
  import jax

  from videoar_jax.core import processes, spread
  from videoar_jax.tokenizer.features import make_encoder

  config = DataConfig(
    source=_SOURCE.value,
    split_file=_SPLIT_FILE.value,
    batch_size=_BATCH_SIZE.value,
    num_frames=_NUM_FRAMES.value,
    height=_HEIGHT.value,
    width=_WIDTH.value,
    frame_stride=_FRAME_STRIDE.value,
    num_workers=_NUM_WORKERS.value,
    max_bad_share=_MAX_BAD_SHARE.value,
  )
  devices = spread.own_mesh(None, count=config.batch_size)
  batch_size = spread.rounded(config.batch_size, devices)
  config = dataclasses.replace(config, batch_size=batch_size)
  digest, encode = make_encoder(
    _CHECKPOINT.value, num_frames=config.num_frames, mesh=devices
  )
  if processes.is_first():
    command.note(
      f'encoding on {spread.describe(devices)}; the first clips wait for the '
      'compiler'
    )
  preparation.prepare_features(
    config,
    _OUT.value,
    tokenizer_digest=digest,
    encode=encode,
    windows=_WINDOWS.value,
    flips=_FLIPS.value,
    seed=_SEED.value,
    num_clips=_NUM_CLIPS.value,
    num_shards=_NUM_SHARDS.value,
    crew=work.Crew(jax.process_index(), jax.process_count(), spread.meet),
  )


def prepare_text() -> None:
  """Encodes --prompts with the text encoder --checkpoint."""
  read = (_PROMPTS, _NEGATIVE_PROMPT, _TEXT_TOKENIZER, _DTYPE)
  FLAGS.check_read((_TEXT, _CHECKPOINT, _OUT, *read), by='--text')
  prompts = embeddings.read_prompts(_PROMPTS.value)
  out = files.output_folder(
    _OUT.value, inputs=(_PROMPTS.value, _CHECKPOINT.value)
  )
  # Imported here: nothing else needs the encoder.
  from videoar_jax.core import cache, mesh
  from videoar_jax.transformer.umt5_stream import TextEncoder

  cache.keep_programs()
  encoder = TextEncoder.open(
    _CHECKPOINT.value,
    tokenizer=_TEXT_TOKENIZER.value or None,
    dtype=_DTYPE.value,
  )
  encoder.check([_NEGATIVE_PROMPT.value, *prompts])
  command.note(
    f'reading the weights for their digest, then encoding on {mesh.describe()}'
  )
  with lock.hold(out, what='prepare'):
    embeddings.prepare_embeddings(
      prompts,
      _OUT.value,
      negative_prompt=_NEGATIVE_PROMPT.value,
      encoder=encoder.digest,
      encode=encoder.encode,
    )
