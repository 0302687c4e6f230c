"""The analytic estimator names the motion of synthetic clips."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from videoar_jax.data import synthetic
from videoar_jax.evaluate import motion

_SIZES = [(9, 32, 32), (17, 64, 64), (5, 32, 32), (13, 40, 67)]


def _clips(count, size, seed=11):
  frames, height, width = size
  pairs = [
    synthetic.render(seed, i, num_frames=frames, height=height, width=width)
    for i in range(count)
  ]
  return np.stack([v for v, _ in pairs]), np.array([x for _, x in pairs])


@pytest.mark.parametrize('size', _SIZES)
def test_at_least_98_percent_of_clean_clips_are_named_rightly(size):
  videos, labels = _clips(160, size)
  assert motion.accuracy(videos, labels) >= 0.98


@pytest.mark.parametrize('size', _SIZES[:2])
def test_blur_and_noise_hardly_matter(size):
  videos, labels = _clips(120, size)
  sigma = size[1] / 40
  rng = np.random.default_rng(3)
  soft = ndimage.gaussian_filter(videos / 255.0, (0, 0, sigma, sigma, 0))
  soft = np.clip(soft + rng.normal(0, 0.08, soft.shape), 0, 1)
  assert np.abs(soft - videos / 255.0).mean() > 0.04  # it did blur
  assert motion.accuracy(soft, labels) >= 0.95


def test_compression_hardly_matters():
  videos, labels = _clips(80, (9, 32, 32))

  def squeeze(frame):
    blob = io.BytesIO()
    Image.fromarray(frame).save(blob, format='JPEG', quality=15)
    return np.asarray(Image.open(blob))

  squeezed = np.stack([[squeeze(f) for f in video] for video in videos])
  assert not np.array_equal(squeezed, videos)
  assert motion.accuracy(squeezed, labels) >= 0.95


def test_shuffled_labels_score_about_chance():
  videos, labels = _clips(240, (9, 32, 32))
  shuffled = np.random.default_rng(5).permutation(labels)
  assert 0.05 < motion.accuracy(videos, shuffled) < 0.2  # chance is 0.125


def test_time_reversed_clips_get_the_opposite_class():
  videos, labels = _clips(32, (9, 32, 32))
  opposite = np.array([1, 0, 3, 2, 5, 4, 7, 6])
  assert motion.accuracy(videos[:, ::-1], opposite[labels]) >= 0.95


@pytest.mark.parametrize('kind', ['still', 'noise', 'empty', 'jumble'])
def test_a_clip_without_motion_has_no_class(kind):
  videos, _ = _clips(16, (9, 32, 32))
  rng = np.random.default_rng(7)
  if kind == 'still':
    videos = np.repeat(videos[:, :1], 9, 1)
  elif kind == 'noise':
    videos = rng.integers(0, 256, videos.shape, dtype=np.uint8)
  elif kind == 'empty':
    videos = np.repeat(videos[:, :, :1, :1], 32, 2).repeat(32, 3)[:, :1]
    videos = np.repeat(videos, 9, 1)
  else:
    videos = np.stack([rng.permutation(video) for video in videos])
  found = [motion.classify(video) for video in videos]
  assert np.mean(np.array(found) == motion.NO_MOTION) >= 0.9


def test_wrong_input_is_refused_by_name():
  with pytest.raises(ValueError, match=r'wanted \(T, H, W, 3\)'):
    motion.classify(np.zeros((9, 32, 32), np.uint8))
  with pytest.raises(ValueError, match='map -1..1'):
    motion.classify(np.linspace(-1, 1, 9 * 32 * 32 * 3).reshape(9, 32, 32, 3))
  with pytest.raises(ValueError, match='2 videos and 1 labels'):
    motion.accuracy(np.zeros((2, 9, 8, 8, 3), np.uint8), np.zeros(1, int))
