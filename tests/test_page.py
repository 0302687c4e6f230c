"""The page's parts, without a browser: what is asked for, made and told."""

import base64
import shlex
import socket
import sys
import types

import jax
import numpy as np
import pytest
from tiny_runs import CLASSES, FRAMES, SIDE, runs  # noqa: F401

from videoar_jax import media
from videoar_jax.api.model import load
from videoar_jax.commands import demo as own_command
from videoar_jax.commands import sample as sample_command
from videoar_jax.core import command
from videoar_jax.page import form, serve, show
from videoar_jax.page.wish import MOST_FRAMES, Wish

pytestmark = pytest.mark.filterwarnings('ignore:Some donated buffers')


@pytest.fixture(scope='module')
def studio(runs):  # noqa: F811
  path = str(runs / 'generator')
  return form.Studio(load(path), path)


def parsed(line):
  """The flags of a shown command line, as the sampling command reads them."""
  words = shlex.split(line.replace('\\\n', ''))
  assert words[:3] == ['python', '-m', 'videoar_jax.sample']
  assert not command.parse(sample_command.FLAGS, words[2:])
  return {
    name: sample_command.FLAGS[name]
    for name in sample_command.FLAGS.values
    if sample_command.FLAGS.given(name)
  }


def test_the_command_line_says_what_the_fields_say():
  wish = Wish('an "odd" cat\'s $HOME', 7, 17.0, '1:5:10', 0.8)
  assert parsed(wish.command('zoo:a', is_prompt=True)) == {
    'checkpoint': 'zoo:a',
    'prompt': ['an "odd" cat\'s $HOME'],
    'seed': 7,
    'num_frames': 17,
    'guidance': '1:5:10',
    'temperature': 0.8,
    'out': 'samples',
  }
  wish = Wish('left', 4294967295, path='/tmp/x/a clip.mp4', given_frames='5')
  found = parsed(wish.command('runs/a b', is_prompt=False))
  assert found['class'] == 'left' and found['video'] == 'a clip.mp4'
  assert found['seed'] == 4294967295 and found['given_frames'] == 5
  found = parsed(Wish('left', 0, path='/tmp/x/a.png').command('a', is_prompt=0))
  assert found['image'] == 'a.png' and 'video' not in found


def test_a_line_of_the_command_fits_a_phone():
  line = Wish('OneHandWave', 123456789, 17, 'ucf', 1.0).command(
    'zoo:weizmann4', is_prompt=False
  )
  assert max(map(len, line.splitlines())) <= 40


def test_the_page_makes_what_the_command_makes(studio):
  wish = studio.first_wish()
  frames = np.stack(list(studio.model.stream(CLASSES[0], **wish.arguments())))
  video = studio.model.sample(CLASSES[0], seed=0)[0]
  assert frames.shape == (FRAMES, SIDE, SIDE, 3)
  # Two programs round differently.
  assert np.abs(frames.astype(int) - np.asarray(video)).max() <= 1


def test_frames_are_shown_while_they_are_made(studio):
  shown = list(studio.make(studio.first_wish()))
  assert len(shown) == FRAMES + 2 and shown[0][0] is None
  for i, (picture, words) in enumerate(shown[1:-1], 1):
    assert f'Frame {i} of {FRAMES}' in words and f'value="{i}"' in words
    assert 'data:image/webp' in picture
  picture, words = shown[-1]
  assert f'{FRAMES} frames of {SIDE}×{SIDE}' in words
  assert f'download="{CLASSES[0]}_0.webp"' in words
  assert f'download="{CLASSES[0]}_0.mp4"' in words


def test_a_closed_run_frees_its_memory(studio):
  list(studio.make(studio.first_wish()))

  def held():
    return sum(array.nbytes for array in jax.live_arrays())

  before = held()
  run = studio.make(studio.first_wish())
  next(run), next(run)
  assert held() > before
  run.close()
  assert held() == before


