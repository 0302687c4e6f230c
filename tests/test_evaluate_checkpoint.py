"""Evaluating checkpoints: windows, pairing, labels, baselines, errors."""

import dataclasses
import json
import types

import numpy as np
import pytest
from tiny_runs import CLASSES, FRAMES, SIDE, SIZE, runs  # noqa: F401

from videoar_jax import media
from videoar_jax.commands import evaluate
from videoar_jax.core import command
from videoar_jax.core.config import from_section
from videoar_jax.core.export import load_weights
from videoar_jax.data import synthetic
from videoar_jax.data.config import DataConfig
from videoar_jax.evaluate import (
  checkpoint,
  compare,
  frechet,
  h264,
  i3d,
  protocols,
  reconstruction,
  windows,
)
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.rules import Split
from videoar_jax.sample import sampler
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import make_reconstructor


@pytest.fixture
def stub_i3d(monkeypatch, tmp_path):
  """A projection in place of I3D; returns the sets that it was shown."""
  seen = []
  matrix = np.random.default_rng(0).standard_normal((27, 400)) / 100

  def logits(model, videos, *, batch_size=None):
    seen.append(videos)
    x = np.asarray(videos, np.float64)[:, :: FRAMES // 3, 3::5, 3::5]
    rows = x.mean(2).reshape(len(videos), -1)[:, :27] @ matrix
    return rows.astype(np.float32)

  monkeypatch.setattr(i3d, 'logits', logits)
  model = types.SimpleNamespace(sha256='0' * 64)
  monkeypatch.setattr(i3d, 'load_i3d', lambda config, **_: model)
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'cache'))
  return seen


def _evaluate(path, **options) -> dict:
  return checkpoint.evaluate_checkpoint(
    Request(checkpoint=str(path), **options)
  )


def _data(**options) -> DataConfig:
  return DataConfig(**{'batch_size': 4, **SIZE, **options})


def test_tokenizer_is_measured_by_its_reconstructions(runs, tmp_path):
  result = _evaluate(
    runs / 'tokenizer', num_videos=6, fvd=False, batch_size=4, save=tmp_path
  )
  saved = np.load(tmp_path / 'videos.npz')
  real = windows.draw_windows(_data(), num_videos=6, split=Split.TRAIN, seed=0)
  np.testing.assert_array_equal(saved['real'], real.videos_nTHWc)
  np.testing.assert_array_equal(saved['labels'], real.labels_n)
  loaded = load_weights(runs / 'tokenizer')
  config = from_section(TokenizerConfig, loaded.config.tokenizer)
  reconstruct = make_reconstructor(config)
  parts = [
    reconstruct(loaded.nets['autoencoder'], saved['real'][rows])
    for rows in ([0, 1, 2, 3], [4, 5, 5, 5])
  ]
  videos = np.concatenate([video for video, _ in parts])[:6]
  bits = [np.concatenate(scale)[:6] for scale in zip(*(b for _, b in parts))]
  np.testing.assert_array_equal(saved['reconstructed'], videos)
  psnr = reconstruction.psnr(saved['real'], saved['reconstructed']).mean()
  assert result['psnr'] == pytest.approx(float(psnr))
  assert 0 < result['ssim'] < 1 and result['identical_frames'] == 0
  assert result['bits_per_clip'] == sum(x[0].size for x in bits)
  assert result['bits_per_pixel'] == result['bits_per_clip'] / (9 * 16 * 16)
  for entropy, scale in zip(result['bit_entropy'], bits):
    share = scale.mean((0, 1, 2, 3), dtype=float).clip(1e-12, 1 - 1e-12)
    wanted = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert entropy == pytest.approx(wanted.mean())
  assert result['fvd_skipped'] and result['rfvd'] is None
  assert result['fvd'] is result['fvd_inf'] is result['kvd'] is None
  assert result['class_accuracy_real'] > 0.7 > result['class_accuracy']
  assert result['step'] == 7 and result['digest'] == loaded.digest
  assert result['tokenizer_digest'] == loaded.digests['autoencoder']
  assert (result['num_real'], result['frames']) == (6, 9)
  assert result['videos_repeated'] == 0 and result['paired']
  assert {'real clips', 'reconstruction'} <= set(result['seconds'])
  assert (tmp_path / 'contact_sheet.png').stat().st_size > 1000
  compare.write_json(tmp_path / 'result.json', result)


