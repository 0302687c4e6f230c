"""Video files as they are found: damaged, odd, uneven, transparent, large."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from videoar_jax import media
from videoar_jax.data import decode, transforms
from videoar_jax.data.failures import BadRecordError
from videoar_jax.evaluate import video_sets

_MS = Fraction(1, 1000)


class _At:
  """A generator whose every draw is one number."""

  def __init__(self, place):
    self.place = place

  def integers(self, bound):
    assert 0 <= self.place < bound
    return self.place


def _write(
  path,
  *,
  codec='libx264',
  pixels='yuv420p',
  frames=48,
  size=(96, 128),
  times_ms=None,
  alpha=None,
  **options,
):
  """A coarse random scene that slides to the right; returns its frames."""
  height, width = size
  scene = np.random.default_rng(0).integers(
    0, 256, (height // 4, width // 4, 3)
  )
  scene = np.pad(
    scene.astype(np.uint8).repeat(4, 0).repeat(4, 1),
    ((0, height % 4), (0, width % 4), (0, 0)),
    mode='edge',
  )
  video = [np.roll(scene, 3 * t, axis=1) for t in range(frames)]
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(codec, rate=25, options=options)
    stream.height, stream.width, stream.pix_fmt = height, width, pixels
    stream.codec_context.gop_size = 12
    if times_ms is not None:
      stream.codec_context.time_base = _MS
    for t, image in enumerate(video):
      if alpha is not None:
        image = np.concatenate([image, alpha[..., None]], axis=-1)
      frame = av.VideoFrame.from_ndarray(
        image, format='rgb24' if alpha is None else 'rgba'
      )
      if times_ms is not None:
        frame.pts, frame.time_base = int(times_ms[t]), _MS
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return np.stack(video)


def _flip(data):
  for place in range(len(data) // 2, len(data) // 2 + 400, 7):
    data[place] ^= 0xFF


def _blank(data):
  middle = len(data) // 2
  data[middle : middle + 800] = bytes(800)


def _lose(data):
  del data[len(data) // 2 : len(data) // 2 + 500]


# A zeroed stretch of H.264 in an mp4 decodes as if it were meant.
@pytest.mark.parametrize(
  'name,codec,damage',
  [
    ('x.mp4', 'libx264', _flip),
    ('x.mp4', 'libx264', _lose),
    *(('x.avi', 'mpeg4', damage) for damage in (_flip, _blank, _lose)),
    *(('x.mkv', 'libx264', damage) for damage in (_flip, _blank, _lose)),
    *(('x.webm', 'libvpx-vp9', damage) for damage in (_flip, _blank, _lose)),
  ],
)
def test_damage_in_the_middle_is_refused_not_concealed(
  tmp_path, name, codec, damage
):
  fast = {'cpu-used': '8'} if name == 'x.webm' else {}
  path = tmp_path / name
  _write(path, codec=codec, **fast)
  assert len(list(decode.iterate_frames(str(path)))) == 48
  data = bytearray(path.read_bytes())
  damage(data)
  path.write_bytes(data)
  with pytest.raises(BadRecordError, match='unreadable|damaged|truncated'):
    list(decode.iterate_frames(str(path)))
  with pytest.raises(BadRecordError, match='unreadable|damaged|truncated'):
    decode.read_window(str(path), _At(0), num_frames=40)


def test_whole_clips_before_the_damage_serve(tmp_path):
  path = tmp_path / 'x.mp4'
  _write(path)
  whole = list(decode.iterate_frames(str(path)))[:5]
  data = bytearray(path.read_bytes())
  _flip(data)
  path.write_bytes(data)
  found = decode.read_window(str(path), _At(0), num_frames=5)
  np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize(
  'name,codec,pixels',
  [
    ('x.mkv', 'ffv1', 'yuv444p'),
    ('x.avi', 'mpeg4', 'yuv420p'),
    ('x.mp4', 'libx264', 'yuv444p'),
  ],
)
def test_odd_sizes_are_read_whole(tmp_path, name, codec, pixels):
  path = tmp_path / name
  video = _write(path, codec=codec, pixels=pixels, size=(97, 131), frames=6)
  found = np.stack(list(decode.iterate_frames(str(path))))
  assert found.shape == (6, 97, 131, 3)
  assert np.abs(found.astype(int) - video).mean() < 40  # of about 85
  (fitted,) = decode.read_window(str(path), _At(2), num_frames=1, size=(32, 48))
  np.testing.assert_array_equal(fitted, transforms.fit_frame(found[2], 32, 48))


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv'])
def test_frames_of_a_variable_rate_are_taken_one_by_one(tmp_path, name):
  path = str(tmp_path / name)
  times = np.cumsum(np.random.default_rng(1).integers(10, 120, 30))
  _write(path, frames=30, times_ms=times)
  whole = list(decode.iterate_frames(path))
  assert len(whole) == 30
  for start in (0, 11, 25):
    found = decode.read_window(path, _At(start), num_frames=5)
    np.testing.assert_array_equal(found, whole[start : start + 5])
  rate = decode.frame_rate(path)
  assert rate.varies
  assert rate.fps == pytest.approx(29 / (times[-1] - times[0]) * 1000, rel=1e-3)


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'x.avi'])
def test_a_constant_rate_is_told_as_such(tmp_path, name):
  path = str(tmp_path / name)
  _write(path, codec='mpeg4' if name == 'x.avi' else 'libx264', frames=20)
  assert decode.frame_rate(path) == decode.FrameRate(25.0)


def test_real_clips_have_a_constant_rate(shared_dir):
  for name in ('ucf9_128', 'ucf101_original'):
    for path in sorted((shared_dir / 'data' / name).glob('Archery/v_*'))[:3]:
      rate = decode.frame_rate(str(path))
      assert not rate.varies
      assert rate.fps == pytest.approx(25, abs=5)


def test_a_video_of_one_frame_is_a_clip_of_one(tmp_path):
  path = str(tmp_path / 'x.mp4')
  _write(path, frames=1)
  assert len(list(decode.iterate_frames(path))) == 1
  assert decode.frame_rate(path) == decode.FrameRate(25.0)
  assert len(decode.read_window(path, _At(0), num_frames=1)) == 1
  with pytest.raises(BadRecordError, match='too short: 1 frames'):
    decode.read_window(path, _At(0), num_frames=5)


@pytest.mark.parametrize('codec,pixels', [('qtrle', 'argb'), ('png', 'rgba')])
def test_what_is_transparent_is_white(tmp_path, codec, pixels):
  path = str(tmp_path / 'x.mov')
  alpha = np.full((96, 128), 255, np.uint8)
  alpha[:, 64:96], alpha[:, 96:] = 128, 0
  video = _write(path, codec=codec, pixels=pixels, frames=3, alpha=alpha)
  for found, wanted in zip(decode.iterate_frames(path), video):
    half = wanted[:, 64:96] * (128 / 255) + 255 * (1 - 128 / 255)
    np.testing.assert_array_equal(found[:, :64], wanted[:, :64])
    np.testing.assert_allclose(found[:, 64:96], half, atol=1)
    assert (found[:, 96:] == 255).all()


def test_transparency_that_would_be_lost_is_refused(tmp_path):
  path = str(tmp_path / 'x.webm')
  alpha = np.zeros((96, 128), np.uint8)
  fast = {'cpu-used': '8'}
  _write(
    path, codec='libvpx-vp9', pixels='yuva420p', frames=3, alpha=alpha, **fast
  )
  with pytest.raises(BadRecordError, match='transparency'):
    list(decode.iterate_frames(path))


PLAYLISTS = {
  'concat': 'ffconcat version 1.0\nfile {}\n',
  'hls': '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n',
  'sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n',
  'subtitles': 'WEBVTT\n\n00:00.000 --> 00:01.000\n{}\n',
}


@pytest.mark.parametrize('name', ['x.mp4', 'x.m3u8', 'x.mkv', 'x.avi'])
@pytest.mark.parametrize('kind', PLAYLISTS)
def test_a_playlist_plays_no_other_file(tmp_path, monkeypatch, name, kind):
  monkeypatch.chdir(tmp_path)
  _write(tmp_path / 'other.ts', frames=2)
  (tmp_path / name).write_text(PLAYLISTS[kind].format('other.ts'))
  with pytest.raises(BadRecordError, match='unreadable'):
    list(decode.iterate_frames(str(tmp_path / name)))
  with pytest.raises(ValueError, match='not a readable video'):
    media.read_video(tmp_path / name)


def test_a_playlist_is_told_as_no_video(tmp_path):
  (tmp_path / 'x.mp4').write_text(PLAYLISTS['concat'].format('other.mp4'))
  with pytest.raises(BadRecordError, match='unreadable: no AVI, GIF, MP4'):
    list(decode.iterate_frames(str(tmp_path / 'x.mp4')))


def test_a_name_is_no_address_and_no_pattern(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  _write(tmp_path / 'other.mp4', frames=2)
  names = ['concat:other.mp4|other.mp4', 'http:x', '-i', 'x%03d', 'file:other']
  names = [f'{name}.mp4' for name in names]
  for name in names:
    with pytest.raises(BadRecordError, match='No such file'):
      list(decode.iterate_frames(name))
    (tmp_path / name).write_bytes((tmp_path / 'other.mp4').read_bytes())
    assert len(list(decode.iterate_frames(name))) == 2
    assert decode.frame_rate(name).fps == 25
    assert len(media.read_video(name)) == 2


def test_a_name_that_is_not_utf8_is_read_in_a_set(tmp_path):
  name = os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9.mp4')
  media.write_mp4(tmp_path / 'x.mp4', np.full((2, 16, 16, 3), 99, np.uint8))
  os.rename(tmp_path / 'x.mp4', name)
  assert video_sets.load_videos(tmp_path).shape == (1, 2, 16, 16, 3)
  assert len(list(decode.iterate_frames(name))) == 2


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv'])
def test_a_title_that_is_not_utf8_spoils_no_video(tmp_path, name):
  path = tmp_path / name
  _write(path, frames=3)
  data = path.read_bytes()
  assert b'Lavf' in data
  path.write_bytes(data.replace(b'Lavf', b'caf\xe9'))
  assert len(list(decode.iterate_frames(str(path)))) == 3
  assert media.read_video(path).shape[0] == 3


def test_an_unknown_codec_is_told(tmp_path):
  path = tmp_path / 'x.avi'
  _write(path, codec='mpeg4', frames=3)
  data = path.read_bytes()
  assert b'FMP4' in data
  path.write_bytes(data.replace(b'FMP4', b'ZZZZ'))
  with pytest.raises(BadRecordError, match='of a codec that FFmpeg does not'):
    decode.read_window(str(path), _At(0), num_frames=1)
  with pytest.raises(ValueError, match='not a readable video'):
    media.read_video(path)


def test_large_frames_are_fitted_one_at_a_time(tmp_path):
  path = str(tmp_path / 'x.mp4')
  _write(path, frames=34, size=(720, 1280), preset='ultrafast')
  code = (
    'import resource, sys, numpy as np\n'
    'from videoar_jax.data import decode\n'
    'rng = np.random.default_rng(0)\n'
    'def read(count):\n'
    '  frames = decode.read_window('
    'sys.argv[1], rng, num_frames=count, size=(64, 64))\n'
    '  assert np.shape(frames) == (count, 64, 64, 3)\n'
    '  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n'
    'print(read(5), read(33))\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, path], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  few, many = map(int, done.stdout.split())
  assert many - few < 6 * 720 * 1280 * 3  # not 28
