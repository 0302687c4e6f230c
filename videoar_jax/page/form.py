"""The page: its fields, and what its buttons do."""

import contextlib
import dataclasses
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

from videoar_jax import media
from videoar_jax.api.model import Model
from videoar_jax.core import command
from videoar_jax.core.lazy import Lazy
from videoar_jax.data import pictures
from videoar_jax.page import show
from videoar_jax.page.style import CSS
from videoar_jax.page.wish import Wish

gr = Lazy('gradio', extra='demo')

AT_ONCE = 2  # videos that are made at a time; who comes later waits
_WAITING = 20  # visitors at most that wait
_RADIO = 8  # classes that are shown side by side; more are a list
_RANDOM_SEED = '() => Math.floor(Math.random() * 4294967296)'
_FAULT = 'a fault of this program; its terminal tells where'


@dataclasses.dataclass(frozen=True)
class Studio:
  """A generator behind a page.

  Attributes:
    model: the generator.
    checkpoint: what it was loaded from, as `--checkpoint` takes it.
  """

  model: Model
  checkpoint: str

  def first_wish(self) -> Wish:
    """What the page is opened with: as the generator was trained."""
    sampling = self.model.generator.sampling()
    return Wish(
      condition=self.model.classes[0] if self.model.classes else '',
      seed=0,
      num_frames=sampling.num_frames,
      guidance=sampling.guidance,
      temperature=sampling.temperature,
    )

  def command(self, wish: Wish) -> str:
    """See `Wish.command`."""
    is_prompt = (
      self.model.reads_text and wish.condition not in self.model.classes
    )
    return wish.command(self.checkpoint, is_prompt=is_prompt)

  def make(self, wish: Wish) -> Iterator[tuple[str | None, str]]:
    """Makes a video, and frees what it took if it is closed before its end.

    Yields:
      HTML of the picture, None where it stays, and of the words below it.

    Raises:
      ValueError: what was asked for cannot be made.
    """
    arguments = wish.arguments()
    total = arguments['num_frames'] or self.model.num_frames
    yield None, show.note('The first frame is on its way …')
    begin, frames = time.monotonic(), []
    stream = self.model.stream(wish.condition, **arguments)
    with contextlib.closing(stream):
      for frame in stream:
        frames.append(frame)
        text = f'Frame {len(frames)} of {total}'
        yield (
          show.frame(frame, f'{wish.condition}: {text}'),
          show.progress(text, done=len(frames), total=total),
        )
    duration_s = time.monotonic() - begin
    height, width = frames[0].shape[:2]
    picture, links = show.video(
      np.stack(frames), f'{wish.condition}, seed {wish.seed}', _name(wish)
    )
    text = f'{len(frames)} frames of {height}×{width} in {duration_s:.2f} s'
    yield picture, show.note(text, after=links)

  def answer(self, *values: Any) -> Iterator[tuple]:
    """Makes what the fields ask for, and tells what is wrong with them.

    Args:
      *values: of the page's fields, in the order of `Wish`.
    Yields:
      Values of picture, words, command, and of the buttons.
    """
    wish = Wish(*values)
    line, picture, words = self.command(wish), None, ''
    try:
      for picture, words in self.make(wish):
        yield _kept(picture), words, line, *_buttons(running=True)
      last = _kept(picture), words
    except Exception as error:
      last = _kept(None), show.fault(told(error, wish))
    yield *last, line, *_buttons(running=False)


def make_page(studio: Studio, first: tuple[str, str]) -> Any:
  """The page.

  Args:
    studio: what makes its videos.
    first: HTML of the picture and words that it is opened with.
  Returns:
    Gradio's Blocks, ready to be launched.
  """
  wish = studio.first_wish()
  with gr.Blocks(title='VideoAR', analytics_enabled=False) as page:
    gr.HTML(show.heading('VideoAR', _about(studio)))
    with gr.Row(equal_height=False, elem_id='columns'):
      with gr.Column(min_width=300, elem_id='video'):
        picture = gr.HTML(first[0], elem_id='picture')
        words = gr.HTML(first[1], elem_id='words')
      with gr.Column(min_width=300, elem_id='form'):
        condition = _condition(studio.model, wish)
        with gr.Row(elem_id='buttons'):
          sample = gr.Button('Sample', variant='primary', elem_id='sample')
          stop = gr.Button('Stop', interactive=False, elem_id='stop')
        inputs = [condition, *_settings(wish), *_beginning()]
        line = gr.Textbox(
          studio.command(wish),
          label='The same on the command line',
          lines=2,
          interactive=False,
          buttons=['copy'],
          elem_id='command',
        )
    outputs = [picture, words, line, sample, stop]
    _connect(studio, inputs, outputs)
  return page.queue(max_size=_WAITING)


