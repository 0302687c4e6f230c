"""data.prepare as it is typed: bad flags, bad places, interruption, disks."""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image
from processes import children, wait_for

from videoar_jax.commands import prepare
from videoar_jax.core import command, lock
from videoar_jax.data import folder, preparation, shards
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadDataError

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  """Two classes of noise: what is written is no smaller than the pixels."""
  root = tmp_path_factory.mktemp('pictures')
  for i in range(24):
    path = root / 'ab'[i % 2] / f'{i:02d}.png'
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
  return root


def run(*flags):
  """Runs the command in this process; its exit status or message."""
  saved = flagsaver.save_flag_values(prepare.FLAGS.values)
  try:
    return command.run(prepare, ['prepare', *flags])
  except SystemExit as end:
    return end.code
  finally:
    flagsaver.restore_flag_values(saved, prepare.FLAGS.values)


def _flags(source, out):
  size = ('--height=64', '--width=64')
  return f'--source=images:{source}', f'--out={out}', *size


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--max_bad_share=nan', 'a finite number'),
    ('--max_bad_share=1.5', 'at most 1'),
    ('--features --num_clips=-5', 'at least 1'),
    ('--features --num_clips=0', 'at least 1'),
    ('--features --seed=-5', 'at least 0'),
    ('--features --batch_size=-1', 'at least 1'),
    ('--num_workers=-1', 'at least 0'),
    ('--num_workers=1000000', 'at most 1024'),
    ('--num_shards=-1', 'at least 0'),
    ('--height=0', 'at least 1'),
    ('--windows=2', '--windows goes with --features'),
    ('--flips', '--flips goes with --features'),
    ('--checkpoint=x', '--checkpoint goes with --features'),
    ('--num_clips=5', '--num_clips goes with --features'),
    ('--features --min_frames=5', '--min_frames does not go with --features'),
    ('--features', '--checkpoint is missing'),
    ('stray', 'unexpected argument: stray'),
  ],
)
def test_a_flag_that_would_do_nothing_or_harm_is_refused(
  capsys, pictures, tmp_path, flag, words
):
  assert run(*_flags(pictures, tmp_path / 'out'), *flag.split()) == 2
  said = capsys.readouterr().err
  assert words in said and said.count('\n') == 1
  assert not list(tmp_path.glob('out/*'))


@pytest.mark.parametrize(
  ('place', 'words'),
  [
    ('file', 'a file; give a folder'),
    ('file/below', 'is a file; give another folder'),
    ('/proc/out', '/proc'),
    ('/dev/null/out', 'is a file; give another folder'),
    ('source', 'which is read; write somewhere else'),
    ('link', 'which is read; write somewhere else'),
    ('s3://bucket/out', 'wanted a path on a disk, or gs://BUCKET/PATH'),
    ('other', 'holds other files; give an empty folder'),
  ],
)
def test_a_place_that_cannot_be_written_is_refused_in_one_line(
  pictures, tmp_path, place, words
):
  source = shutil.copytree(pictures, tmp_path / 'source')
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'link').symlink_to(source)
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'x').write_text('mine')
  before = sorted(tmp_path.rglob('*'))
  out = place if '://' in place else tmp_path / place
  said = run(*_flags(source, out))
  assert said.startswith('error: ') and words in said and '\n' not in said
  assert sorted(tmp_path.rglob('*')) == before
  assert (tmp_path / 'file').read_text() == 'mine'
  assert not pathlib.Path('s3:').exists()


def test_two_preparations_of_one_folder_do_not_meet(pictures, tmp_path):
  with lock.hold(tmp_path / 'out', what='prepare'):
    said = run(*_flags(pictures, tmp_path / 'out'))
    assert 'in use, by prepare of' in said and '\n' not in said
    assert [x.name for x in (tmp_path / 'out').iterdir()] == [lock.NAME]
  assert run(*_flags(pictures, tmp_path / 'out')) is None


def test_what_was_done_is_said(capsys, caplog, pictures, tmp_path):
  source = shutil.copytree(pictures, tmp_path / 'source')
  (source / 'a' / 'bad.png').write_bytes(b'')
  flags = _flags(source, tmp_path / 'out')
  assert run(*flags) is None
  said = capsys.readouterr().out
  assert said.endswith(
    'out: 24 videos (22 of train, 2 of validation; 2 classes), 1 skipped\n'
  )
  assert 'skipped a/bad.png: empty file' in caplog.text
  assert run(*flags) is None
  assert 'complete already, nothing to do' in capsys.readouterr().out


