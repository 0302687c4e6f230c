"""Sampling and evaluation by several processes: the files of one process."""

import json
import os
import pathlib
import shutil

import ml_dtypes
import numpy as np
import pytest
from etils import epath
from shared_work import (
  MODEL,
  run_killed,
  run_lines,
  run_shared,
  stub_logits,
)
from tiny_runs import FRAMES, SIDE, runs  # noqa: F401

from videoar_jax import media
from videoar_jax.data import features, shards
from videoar_jax.evaluate import i3d, kept, makers
from videoar_jax.sample import sampler

COUNT = 5  # of videos, no multiple of the processes or devices
# What differs between runs of one and several processes.
TIMED = ('seconds', 'num_devices', 'versions')
# Clips to encode, in shards that do not divide among two processes.
CLIPS = (
  *('--source=synthetic', '--num_clips=20', '--num_shards=3'),
  *(f'--num_frames={FRAMES}', f'--height={SIDE}', f'--width={SIDE}'),
  '--out=features',
)


@pytest.fixture(autouse=True)
def stub_i3d(monkeypatch, tmp_path):
  monkeypatch.setattr(i3d, 'logits', stub_logits)
  monkeypatch.setattr(i3d, 'load_i3d', lambda config, **_: MODEL)
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'cache'))


def both(lines, folder, monkeypatch, count=2, devices=2):
  """Runs lines in one process and in several; their two folders."""
  found = [folder / 'one', folder / 'several']
  for path in found:
    path.mkdir()
  monkeypatch.chdir(found[0])
  run_lines(lines)
  said = run_shared(lines, count=count, devices=devices, cwd=found[1])
  assert all('written to' not in text for text in said[1:])
  return found


def same_files(one, other):
  """Equal folders; of results all but what tells of the machine."""
  names = sorted(str(x.relative_to(one)) for x in one.rglob('*'))
  assert names == sorted(str(x.relative_to(other)) for x in other.rglob('*'))
  for name in names:
    a, b = one / name, other / name
    if a.is_dir():
      continue
    if a.suffix == '.npz':
      with np.load(a) as first, np.load(b) as second:
        assert sorted(first) == sorted(second)
        for key in first:
          if key == 'about':
            continue
          np.testing.assert_array_equal(first[key], second[key])
    elif a.suffix == '.json' and a.name != 'samples.json':
      first, second = (json.loads(x.read_text()) for x in (a, b))
      for key in TIMED:
        first.pop(key, None), second.pop(key, None)
      assert first == second
    elif a.suffix == '.mp4':  # whose encoder is not the same to the bit
      first, second = (media.read_video(x).astype(int) for x in (a, b))
      assert first.shape == second.shape
      assert np.abs(first - second).mean() < 4, name
    else:
      assert a.read_bytes() == b.read_bytes(), name
  return names


def same_features(*folders):
  """Equal features, but for how sums were rounded."""
  found = []
  for folder in folders:
    assert shards.verify_digests(str(folder), 'features')
    assert not (folder / shards.UNFINISHED).exists()
    manifest = shards.read_manifest(str(folder), 'features')
    split = manifest['splits']['train']
    # Of two processes one writes two of the three.
    assert [x['records'] for x in split['shards']] == [6, 7, 7]
    reader = shards.ShardReader(str(folder), manifest, 'train', features.HEADER)
    found.append([reader[i] for i in range(len(reader))])
  for (header, (part,)), (other, (same,)) in zip(*found):
    assert header == other
    a, b = (np.frombuffer(x, ml_dtypes.bfloat16) for x in (part, same))
    np.testing.assert_allclose(a.astype(float), b.astype(float), atol=0.02)


def test_two_processes_write_what_one_writes(runs, tmp_path, monkeypatch):  # noqa: F811
  given = (f'--checkpoint={runs}/generator', '--guidance=2')
  lines = [
    ['sample', *given, f'--num_videos={COUNT}', '--out=samples'],
    ['evaluate', *given, f'--num_videos={COUNT}', '--out=result.json'],
    [*('prepare', '--features', f'--checkpoint={runs}/tokenizer'), *CLIPS],
  ]
  found = both(lines, tmp_path, monkeypatch)
  same_features(*(folder / 'features' for folder in found))
  run_lines(lines[2:])  # complete, also for one alone
  for folder in found:
    shutil.rmtree(folder / 'features')
  names = same_files(*found)
  assert len([x for x in names if x.endswith('.mp4')]) == COUNT
  result = json.loads((tmp_path / 'several' / 'result.json').read_text())
  assert result['num_devices'] == 4 and result['num_generated'] == COUNT


