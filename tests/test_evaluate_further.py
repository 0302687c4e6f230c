"""Probe, memorisation, intervals and continuation of a checkpoint."""

import json
import types

import numpy as np
import pytest
from PIL import Image
from tiny_runs import CLASSES, FRAMES, SIDE, runs  # noqa: F401

from videoar_jax.commands import evaluate
from videoar_jax.core import command
from videoar_jax.core.export import load_weights
from videoar_jax.evaluate import (
  checkpoint,
  continuation,
  i3d,
  kept,
  splits,
)
from videoar_jax.evaluate.request import Request
from videoar_jax.sample import sampler
from videoar_jax.tokenizer.stream import Codec


@pytest.fixture
def stub_i3d(monkeypatch, tmp_path):
  """A projection in place of I3D, and a cache of its own."""
  matrix = np.random.default_rng(0).standard_normal((27, i3d.NUM_CLASSES))
  seen = []

  def logits(model, videos, *, batch_size=None):
    seen.append(len(videos))
    x = np.asarray(videos, np.float64)[:, :: FRAMES // 3, 3::5, 3::5] / 255
    return np.float32(x.mean(2).reshape(len(videos), -1)[:, :27] @ matrix)

  monkeypatch.setattr(i3d, 'logits', logits)
  model = types.SimpleNamespace(sha256='0' * 64, config=i3d.I3DConfig())
  monkeypatch.setattr(i3d, 'load_i3d', lambda config, **_: model)
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'cache'))
  return seen


def _command(runs, folder, *asked) -> dict:  # noqa: F811
  """What `evaluate` writes of the tiny generator."""
  out = folder / 'result.json'
  given = (f'--checkpoint={runs}/generator', f'--out={out}', '--batch_size=4')
  words = ['evaluate', *asked, *given, '--train_windows=40']
  assert command.run(evaluate, words) is None
  return json.loads(out.read_text())


def test_a_generator_is_asked_everything_at_once(
  runs,  # noqa: F811
  stub_i3d,
  tmp_path,
  monkeypatch,
  capsys,
):
  monkeypatch.setattr(splits, 'MOST_HELD_OUT', 32)
  asked = ('--num_videos=4', '--probe', '--memorisation', '--intervals')
  result = _command(runs, tmp_path, *asked)
  assert 'samples nearer than heldout below 5%: ' in capsys.readouterr().out
  found = result['probe']
  assert (found['train_windows'], found['train_clips']) == (40, 40)
  assert found['chance'] == 1 / len(CLASSES) and found['train_windows_cut']
  assert found['samples']['windows'] == 4 and 'units' not in found['samples']
  for name in ('real_heldout', 'reconstructions', 'first_frame'):
    assert found[name]['windows'] == found[name]['clips'] == 32
    assert 0 <= found[name]['low'] <= found[name]['accuracy']
  assert found['real_heldout']['accuracy'] > found['chance']
  copies = result['memorisation']
  assert copies['samples']['videos'] == 4 and copies['train_windows'] == 40
  assert copies['reconstructions']['videos'] == 40
  assert copies['picture'] == str(tmp_path / 'nearest.webp')
  assert (tmp_path / 'nearest.png').exists()
  assert set(result['intervals']) == {'fvd', 'kvd', 'units'}
  assert result['intervals']['fvd']['value'] == pytest.approx(result['gfvd'])
  assert result['between_groups']['groups'] == 40
  # What is known of real clips is not worked out again.
  before = len(stub_i3d)
  again = _command(runs, tmp_path, *asked)
  assert again['probe'] == found
  # Samples, and reconstructions, of which 40 go in two blocks.
  assert len(stub_i3d) - before == 4


def test_kept_features_that_are_damaged_are_made_again(stub_i3d, tmp_path):
  model = i3d.load_i3d(None)
  videos = np.random.default_rng(4).integers(
    0, 256, (40, 9, SIDE, SIDE, 3), np.uint8
  )
  rows = kept.cached_logits(model, videos)
  assert stub_i3d == [32, 8]
  files = sorted((tmp_path / 'cache' / 'i3d').iterdir())
  files[0].write_bytes(b'PK')
  np.testing.assert_array_equal(kept.cached_logits(model, videos), rows)
  assert len(stub_i3d) == 3
  model.sha256 = '1' * 64
  kept.cached_logits(model, videos)
  videos[0, 0, 0, 0] ^= 1
  kept.cached_logits(model, videos)
  assert len(stub_i3d) == 6


