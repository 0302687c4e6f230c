"""The tokenizer's command: what a user types, and what is refused."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import zipfile
from fractions import Fraction

import av
import disk
import jax
import numpy as np
import pytest
import tiny
from PIL import Image
from toy import compile_cache  # noqa: F401

from videoar_jax import media
from videoar_jax.commands import tokenizer as own_command
from videoar_jax.core import command
from videoar_jax.core.config import section
from videoar_jax.core.export import write_export
from videoar_jax.core.mesh import unbox
from videoar_jax.data import decode as decode_lib
from videoar_jax.data import transforms
from videoar_jax.tokenizer import token_file
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.stream import Codec
from videoar_jax.train.defaults import tokenizer_config

ROOT = pathlib.Path(__file__).parents[1]
# A latent frame is four frames, so that up to three wait.
CONFIG = tiny.dataclasses.replace(
  tiny.TOKENIZER,
  multipliers=(1, 2, 2),
  num_time_levels=2,
  scales=((1, 1), (2, 3)),
)
SIZE = (8, 12)
TOKENIZER = 'runs/ucf9/tokenizer'  # the page's


def make_video(frames, *, size=(32, 48)):
  """Squares of four pixels, which codecs keep well."""
  rng = np.random.default_rng(frames)
  small = rng.integers(0, 256, (frames, size[0] // 4, size[1] // 4, 3))
  return small.astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """The page's folder: a tokenizer's export, and videos."""
  root = tmp_path_factory.mktemp('root')
  model = make_tokenizer(CONFIG)
  blank = np.zeros((1, 5, *SIZE, 3), np.float32)
  shapes = unbox(jax.eval_shape(model.init, jax.random.key(0), blank)['params'])
  rng = np.random.default_rng(0)

  def draw(x):
    return (0.3 * rng.normal(size=x.shape)).astype(np.float32)

  config = tokenizer_config()
  config.tokenizer.update(section(CONFIG))
  params = jax.tree.map(draw, shapes)
  write_export(root / TOKENIZER, {'autoencoder': params}, config)
  media.write_mp4(root / 'clip.mp4', make_video(6), fps=10)
  (root / 'text.avi').write_text('no video')
  return root


@pytest.fixture
def run(root, tmp_path, monkeypatch, capsys):
  """run(*words) in an empty folder beside the page's: status, and words."""
  monkeypatch.chdir(tmp_path)
  for path in root.iterdir():
    os.symlink(path, tmp_path / path.name)

  def run(*words):
    words = [str(word) for word in words]
    try:
      status = command.run(own_command, ['tokenizer', *words])
    except SystemExit as end:
      status = end.code
    said = capsys.readouterr()
    text = f'{said.out}{said.err}'
    if isinstance(status, str):
      assert '\n' not in status
      text, status = f'{text}{status}', 1
    return status, text

  return run


def listing(folder):
  """The names in a folder that are not the page's."""
  return {p.name for p in folder.iterdir() if not p.is_symlink()}


def page_commands():
  """The words of docs/tokenizer.md's commands, after the command's name."""
  text = (ROOT / 'docs' / 'tokenizer.md').read_text().replace('\\\n', ' ')
  found = re.findall(r'^python -m videoar_jax\.tokenizer (.*)$', text, re.M)
  return [shlex.split(line) for line in found]


def check_coded(name, out):
  """Checks that a video is what the tokenizer makes of another; its bits."""
  tokenizer = Codec.load(TOKENIZER)
  video = np.stack(
    [transforms.fit_frame(x, *SIZE) for x in decode_lib.iterate_frames(name)]
  )
  bits = tokenizer.encode(video[None])
  fps = decode_lib.frame_rate(name).fps or 25
  wanted = tokenizer.decode(bits, num_frames=len(video))[0]
  media.write_mp4('wanted.mp4', wanted, fps=fps)
  found = media.read_video(out)
  assert len(found) == len(video)
  # libx264 does not always make the same file of the same frames: grey levels
  # differ by some, where those of another video are far off.
  apart = np.abs(found.astype(int) - media.read_video('wanted.mp4'))
  assert apart.mean() < 8
  assert decode_lib.frame_rate(out).fps == fps
  return bits


