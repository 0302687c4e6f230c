"""Decodes a data set once, or caches a tokenizer's features of it.

    python -m videoar_jax.data.prepare --source=folder:/data/UCF-101 \\
        --split_file=trainlist01.txt --height=128 --width=128 --out=/data/ucf
    python -m videoar_jax.data.prepare --features --checkpoint=runs/tokenizer \\
        --source=array_record:/data/ucf --windows=2 --flips --out=/data/cached
    python -m videoar_jax.data.prepare --text --checkpoint=umt5-xxl \\
        --prompts=prompts.txt --out=/data/embeddings

The first writes what `array_record:PATH` reads, the second `features:PATH`; the
third caches what the text encoder of Wan makes of prompts. Run again, the same
command goes on where it stopped.
"""

from videoar_jax.core import command, files, lock
from videoar_jax.data import embeddings, preparation
from videoar_jax.data.config import DataConfig
from videoar_jax.data.kinds import parse_source
from videoar_jax.data.prompts import NEGATIVE_PROMPT

FLAGS = command.Flags()

_SOURCE = FLAGS.text(
  'source', None, 'folder:PATH or images:PATH; for --features any source'
)
_OUT = FLAGS.text('out', None, 'folder to write, on a disk or in a bucket')
_SPLIT_FILE = FLAGS.text(
  'split_file', '', 'official list of training videos; the others are held out'
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
  with lock.hold(out, what='prepare'):
    if _FEATURES.value:
      prepare_features()
    else:
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


def prepare_features() -> None:
  """Encodes windows of --source with the tokenizer --checkpoint."""
  command.check_arguments([], (_CHECKPOINT,))
  # Imported here: plain preparation must not wait for, or need, the tokenizer.
  from videoar_jax.core import cache, mesh
  from videoar_jax.tokenizer.features import make_encoder

  cache.keep_programs()
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
  digest, encode = make_encoder(_CHECKPOINT.value, num_frames=config.num_frames)
  command.note(
    f'encoding on {mesh.describe()}; the first clips wait for the compiler'
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
