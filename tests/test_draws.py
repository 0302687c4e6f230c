"""Draws: repeats, blocks, features of real clips that are known already."""

import dataclasses
import functools
import os
import types

import jax
import numpy as np
import pytest
from tiny_runs import CLASSES, FRAMES, SIDE, SIZE, runs  # noqa: F401

from videoar_jax import media
from videoar_jax.core import archive, export
from videoar_jax.core.mesh import MeshConfig
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadDataError
from videoar_jax.evaluate import (
  checkpoint,
  draws,
  facts,
  i3d,
  protocols,
  windows,
)
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.rules import Split, Window

ONE = MeshConfig(data=1)


@pytest.fixture(autouse=True)
def seen(monkeypatch, tmp_path):
  """A projection in place of I3D; how many videos it was shown at a time."""
  matrix = np.random.default_rng(0).standard_normal((27, i3d.NUM_CLASSES)) / 100
  shown = []

  def logits(model, videos, *, batch_size=None):
    shown.append(videos.shape[:2])
    x = np.asarray(videos, np.float64)[:, :: FRAMES // 3, 3::5, 3::5]
    rows = x.mean(2).reshape(len(videos), -1)[:, :27] @ matrix
    return rows.astype(np.float32)

  monkeypatch.setattr(i3d, 'logits', logits)
  model = types.SimpleNamespace(sha256='0' * 64, config=i3d.I3DConfig())
  monkeypatch.setattr(i3d, 'load_i3d', lambda config, **_: model)
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'cache'))
  return shown


def measured(path, **options) -> dict:
  options = {'num_videos': 5, 'batch_size': 2, 'mesh': ONE, **options}
  if options.get('protocol'):
    del options['num_videos']
  return checkpoint.evaluate_checkpoint(
    Request(checkpoint=str(path), **options)
  )


def test_figures_are_means_over_draws_with_the_next_seeds(runs, seen):  # noqa: F811
  path = runs / 'tokenizer'
  both = measured(path, seed=4, repeats=2)
  assert max(count for count, _ in seen) == 2  # videos of a block
  alone = [measured(path, seed=seed) for seed in (4, 5)]
  names = ('fvd', 'kvd', 'kvd_stderr', 'psnr', 'ssim', 'class_accuracy')
  for name in names:
    values = [x[name] for x in alone]
    assert [x[name] for x in both['repeats']] == values
    assert both[name] == np.mean(values), name
    if name != 'kvd_stderr':
      assert both[f'{name}_sd'] == np.std(values, ddof=1)
      assert alone[0][f'{name}_sd'] is None
  assert both['rfvd'] == both['fvd']
  assert both['halves']['kvd'] == alone[0]['halves']['kvd']
  assert [x['seed'] for x in both['repeats']] == [4, 5]
  assert {'halves', 'bit_entropy'} <= {*both['of_first_repeat']}
  assert 'of_first_repeat' not in alone[0]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Clips of each class of the tiny generator, of even and odd lengths."""
  root = tmp_path_factory.mktemp('clips')
  for i, name in enumerate(sorted(CLASSES)):
    (root / name).mkdir()
    for k, length in enumerate((9, 12 + i % 3, 17)):
      grey_T = np.arange(length, dtype=np.uint8) * 5 + 20 * k
      video = np.broadcast_to(grey_T[:, None, None, None], (length, 16, 16, 3))
      path = root / name / f'v_{name}_g0{k}_c01.mp4'
      media.write_mp4(path, np.ascontiguousarray(video))
  return root


@pytest.fixture(scope='module')
def generators(runs, tmp_path_factory):  # noqa: F811
  """Two generators that know the folder's classes."""
  root, found = tmp_path_factory.mktemp('generators'), []
  loaded = export.load_weights(runs / 'generator')
  config = {**loaded.config.to_dict(), 'classes': sorted(CLASSES)}
  for scale in (1, 2):
    scaled = functools.partial(np.multiply, np.float32(scale))
    params = jax.tree.map(scaled, loaded.nets['transformer'])
    nets = {'transformer': params}
    export.write_export(
      root / str(scale), nets, config, tokenizer=loaded.tokenizer
    )
    found.append(root / str(scale))
  return found