def test_baselines_share_the_real_features(runs, stub_i3d):
  num = 8
  result = _evaluate(
    runs / 'tokenizer',
    num_videos=num,
    batch_size=4,
    repeats=2,
    baselines=True,
  )
  real, decoded, still, _, _, second, noise = stub_i3d
  first = {**result, **result['repeats'][0]}
  other = windows.draw_windows(
    _data(), num_videos=num, split=Split.TRAIN, seed=2
  )
  np.testing.assert_array_equal(second, other.videos_nTHWc)
  np.testing.assert_array_equal(still[:, 5], real[:, 0])
  assert not np.array_equal(noise, decoded)

  def features(videos):
    return i3d.logits(None, videos)

  for videos, paired, figures in (
    (decoded, True, first),
    (second, False, result['baselines']['real against real']),
    (still, True, result['baselines']['first frame']),
    (noise, False, result['baselines']['random bits']),
  ):
    wanted = compare.compare_features(
      features(real), features(videos), paired=paired
    )
    assert figures['paired'] == paired
    assert {key: figures[key] for key in wanted} == wanted
    half = compare.compare_features(features(real[:4]), features(videos[4:]))
    assert figures['halves']['kvd'] == half['kvd']
    assert figures['halves']['num_videos'] == 4
    gap = frechet.kvd_gap(
      features(real),
      features(decoded),
      features(videos),
      near_paired=True,
      far_paired=paired,
    )
    if figures is not first:
      assert figures['farther'] == {'kvd': gap.value, 'kvd_stderr': gap.stderr}
  assert result['rfvd'] == result['fvd'] and 'gfvd' not in result
  assert result['seeds']['second real draw'] == 2
  assert {'halves', 'baselines'} <= {*result['of_first_repeat']}
  assert not result['fvd_skipped']


def test_the_same_clips_as_h264_stand_beside(runs, stub_i3d, tmp_path):
  result = _evaluate(
    runs / 'tokenizer', num_videos=4, batch_size=4, h264=True, save=tmp_path
  )
  real, decoded, coded = stub_i3d
  saved = np.load(tmp_path / 'videos.npz')
  np.testing.assert_array_equal(saved['h264'], coded)
  np.testing.assert_array_equal(saved['reconstructed'], decoded)
  features = [i3d.logits(None, videos) for videos in (real, coded)]
  wanted = compare.compare_features(*features, paired=True)
  assert {key: result['h264'][key] for key in wanted} == wanted
  assert result['h264']['psnr'] == compare.compare_pairs(real, coded)['psnr']
  bits = [h264.code_at(video, result['bits_per_clip']) for video in real]
  np.testing.assert_array_equal(coded[3], bits[3].video_THWc)
  assert result['h264']['bits_per_clip'] == np.mean([x.num_bits for x in bits])