BAD = [
  ({'seed': None}, 'seed: it is empty'),
  ({'seed': 1.5}, 'seed=1.5: wanted a whole number'),
  ({'seed': float('inf')}, 'seed=inf: wanted a whole number'),
  ({'seed': -1}, 'seed=-1: wanted at least 0'),
  ({'seed': 2**32}, 'seed=4294967296: wanted at least 0 and at most'),
  ({'num_frames': 8}, 'num_frames=8: .*use 9'),
  ({'num_frames': 0}, 'num_frames=0'),
  ({'num_frames': MOST_FRAMES + 4}, 'shows at most 1001'),
  ({'guidance': 'strong'}, "guidance='strong': use a number above 0"),
  ({'temperature': -1}, 'temperature=-1'),
  ({'condition': 'lefty'}, 'did you mean left'),
  ({'given_frames': '5'}, 'goes with a video'),
  ({'given_frames': 'few', 'path': 'a.mp4'}, 'given_frames=few: wanted a whol'),
]


@pytest.mark.parametrize(('changes', 'said'), BAD)
def test_what_cannot_be_made_is_told_before_it_begins(studio, changes, said):
  values = {'condition': CLASSES[0], 'seed': 0, **changes}
  with pytest.raises(ValueError, match=said):
    list(studio.make(Wish(**values)))


def test_a_faulty_upload_is_told_by_its_own_name(studio, tmp_path):
  path = tmp_path / 'a.png'
  path.write_text('no picture')
  wish = Wish(CLASSES[0], 0, path=str(path))
  with pytest.raises(ValueError, match='unreadable') as raised:
    list(studio.make(wish))
  told = form.told(raised.value, wish)
  assert told.startswith('a.png: ') and str(tmp_path) not in told


def test_a_fault_of_the_program_shows_no_traceback(capsys):
  told = form.told(KeyError('inner'), Wish('left', 0))
  assert 'inner' not in told and 'fault of this program' in told
  assert 'KeyError' in capsys.readouterr().err


def test_a_video_that_is_saved_is_the_one_that_was_made(tmp_path):
  video = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), np.uint8)
  picture, links = show.video(video, 'noise', 'noise_0')
  assert 'aspect-ratio: 24 / 16' in picture
  path = tmp_path / 'noise.mp4'
  content = links.split('data:video/mp4;base64,')[1].split('"')[0]
  path.write_bytes(base64.b64decode(content))
  assert media.read_video(path).shape == video.shape


@pytest.mark.parametrize(
  'text', ['<b>bold</b>', '{{value}}', '${1 + 1}', '`', '" onload="x', '\udcff']
)
def test_text_of_a_visitor_is_text(text):
  for page in (show.note(text), show.fault(text), show.heading(text, text)):
    inner = page.split('<p>')[1].split('</p>')[0]
    assert not set(inner) & set('<{}$`"')
    page.encode()


def test_a_port_in_use_is_told():
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
    with pytest.raises(ValueError, match=f'--port={port}: .*in use'):
      serve.free_port('127.0.0.1', port)
  assert serve.free_port('127.0.0.1', port) == port
  with pytest.raises(ValueError, match='--host=192.0.2.1'):
    serve.free_port('192.0.2.1', None)


@pytest.mark.parametrize(
  ('words', 'status', 'said'),
  [
    ((), 2, '--checkpoint is missing'),
    (('--checkpoint=absent',), 1, 'absent'),
    (('--checkpoint=absent', '--port=65536'), 2, 'at most 65535'),
    (('--checkpoint=absent', 'more'), 2, 'unexpected argument: more'),
  ],
)
def test_the_command_refuses(monkeypatch, capsys, words, status, said):
  monkeypatch.setitem(sys.modules, 'gradio', types.SimpleNamespace(Blocks=0))
  found, text = run(words, capsys)
  assert found == status and said in text


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'gradio', None)
  status, said = run(['--checkpoint=absent'], capsys)
  assert status == 1
  assert said == (
    'error: the package gradio is not installed; run: pip install '
    "'videoar_jax[demo]'"
  )


def run(words, capsys):
  """Status of the demo command, and what it said."""
  try:
    status = command.run(own_command, ['demo', *words])
  except SystemExit as end:
    status = end.code
  said = capsys.readouterr().err
  return (1, status) if isinstance(status, str) else (status, said)
