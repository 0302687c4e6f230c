"""Samples videos from a trained generator.

  python -m videoar_jax.sample --checkpoint=runs/generator --class=all \\
    --num_videos=16 --out=samples/
  python -m videoar_jax.sample --checkpoint=runs/generator --class=NAME \\
    --image=first.png --out=samples/
  python -m videoar_jax.sample --checkpoint=runs/generator --class=NAME \\
    --video=clip.mp4 --given_frames=5 --out=samples/
  python -m videoar_jax.sample --checkpoint=runs/generator --class=NAME \\
    --stream --num_frames=1001 --window=4 --out=samples/
  python -m videoar_jax.sample --checkpoint=runs/generator --class=NAME \\
    --shots=4 --overlap=5 --out=samples/

  python -m videoar_jax.sample --checkpoint=runs/text_generator \\
    --prompt="a video of a person baby crawling" --out=samples/

Writes one mp4 per video, a labelled grid (grid.gif, grid.webp and the contact
sheet grid.png) and samples.npz (`videos` uint8 nTHWc, and `labels`, `classes`
or `prompts`). Each --prompt is a video, or they take turns over --num_videos.
`--image` begins with a picture, `--video` with the end of a video: they come
back as the tokenizer codes them. `--stream` writes each mp4 while it is made,
playable at any time, and nothing else; with `--window` a frame sees the last so
many latent frames alone, and neither memory nor time of a frame grows.
`--shots` streams, too: each shot begins with the last frames of the one before.
A file that is read is not written over; what another run left in the folder
stays there, and is named. Cut short, it says how many videos can be played, and
the same command makes the missing ones (see `sample.output`). Videos are spread
over the devices there are, or over `--mesh=data=4,fsdp=2`; of several processes
each makes its own share.

  python -m videoar_jax.sample --plan_only --topology=v5e:2x4 --batch_size=16 \\
    --config=configs/videoar_ucf101.py:L \\
    --tokenizer=configs/tokenizer_ucf101.py

samples nothing: it says what a batch needs on TPUs (extra `plan`).
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Sequence

import jax
from etils import epath

from videoar_jax import media
from videoar_jax.core import (
  buckets,
  cache,
  command,
  console,
  digest,
  files,
  job,
  mesh,
  processes,
  spread,
  start,
)
from videoar_jax.core.export import Loaded, load_weights, locate
from videoar_jax.data import pictures
from videoar_jax.data.prompts import check_prompt
from videoar_jax.forecast.flags import define_flags
from videoar_jax.rollout.guidance import parse_guidance
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.sample.given import read_given
from videoar_jax.sample.memory import check_memory
from videoar_jax.sample.output import SHEET_VIDEOS, Output
from videoar_jax.sample.streaming import VideoStream, check_shots
from videoar_jax.sample.wanted import MOST_VIDEOS, Wanted, by_class, by_prompt
from videoar_jax.tokenizer.stream import Codec

FLAGS = command.Flags()

_CHECKPOINT = FLAGS.text(
  'checkpoint', None, 'Generator: workdir, step folder, export or zoo:NAME.'
)
_CLASS = FLAGS.text(
  'class', None, "Name of a class, or 'all' (the default): they take turns."
)
_PROMPT = FLAGS.texts(
  'prompt', None, 'What to show, where prompts condition; may be repeated.'
)
_NUM_VIDEOS = FLAGS.number(
  'num_videos',
  None,
  'Videos in all; default: one per class or prompt.',
  int,
  least=1,
  most=MOST_VIDEOS,
)
_NUM_FRAMES = FLAGS.count(
  'num_frames', None, "Frames of a video; default: the training clips'."
)
_GUIDANCE = FLAGS.text(
  'guidance',
  None,
  "Number, 'ucf', 'text' or start:end:within; default: the training config's.",
)
_TEMPERATURE = FLAGS.number(
  'temperature', None, "Of the bits; at 0 likeliest; the config's.", least=0
)
_TOP_P = FLAGS.number(
  'top_p',
  None,
  "Surer bits than this are not drawn; default: the config's.",
  least=0.5,
  most=1,
)
_SIZE = FLAGS.text(
  'size', None, "HEIGHTxWIDTH, where it was trained on several; the config's."
)
_SEED = FLAGS.number(
  'seed', 0, 'Decides each sample with its index.', int, least=0, most=2**32 - 1
)
_BATCH_SIZE = FLAGS.count('batch_size', 8, 'Videos at a time.')
_FPS = FLAGS.number(
  'fps', 8.0, 'Frames per second of the files.', **media.FRAME_RATES
)
_IMAGE = FLAGS.text('image', None, 'A picture to begin with.')
_VIDEO = FLAGS.text('video', None, 'A video whose end to begin with.')
_GIVEN_FRAMES = FLAGS.count(
  'given_frames', None, 'Last frames of --video to take; default: all.'
)
_WINDOW = FLAGS.count(
  'window', None, 'Latent frames that a frame sees before its own; all.'
)
_MESH = FLAGS.text(
  'mesh', None, "Sizes of a process's mesh: data=4,fsdp=2; default: data alone."
)
_STREAM = FLAGS.switch('stream', False, 'Write frames as they are made.')
_SHOTS = FLAGS.count('shots', 1, 'Shots of a video; streamed.')
_OVERLAP = FLAGS.count('overlap', 5, 'Frames that two shots share.')
_OUT = FLAGS.text(
  'out', None, 'The folder to write; of --plan_only, a JSON file.'
)
_PLAN = define_flags(FLAGS)
_CONFIG = FLAGS.config('config', "--plan_only: a generator's config.")
job.define_flags(FLAGS)
_EMA = FLAGS.switch('ema', True, 'Averaged weights, or the last ones.')

_COMPILING = 'compiling and sampling the first videos'


def main(words: list[str]) -> None:
  cache.keep_programs()
  if _PLAN.plan_only.value:
    command.check_arguments(words, (_CONFIG, _PLAN.topology))
    plan()
    return
  command.check_arguments(words, (_CHECKPOINT, _OUT))
  _PLAN.check_unused(_CONFIG)
  check_flags()
  with start.together(FLAGS):
    run()


def plan() -> None:
  """Says what a batch of videos needs on a topology."""
  # Imported where it is used: it takes long, and sampling never needs it.
  from videoar_jax.forecast import plan_only

  chosen = (_NUM_FRAMES, _GUIDANCE, _WINDOW)
  read = (*chosen, _SIZE, _MESH, _BATCH_SIZE, _CONFIG, _OUT)
  FLAGS.check_read((*read, *vars(_PLAN).values()), by='--plan_only')
  changes = {x.name: x.value for x in chosen if x.value is not None}
  if _SIZE.value:
    changes['size'] = command.parse_size(_SIZE.value)
  plan_only.plan_sampling(
    _CONFIG.value,
    _PLAN.tokenizer.value,
    name=_PLAN.topology.value,
    sizes=spread.parse_mesh(_MESH.value or 'data=-1'),
    batch_size=_BATCH_SIZE.value,
    changes=changes,
    out=_OUT.value,
  )


def check_flags() -> None:
  """Raises for whatever can be told without the checkpoint."""
  if _IMAGE.value and _VIDEO.value:
    raise command.UsageError(
      '--image and --video: a video begins with one of both'
    )
  if _GIVEN_FRAMES.value is not None and not _VIDEO.value:
    raise command.UsageError('--given_frames goes with --video')
  if FLAGS.given('overlap') and not FLAGS.given('shots'):
    raise command.UsageError('--overlap goes with --shots')
  if _PROMPT.value and _CLASS.value:
    raise command.UsageError('--prompt and --class: a video has one of both')
  for prompt in _PROMPT.value or ():
    check_prompt(prompt)
  if _IMAGE.value and not pictures.is_picture(_IMAGE.value):
    raise ValueError(
      f'--image={_IMAGE.value}: not the name of a picture; use one of '
      f'{" ".join(pictures.SUFFIXES)}, or --video'
    )
  for path in _given_files():
    buckets.check_on_disk(path)
    if not os.path.isfile(path):
      raise ValueError(f'{path}: no such file')
  if _SIZE.value:
    command.parse_size(_SIZE.value)
  if _MESH.value:
    spread.parse_mesh(_MESH.value)
  if _GUIDANCE.value:
    parse_guidance(_GUIDANCE.value, num_frames=1, num_scales=1)
  if _streamed() and buckets.is_bucket(_OUT.value):
    raise ValueError(
      f'--out={_OUT.value}: wanted a path on a disk, where a file can grow '
      'while it is streamed; leave out --stream and --shots for a bucket'
    )
  files.output_folder(_OUT.value, inputs=(locate(_CHECKPOINT.value),))


def _streamed() -> bool:
  return _STREAM.value or _SHOTS.value != 1


def run() -> None:
  """Loads, samples, writes."""
  loaded = load_weights(_CHECKPOINT.value, expect='generator', ema=_EMA.value)
  count = len(spread.own(_count(loaded.config.get('classes', ()))))
  sizes = spread.parse_mesh(_MESH.value) if _MESH.value else None
  devices = spread.own_mesh(sizes, count=count)
  generator = sampler_lib.Generator.of(loaded, devices)
  if processes.is_first():
    command.note(
      f'{_CHECKPOINT.value}: generator of step {loaded.step}, '
      f'{mesh.count_parameters(generator.nets["transformer"])} parameters, '
      f'{len(generator.classes)} classes, on {spread.describe(devices)}'
    )
  wanted = chosen_videos(generator)
  sampling = generator.sampling(
    num_frames=_NUM_FRAMES.value,
    guidance=_GUIDANCE.value,
    temperature=_TEMPERATURE.value,
    top_p=_TOP_P.value,
    size=command.parse_size(_SIZE.value) if _SIZE.value else None,
    seed=_SEED.value,
    batch_size=_BATCH_SIZE.value,
    window=_WINDOW.value,
  )
  streamed = _streamed()
  check_memory(
    generator, sampling, count=count, streamed=streamed, kept=SHEET_VIDEOS
  )
  check_shots(generator, sampling, _SHOTS.value, _OVERLAP.value)
  given = given_bits(generator, sampling)
  output = make_output(loaded, wanted, sampling, given, streamed=streamed)
  output.check(_given_files())
  if streamed:
    program, write = VideoStream(generator, sampling), write_streams
  else:
    program, write = generator.program(sampling), write_videos
  with output.held(), output.playable():
    missing = output.begin()
    if output.written:
      there, own = len(output.written), len(missing) + len(output.written)
      command.note(f'{output.folder}: {there} of {own} are there already')
    write(output, missing, program, generator, sampling, given)
    spread.meet()
    if not streamed:
      output.end(fps=_FPS.value)
  if processes.is_first():
    print(f'{len(wanted)} videos written to {output.folder}')


def _count(classes: Sequence[str]) -> int:
  """How many videos are asked for, by what the flags say alone."""
  if _NUM_VIDEOS.value:
    return _NUM_VIDEOS.value
  several = len(classes) if _CLASS.value in (None, 'all') else 1
  return len(_PROMPT.value or ()) or several


def make_output(
  loaded: Loaded, wanted: Wanted, sampling, given, *, streamed: bool
) -> Output:
  """What is to be written, and all that decides it."""
  chosen = dataclasses.asdict(sampling)
  del chosen['batch_size']
  frames = sampling.num_frames
  if streamed:
    frames += (_SHOTS.value - 1) * (frames - _OVERLAP.value)
  about = {
    'step': loaded.step,
    'digest': loaded.digest,
    'tokenizer_digest': loaded.tokenizer.digests['autoencoder'],
    **chosen,
    'shots': _SHOTS.value,
    'overlap': _OVERLAP.value if _SHOTS.value != 1 else None,
    'fps': _FPS.value,
    'given': given and digest.tree_digest({'bits': dict(enumerate(given))}),
  }
  shape = (frames, *sampling.size, 3)
  return Output(epath.Path(_OUT.value), wanted, about, shape, streamed)


def _given_files() -> list[str]:
  return [path for path in (_IMAGE.value, _VIDEO.value) if path]


def given_bits(generator, sampling):
  """The bits of --image or --video; None without."""
  paths = _given_files()
  if not paths:
    return None
  sampler_lib.check_continues(generator.family)
  video = read_given(
    paths[0],
    generator.tokenizer,
    size=sampling.size,
    num_frames=sampling.num_frames,
    count=1 if _IMAGE.value else _GIVEN_FRAMES.value,
  )
  tokenizer = Codec(generator.tokenizer, generator.nets['autoencoder'])
  return tuple(tokenizer.encode(video))


def write_videos(
  output: Output, missing, program, generator, sampling, given
) -> None:
  """Samples batch by batch, and writes each video."""
  stream = sampler_lib.sample_videos(
    program,
    generator.nets,
    output.wanted.conditions_nx[missing],
    sampling=sampling,
    index_n=missing,
    given=given,
    mesh=generator.mesh,
  )
  stream = console.first_slow(stream, _COMPILING)
  for done, (index, video) in enumerate(zip(missing, stream, strict=True), 1):
    output.add(int(index), video, fps=_FPS.value)
    _progress(done, len(missing))


def write_streams(
  output: Output, missing, stream, generator, sampling, given
) -> None:
  """Writes frames as they are made; what is cut short can be played."""
  size = sampling.batch_size
  for first in range(0, len(missing), size):
    batch, frames = missing[first : first + size], 0
    with contextlib.ExitStack() as stack:
      writers = [
        stack.enter_context(
          media.Mp4Writer(output.path(index), fps=_FPS.value, live=True)
        )
        for index in batch.tolist()
      ]
      pieces = stream.shots(
        output.wanted.conditions_nx[batch],
        num_shots=_SHOTS.value,
        overlap=_OVERLAP.value,
        index_b=batch,
        given=given,
      )
      for video in console.first_slow(pieces, _COMPILING):
        for writer, part in zip(writers, video):
          writer.add(part)
        if not frames:
          output.written.extend(batch.tolist())
        frames += video.shape[1]
        _progress(frames, what='frames')


def chosen_videos(generator) -> Wanted:
  """What is asked for by --class, --prompt and --num_videos.

  Raises:
    ValueError: no such class, or a prompt that cannot be read.
  """
  if _PROMPT.value:
    return by_prompt(generator, _PROMPT.value, _NUM_VIDEOS.value)
  name = None if _CLASS.value == 'all' else _CLASS.value
  return by_class(generator, name, _NUM_VIDEOS.value)


def _progress(done: int, total: int | None = None, what: str = '') -> None:
  """One line per batch; on a terminal the line is rewritten."""
  if not processes.is_first():
    return
  tty = sys.stderr.isatty()
  if total is None:
    line, is_last = f'{done} {what}', False
    due = tty or done % 100 < 4
  else:
    line, is_last = f'{done}/{total}', done == total
    due = is_last or not done % _BATCH_SIZE.value
  if due:
    several = jax.process_count() > 1
    own = f' of process 0 of {jax.process_count()}' if several else ''
    line = f'sampled {line}{own} on {jax.default_backend()}'
    print(line, end='\r' if tty and not is_last else '\n', file=sys.stderr)