def test_generator_samples_the_labels_of_the_windows(runs, stub_i3d, tmp_path):
  path = runs / 'generator'
  options = {'seed': 3, 'split': 'validation', 'temperature': 0.5}
  result = _evaluate(
    path, num_videos=5, batch_size=4, baselines=True, save=tmp_path, **options
  )
  real = windows.draw_windows(
    _data(), num_videos=5, split=Split.VALIDATION, seed=3
  )
  generator = sampler.Generator.of(load_weights(path))
  sampling = generator.sampling(seed=3, temperature=0.5, batch_size=4)
  wanted = sampler.sample_videos(
    generator.program(sampling),
    generator.nets,
    real.labels_n,
    sampling=sampling,
  )
  np.testing.assert_array_equal(stub_i3d[0], real.videos_nTHWc)
  np.testing.assert_array_equal(stub_i3d[1], np.stack(list(wanted)))
  saved = np.load(tmp_path / 'videos.npz')
  np.testing.assert_array_equal(saved['generated'], stub_i3d[1])
  assert result['gfvd'] == result['fvd'] and not result['paired']
  again, _, _, noise = stub_i3d[2:]
  assert list(result['baselines']) == [
    'real against real',
    'first frame',
    'reconstructions',
    'random bits',
  ]
  reconstruct = make_reconstructor(generator.tokenizer)
  own, _ = reconstruct(generator.nets['autoencoder'], real.videos_nTHWc[:4])
  np.testing.assert_array_equal(again[:4], own)
  assert noise.shape == again.shape and not np.array_equal(noise, again)
  assert result['baselines']['reconstructions']['paired']
  assert result['temperature'] == 0.5 and result['guidance'] == '1'
  assert result['split'] == 'validation' and result['step'] == 9
  assert result['videos_in_split'] == synthetic.HELD_OUT_CLIPS
  assert result['seeds']['samples'] == 3 and 'psnr' not in result
  assert set(result['class_accuracy_by_class']) == set(CLASSES)