def test_known_real_clips_are_not_decoded_again(
  generators, folder, seen, monkeypatch
):
  data = {'data': f'folder:{folder}', 'repeats': 2}
  first = measured(generators[0], **data)
  seen.clear()
  blocks = windows.Draw.blocks
  monkeypatch.setattr(windows.Draw, 'blocks', lambda *_: pytest.fail('decoded'))
  again = measured(generators[0], **data)
  other = measured(generators[1], **data)
  for name in ('fvd', 'kvd', 'repeats', 'videos_substituted', 'i3d_classes'):
    assert again[name] == first[name]
  assert other['fvd'] != first['fvd'] and sum(n for n, _ in seen) == 20
  read = []
  monkeypatch.setattr(
    windows.Draw, 'blocks', lambda *x: read.append(1) or blocks(*x)
  )
  measured(generators[0], **data, baselines=True)
  assert len(read) == 2  # what is compared with the pixels, a draw more
  os.utime(next(folder.rglob('*.mp4')))
  measured(generators[0], **data)
  assert len(read) == 4
  monkeypatch.setattr(i3d.load_i3d(None), 'sha256', '1' * 64)
  measured(generators[0], **data)
  assert len(read) == 6


def _protocol(monkeypatch, **rules):
  found = dataclasses.replace(
    protocols.get_protocol('ucf9_omnitokenizer256_17f'),
    **{'name': 'tiny', 'num_videos': 5, 'resolution': SIDE, **rules},
  )
  monkeypatch.setitem(protocols.PROTOCOLS, 'tiny', found)


def test_clips_off_the_grid_are_coded_longer_and_measured_cut(
  runs,  # noqa: F811
  generators,
  folder,
  seen,
  monkeypatch,
  tmp_path,
):
  _protocol(monkeypatch, num_frames=7, split=Split.ALL)
  for path in (runs / 'tokenizer', generators[0]):
    seen.clear()
    result = measured(
      path, protocol='tiny', data=f'folder:{folder}', save=tmp_path
    )
    assert (result['frames'], result['frames_coded']) == (7, FRAMES)
    assert {frames for _, frames in seen} == {7}
    assert result['split'] == 'train+test'
    assert result['videos_in_split'] == 3 * len(CLASSES)
    with np.load(tmp_path / 'videos.npz') as saved:
      sets = [saved[x] for x in saved if x.startswith(('re', 'gen'))]
      assert {x.shape[1] for x in sets if x.ndim == 5} == {7}
      assert saved['labels'].tolist() == (
        [0, 1, 2, 3, 4]
        if 'generated' in saved
        else saved['real_labels'].tolist()
      )


def test_a_centred_window_lies_in_the_middle(folder):
  source = f'folder:{folder}'
  config = DataConfig(source=source, **SIZE, max_bad_share=0.4)
  found = {}
  for frames in (9, 10):
    own = dataclasses.replace(config, num_frames=frames)
    for split in (Split.TRAIN, Split.ALL):
      opened = windows.open_split(
        own, num_videos=2, split=split, window=Window.CENTER
      )
      draw = windows.Draw(opened, len(opened), 3, split, 0.4)
      assert sorted(draw.clips_n) == list(range(len(opened)))
      (block,) = draw.blocks(np.arange(len(opened)), 100)
      found[frames, split] = draw, block
  draw, block = found[9, Split.ALL]
  assert len(draw.source) == 3 * len(CLASSES) > len(found[9, Split.TRAIN][1][0])
  assert len({draw.source.name(i) for i in range(len(draw.source))}) == 24
  for clip, video in zip(draw.clips_n, block.videos_nTHWc):
    name = draw.source.name(int(clip))
    group = int(name[name.index('_g0') + 3])
    length = (9, 12 + sorted(CLASSES).index(name.split('/')[0]) % 3, 17)[group]
    first = (video[0].mean() - 20 * group) / 5
    # As OmniTokenizer's: length // 2 - frames // 2.
    assert abs(first - (length // 2 - 9 // 2)) < 0.7, name
  draw, block = found[10, Split.ALL]
  assert (block.failed_n >= 0).sum() == 8
  strict = dataclasses.replace(draw, max_bad_share=0.05)
  with pytest.raises(BadDataError, match='_g00_c01.mp4: too short: 9 frames'):
    list(strict.blocks(np.arange(24), 8))


def test_memory_is_that_of_a_block(runs, monkeypatch):  # noqa: F811
  monkeypatch.setattr(archive, 'free_memory', lambda: 4 * 2 * 9 * 16 * 16 * 3)
  assert measured(runs / 'tokenizer', fvd=False)['num_real'] == 5
  with pytest.raises(ValueError, match='videos of 9×16×16, 3 at a time.*free'):
    measured(runs / 'tokenizer', fvd=False, batch_size=3)


def test_the_first_videos_alone_are_saved(runs, monkeypatch, tmp_path):  # noqa: F811
  for module in (draws, facts):
    monkeypatch.setattr(module, 'SAVED', 3)
  result = measured(runs / 'tokenizer', save=tmp_path, fvd=False)
  with np.load(tmp_path / 'videos.npz') as saved:
    counts = {len(saved[x]) for x in saved if x != 'classes'}
    assert counts == {3} and result['videos_saved'] == 3
