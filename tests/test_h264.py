"""Clips as H.264 at a given number of bits."""

import numpy as np
import pytest

from videoar_jax.data import decode
from videoar_jax.evaluate import h264, reconstruction

pytestmark = pytest.mark.optimized


def _clips(count, num_frames=17, height=64, width=64):
  """Coarse grey noise, enlarged, that slides by a pixel a frame."""
  rng = np.random.default_rng(0)
  scenes = rng.integers(0, 256, (count, height // 4 + 1, width // 4 + 1, 1))
  scenes = scenes.astype(np.uint8).repeat(4, 1).repeat(4, 2).repeat(3, 3)
  return [
    np.stack([np.roll(scene, t, 1)[:height, :width] for t in range(num_frames)])
    for scene in scenes
  ]


def _measure(clips, num_bits):
  coded = [h264.code_at(clip, num_bits) for clip in clips]
  shown = np.stack([x.video_THWc for x in coded])
  psnr = float(reconstruction.psnr(np.stack(clips), shown).mean())
  return psnr, np.mean([x.num_bits for x in coded])


def test_bits_are_those_wanted_and_buy_quality():
  clips = _clips(4)
  found = [_measure(clips, bits) for bits in (4_000, 6_000, 8_000)]
  assert found[0][0] + 1 < found[1][0] < found[2][0] - 1
  assert [bits for _, bits in found] == pytest.approx(
    [4_000, 6_000, 8_000], rel=0.1
  )


def test_odd_sizes_and_single_frames_come_back_whole():
  (clip,) = _clips(1, num_frames=5, height=33, width=47)
  for video in (clip, clip[:1]):
    coded = h264.code_at(video, 40_000)
    assert coded.video_THWc.shape == video.shape
    assert np.abs(coded.video_THWc.astype(int) - video).mean() < 20


def test_signature_and_parameter_sets_do_not_count():
  unit = b'\x00\x00\x00\x01'
  packet = unit + b'\x67' + b'p' * 9 + unit + b'\x06' + b's' * 600
  packet += unit + b'\x65' + b'x' * 20 + unit + b'\x41' + b'y' * 5
  # A start code's fourth byte, a zero before it, counts with what precedes it.
  assert h264._slice_bytes(packet) == (3 + 1 + 20 + 1) + (3 + 1 + 5)


@pytest.mark.parametrize(
  'video,num_bits,words',
  [
    (np.zeros((17, 8, 8, 3), np.float32), 100, 'float32.*wanted uint8'),
    (np.zeros((8, 8, 3), np.uint8), 100, 'wanted uint8'),
    (np.zeros((17, 8, 8, 3), np.uint8), 0, 'num_bits=0'),
  ],
)
def test_what_is_no_clip_is_refused(video, num_bits, words):
  with pytest.raises(ValueError, match=words):
    h264.code_at(video, num_bits)


def test_bits_that_no_quantiser_reaches_are_told():
  noise = np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3), np.uint8)
  coded = h264.code_at(noise, 16)
  assert 16 < coded.num_bits < 30_000
  assert coded.video_THWc.shape == noise.shape


def test_a_still_clip_takes_fewer_bits_than_there_are():
  still = np.repeat(_clips(1)[0][:1], 17, axis=0)
  coded = h264.code_at(still, 10**6)
  assert coded.num_bits < 10**5
  assert np.abs(coded.video_THWc.astype(int) - still).mean() < 2


def test_real_clips_at_the_bits_of_the_papers_tokenizer(shared_dir):
  paths = sorted((shared_dir / 'data' / 'ucf9_128').glob('*/v_*'))[::120]
  rng = np.random.default_rng(0)
  clips = [
    np.stack(decode.read_window(str(path), rng, num_frames=17))
    for path in paths
  ]
  psnr, bits = _measure(clips, 31_200)
  assert bits == pytest.approx(31_200, rel=0.02)
  assert 30 < psnr < 34  # 31.7 over 256 windows of all clips
