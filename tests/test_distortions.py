"""Real clips made worse, and the script that measures them."""

import importlib.util
import pathlib

import numpy as np
import pytest

from videoar_jax.evaluate.distortions import DEGREES, KINDS, distort

_RNG = np.random.default_rng(0)
_VIDEOS = _RNG.integers(0, 256, (3, 11, 64, 48, 3), np.uint8)


def load_script():
  path = pathlib.Path(__file__).parents[1] / 'launch' / 'distortions.py'
  spec = importlib.util.spec_from_file_location('distortions_script', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def apart(kind, degree):
  worse = distort(_VIDEOS, kind, degree).astype(float)
  return np.square(worse - _VIDEOS).mean()


@pytest.mark.parametrize('kind', KINDS)
def test_clips_are_farther_from_themselves_with_each_degree(kind):
  errors = [apart(kind, degree) for degree in (0.0, *DEGREES[kind])]
  assert errors[0] == 0
  # Pixels of noise know no neighbours: of frames mixed, the number counts.
  assert all(a < b for a, b in zip(errors, errors[1:]))


@pytest.mark.parametrize('kind', KINDS)
def test_a_clip_is_made_worse_alike_whatever_follows_it(kind):
  degree = DEGREES[kind][1]
  alone = distort(_VIDEOS[:1], kind, degree, seed=3)
  np.testing.assert_array_equal(
    alone, distort(_VIDEOS, kind, degree, seed=3)[:1]
  )


def test_shuffled_clips_keep_their_frames():
  worse = distort(_VIDEOS, 'shuffle', 1.0)
  for video, mixed in zip(_VIDEOS, worse):
    frames = sorted(frame.tobytes() for frame in video)
    assert sorted(frame.tobytes() for frame in mixed) == frames


def test_wholly_frozen_clips_repeat_their_first_frame():
  worse = distort(_VIDEOS, 'freeze', 1.0)
  np.testing.assert_array_equal(worse, np.repeat(_VIDEOS[:, :1], 11, axis=1))


@pytest.mark.parametrize(
  ('kind', 'degree', 'fault'),
  [
    ('rain', 0.5, "kind='rain': wanted one of noise, blur"),
    ('freeze', 1.5, 'degree=1.5: freeze takes 0 to 1'),
    ('noise', -0.1, 'degree=-0.1: noise takes 0 to inf'),
  ],
)
def test_bad_degrees_are_refused(kind, degree, fault):
  with pytest.raises(ValueError, match=fault):
    distort(_VIDEOS, kind, degree)


def test_a_falling_distance_is_named():
  rows = [{'degree': d, 'fvd': f, 'kvd': f} for d, f in ((0.1, 5.0), (0.2, 4))]
  script = load_script()
  assert script.falls({'blur': rows[:1]}) == []
  first, _ = script.falls({'blur': rows})
  assert first == 'blur: fvd falls from 5.0 to 4.0 at degree 0.2'
  assert '<svg' in script.draw({'blur': rows, 'noise': rows})