def test_protocol_decides_number_and_labels(runs, stub_i3d, monkeypatch):
  protocol = dataclasses.replace(
    protocols.get_protocol('synthetic_256_17f_32'),
    name='tiny',
    num_videos=10,
    num_frames=FRAMES,
    resolution=SIDE,
  )
  monkeypatch.setitem(protocols.PROTOCOLS, 'tiny', protocol)
  asked = []
  monkeypatch.setattr(
    sampler,
    'sample_videos',
    lambda program, nets, labels, **_: (
      asked.extend(labels) or np.zeros((len(labels), 9, 16, 16, 3), np.uint8)
    ),
  )
  result = _evaluate(runs / 'generator', protocol='tiny')
  assert asked[:10] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
  assert result['num_real'] == 10 and result['protocol'] == 'tiny'
  assert result['rules']['labels'] == 'uniform over classes'
  with pytest.raises(ValueError, match='split.*tiny draws from train'):
    _evaluate(runs / 'generator', protocol='tiny', split='validation')
  with pytest.raises(ValueError, match='num_frames=13.*tiny wants 9'):
    _evaluate(runs / 'generator', protocol='tiny', num_frames=13)
  held_out = dataclasses.replace(protocol, split=protocols.Split.VALIDATION)
  monkeypatch.setitem(protocols.PROTOCOLS, 'tiny', held_out)
  result = _evaluate(runs / 'generator', protocol='tiny')
  assert result['split'] == 'validation'
  assert result['videos_in_split'] == synthetic.HELD_OUT_CLIPS
  with pytest.raises(ValueError, match='split.*tiny draws from validation'):
    _evaluate(runs / 'generator', protocol='tiny', split='train')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Six training videos of two classes and their list, and one held out."""
  root = tmp_path_factory.mktemp('videos')
  rng = np.random.default_rng(0)
  names = [f'{name}/{i}.mp4' for name in ('swim', 'run') for i in range(3)]
  for name in [*names, 'run/held_out.mp4', 'run/other.mp4']:
    (root / 'set' / name).parent.mkdir(parents=True, exist_ok=True)
    colour = rng.integers(0, 256, (1, 1, 1, 3), np.uint8)
    video = np.broadcast_to(colour, (12, SIDE, SIDE, 3))
    media.write_mp4(root / 'set' / name, video)
  (root / 'list.txt').write_text('\n'.join(names))
  return root


def test_windows_come_from_different_videos_first(folder):
  data = _data(
    source=f'folder:{folder}/set', split_file=str(folder / 'list.txt')
  )
  draw = windows.draw_windows(data, num_videos=8, split=Split.TRAIN, seed=2)
  assert draw.draw.videos_in_split == 6 and draw.draw.videos_repeated == 2
  colours = {tuple(video[0, 0, 0]) for video in draw.videos_nTHWc[:6]}
  assert len(colours) == 6
  small = dataclasses.replace(data, batch_size=3)
  few = windows.draw_windows(small, num_videos=5, split=Split.TRAIN, seed=2)
  assert few.draw.videos_repeated == 0
  np.testing.assert_array_equal(few.videos_nTHWc, draw.videos_nTHWc[:5])
  held_out = windows.draw_windows(
    data, num_videos=5, split=Split.VALIDATION, seed=2
  )
  assert held_out.draw.videos_in_split == 2
  assert held_out.draw.videos_repeated == 3
  other = windows.draw_windows(
    small, num_videos=5, split=Split.VALIDATION, seed=2
  )
  np.testing.assert_array_equal(other.videos_nTHWc, held_out.videos_nTHWc)
  first = held_out.videos_nTHWc[:, 0, 0, 0]
  assert len(np.unique(first[:2], axis=0)) == 2
  assert len(np.unique(first[2:4], axis=0)) == 2


def test_real_folder_needs_no_synthetic_classes(runs, folder):
  result = _evaluate(
    runs / 'tokenizer',
    data=f'folder:{folder}/set',
    split_file=str(folder / 'list.txt'),
    num_videos=7,
    batch_size=4,
    fvd=False,
  )
  assert result['videos_repeated'] == 1 and result['psnr'] > 0
  assert 'class_accuracy' not in result
  with pytest.raises(ValueError, match=r'run, swim.*trained on left, right'):
    _evaluate(runs / 'generator', data=f'folder:{folder}/set', fvd=False)


@pytest.mark.parametrize(
  'run,options,words',
  (
    ('absent', {}, 'absent.*no such checkpoint'),
    ('tokenizer', {'num_frames': 16}, r'num_frames=16.*use 17'),
    ('tokenizer', {'num_frames': 5}, '5.*at least 9.*nofvd'),
    ('tokenizer', {'num_videos': 1}, 'num_videos=1.*at least 2'),
    ('tokenizer', {'num_videos': 10_001}, '10001.*train.*10000'),
    ('tokenizer', {'guidance': '2'}, 'guidance=2.*tokenizer'),
    ('tokenizer', {'data': 'features:x'}, 'features.*--data=folder'),
    ('tokenizer', {'data': 'folder:/absent'}, '/absent does not exist'),
    ('generator', {'data': 'film'}, 'film'),
    ('generator', {'temperature': -1.0}, 'temperature=-1'),
    ('tokenizer', {'protocol': 'synthetic_256_17f_64'}, '64×64.*16×16'),
    ('tokenizer', {'protocol': 'tats_2048_16f_128'}, 'tats.*128×128'),
    ('tokenizer', {'protocol': 'tats'}, "protocol='tats': unknown"),
    ('tokenizer', {'protocol': 'a', 'num_videos': 9}, 'do not compare'),
    ('tokenizer', {'baselines': True, 'fvd': False}, 'leave out one'),
    ('generator', {'h264': True}, 'take no bits'),
    ('tokenizer', {'split': 'test'}, 'train or validation'),
    ('tokenizer', {'seed': -1}, 'seed=-1'),
    ('tokenizer', {'batch_size': 0}, 'batch_size=0'),
  ),
)
def test_what_does_not_fit_is_refused(runs, run, options, words):
  with pytest.raises(ValueError, match=words):
    _evaluate(runs / run, **options)


def test_command_measures_a_checkpoint(runs, tmp_path, capsys):
  out = tmp_path / 'result.json'
  argv = [
    'evaluate',
    f'--checkpoint={runs}/tokenizer',
    f'--out={out}',
    '--num_videos=4',
    '--batch_size=4',
    '--nofvd',
  ]
  assert command.run(evaluate, argv) is None
  assert 'psnr' in capsys.readouterr().out
  result = json.loads(out.read_text())
  assert result['fvd'] is None and result['num_real'] == 4
