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
stays there, and is named. Cut short, it says how many videos can be played.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from videoar_jax import media
from videoar_jax.core import (
  cache,
  command,
  console,
  files,
  lock,
  mesh,
  start,
)
from videoar_jax.core.export import load_weights, locate
from videoar_jax.data import pictures
from videoar_jax.data.prompts import check_prompt
from videoar_jax.rollout.guidance import parse_guidance
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.sample.given import read_given
from videoar_jax.sample.memory import check_memory
from videoar_jax.sample.streaming import VideoStream, check_shots
from videoar_jax.sample.wanted import (
  MOST_VIDEOS,
  Wanted,
  by_class,
  by_prompt,
)
from videoar_jax.tokenizer.stream import Codec

FLAGS = command.Flags()
start.define_flags(FLAGS)

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
  'temperature',
  None,
  "Of the bits; 0: likeliest; default: the config's.",
  least=0,
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
  'seed',
  0,
  'Decides each sample with its index.',
  int,
  least=0,
  most=2**32 - 1,
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
_STREAM = FLAGS.switch('stream', False, 'Write frames as they are made.')
_SHOTS = FLAGS.count('shots', 1, 'Shots of a video; streamed.')
_OVERLAP = FLAGS.count('overlap', 5, 'Frames that two shots share.')
_OUT = FLAGS.text('out', None, 'The folder to write.')
_EMA = FLAGS.switch('ema', True, 'Averaged weights, or the last ones.')

_SET = ('samples.npz', 'grid.gif', 'grid.webp', 'grid.png')
_OWN = re.compile(r'[0-9]{5,}(_.*)?\.mp4')  # names of videos
_COMPILING = 'compiling and sampling the first videos'
_SHEET_VIDEOS = 64  # more than these do not fit a picture
_NAME_LENGTH = 40  # of a class or prompt, in names of files and pictures


def main(words: list[str]) -> None:
  cache.keep_programs()
  command.check_arguments(words, (_CHECKPOINT, _OUT))
  check_flags()
  with start.together(FLAGS):
    run()


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
    if not os.path.isfile(path):
      raise ValueError(f'{path}: no such file')
  if _SIZE.value:
    command.parse_size(_SIZE.value)
  if _GUIDANCE.value:
    parse_guidance(_GUIDANCE.value, num_frames=1, num_scales=1)
  if '://' in _OUT.value:
    raise ValueError(f'--out={_OUT.value}: videos go to a local folder alone')
  files.output_folder(_OUT.value, inputs=(locate(_CHECKPOINT.value),))