@pytest.mark.parametrize('train_on', ['all', 'none but a typo'])
def test_a_split_file_that_leaves_a_split_empty_is_refused(
  pictures, tmp_path, train_on
):
  names = [f'{"ab"[i % 2]}/{i:02d}.png 1\n' for i in range(24)]
  (tmp_path / 'list.txt').write_text(
    ''.join(names) if train_on == 'all' else 'a/99.png 1\n'
  )
  said = run(
    *_flags(pictures, tmp_path / 'out'), f'--split_file={tmp_path}/list.txt'
  )
  words = 'held-out files among the 24' if train_on == 'all' else 'no video'
  assert words in said and 'list.txt' in said
  assert not (tmp_path / 'out' / shards.MANIFEST).exists()


@pytest.mark.parametrize(
  ('source', 'words'),
  [
    ('images:/no/where', '/no/where does not exist'),
    ('images:', 'needs a path after the colon'),
    ('movies:/x', "unknown kind 'movies'"),
    ('synthetic', 'and tfds:PATH can be prepared'),
  ],
)
def test_a_source_that_does_not_serve_is_one_line(tmp_path, source, words):
  said = run(f'--source={source}', f'--out={tmp_path}/out')
  assert words in said and '\n' not in said


def test_one_video_is_not_prepared(pictures, tmp_path):
  (tmp_path / 'one' / 'a').mkdir(parents=True)
  shutil.copy(pictures / 'a' / '00.png', tmp_path / 'one' / 'a')
  said = run(*_flags(tmp_path / 'one', tmp_path / 'out'))
  assert 'no held-out files among the 1 there' in said and '\n' not in said


def test_a_split_of_nothing_but_bad_videos_is_no_success(pictures, tmp_path):
  source = shutil.copytree(pictures, tmp_path / 'source')
  held_out = folder.list_splits(str(source), kind='images')[1].names
  for name in held_out:
    (source / name).write_bytes(b'')
  with pytest.raises(
    BadDataError, match=f'validation: none.*\n.*{held_out[0]}'
  ):
    preparation.prepare_videos(
      f'images:{source}',
      str(tmp_path / 'out'),
      height=16,
      width=16,
      max_bad_share=0.2,
    )
  assert not (tmp_path / 'out' / shards.MANIFEST).exists()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'max_bad_share': float('nan')}, 'max_bad_share=nan: wanted a finite'),
    ({'max_bad_share': -1}, 'max_bad_share=-1: wanted at least 0'),
    ({'height': 0}, 'height=0: wanted at least 1'),
    ({'min_frames': -3}, 'min_frames=-3: wanted at least 1'),
    ({'num_shards': -1}, 'num_shards=-1: wanted at least 0'),
    ({'num_workers': -1}, 'num_workers=-1: wanted at least 0'),
    ({'num_workers': 10**6}, '1000000 workers at 16x16; use .* GB of memory'),
    ({'height': 2048}, 'at most 2047, 16383 can be stored'),
  ],
)
def test_numbers_out_of_range_are_refused_without_a_command(
  pictures, tmp_path, options, message
):
  options = {'height': 16, 'width': 16, **options}
  with pytest.raises(ValueError, match=message):
    preparation.prepare_videos(
      f'images:{pictures}', str(tmp_path / 'out'), **options
    )
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'num_clips': -5}, 'num_clips=-5: wanted at least 1'),
    ({'windows': 0}, 'windows=0: wanted at least 1'),
    ({'seed': -1}, 'seed=-1: wanted at least 0'),
    ({'num_shards': -1}, 'num_shards=-1: wanted at least 0'),
    ({'num_frames': 10**9}, 'num_frames=1000000000: wanted .* at most 65536'),
    (
      {'batch_size': 65536, 'num_frames': 65536},
      '65536 clips of 65536x16x16 at .* GB of memory, .* are free',
    ),
  ],
)
def test_feature_numbers_out_of_range_are_refused(tmp_path, options, message):
  names = ('batch_size', 'num_frames')
  config = {k: options.pop(k) for k in names if k in options}
  with pytest.raises(ValueError, match=message):
    preparation.prepare_features(
      DataConfig(height=16, width=16, **config),
      str(tmp_path / 'out'),
      tokenizer_digest='x',
      encode=lambda video: pytest.fail('it ran'),
      **options,
    )
  assert not (tmp_path / 'out').exists()