def told(error: Exception, wish: Wish) -> str:
  """What a visitor is told of an error; one of this program is printed, too."""
  text = command.describe(error)
  if text is None:
    traceback.print_exception(error, file=sys.stderr)
    return _FAULT
  if wish.path:  # a name that this server gave
    text = text.replace(wish.path, os.path.basename(wish.path))
  return text


def look() -> dict[str, Any]:
  """Theme and style, as `launch` takes them; fonts are the system's."""
  theme = gr.themes.Base(
    primary_hue='blue',
    neutral_hue='gray',
    radius_size='md',
    font=['system-ui', 'sans-serif'],
    font_mono=['ui-monospace', 'monospace'],
  )
  return {'theme': theme, 'css': CSS}


def _connect(studio: Studio, inputs: list, outputs: list) -> None:
  """What the buttons do."""
  _, words, _, sample, stop = outputs
  hidden = {'show_progress': 'hidden', 'api_visibility': 'private'}
  triggers = [sample.click]
  if studio.model.reads_text:
    triggers.append(inputs[0].submit)
  begun = gr.on(
    triggers,
    lambda: (show.note('Waiting for a turn …'), *_buttons(running=True)),
    outputs=[words, sample, stop],
    queue=False,
    **hidden,
  )
  running = begun.then(
    studio.answer, inputs, outputs, concurrency_limit=AT_ONCE, **hidden
  )
  stop.click(
    lambda: (show.note('Stopped.'), *_buttons(running=False)),
    outputs=[words, sample, stop],
    cancels=[running],
    queue=False,
    **hidden,
  )


def _condition(model: Model, wish: Wish) -> Any:
  """The field of the class or the prompt."""
  if model.reads_text:
    known = ', '.join(model.classes[:_RADIO])
    return gr.Textbox(
      wish.condition,
      label='Prompt',
      info=known and f'A sentence, or the name of a class: {known}',
      elem_id='condition',
    )
  kind = gr.Radio if len(model.classes) <= _RADIO else gr.Dropdown
  return kind(
    list(model.classes),
    value=wish.condition,
    label='Class',
    elem_id='condition',
  )


def _settings(wish: Wish) -> list:
  """Fields of seed, frames, guidance and temperature."""
  with gr.Row(elem_id='pair'):
    seed = gr.Number(wish.seed, label='Seed', min_width=120, elem_id='seed')
    frames = gr.Number(
      wish.num_frames, label='Frames', min_width=120, elem_id='frames'
    )
  new_seed = gr.Button('Another seed', size='sm', elem_id='new-seed')
  new_seed.click(None, outputs=seed, js=_RANDOM_SEED)
  with gr.Accordion('Guidance and temperature', open=False):
    guidance = gr.Textbox(
      wish.guidance,
      label='Guidance',
      info='How closely it keeps to the class or prompt: 1 leaves it alone; '
      'or ucf, text, or start:end:within',
      elem_id='guidance',
    )
    temperature = gr.Number(
      wish.temperature,
      label='Temperature',
      info='0 takes the likeliest, 1 draws as it was trained',
      step=0.1,
      elem_id='temperature',
    )
  return [seed, frames, guidance, temperature]


def _beginning() -> list:
  """Fields of what a video goes on from."""
  with gr.Accordion('Go on from a picture or a video', open=False):
    upload = gr.File(
      label='Picture or video',
      file_types=[*pictures.SUFFIXES, *media.VIDEO_SUFFIXES],
      height=120,
      elem_id='upload',
    )
    given = gr.Textbox(
      label='Last frames of the video to keep',
      placeholder='all',
      elem_id='given',
    )
  return [upload, given]


def _about(studio: Studio) -> str:
  height, width = studio.model.size
  return f'{studio.checkpoint} · {width}×{height}'


def _buttons(*, running: bool) -> tuple:
  """Values of the buttons Sample and Stop."""
  return gr.Button(interactive=not running), gr.Button(interactive=running)


def _kept(picture: str | None) -> Any:
  return gr.skip() if picture is None else picture


def _name(wish: Wish) -> str:
  """Name of the files that a video is saved as."""
  words = re.sub(r'\W+', '_', wish.condition or '').strip('_')[:40]
  return f'{words or "video"}_{wish.seed:.0f}'