def run() -> None:
  """Loads, samples, writes."""
  loaded = load_weights(_CHECKPOINT.value, expect='generator', ema=_EMA.value)
  generator = sampler_lib.Generator.of(loaded)
  command.note(
    f'{_CHECKPOINT.value}: generator of step {loaded.step}, '
    f'{mesh.count_parameters(generator.nets["transformer"])} parameters, '
    f'{len(generator.classes)} classes, on {mesh.describe()}'
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
  streamed = _STREAM.value or _SHOTS.value != 1
  check_memory(generator, sampling, count=len(wanted), streamed=streamed)
  check_shots(generator, sampling, _SHOTS.value, _OVERLAP.value)
  out = pathlib.Path(_OUT.value)
  output = Output(out, wanted)
  check_names(output, () if streamed else _SET)
  if streamed:
    program, write = VideoStream(generator, sampling), write_streams
  else:
    program, write = generator.program(sampling), write_videos
  given = given_bits(generator, sampling)
  with lock.hold(out, what='sample'), playable(output):
    write(output, program, generator, sampling, given)
  print(f'{len(wanted)} videos written to {out}')


def check_names(output: 'Output', others: Sequence[str]) -> None:
  """Refuses to write over what is read, and tells what stays in the folder."""
  out, names = output.folder, {*output.names, *others}
  for name in sorted(names):
    files.check_replaceable(out / name, inputs=_given_files())
  old = sorted(
    path.name
    for path in (out.iterdir() if out.exists() else ())
    if (_OWN.fullmatch(path.name) or path.name in _SET)
    and path.name not in names
  )
  if old:
    more = ', …' if len(old) > 3 else ''
    command.note(
      f'{out}: {len(old)} files of another run stay beside the new ones: '
      f'{", ".join(old[:3])}{more}'
    )


@contextlib.contextmanager
def playable(output: 'Output') -> Iterator[None]:
  """After an error or Ctrl-C, tells which videos can be played by then."""
  try:
    yield
  except BaseException:
    written, wanted = len(output.written), len(output.wanted)
    command.note(f'{written} of {wanted} videos can be played')
    raise


def _given_files() -> list[str]:
  return [path for path in (_IMAGE.value, _VIDEO.value) if path]


@dataclasses.dataclass(frozen=True)
class Output:
  """What is written.

  Attributes:
    folder: to write to.
    wanted: the videos.
    written: files of those that can be played by now.
  """

  folder: pathlib.Path
  wanted: Wanted
  written: list[str] = dataclasses.field(default_factory=list)

  @property
  def names(self) -> list[str]:
    """Names of the videos' files."""
    return [_file_name(i, name) for i, name in enumerate(self.wanted.names)]


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


def write_videos(output: Output, program, generator, sampling, given) -> None:
  """Samples batch by batch, and writes each video and the set of them."""
  wanted, videos = output.wanted, []
  stream = sampler_lib.sample_videos(
    program,
    generator.nets,
    wanted.conditions_nx,
    sampling=sampling,
    given=given,
  )
  stream = console.first_slow(stream, _COMPILING)
  for name, video in zip(output.names, stream, strict=True):
    media.write_mp4(output.folder / name, video, fps=_FPS.value)
    output.written.append(name)
    videos.append(video)
    _progress(len(videos), len(wanted))
  write_set(output.folder, np.stack(videos), wanted)


def write_streams(output: Output, stream, generator, sampling, given) -> None:
  """Writes frames as they are made; what is cut short can be played."""
  wanted = output.wanted
  for begin in range(0, len(wanted), sampling.batch_size):
    batch = slice(begin, begin + sampling.batch_size)
    names, frames = output.names[batch], 0
    with contextlib.ExitStack() as stack:
      writers = [
        stack.enter_context(
          media.Mp4Writer(output.folder / name, fps=_FPS.value, live=True)
        )
        for name in names
      ]
      pieces = stream.shots(
        wanted.conditions_nx[batch],
        num_shots=_SHOTS.value,
        overlap=_OVERLAP.value,
        first_index=begin,
        given=given,
      )
      for video in console.first_slow(pieces, _COMPILING):
        for writer, part in zip(writers, video):
          writer.add(part)
        if not frames:
          output.written.extend(names)
        frames += video.shape[1]
        _progress(frames, what='frames')


def _file_name(index: int, name: str) -> str:
  words = re.sub(r'\W+', '_', name).strip('_')[:_NAME_LENGTH]
  return f'{index:05d}{"_" if words else ""}{words}.mp4'


def chosen_videos(generator) -> Wanted:
  """What is asked for by --class, --prompt and --num_videos.

  Raises:
    ValueError: no such class, or a prompt that cannot be read.
  """
  if _PROMPT.value:
    return by_prompt(generator, _PROMPT.value, _NUM_VIDEOS.value)
  name = None if _CLASS.value == 'all' else _CLASS.value
  return by_class(generator, name, _NUM_VIDEOS.value)


def write_set(out: pathlib.Path, videos_nTHWc, wanted: Wanted) -> None:
  """Writes samples.npz and the labelled grid."""
  with files.replacing(out / 'samples.npz') as partial:
    np.savez_compressed(partial, videos=videos_nTHWc, **wanted.facts)
  shown = videos_nTHWc[:_SHEET_VIDEOS]
  names = [name[:_NAME_LENGTH] for name in wanted.names[: len(shown)]]
  columns = min(8, len(shown))
  grid = media.labelled_grid(shown, names, columns=columns)
  media.write_gif(out / 'grid.gif', grid, fps=_FPS.value)
  media.write_webp(out / 'grid.webp', grid, fps=_FPS.value)
  media.write_contact_sheet(out / 'grid.png', shown, labels=names)


def _progress(done: int, total: int | None = None, what: str = '') -> None:
  """One line per batch; on a terminal the line is rewritten."""
  tty = sys.stderr.isatty()
  if total is None:
    line, is_last = f'{done} {what}', False
    due = tty or done % 100 < 4
  else:
    line, is_last = f'{done}/{total}', done == total
    due = is_last or not done % _BATCH_SIZE.value
  if due:
    line = f'sampled {line} on {jax.default_backend()}'
    print(line, end='\r' if tty and not is_last else '\n', file=sys.stderr)