@pytest.fixture
def full_disk():
  """Files can grow to 30 kB and no further, as on a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)

  def fill(size=30_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

  yield fill
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
  full_disk, pictures, tmp_path
):
  flags = (*_flags(pictures, tmp_path / 'out'), '--num_shards=12')
  assert run(*flags) is None
  whole = tmp_path / 'whole'
  (tmp_path / 'out').rename(whole)
  full_disk()
  said = run(*flags[:-1])
  full_disk(resource.RLIM_INFINITY)
  assert '\n' not in said and 'see `ulimit -f` and the disk' in said
  assert str(tmp_path / 'out' / 'train-00000-of-00001') in said
  left = sorted(x.name for x in (tmp_path / 'out').rglob('*') if x.is_file())
  assert left == ['plan.json']
  assert run(*flags[:-1]) is None
  assert shards.verify_digests(str(tmp_path / 'out'), 'videos') == 2


def test_a_damaged_note_is_written_again(caplog, pictures, tmp_path):
  out = tmp_path / 'out'
  flags = (*_flags(pictures, out), '--num_shards=2')
  assert run(*flags) is None
  wanted = json.loads((out / shards.MANIFEST).read_text())
  (out / shards.MANIFEST).unlink()
  notes = out / shards.UNFINISHED
  notes.mkdir()
  (notes / 'plan.json').write_text(json.dumps(wanted['plan']))
  entry = wanted['splits']['train']['shards'][0]
  for change in ({'labels': [7]}, {'name': '../x'}, {'bytes': -1}, []):
    note = {**entry, 'labels': [0], 'skipped': {}, **change} if change else []
    (notes / f'{entry["name"]}.json').write_text(json.dumps(note))
    caplog.clear()
    assert run(*flags) is None
    assert 'this shard is written again' in caplog.text
    assert json.loads((out / shards.MANIFEST).read_text()) == wanted
    (out / shards.MANIFEST).unlink()
    notes.mkdir()
    (notes / 'plan.json').write_text(json.dumps(wanted['plan']))


@pytest.mark.parametrize('text', ['[]', '{', '{"width": NaN}', '\\ud800'])
def test_a_damaged_plan_is_one_line(pictures, tmp_path, text):
  notes = tmp_path / 'out' / shards.UNFINISHED
  notes.mkdir(parents=True)
  (notes / 'plan.json').write_text(text)
  said = run(*_flags(pictures, tmp_path / 'out'))
  assert 'plan.json' in said and 'remove the folder' in said
  assert '\n' not in said


def test_an_interrupted_command_says_so_and_goes_on(tmp_path):
  large = tmp_path / 'large.png'
  Image.new('RGB', (600, 600)).save(large, compress_level=1)
  for i in range(24):
    (tmp_path / 'in' / 'ab'[i % 2]).mkdir(parents=True, exist_ok=True)
    os.link(large, tmp_path / 'in' / 'ab'[i % 2] / f'{i}.png')
  flags = (*_flags(tmp_path / 'in', tmp_path / 'out'), '--num_workers=2')
  process = subprocess.Popen(
    [sys.executable, '-m', 'videoar_jax.data.prepare', *flags],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  # Two workers, which still import, and a tracker of their resources.
  wait_for(lambda: len(children(process)) >= 3, 'the start')
  for _ in range(5):
    for child in children(process):
      os.kill(int(child), signal.SIGINT)  # a terminal tells them, too
    time.sleep(0.05)
  os.killpg(process.pid, signal.SIGINT)
  said = process.communicate(timeout=30)[1]
  assert process.returncode == 130
  assert said.splitlines()[-1] == 'stopped' and 'Traceback' not in said
  assert not list((tmp_path / 'out').glob('*.array_record'))
  assert run(*flags[:-1]) is None
  assert shards.verify_digests(str(tmp_path / 'out'), 'videos') == 2


def test_files_that_have_changed_are_told_as_such(pictures, tmp_path):
  source = shutil.copytree(pictures, tmp_path / 'source')
  assert run(*_flags(source, tmp_path / 'out')) is None
  (source / 'a' / '00.png').write_bytes(b'')
  said = run(*_flags(source, tmp_path / 'out'))
  assert 'was prepared from other files than are there now' in said
  # What the user has typed comes first.
  said = run(*_flags(source, tmp_path / 'out'), '--width=32')
  assert 'was prepared with width=64, now 32' in said