def check_round_trip(run, name):
  """Encodes and decodes a video as the page does; both must be exact."""
  encode, decode, _ = page_commands()
  encode[-2] = f'--video={name}'
  status, said = run(*encode)
  assert not status, said
  status, decoded = run(*decode)
  assert not status, decoded
  bits = check_coded(name, 'decoded.mp4')
  found = [
    np.concatenate(x, 1) for x in zip(*token_file.read_bits('clip.tokens'))
  ]
  for scale, wanted in zip(found, bits, strict=True):
    np.testing.assert_array_equal(scale, wanted)
  about = token_file.read_about('clip.tokens')
  assert f'frames {about.num_frames} of 8×12' in said
  assert f'decoded.mp4: {about.num_frames} frames' in decoded


def test_the_readme_shows_three_commands():
  actions = [words[0] for words in page_commands()]
  assert actions == ['encode', 'decode', 'reconstruct']


def test_every_length_is_coded_on_the_frame_grid_and_off_it(run):
  for frames in range(1, 21):
    media.write_mp4('short.mp4', make_video(frames))
    check_round_trip(run, 'short.mp4')


@pytest.mark.parametrize('frames', [5, 6])
def test_real_videos_are_coded(run, shared_dir, frames):
  folder = shared_dir / 'data' / 'ucf101_original' / 'Archery'
  real = media.read_video(folder / 'v_Archery_g01_c01.avi', max_frames=frames)
  media.write_mp4('real.mp4', real, fps=25)
  check_round_trip(run, 'real.mp4')


def test_a_picture_is_a_video_of_one_frame(run):
  Image.fromarray(make_video(1)[0]).save('picture.png')
  check_round_trip(run, 'picture.png')


@pytest.mark.parametrize('frames', [1, 6, 9])
def test_reconstruct_is_encode_and_decode(run, frames):
  """The page's command, on the grid and off it."""
  reconstruct = page_commands()[2]
  os.unlink('clip.mp4')
  media.write_mp4('clip.mp4', make_video(frames), fps=10)
  status, said = run(*reconstruct)
  assert not status, said
  latents = 1 + -(-(frames - 1) // 4)
  assert 'psnr' in said and f'bits {latents * 7 * 8}' in said
  check_coded('clip.mp4', 'decoded.mp4')


def test_the_command_as_a_process(root, tmp_path):
  encode = page_commands()[0]
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'videoar_jax.tokenizer', *encode[:-1]),
      f'--out={tmp_path}/clip.tokens',
    ],
    cwd=root,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert 'frames 6 of 8×12' in done.stdout and 'bits 168' in done.stdout


def test_help_shows_how_it_is_typed(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['tokenizer', '--help'])
  with pytest.raises(SystemExit) as end:
    command.launch('tokenizer')
  assert not end.value.code
  assert capsys.readouterr().out.count('--checkpoint=RUN') == 3


