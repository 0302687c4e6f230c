"""A run's checkpoints measured as they appear, to its end."""

import json
import os
import pathlib
import shutil
import signal
import types

import jax
import numpy as np
import pytest
from etils import epath
from shared_work import MODEL, run_lines, stub_logits
from tiny_runs import runs  # noqa: F401

from videoar_jax.core import buckets, export
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.evaluate import follow, i3d

LAST = 4
ASKED = ('--num_videos=3', '--batch_size=3', '--mesh=data=1', '--seed=2')


@pytest.fixture(autouse=True)
def stub_i3d(monkeypatch, tmp_path):
  monkeypatch.setattr(i3d, 'logits', stub_logits)
  monkeypatch.setattr(i3d, 'load_i3d', lambda config, **_: MODEL)
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'cache'))
  monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def saved(runs, tmp_path_factory):  # noqa: F811
  """A run whose steps are all there, on a disk that nobody follows."""
  root = tmp_path_factory.mktemp('saved')
  write_run(root, runs, range(1, LAST + 1))
  return root


def write_run(root, runs, steps):  # noqa: F811
  loaded = export.load_weights(runs / 'generator')
  config = {**loaded.config.to_dict(), 'train': {'num_steps': LAST}}
  export.write_loaded(root / 'tokenizer', loaded.tokenizer)
  checkpoints = Checkpoints(root / 'checkpoints', keep=LAST)
  for step in steps:
    rng = np.random.default_rng(step)
    params = jax.tree.map(
      lambda x, rng=rng: x + np.float32(rng.normal(size=x.shape) / 9),
      loaded.nets['transformer'],
    )
    tree = {'nets': {'transformer': {'params': params}}}
    checkpoints.save(step, tree, {'config': config, 'best': None}, wait=True)
  checkpoints.close()
  (root / 'config.json').write_text(json.dumps(config))


class Growing:
  """A workdir that gets its steps one by one, while nothing is new there."""

  def __init__(self, saved, monkeypatch):
    self.home, self._saved = pathlib.Path('run'), saved
    self.home.mkdir()
    for name in ('config.json', 'tokenizer'):
      os.symlink(saved / name, self.home / name)
    (self.home / 'checkpoints').mkdir()
    self.acts, self.read = [], []
    clock = types.SimpleNamespace(sleep=lambda _: self.acts.pop(0)())
    monkeypatch.setattr(follow, 'time', clock)
    load = export.load_weights

    def watched(path, **options):
      self.read.append(int(path.name))
      if path.name == '2':  # as training removes it
        shutil.rmtree(path)
      return load(path, **options)

    monkeypatch.setattr(export, 'load_weights', watched)

  def add(self, step):
    name = f'checkpoints/{step}'
    return lambda: shutil.copytree(self._saved / name, self.home / name)

  def follow(self, *flags):
    line = ['evaluate', '--follow', '--checkpoint=run', '--out=curve.json']
    run_lines([[*line, *ASKED, *flags]])
    return json.loads(pathlib.Path('curve.json').read_text())


def terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_grows_is_followed_over_a_stop_to_its_end(
  saved, monkeypatch, capsys
):
  run = Growing(saved, monkeypatch)
  run.acts = [run.add(1), run.add(2), run.add(3), terminate]
  with pytest.raises(SystemExit, match='130'):
    run.follow()
  curve = json.loads(pathlib.Path('curve.json').read_text())
  assert [row['step'] for row in curve['rows']] == [1, 3]
  assert not curve['finished'] and run.read == [1, 2, 3]
  ((gone),) = curve['skipped']
  assert gone['step'] == 2 and gone['why'].startswith('gone before it was')
  run.acts = [run.add(LAST)]
  curve = run.follow()
  assert run.read == [1, 2, 3, LAST] and not run.acts
  assert curve['finished'] and curve['skipped'] == [gone]
  distances = {row['step']: row['gfvd'] for row in curve['rows']}
  assert [*distances] == [1, 3, LAST] and len({*distances.values()}) == 3
  best = min(distances, key=distances.get)
  assert curve['best'] == {'step': best, 'fvd': distances[best]}
  assert f'best so far: step {best}' in capsys.readouterr().out
  assert run.follow() == curve and run.read[-1] == LAST  # and no step more
  with pytest.raises(SystemExit, match='num_videos=3, asked for is 4'):
    run.follow('--num_videos=4')
  run_lines([['evaluate', '--checkpoint=run', '--out=r.json', *ASKED]])
  alone = json.loads(pathlib.Path('r.json').read_text())
  assert alone['fvd'] == distances[LAST] and alone['step'] == LAST
  assert not pathlib.Path('curve.json.parts').exists()


def test_rows_of_other_rules_are_refused(saved, monkeypatch):
  run = Growing(saved, monkeypatch)
  run.add(1)()
  run.acts = [terminate]
  with pytest.raises(SystemExit, match='130'):
    run.follow('--nofvd')
  curve = json.loads(pathlib.Path('curve.json').read_text())
  pathlib.Path('curve.json').write_text(json.dumps({**curve, 'frames': 13}))
  run.add(3)()
  with pytest.raises(SystemExit, match='frames 13 in the curve, 9 in step 3'):
    run.follow('--nofvd')


def test_a_run_in_a_bucket_is_followed(runs, served_bucket):  # noqa: F811
  home = epath.Path('gs://bucket/followed')
  buckets.check(home)  # as commands do, before anything is read
  write_run(home, runs, [LAST])
  line = ['evaluate', '--follow', f'--checkpoint={home}', *ASKED]
  for _ in range(2):
    run_lines([[*line, f'--out={home}/curve.json']])
    curve = json.loads((home / 'curve.json').read_text())
    assert curve['finished'] and curve['best']['step'] == LAST
  assert 'followed/curve.json' in served_bucket.names()


@pytest.mark.parametrize('name', ['zoo:shapes', 'saved/checkpoints/1'])
def test_what_never_grows_is_not_followed(saved, name):
  os.symlink(saved, 'saved')
  line = ['evaluate', '--follow', f'--checkpoint={name}', '--out=curve.json']
  with pytest.raises(SystemExit, match='nothing more comes there'):
    run_lines([line])
