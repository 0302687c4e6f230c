"""The sampling command: its files, what is refused, and how it ends."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import types

import disk
import jax
import numpy as np
import pytest
from shell import ROOT
from tiny_runs import CLASSES, FRAMES, SIDE, runs  # noqa: F401
from toy import compile_cache  # noqa: F401

from videoar_jax import media
from videoar_jax.commands import sample as own_command
from videoar_jax.core import archive, command, lock
from videoar_jax.sample import output, sampler
from videoar_jax.sample.streaming import VideoStream

pytestmark = pytest.mark.filterwarnings('ignore:Some donated buffers')
SET = {'samples.json', 'samples.npz', 'grid.gif', 'grid.webp', 'grid.png'}

ABOUT = {'samples.json', '.samples'}


def noise(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def run(runs, tmp_path, monkeypatch, capsys):  # noqa: F811
  """run(*words) in an empty folder: status, and all that was said."""
  monkeypatch.chdir(tmp_path)
  os.symlink(runs / 'generator', 'generator')

  def run(*words):
    line = ['sample', '--checkpoint=generator', '--out=out', *words]
    try:
      status = command.run(own_command, line)
    except SystemExit as end:
      status = end.code
    said = capsys.readouterr()
    text = f'{said.out}{said.err}'
    if isinstance(status, str):
      assert '\n' not in status
      text, status = f'{text}{status}', 1
    return status, text

  return run


@pytest.fixture
def made_up(monkeypatch):
  """Noise in place of sampled videos; gives the indices asked for."""

  asked = []

  def sample_videos(program, nets, conditions_nx, *, index_n, **_):
    asked.append(index_n.tolist())
    for i in index_n:
      yield noise(FRAMES, SIDE, SIDE, 3, seed=i)

  def shots(self, condition_bx, *, index_b, **_):
    asked.append(index_b.tolist())
    for i in range(FRAMES):
      yield noise(len(condition_bx), 1, SIDE, SIDE, 3, seed=i)

  monkeypatch.setattr(sampler, 'sample_videos', sample_videos)
  monkeypatch.setattr(VideoStream, 'shots', shots)
  monkeypatch.setattr(own_command, 'given_bits', lambda *_: None)
  return asked


def videos(count):
  return {f'{i:05d}_{CLASSES[i]}.mp4' for i in range(count)}


def listing(folder='out'):
  return set(os.listdir(folder)) if os.path.isdir(folder) else set()


def test_videos_and_their_set_are_written(run, made_up):
  status, said = run('--num_videos=3')
  assert not status and '3 videos written to out' in said
  names = {f'{i:05d}_{CLASSES[i]}.mp4' for i in range(3)}
  assert listing() == names | SET
  with np.load('out/samples.npz') as file:
    assert file['videos'].shape == (3, FRAMES, SIDE, SIDE, 3)
    assert file['labels'].tolist() == [0, 1, 2]
  assert media.read_video(f'out/00002_{CLASSES[2]}.mp4').shape[0] == FRAMES
  assert not run('--num_videos=3', '--stream')[0]
  assert listing() == names | SET


def test_the_command_samples(run):
  """With the programs that test_streaming.py compiles, too."""
  for words in ((), ('--stream',)):
    status, said = run('--num_videos=2', '--guidance=2', *words)
    assert not status, said
    assert 'sampled' in said
  videos = [media.read_video(f'out/{name}') for name in sorted(listing() - SET)]
  assert [len(video) for video in videos] == [FRAMES, FRAMES]


BAD_LINES = [
  (('--image=a.png', '--video=b.mp4'), 'one of both'),
  (('--given_frames=5',), '--given_frames goes with --video'),
  (('--overlap=5',), '--overlap goes with --shots'),
  (('--class=left', '--prompt=a cat'), 'one of both'),
  (('--class=',), 'it is empty'),
  (('--image=',), 'it is empty'),
  (('--num_videos=0',), 'num_videos=0'),
  (('--num_videos=1000000000000',), 'at most 1000000'),
  (('--num_videos=1.5',), 'a whole number'),
  (('--batch_size=-1',), 'batch_size=-1'),
  (('--window=0',), 'window=0'),
  (('--shots=0',), 'shots=0'),
  (('--num_frames=-5',), 'num_frames=-5'),
  ((f'--num_frames={10**400}',), 'below 2**63'),
  (('--seed=-5',), 'seed=-5'),
  (('--seed=4294967296',), 'at most 4294967295'),
  (('--fps=inf',), 'finite'),
  (('--fps=1e-9',), 'at least 0.01'),
  (('--fps=-1',), 'at least 0.01'),
  (('--temperature=-1',), 'temperature=-1'),
  (('--top_p=0.2',), 'top_p=0.2'),
  (('more',), 'unexpected argument: more'),
]
BAD_INPUTS = [
  (('--image=text.txt',), 'not the name of a picture'),
  (('--image=absent.png',), 'absent.png: no such file'),
  (('--video=absent.mp4',), 'absent.mp4: no such file'),
  (('--prompt=\udcff',), 'is no text'),
  (('--prompt=a cat\0',), 'is no text'),
  (('--prompt=a cat', '--prompt= '), 'is empty'),
  ((f'--prompt={"cat " * 250_000}',), '999999 characters'),
  (('--size=big',), 'HEIGHTxWIDTH'),
  (('--guidance=strong',), "guidance='strong'"),
  (('--out=text.txt',), 'a file'),
  (('--out=text.txt/x',), 'text.txt is a file'),
  (('--out=/proc/x',), '/proc: '),
  (('--out=gs://bucket/x', '--stream'), 'wanted a path on a disk'),
  (('--out=s3://bucket/x',), 'wanted a path on a disk, or gs://'),
  (('--out=generator',), 'which is read'),
]


@pytest.mark.parametrize(('words', 'said'), BAD_LINES + BAD_INPUTS)
def test_what_needs_no_checkpoint_is_told_before_it_is_read(
  run, monkeypatch, words, said
):
  def load(*_, **__):
    pytest.fail('loaded')

  monkeypatch.setattr(own_command, 'load_weights', load)
  with open('text.txt', 'w') as file:
    file.write('mine')
  status, text = run(*words)
  assert status == (2 if (words, said) in BAD_LINES else 1)
  assert said in text and text.count('\n') <= 1
  assert listing('.') == {'generator', 'text.txt'}


HUGE = 2 * 10**9 + 1
REFUSED = [
  (('--class=lefty',), 'did you mean left'),
  (('--prompt=a cat',), 'knows classes alone'),
  (('--num_frames=16',), 'use 17'),
  (('--num_frames=18', '--stream'), 'use 17'),
  (('--size=40x40',), '40×40'),
  (('--shots=2', '--overlap=6'), 'num_frames=6.*use 5'),
  (('--shots=2', f'--overlap={FRAMES}'), f'overlap={FRAMES}.*add none'),
  (('--num_videos=1000000',), 'GB of disk.*or --stream'),
  ((f'--num_frames={HUGE}',), 'GB of memory.*or --stream'),
  ((f'--num_frames={HUGE}', '--stream'), 'GB of memory.*or give --window'),
  (
    (f'--num_frames={HUGE}', '--stream', '--window=1'),
    'GB of memory.*fewer frames',
  ),
  (
    (f'--num_frames={HUGE}', f'--window={2**31 - 1}', '--stream'),
    'GB of memory',
  ),
]


@pytest.mark.parametrize(('words', 'said'), REFUSED)
def test_what_the_generator_cannot_do_is_told_before_it_samples(
  run, monkeypatch, words, said
):
  def sample(*_, **__):
    pytest.fail('sampled')

  monkeypatch.setattr(sampler, 'sample_videos', sample)
  monkeypatch.setattr(VideoStream, '__init__', sample)
  monkeypatch.setattr(archive, 'free_memory', lambda: 10**9)
  usage = types.SimpleNamespace(free=10**10)
  monkeypatch.setattr(output.shutil, 'disk_usage', lambda _: usage)
  status, text = run(*words)
  assert status == 1 and re.search(said, text), text
  (line,) = [x for x in text.splitlines() if not x.startswith('note: ')]
  assert line.startswith('error: ') and len(line) < 600
  assert listing('.') == {'generator'}


def test_large_numbers_that_take_nothing_are_taken(run, made_up):
  words = ['--batch_size=65536', '--window=2147483647', '--shots=2147483647']
  status, said = run('--num_videos=1', '--stream', *words, '--fps=1000')
  assert not status, said
  assert listing() == {f'00000_{CLASSES[0]}.mp4', 'samples.json'}


@pytest.mark.parametrize(
  ('name', 'file'),
  [
    ('a cat', '00003_a_cat.mp4'),
    ('../../etc/passwd', '00003_etc_passwd.mp4'),
    ('/', '00003.mp4'),
    ('\udcff\0', '00003.mp4'),
    ('日本', '00003_日本.mp4'),
    ('é' * 10**6, f'00003_{"é" * 40}.mp4'),
  ],
)
def test_any_prompt_names_a_file_in_the_folder(name, file):
  assert output.file_name(3, name) == file
  assert output._OWN.fullmatch(file)


@pytest.mark.parametrize('link', [None, os.symlink, os.link])
@pytest.mark.parametrize('name', [f'00000_{CLASSES[0]}.mp4', 'grid.png'])
def test_what_is_continued_is_not_overwritten(run, made_up, name, link):
  os.mkdir('out')
  media.write_mp4('mine.mp4', noise(5, SIDE, SIDE, 3))
  os.replace('mine.mp4', f'out/{name}')
  path = f'out/{name}'
  if link:
    os.replace(path, 'mine.mp4')
    link(os.path.abspath('mine.mp4'), path)
    path = 'mine.mp4'
  before = pathlib.Path(path).read_bytes()
  status, said = run(f'--video={path}', '--given_frames=5', '--num_videos=1')
  assert status == 1 and 'which is read' in said
  assert pathlib.Path(path).read_bytes() == before and listing() == {name}
  # Under another name it may lie in the folder.
  if not link:
    os.replace(path, 'out/mine.mp4')
    assert not run('--video=out/mine.mp4', '--num_videos=1')[0]


def test_a_folder_in_the_place_of_a_file_is_told_before_it_samples(run):
  os.makedirs('out/samples.npz')
  status, said = run('--num_videos=1')
  assert status == 1 and 'out/samples.npz: no plain file' in said


def test_files_of_an_earlier_run_are_named(run, made_up):
  assert 'stay' not in run('--num_videos=4')[1]
  status, said = run('--num_videos=2')
  assert not status
  assert 'note: out: 2 files of another run stay beside' in said
  assert f'00002_{CLASSES[2]}.mp4, 00003_{CLASSES[3]}.mp4' in said
  with np.load('out/samples.npz') as file:
    assert len(file['videos']) == 2
  said = run('--num_videos=4', '--stream')[1]
  assert 'out: 4 files of another run' in said and 'grid.gif' in said


def test_two_samples_into_one_folder_the_second_is_refused(run, made_up):
  with lock.hold('out', what='another sample'):
    status, said = run('--num_videos=1')
    assert status == 1 and 'out: in use, by another sample' in said
    assert listing() == {lock.NAME}
  assert not run('--num_videos=1')[0]


@pytest.mark.parametrize('stream', [False, True])
def test_interruption_tells_what_can_be_played(
  run, made_up, monkeypatch, stream
):
  add, calls = media.Mp4Writer.add, []

  def stop(self, video):
    calls.append(1)
    if len(calls) == 6:
      raise KeyboardInterrupt
    add(self, video)

  monkeypatch.setattr(media.Mp4Writer, 'add', stop)
  words = ('--stream', '--batch_size=2') if stream else ()
  status, said = run('--num_videos=8', *words)
  assert status == 130 and 'stopped' in said and 'Traceback' not in said
  written = 2 if stream else 5
  assert f'note: {written} of 8 videos can be played' in said
  names = listing() - ABOUT  # the lock is given back, too
  assert len(names) == written
  lengths = [len(media.read_video(f'out/{name}')) for name in sorted(names)]
  assert lengths == ([3, 2] if stream else [FRAMES] * 5)
  # The same command makes what is missing, and another one all.
  monkeypatch.setattr(media.Mp4Writer, 'add', add)
  made_up.clear()
  status, said = run('--num_videos=8', *words)
  assert not status and '8 videos written' in said
  assert ('out: 5 of 8 are there already' in said) == (not stream)
  pairs = [[i, i + 1] for i in range(0, 8, 2)]
  assert made_up == (pairs if stream else [[5, 6, 7]])
  assert listing() == videos(8) | ({'samples.json'} if stream else SET)
  made_up.clear()
  assert not run('--num_videos=8', *words)[0] and not sum(made_up, [])
  assert not run('--num_videos=8', '--seed=1', *words)[0]
  assert sorted(sum(made_up, [])) == list(range(8))


def test_a_plan_refuses_what_it_would_not_read(run):
  config = f'--config={ROOT}/configs/stage1.py:S'
  status, said = run('--plan_only', '--topology=v5e:2x4', config)
  assert status == 2 and '--checkpoint is not read by --plan_only' in said
  status, said = run(config)
  assert status == 2 and '--config is read with --plan_only alone' in said


def test_what_is_removed_or_damaged_is_made_again(run, made_up):
  assert not run('--num_videos=4')[0]
  with np.load('out/samples.npz') as file:
    before = dict(file)
  for i in range(4):
    np.testing.assert_array_equal(
      before['videos'][i], noise(FRAMES, SIDE, SIDE, 3, seed=i)
    )
  one, other, *_ = sorted(videos(4))
  os.unlink(f'out/{one}')
  data = pathlib.Path(f'out/{other}').read_bytes()
  pathlib.Path(f'out/{other}').write_bytes(data[: len(data) // 2])
  made_up.clear()
  assert not run('--num_videos=4')[0] and made_up == [[0, 1]]
  found = media.read_video(f'out/{other}').astype(int)
  assert np.abs(found - noise(FRAMES, SIDE, SIDE, 3, seed=1)).mean() < 64
  # Without the set the pixels are gone, too.
  os.unlink('out/samples.npz')
  made_up.clear()
  assert not run('--num_videos=4')[0] and made_up == [[0, 1, 2, 3]]
  with np.load('out/samples.npz') as file:
    jax.tree.map(np.testing.assert_array_equal, dict(file), before)
  assert listing() == videos(4) | SET


@pytest.mark.parametrize('limit', [500, 3000, 10_000])
def test_a_full_disk_is_one_line_that_names_the_file(run, made_up, limit):
  with disk.full(limit):
    status, said = run('--num_videos=2')
  assert status == 1 and 'videos can be played' in said
  assert re.search('error: out/[a-z0-9_./]+: the file may not grow', said), said
  for name in listing() - ABOUT:
    assert name.endswith('.mp4') and len(media.read_video(f'out/{name}'))


def test_a_full_disk_ends_a_stream_that_can_be_played(run, made_up):
  with disk.full(4000):
    status, said = run('--num_videos=2', '--stream')
  assert status == 1 and 'error: out/00000_left.mp4: the file may' in said
  assert len(media.read_video('out/00000_left.mp4')) >= 2


def test_a_stream_that_is_killed_leaves_a_video_to_play(
  runs,  # noqa: F811
  tmp_path,
  compile_cache,  # noqa: F811
):
  process = subprocess.Popen(
    [
      *(sys.executable, '-m', 'videoar_jax.sample', '--stream', '--guidance=2'),
      *(f'--checkpoint={runs}/generator', f'--out={tmp_path}', '--window=1'),
      *('--num_frames=400001', '--num_videos=2'),
    ],
    stderr=subprocess.PIPE,
    text=True,
    env={
      **os.environ,
      'JAX_COMPILATION_CACHE_DIR': str(compile_cache),
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    },
  )
  with process.stderr as lines:
    for line in lines:
      if 'sampled' in line and '101 frames' in line:
        break
    process.send_signal(signal.SIGKILL)
    process.wait()
  paths = sorted(tmp_path.glob('*.mp4'))
  # A fragment is written once the next frame tells how long its own lasts.
  assert [len(media.read_video(path)) >= 100 for path in paths] == [True, True]