def test_an_uneven_rate_is_told(run):
  video = make_video(9)
  times = np.cumsum([0, 40, 40, 120, 40, 40, 200, 40, 40])
  with av.open('uneven.mkv', 'w') as container:
    stream = container.add_stream('ffv1', rate=25)
    stream.height, stream.width = video.shape[1:3]
    stream.codec_context.time_base = Fraction(1, 1000)
    for time, image in zip(times, video):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts, frame.time_base = int(time), Fraction(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  words = ('reconstruct', f'--checkpoint={TOKENIZER}', '--out=x.mp4')
  status, said = run(*words, '--video=uneven.mkv')
  assert not status and 'the frame rate varies' in said
  assert media.read_video('x.mp4').shape == (9, *SIZE, 3)


RUN = f'--checkpoint={TOKENIZER}'
ENCODE, DECODE = ('encode', RUN), ('decode', RUN)
RECONSTRUCT = ('reconstruct', RUN)
CLIP = '--video=clip.mp4'
IMPORT = ('import', f'--config={ROOT}/configs/tokenizer_ucf101.py')
BAD_LINES = [
  (('squeeze',), "not 'squeeze'"),
  ((), 'encode, decode, reconstruct'),
  (('encode', '--out=x'), '--checkpoint is missing'),
  ((*ENCODE, '--out=x'), '--video is missing'),
  ((*ENCODE, '--video=', '--out=x'), 'it is empty'),
  ((*ENCODE, CLIP, '--out=x', '--num_scales=1'), 'decode and reconstruct'),
  ((*IMPORT, '--out=x'), '--weights is missing'),
  ((*ENCODE, CLIP, '--out=x', 'more'), 'unexpected argument: more'),
  *(
    ((*RECONSTRUCT, CLIP, '--out=x.mp4', f'--fps={fps}'), words)
    for fps, words in (
      ('inf', 'finite'),
      ('nan', 'finite'),
      ('1e-9', 'at least 0.01'),
      ('-1', 'at least 0.01'),
      ('1e9', 'at most 1000'),
    )
  ),
]
BAD_INPUTS = [
  ((*ENCODE, CLIP, '--size=8', '--out=x'), 'HEIGHTxWIDTH'),
  ((*ENCODE, '--video=text.avi', '--out=x'), 'text.avi: unreadable'),
  ((*ENCODE, '--video=absent.mp4', '--out=x'), 'absent.mp4'),
  ((*DECODE, '--tokens=text.avi', '--out=x.mp4'), 'text.avi: not readable'),
  ((*DECODE, '--tokens=absent', '--out=x.mp4'), 'absent: no such file'),
  ((*RECONSTRUCT, CLIP, '--out=x.tokens'), 'must end in .mp4'),
  ((*ENCODE, CLIP, '--out=runs'), 'a folder'),
  ((*ENCODE, CLIP, '--out=text.avi/x'), 'no folder text.avi'),
  ((*ENCODE, CLIP, '--out=absent/x'), 'no folder absent'),
  ((*ENCODE, CLIP, '--out=/proc/x'), '/proc: '),
  ((*ENCODE, CLIP, '--out=/dev/null'), 'no plain file'),
  ((*ENCODE, CLIP, f'--out={TOKENIZER}/config.json'), 'which is read'),
  ((*IMPORT, '--weights=absent', '--out=x'), 'absent'),
  ((*IMPORT, '--weights=text.avi', '--out=x'), 'text.avi'),
  ((*IMPORT, '--weights=text.avi', '--out=text.avi'), 'text.avi: a file'),
  ((*IMPORT, '--weights=text.avi', '--out=/proc/x'), '/proc: '),
]


@pytest.mark.parametrize(('words', 'said'), BAD_LINES + BAD_INPUTS)
def test_what_needs_no_tokenizer_is_told_before_it_is_read(
  run, tmp_path, monkeypatch, words, said
):
  monkeypatch.setattr(Codec, 'load', lambda path: pytest.fail('loaded'))
  status, text = run(*words)
  assert status == (2 if (words, said) in BAD_LINES else 1)
  assert said in text and text.count('\n') <= 1
  assert not listing(tmp_path)


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    ((*ENCODE, CLIP, '--size=8x8', '--out=x'), '8×8: the finest scale'),
    ((*RECONSTRUCT, CLIP, '--num_scales=3', '--out=x.mp4'), 'use 1 to 2'),
  ],
)
def test_what_the_tokenizer_cannot_do_is_one_line(run, tmp_path, words, said):
  status, text = run(*words)
  assert status == 1 and said in text
  assert not listing(tmp_path)


@pytest.mark.parametrize('link', [None, os.symlink, os.link])
@pytest.mark.parametrize('action', [ENCODE, RECONSTRUCT])
def test_a_video_is_not_overwritten_by_its_reconstruction(
  run, tmp_path, action, link
):
  out = 'mine.mp4'
  media.write_mp4('mine.mp4', make_video(6))
  before = (tmp_path / 'mine.mp4').read_bytes()
  if link:
    link('mine.mp4', 'other.mp4')
    out = 'other.mp4'
  status, said = run(*action, '--video=mine.mp4', f'--out={out}')
  assert status == 1 and f'{out} is mine.mp4, which is read' in said
  assert (tmp_path / 'mine.mp4').read_bytes() == before


