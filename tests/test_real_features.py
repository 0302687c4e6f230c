"""gFVD by features of real clips that were kept in a file."""

import dataclasses
import types

import numpy as np
import pytest
from tiny_runs import FRAMES, runs  # noqa: F401
from toy import compile_cache  # noqa: F401

from videoar_jax.core import command
from videoar_jax.evaluate import apart, checkpoint, i3d, real_features
from videoar_jax.evaluate.request import Request


@pytest.fixture(autouse=True)
def stub_i3d(monkeypatch, tmp_path):
  """A projection in place of I3D; a model that says whose weights it has."""
  matrix = np.random.default_rng(0).standard_normal((27, i3d.NUM_CLASSES)) / 100
  model = types.SimpleNamespace(sha256='0' * 64)

  def logits(model, videos, *, batch_size=None):
    x = np.asarray(videos, np.float64)[:, :: FRAMES // 3, 3::5, 3::5]
    rows = x.mean(2).reshape(len(videos), -1)[:, :27] @ matrix
    return rows.astype(np.float32)

  monkeypatch.setattr(i3d, 'logits', logits)
  monkeypatch.setattr(i3d, 'load_i3d', lambda config, **_: model)
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'cache'))
  return model


def _request(path, **options) -> Request:
  return Request(checkpoint=str(path), batch_size=4, **options)


@pytest.fixture
def kept(runs, tmp_path):
  path = tmp_path / 'real.npz'
  request = _request(runs / 'tokenizer', num_videos=6)
  real_features.write(path, apart.measure_real(request))
  return path


def test_a_generator_is_measured_as_with_the_clips_themselves(runs, kept):
  request = _request(runs / 'generator', num_videos=6)
  there = checkpoint.evaluate_checkpoint(request)
  here = apart.measure_samples(request, real_features.read(kept))
  for name in ('fvd', 'kvd', 'gfvd', 'digest', 'guidance'):
    assert here[name] == there[name], name
  assert here['num_videos'] == 6 and here['real']['source'] == 'synthetic'


def test_features_of_another_i3d_are_refused(runs, kept, stub_i3d):
  stub_i3d.sha256 = '1' * 64
  with pytest.raises(ValueError, match='use the same weights for both'):
    apart.measure_samples(
      _request(runs / 'generator'), real_features.read(kept)
    )


def test_features_of_other_classes_or_another_size_are_refused(runs, kept):
  (real,), request = real_features.read(kept), _request(runs / 'generator')
  for name, value, word in (
    ('classes', [f'c{i}' for i in range(8)], 'was trained on the classes'),
    ('resolution', [64, 64], r'makes 16×16 pixels'),
  ):
    other = dataclasses.replace(real, about={**real.about, name: value})
    with pytest.raises(ValueError, match=word):
      apart.measure_samples(request, [other])


@pytest.mark.parametrize(
  'change',
  [
    {'rows': np.zeros((6, 3), np.float32)},
    {'rows': np.full((6, 400), np.nan, np.float32)},
    {'labels': np.full(6, 99)},
    {'about': np.asarray('{}')},
    {'about': np.asarray('no JSON')},
    {'about': None},
  ],
)
def test_a_file_that_holds_something_else_is_refused(kept, change):
  with np.load(kept) as found:
    arrays = {**found, **change}
  np.savez(kept, **{k: v for k, v in arrays.items() if v is not None})
  with pytest.raises(ValueError, match=f'{kept}.*make it again'):
    real_features.read(kept)


def test_the_command_needs_features_and_writes_npz_alone(capsys, tmp_path):
  from videoar_jax.commands import evaluate

  asked = ['evaluate', 'samples', '--checkpoint=x', '--out=y.json']
  assert command.run(evaluate, asked) == 2
  assert '--features is missing' in capsys.readouterr().err
  asked += ['--features=z.npz', '--num_videos=5']
  assert command.run(evaluate, asked) == 2
  assert '--num_videos is not read by samples' in capsys.readouterr().err
  asked = ['evaluate', 'features', '--checkpoint=x', f'--out={tmp_path}/y']
  with pytest.raises(SystemExit, match='name it so'):
    command.run(evaluate, asked)