def test_the_continuation_begins_with_what_was_given(
  runs,  # noqa: F811
  stub_i3d,
  tmp_path,
  monkeypatch,
  capsys,
):
  monkeypatch.setattr(splits, 'MOST_HELD_OUT', 6)
  shown, show = [], continuation._show

  def keep(folder, windows, made, given):
    shown.append((windows, made))
    show(folder, windows, made, given)

  monkeypatch.setattr(continuation, '_show', keep)
  result = _command(
    runs, tmp_path, 'continuation', '--given_frames=5', f'--save={tmp_path}'
  )
  assert '5 given, psnr_repeated by frame: ' in capsys.readouterr().out
  assert result['windows'] == 6 and result['real_heldout']['windows'] == 6
  ((windows, made),) = shown
  found = result['given']['5']
  for name in ('psnr', 'psnr_repeated', 'psnr_coded'):
    assert len(found[name]) == FRAMES - 5
  wanted = 255**2 / 10 ** (np.array(found['psnr']) / 10)
  gap = windows.videos_nTHWc[:, 5:] - made[:, 5:].astype(float)
  np.testing.assert_allclose(wanted, np.square(gap).mean((0, 2, 3, 4)))
  assert set(found['probe']) == {'continued', 'repeated'}
  # What was given comes back as the tokenizer codes it alone.
  generator = sampler.Generator.of(load_weights(runs / 'generator'))
  tokenizer = Codec(generator.tokenizer, generator.nets['autoencoder'])
  coded = tokenizer.decode(tokenizer.encode(windows.videos_nTHWc[:4, :5]))
  assert np.abs(coded.astype(int) - made[:4, :5]).max() <= 1
  assert (tmp_path / 'continued_5.png').exists()
  with Image.open(tmp_path / 'continued_5.webp') as movie:
    assert movie.n_frames == FRAMES


def test_psnr_is_of_the_frames_after_those_given():
  rng = np.random.default_rng(5)
  real = rng.integers(0, 256, (3, 7, 4, 4, 3), np.uint8)
  coded = real.copy()
  coded[..., 0] ^= 1
  found = continuation.figures(real, real, coded, given=3)
  np.testing.assert_allclose(
    found['psnr_coded'], 10 * np.log10(255**2 * 3), rtol=1e-12
  )
  assert found['psnr'] == [np.inf] * 4
  gap = np.square(real[:, 3:] / 1.0 - real[:, 2:3]).mean((0, 2, 3, 4))
  wanted = 10 * np.log10(255**2 / gap)
  np.testing.assert_allclose(found['psnr_repeated'], wanted)


@pytest.mark.parametrize(
  'run,options,words',
  (
    ('tokenizer', {'memorisation': True}, 'tokenizer, which samples nothing'),
    ('tokenizer', {'probe': True, 'fvd': False}, 'takes features of I3D'),
    ('generator', {'intervals': True, 'fvd': False}, 'takes features of I3D'),
    ('generator', {'train_windows': 2}, 'train_windows=2: wanted at least 8'),
  ),
)
def test_what_cannot_be_asked_is_told(runs, run, options, words):  # noqa: F811
  with pytest.raises(ValueError, match=words):
    checkpoint.evaluate_checkpoint(
      Request(checkpoint=str(runs / run), **options)
    )


@pytest.mark.parametrize(
  'run,given,words',
  (
    ('tokenizer', 1, 'tokenizer, which does not go on'),
    ('generator', 4, '4.*1 \\+ 4k'),
    ('generator', 9, 'given_frames=9: the clips have 9 frames'),
  ),
)
def test_what_cannot_be_continued_is_told(runs, run, given, words):  # noqa: F811
  request = Request(checkpoint=str(runs / run), fvd=False)
  with pytest.raises(ValueError, match=words):
    continuation.measure_checkpoint(request, given_frames=(given,))