def test_tokens_are_not_overwritten_by_their_video(run, tmp_path):
  (tmp_path / 'a.mp4').write_text('tokens of any name')
  status, said = run(*DECODE, '--tokens=a.mp4', '--out=./a.mp4')
  assert status == 1 and 'which is read' in said
  assert (tmp_path / 'a.mp4').read_text() == 'tokens of any name'


def test_an_import_does_not_overwrite_its_weights(run, tmp_path):
  os.mkdir('export')
  path = tmp_path / 'export' / 'autoencoder.safetensors'
  path.write_text('weights')
  status, said = run(*IMPORT, f'--weights={path}', '--out=export')
  assert status == 1 and 'which is read' in said
  assert path.read_text() == 'weights'


@pytest.fixture
def tokens(run, tmp_path):
  """A token file and an older result of each name that is written."""
  assert not run(*ENCODE, CLIP, '--out=a.tokens')[0]
  for name in ('x', 'x.mp4'):
    (tmp_path / name).write_text('older')
  return 'a.tokens'


def writing(tokens):
  """The three commands that write a file."""
  return (
    (*ENCODE, CLIP, '--out=x'),
    (*DECODE, f'--tokens={tokens}', '--out=x.mp4'),
    (*RECONSTRUCT, CLIP, '--out=x.mp4'),
  )


@pytest.mark.parametrize('error', [KeyboardInterrupt(), ValueError('bad')])
def test_what_is_cut_short_leaves_what_was_there(
  run, tmp_path, tokens, monkeypatch, error
):
  def fail(*_, **__):
    raise error

  monkeypatch.setattr(Codec, 'finish_encoding', fail)
  monkeypatch.setattr(media.Mp4Writer, '_told', fail)
  for words in writing(tokens):
    status, said = run(*words)
    assert status == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert 'stopped' in said or 'bad' in said
    assert listing(tmp_path) == {'a.tokens', 'x', 'x.mp4'}
    assert (tmp_path / words[-1][6:]).read_text() == 'older'


def test_a_full_disk_is_one_line_that_names_the_file(run, tmp_path, tokens):
  for words in writing(tokens):
    with disk.full(100):
      status, said = run(*words)
    name = words[-1].removeprefix('--out=')
    assert status == 1 and f'error: {name}: the file may not grow' in said
    assert listing(tmp_path) == {'a.tokens', 'x', 'x.mp4'}
    assert (tmp_path / name).read_text() == 'older'


def test_tokens_that_this_tokenizer_does_not_write_are_refused(run, tmp_path):
  assert not run(*ENCODE, CLIP, '--out=a.tokens')[0]
  about = token_file.read_about('a.tokens')
  for change, words in (
    ({'num_frames': 999}, 'num_frames=999: 3 latent frames hold 6 to 9'),
    ({'digest': 'other'}, 'made with another tokenizer'),
    ({'latent_width': 4}, 'latent_width=4: the tokenizer has 8'),
  ):
    values = {**tiny.dataclasses.asdict(about), **change}
    values['format'] = token_file.FORMAT
    with zipfile.ZipFile('b.tokens', 'w') as file:
      file.writestr('about.json', json.dumps(values))
      file.writestr('bits/000000', bytes(21))
    status, said = run(*DECODE, '--tokens=b.tokens', '--out=x.mp4')
    assert status == 1 and words in said
    assert listing(tmp_path) == {'a.tokens', 'b.tokens'}


def test_a_rate_that_no_file_can_state_asks_for_another(run, monkeypatch):
  monkeypatch.setattr(
    decode_lib, 'frame_rate', lambda path: decode_lib.FrameRate(90_000.0)
  )
  status, said = run(*ENCODE, CLIP, '--out=x')
  assert status == 1 and 'clip.mp4 states fps=90000.0' in said
  assert not run(*ENCODE, CLIP, '--out=x', '--fps=30')[0]
  assert token_file.read_about('x').fps == 30