@pytest.mark.slow
@pytest.mark.parametrize('count', [2, 3])
def test_every_figure_of_several_processes_is_that_of_one(
  runs,  # noqa: F811
  tmp_path,
  monkeypatch,
  count,
):
  generator = f'--checkpoint={runs}/generator'
  tokenizer = f'--checkpoint={runs}/tokenizer'
  sizes = ('--num_videos=11', '--train_windows=40', '--batch_size=3')
  asked = ('--probe', '--memorisation', '--intervals', '--baselines')
  lines = [
    ['sample', generator, '--stream', '--num_videos=5', '--out=streams'],
    ['sample', generator, '--num_videos=5', '--out=a'],
    ['sample', generator, '--num_videos=5', '--seed=1', '--out=b'],
    ['evaluate', generator, *sizes, *asked, '--out=a.json', '--save=a'],
    ['evaluate', tokenizer, *sizes, '--probe', '--baselines', '--h264']
    + ['--split=validation', '--out=b.json', '--save=b'],
    ['evaluate', 'continuation', generator, *sizes[1:], '--out=c.json']
    + ['--save=c'],
    ['evaluate', 'features', generator, sizes[0], '--out=real.npz'],
    ['evaluate', 'samples', generator, '--features=real.npz', '--out=d.json'],
    ['evaluate', '--real=a/samples.npz', '--generated=b/samples.npz']
    + ['--out=e.json', '--paired'],
  ]
  same_files(*both(lines, tmp_path, monkeypatch, count=count, devices=2))


def test_an_evaluation_that_is_cut_short_goes_on(
  runs,  # noqa: F811
  tmp_path,
  monkeypatch,
):
  monkeypatch.chdir(tmp_path)
  asked = []

  def sample(program, nets, conditions_nx, *, index_n, **_):
    asked.append(index_n.tolist())
    if len(asked) == 5:
      raise KeyboardInterrupt
    for i in index_n:
      rng = np.random.default_rng(i)
      yield rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)

  monkeypatch.setattr(sampler, 'sample_videos', sample)
  line = ['evaluate', f'--checkpoint={runs}/generator', '--out=result.json']
  line += [f'--num_videos={COUNT}', '--batch_size=2', '--mesh=data=1']
  line += ['--repeats=2']
  with pytest.raises(SystemExit):
    run_lines([line])
  assert not os.path.exists('result.json')
  results = []
  for _ in range(2):
    run_lines([line])
    assert not os.path.exists('result.json.parts')
    results.append(json.loads(pathlib.Path('result.json').read_text()))
    del results[-1]['seconds']
  # What was done was kept, and nothing once the result was written.
  whole = 2 * [[0, 1], [2, 3], [4, 4]]
  assert asked == [*whole[:5], *whole[4:], *whole]
  assert results[0] == results[1]


def test_an_evaluation_that_is_killed_goes_on_bit_for_bit(
  runs,  # noqa: F811
  tmp_path,
  monkeypatch,
):
  line = ['evaluate', f'--checkpoint={runs}/generator', '--baselines']
  line += [f'--num_videos={COUNT}', '--batch_size=2', '--mesh=data=1']
  line += ['--repeats=2', '--save=saved', '--out=result.json']
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  for path in (whole, cut):
    path.mkdir()
  monkeypatch.chdir(cut)
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'another'))
  run_killed([line], at=5, cwd=cut)
  rows = [x.name[-6:] for x in (cut / 'result.json.parts').iterdir()]
  assert sorted(rows) == ['_0.npz', '_0.npz', '_2.npz', '_4.npz']
  made = []
  make = makers.Samples.make
  monkeypatch.setattr(
    makers.Samples,
    'make',
    lambda self, index_n, x: (
      made.append(index_n.tolist()) or make(self, index_n, x)
    ),
  )
  run_lines([line])
  assert made == [[2, 3], [4]]
  monkeypatch.chdir(whole)
  run_lines([line])
  assert len(made) == 2 + 6
  same_files(whole, cut)


def test_what_was_kept_goes_and_other_files_stay(tmp_path):
  folder = epath.Path(tmp_path / 'a[1].json.parts')
  kept.clear(folder)
  folder.mkdir()
  for name in (f'{"a" * 64}.npz', f'.{"b" * 64}.partial.npz', 'own.npz'):
    (folder / name).write_text('')
  kept.clear(folder)
  assert [path.name for path in folder.iterdir()] == ['own.npz']
  (folder / 'own.npz').unlink()
  kept.clear(folder)
  assert not folder.exists()
