"""Moving shapes: functions of (seed, index), seen whole, well contrasted."""

import numpy as np
import pytest

from videoar_jax.data import synthetic


def _render(seed, index, frames=9, height=32, width=32):
  return synthetic.render(
    seed, index, num_frames=frames, height=height, width=width
  )[0]


def test_a_clip_is_a_function_of_seed_and_index():
  for index in (0, 13, 997):
    video = _render(0, index)
    np.testing.assert_array_equal(video, _render(0, index))
    assert not np.array_equal(video, _render(1, index))
    assert not np.array_equal(video, _render(0, index + 8))


def test_training_and_held_out_clips_differ():
  train, held_out = (
    synthetic.SyntheticSource(9, 32, 32, train=train) for train in (True, False)
  )
  assert len(train) == 10_000
  assert len(held_out) == 1_000
  rng = np.random.default_rng(0)
  for index in range(16):
    ours, theirs = train.load(index, rng), held_out.load(index, rng)
    assert ours['label'] == theirs['label'] == index % 8
    assert not np.array_equal(ours['video'], theirs['video'])


@pytest.mark.parametrize('size', [(1, 16, 16), (7, 33, 58), (17, 64, 40)])
def test_any_size_has_the_asked_shape_and_a_shape_in_view(size):
  for index in range(24):
    video = _render(2, index, *size)
    assert video.shape == (*size, 3)
    assert video.dtype == np.uint8
    # Every frame holds far colours: the shape is seen, and contrasts.
    for frame in video.astype(int):
      corners = frame[[0, 0, -1, -1], [0, -1, 0, -1]]
      far = np.abs(frame[None] - corners[:, None, None]).max(-1).min(0)
      assert (far > 0.35 * 255).mean() > 0.01


def test_the_last_frame_does_not_depend_on_the_number_of_frames():
  for index in range(8):
    short, long = _render(0, index, frames=5), _render(0, index, frames=17)
    np.testing.assert_array_equal(short[-1], long[-1])
    np.testing.assert_array_equal(short[2], long[8])


def test_edges_are_antialiased():
  video = _render(0, 0, frames=3, height=64, width=64)
  halves = video.reshape(3, 32, 2, 32, 2, 3).mean((2, 4))
  coarse = _render(0, 0, frames=3)
  assert np.abs(halves - coarse).max() < 0.12 * 255
