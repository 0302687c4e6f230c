"""All 13,320 videos of a made-up UCF-101, as folder, zip and RAR."""

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import made_ucf101
import pytest
import rar
from made_ucf101 import LISTS, ODD
from processes import wait_for

from videoar_jax.data import ucf101

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
CLASSES = (ODD, *(f'Class{i:03d}' for i in range(1, ucf101.NUM_CLASSES)))
MOST_MEMORY = 2**30  # of any one process


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The folder with all forms, the made names, and what is wrong in it."""
  pytest.importorskip('rarfile')
  training, test = ucf101.SPLIT_1
  made = made_ucf101.make(CLASSES, num_training=training, num_test=test)
  assert len(set(made.names)) == ucf101.NUM_VIDEOS
  root = tmp_path_factory.mktemp('whole')
  video = made_ucf101.tiny_video(root / 'x.avi', frames=1)
  files, *faults = made_ucf101.damage(
    made, made_ucf101.contents(made, video), bad=10, gone=3, renamed=2
  )
  made.write_lists(root / LISTS)
  made_ucf101.write_folder(root / 'UCF-101', files)
  made_ucf101.write_zip(root / 'UCF101.zip', files)
  members = [(f'UCF-101/{name}', data) for name, data in files.items()]
  rar.write(root / 'UCF101.rar', members)
  return root, made, faults


def prepare(source: pathlib.Path, out: pathlib.Path) -> subprocess.Popen:
  flags = (f'--source=ucf101:{source}', f'--out={out}', '--num_workers=2')
  return subprocess.Popen(
    [sys.executable, '-m', 'videoar_jax.data.prepare', *flags]
    + ['--height=16', '--width=16', '--min_frames=1'],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


@pytest.mark.parametrize('form', ['UCF-101', 'UCF101.zip', 'UCF101.rar'])
def test_all_videos_go_in_and_each_that_does_not_is_named(
  whole, tmp_path, form
):
  root, made, (bad, missing, unknown) = whole
  begin = time.monotonic()
  running = prepare(root / form, tmp_path / 'out')
  if form != 'UCF-101':  # killed, and begun again
    wait_for(lambda: len(shards(tmp_path / 'out')) > 4, 'five shards', 300)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    before = shards(tmp_path / 'out')
    running = prepare(root / form, tmp_path / 'out')
  out, err = running.communicate()
  assert running.returncode == 0, err
  if form != 'UCF-101':
    after = shards(tmp_path / 'out')
    assert before.items() <= after.items()
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  memory = used.ru_maxrss * 1024
  print(
    f'{form}: {time.monotonic() - begin:.0f} s, of a CPU so far '
    f'{used.ru_utime + used.ru_stime:.0f} s, largest process '
    f'{memory / 2**20:.0f} MiB\n{out}{err[-1500:]}'
  )
  assert memory < MOST_MEMORY
  manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
  assert (sorted(manifest['skipped']), manifest['missing']) == (bad, missing)
  inner = '' if form == 'UCF-101' else 'UCF-101/'
  assert manifest['unknown'] == [f'{inner}{name}' for name in unknown]
  lost = {*bad, *missing}
  counts = [x['records'] for x in manifest['splits'].values()]
  assert counts == [len(set(x) - lost) for x in (made.training, made.test)]
  assert sum(counts) == ucf101.NUM_VIDEOS - 15
  assert 'not the official lists' not in err
  assert '13315 of 13320 listed videos are there; 101 classes' in err


def shards(out: pathlib.Path) -> dict[str, int]:
  """The shards that are whole, and when they were written."""
  return {x.name: x.stat().st_mtime_ns for x in out.glob('*.array_record')}
