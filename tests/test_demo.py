"""The page in a browser: opened, clicked through, stopped, by two at once."""

import contextlib
import dataclasses
import importlib.util
import re
import socket
import threading

import jax
import numpy as np
import pytest
from browser import PHONE, WIDE, browser, fits  # noqa: F401
from PIL import Image
from processes import wait_for
from tiny_runs import CLASSES, FRAMES, SIDE, runs  # noqa: F401

from videoar_jax import media
from videoar_jax.api.model import load
from videoar_jax.page import form, serve

pytestmark = pytest.mark.filterwarnings('ignore')  # of Gradio's own code
PAUSE_S = 3
FRAME = re.compile(f'Frame [1-9] of {FRAMES}')


@dataclasses.dataclass
class Slow:
  """A generator that waits after each frame, so that it can be seen.

  Attributes:
    model: the generator.
    hurry: set, it does not wait.
    made: frames in all.
    running: videos that are being made.
    most: as many as there were at a time.
  """

  model: object
  hurry: threading.Event = dataclasses.field(default_factory=threading.Event)
  made: int = 0
  running: int = 0
  most: int = 0

  def __getattr__(self, name):
    return getattr(self.model, name)

  def stream(self, condition, **options):
    frames = self.model.stream(condition, **options)

    def slowed():
      self.running += 1
      self.most = max(self.most, self.running)
      try:
        for frame in frames:
          self.made += 1
          yield frame
          self.hurry.wait(PAUSE_S)
      finally:
        frames.close()
        self.running -= 1

    return slowed()


@pytest.fixture(scope='module')
def slow(runs):  # noqa: F811
  slow = Slow(load(runs / 'generator'))
  slow.hurry.set()
  return slow


@pytest.fixture(scope='module')
def address(slow):
  """Where the page is served; by what asks for no other machine."""
  if importlib.util.find_spec('gradio') is None:
    pytest.skip("no gradio; pip install 'videoar_jax[demo]'")
  look_up, asked = socket.getaddrinfo, []

  def recorded(host, *arguments, **options):
    asked.append(host)
    return look_up(host, *arguments, **options)

  studio = form.Studio(slow, 'runs/generator')
  port = serve.free_port('127.0.0.1', None)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(socket, 'getaddrinfo', recorded)
    for name in ('GRADIO_TEMP_DIR', *serve.SWITCHES):
      patch.setenv(name, '')
    with serve.serving(studio, host='127.0.0.1', port=port) as address:
      yield address
  assert set(asked) <= {'127.0.0.1', 'localhost', None}


@pytest.fixture
def visit(address, browser):  # noqa: F811
  """visit(**options): a visitor's page, ready to be clicked."""

  @contextlib.contextmanager
  def visit(**options):
    with browser.visit(address, **options) as page:
      page.wait_for_selector('#sample')
      yield page

  return visit


def choose(page, name):
  page.click(f'#condition label:has-text("{name}")')


def held():
  """Bytes that arrays hold."""
  return sum(array.nbytes for array in jax.live_arrays())


def seen(page, text):
  """Waits for words below the video."""
  page.locator('#words', has_text=text).wait_for()


def test_frames_appear_then_a_video_and_its_command(visit, slow):
  with visit() as page:
    first = page.get_attribute('.screen img', 'src')
    assert f'{FRAMES} frames of' in page.inner_text('#words')
    choose(page, CLASSES[2])
    page.fill('#seed input', '7')
    slow.hurry.clear()
    page.click('#sample')
    seen(page, FRAME)
    frame = page.get_attribute('.screen img', 'src')
    assert frame.startswith('data:image/webp') and frame != first
    assert not page.is_enabled('#sample') and page.is_enabled('#stop')
    slow.hurry.set()
    seen(page, f'{FRAMES} frames of {SIDE}×{SIDE}')
    assert page.get_attribute('.screen img', 'src') not in (first, frame)
    line = page.input_value('#command textarea')
    assert f'--class={CLASSES[2]}' in line and '--seed=7' in line
    page.wait_for_selector('#sample:enabled')
    assert not page.is_enabled('#stop')
    with page.expect_download() as download:
      page.click('text=MP4')
    assert download.value.suggested_filename == f'{CLASSES[2]}_7.mp4'
    assert len(media.read_video(download.value.path())) == FRAMES
    page.click('#new-seed')
    wait_for(lambda: page.input_value('#seed input') != '7', 'another seed')


@pytest.mark.parametrize('how', ['stop', 'leave'])
def test_a_run_that_is_given_up_frees_its_memory(visit, slow, how):
  before, slow.made = held(), 0
  with visit(size=PHONE) as page:
    slow.hurry.clear()
    page.click('#sample')
    seen(page, FRAME)
    assert held() > before
    if how == 'stop':
      page.click('#stop')
      seen(page, 'Stopped.')
      page.wait_for_selector('#sample:enabled')
      wait_for(lambda: held() == before, 'freeing the memory')
  wait_for(lambda: held() == before, 'freeing the memory')
  assert slow.made < FRAMES and not slow.running


def test_bad_input_is_told_as_commands_tell_it(visit, capfd):
  with visit() as page:
    page.click('text=Guidance and temperature')
    for field, text, said in (
      ('#frames input', '8', 'num_frames=8: the tokenizer needs 1 + 4k'),
      ('#seed input', '-1', 'seed=-1: wanted at least 0'),
      ('#guidance textarea', '{{7}}<b>${7}', "guidance='{{7}}<b>${7}': use a"),
    ):
      before = page.input_value(field)
      page.fill(field, text)
      page.click('#sample')
      seen(page, said)
      assert page.is_visible('#words [role=alert]')
      page.wait_for_selector('#sample:enabled')
      page.fill(field, before)
    assert 'Traceback' not in page.content()
  assert 'Traceback' not in capfd.readouterr().err


def test_two_visitors_at_once_get_what_each_asked_for(visit, slow):
  slow.most = 0
  with visit() as one, visit(size=PHONE) as two:
    pairs = (one, CLASSES[0]), (two, CLASSES[1])
    slow.hurry.clear()
    for page, name in pairs:
      choose(page, name)
      page.click('#sample')
    for page, _ in pairs:
      seen(page, FRAME)
    slow.hurry.set()
    for page, name in pairs:
      seen(page, f'{FRAMES} frames of')
      about = page.get_attribute('.screen img', 'alt')
      assert about == f'{name}, seed 0'
  assert slow.most == 2


def test_a_picture_is_gone_on_from(visit, slow, tmp_path):
  path = tmp_path / 'my first.png'
  pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
  Image.fromarray(pixels).save(path)
  with visit(size=PHONE) as page:
    page.click('text=Go on from a picture or a video')
    page.set_input_files('#upload input[type=file]', path)
    page.wait_for_selector('#upload >> text=.png')
    slow.hurry.clear()
    page.click('#sample')
    seen(page, FRAME)
    slow.hurry.set()
    seen(page, f'{FRAMES} frames of')
    assert "'--image=my first.png'" in page.input_value('#command textarea')


@pytest.mark.parametrize('size', [WIDE, PHONE])
def test_the_video_is_seen_first_and_all_fits(visit, size):
  with visit(size=size) as page:
    assert fits(page)
    video, button = (
      page.locator(name).bounding_box() for name in ('.screen', '#sample')
    )
    assert video['y'] < 150 and video['width'] > 350
    assert button['y'] + button['height'] < size[1]
    beside = button['x'] > video['x'] + video['width']
    assert beside == (size == WIDE)
