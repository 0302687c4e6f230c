"""The evaluate command, its readers, protocols and paired metrics."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from videoar_jax import media
from videoar_jax.evaluate import (
  compare,
  protocols,
  reconstruction,
  video_sets,
)


def _videos(num=3, *, frames=9, height=24, width=20, seed=0) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (num, frames, height, width, 3), np.uint8)


@pytest.mark.parametrize(
  'real,generated,kwargs,word',
  (
    (_videos(), _videos(frames=10), {}, '9 frames in the real'),
    (_videos(), _videos(width=22), {}, 'height and width'),
    (_videos(3), _videos(4), {'paired': True}, 'paired'),
    (_videos(1), _videos(3), {}, 'at least 2'),
    (_videos(frames=8), _videos(frames=8), {}, 'at least 9'),
    (_videos()[0], _videos(), {}, 'real videos of shape'),
    (
      _videos(),
      _videos(),
      {'protocol': protocols.get_protocol('ucf9_train256_17f_64')},
      r'ucf9_train256_17f_64 wants \(256, 17, 64, 64, 3\)',
    ),
  ),
)
def test_sets_that_do_not_fit_are_refused(real, generated, kwargs, word):
  with pytest.raises(ValueError, match=word):
    compare.compare_sets(real, generated, **kwargs)


def test_larger_sets_carry_every_distance_and_pairs_matter():
  rng = np.random.default_rng(0)
  real = rng.standard_normal((260, 30))
  near = real + 0.1 * rng.standard_normal(real.shape)
  free = compare.compare_features(real, near)
  paired = compare.compare_features(real, near, paired=True)
  assert set(free) == {'fvd', 'fvd_inf', 'kvd', 'kvd_stderr'}
  assert free['fvd'] == paired['fvd']
  assert paired['kvd_stderr'] < 0.5 * free['kvd_stderr']
  assert abs(paired['fvd_inf']) < 1


def test_not_finite_numbers_become_null(tmp_path):
  path = tmp_path / 'r.json'
  compare.write_json(path, {'a': float('inf'), 'b': [1.5, float('nan')]})
  assert json.loads(path.read_text()) == {'a': None, 'b': [1.5, None]}


def test_npz_and_folder_give_the_same_set(tmp_path):
  videos = np.repeat(_videos(3, height=4, width=4), 8, 2).repeat(8, 3)
  (tmp_path / 'set' / 'b').mkdir(parents=True)
  for name, video in zip(('a.mp4', 'b/a.mp4', 'c.mp4'), videos):
    media.write_mp4(tmp_path / 'set' / name, video)
  (tmp_path / 'set' / 'notes.txt').write_text('not a video')
  from_folder = video_sets.load_videos(tmp_path / 'set')
  assert from_folder.shape == videos.shape
  order = [
    np.abs(video.astype(float) - videos).mean((1, 2, 3, 4)).argmin()
    for video in from_folder
  ]
  assert order == [0, 1, 2]
  np.savez(tmp_path / 'set.npz', videos=from_folder)
  few = video_sets.load_videos(tmp_path / 'set.npz', num_frames=5)
  np.testing.assert_array_equal(few, from_folder[:, :5])


@pytest.mark.parametrize(
  'arrays,word',
  (
    ({'video': _videos()}, 'no videos.npy in it, only video.npy'),
    ({'videos': _videos()[0]}, 'shape'),
    ({'videos': _videos().astype(np.int64)}, 'int64'),
    ({'videos': _videos().astype(np.float32)}, r'0\.\.255; wanted 0\.\.1'),
    ({'videos': _videos() / 127.5 - 1}, r'wanted 0\.\.1'),
    ({'videos': np.full((2, 9, 4, 4, 3), np.nan)}, 'nan'),
    ({'videos': np.full((2, 9, 4, 4, 3), np.inf)}, 'inf'),
    ({'videos': _videos()[:0]}, 'shape'),
    ({'videos': _videos()[:, :0]}, 'shape'),
    ({'videos': _videos()[..., :1]}, 'shape'),
    ({'videos': np.array([None])}, 'holds Python objects'),
    ({'videos': _videos().astype(bool)}, 'bool'),
    ({'videos': np.array(['a'])}, 'shape'),
    ({'videos': np.zeros((2, 9, 4, 4, 3), complex)}, 'complex128'),
  ),
)
def test_unfit_npz_is_refused(tmp_path, arrays, word):
  path = tmp_path / 'bad.npz'
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=f'bad.npz.*{word}') as caught:
    video_sets.load_videos(path)
  assert '\n' not in str(caught.value) and 'pickle' not in str(caught.value)


def test_an_npz_that_declares_190_tib_is_refused_at_once(tmp_path):
  path = tmp_path / 'x.npz'
  about = {
    'descr': '|u1',
    'fortran_order': False,
    'shape': (2**40, 64, 1, 1, 3),
  }
  data = io.BytesIO()
  np.lib.format.write_array_header_2_0(data, about)
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr('videos.npy', data.getvalue() + bytes(2**20))
  with pytest.raises(ValueError, match='states 211106232532992 bytes, holds'):
    video_sets.load_videos(path)


def test_unfit_folders_are_refused(tmp_path):
  with pytest.raises(ValueError, match='no video in it'):
    video_sets.load_videos(tmp_path)
  with pytest.raises(ValueError, match='absent'):
    video_sets.load_videos(tmp_path / 'absent')
  (tmp_path / 'junk.npz').write_bytes(b'junk')
  with pytest.raises(ValueError, match='junk.npz'):
    video_sets.load_videos(tmp_path / 'junk.npz')
  media.write_mp4(tmp_path / 'a.mp4', _videos(1, frames=9)[0])
  media.write_mp4(tmp_path / 'b.mp4', _videos(1, frames=10)[0])
  with pytest.raises(ValueError, match='b.mp4.*num_frames'):
    video_sets.load_videos(tmp_path)
  assert video_sets.load_videos(tmp_path, num_frames=9).shape[:2] == (2, 9)
  with pytest.raises(ValueError, match='a.mp4: 9 frames'):
    video_sets.load_videos(tmp_path, num_frames=10)


def test_unknown_protocol_names_the_nearest():
  with pytest.raises(ValueError, match='ucf101_train10k_17f_128'):
    protocols.get_protocol('ucf101_train10k_17f')
  with pytest.raises(ValueError, match='known'):
    protocols.get_protocol('zzz')


def test_protocols_are_plain_values_and_differ():
  described = [protocols.describe(p) for p in protocols.PROTOCOLS.values()]
  assert json.loads(json.dumps(described)) == described
  rules = [
    dataclasses.replace(p, name='', source='')
    for p in protocols.PROTOCOLS.values()
  ]
  assert len(set(rules)) == len(rules)
  assert protocols.DEFAULT in protocols.PROTOCOLS


def test_psnr_is_the_mean_over_frames():
  real, other = _videos(seed=1), _videos(seed=2)
  gap = (real / 255 - other / 255) ** 2
  wanted = (-10 * np.log10(gap.mean(axis=(2, 3, 4)))).mean(axis=1)
  np.testing.assert_allclose(reconstruction.psnr(real, other), wanted, 1e-4)
  as_float = (other / 255).astype(np.float32)
  np.testing.assert_allclose(reconstruction.psnr(real, as_float), wanted, 1e-4)


def _plain_ssim(a, b) -> float:
  """SSIM of one channel of one frame, window by window."""
  at = np.arange(11) - 5
  line = np.exp(-(at**2) / (2 * 1.5**2))
  window = np.outer(line, line) / line.sum() ** 2
  values = []
  for y in range(a.shape[0] - 10):
    for x in range(a.shape[1] - 10):
      u, v = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
      m, n = (window * u).sum(), (window * v).sum()
      s, t = (window * (u - m) ** 2).sum(), (window * (v - n) ** 2).sum()
      c = (window * (u - m) * (v - n)).sum()
      top = (2 * m * n + 0.01**2) * (2 * c + 0.03**2)
      values.append(top / (m * m + n * n + 0.01**2) / (s + t + 0.03**2))
  return np.mean(values)


def test_ssim_equals_its_definition():
  real = _videos(1, frames=2, height=15, width=13)
  noise = np.random.default_rng(3).integers(-40, 40, real.shape)
  other = (real + noise).clip(0, 255).astype(np.uint8)
  a, b = real / 255, other / 255
  wanted = np.mean(
    [
      _plain_ssim(a[0, t, :, :, c], b[0, t, :, :, c])
      for t in range(2)
      for c in range(3)
    ]
  )
  value = reconstruction.ssim(real, other)
  np.testing.assert_allclose(value, [wanted], atol=1e-4)
  np.testing.assert_allclose(reconstruction.ssim(real, real), 1, atol=1e-5)


def test_identical_frames_are_counted():
  real, other = _videos(seed=1), _videos(seed=2)
  other[1, 4] = real[1, 4]
  result = compare.compare_pairs(real, other)
  assert result['identical_frames'] == 1
  assert result['psnr'] == float('inf')
  with pytest.raises(ValueError, match='shapes'):
    compare.compare_pairs(real, other[:2])
