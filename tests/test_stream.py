"""Streams of frames to bits and back, token files, and the command."""

import functools
import json
import subprocess
import sys
import zipfile
from fractions import Fraction

import av
import jax
import numpy as np
import pytest
import tiny
from toy import compile_cache  # noqa: F401

from videoar_jax import media
from videoar_jax.core.config import section
from videoar_jax.core.export import write_export
from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer import token_file
from videoar_jax.tokenizer.autoencoder import (
  make_tokenizer,
  to_float,
  to_uint8,
)
from videoar_jax.tokenizer.quantizer import encode_scales
from videoar_jax.tokenizer.stream import DecodeState, Tokenizer
from videoar_jax.train.defaults import tokenizer_config

# A latent frame is four frames, so that up to three wait.
CONFIG = tiny.dataclasses.replace(
  tiny.TOKENIZER,
  multipliers=(1, 2, 2),
  num_time_levels=2,
  scales=((1, 1), (2, 3)),
)
SIZE = (8, 12)


@pytest.fixture(scope='module')
def params():
  model = make_tokenizer(CONFIG)
  clip = np.zeros((1, 5, *SIZE, 3), np.float32)
  params = jax.device_get(
    unbox(jax.jit(model.init)(jax.random.key(1), clip)['params'])
  )
  rng = np.random.default_rng(0)
  # Kernels begin with zeros for the past, which a stream would not miss.
  return jax.tree.map(
    lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params
  )


@pytest.fixture(scope='module')
def tokenizer(params):
  return Tokenizer(CONFIG, params, digest='of this test')


def _video(frames, *, batch=1, seed=0):
  rng = np.random.default_rng([seed, frames])
  return rng.integers(0, 256, (batch, frames, *SIZE, 3)).astype(np.uint8)


@functools.partial(jax.jit, static_argnums=0)
def _whole(model, params, video):
  f = model.apply({'params': params}, to_float(video), method='encode')
  codes = encode_scales(f, CONFIG.scales)
  decoded = model.apply(
    {'params': params}, codes[-1].total_bthwd, method='decode'
  )
  return [code.bits_bthwq > 0 for code in codes], to_uint8(decoded)


@pytest.mark.parametrize(
  'frames',
  [
    frames
    if frames in (1, 5, 17, 29, 65)
    else pytest.param(frames, marks=pytest.mark.slow)
    for frames in range(1, 66, 4)
  ],
)
def test_streams_equal_the_whole_clip_for_every_chunking(
  params, tokenizer, frames
):
  video = _video(frames, batch=2)
  bits, decoded = _whole(make_tokenizer(CONFIG), params, video)
  rng = np.random.default_rng(frames)
  for _ in range(4):
    places = np.sort(rng.integers(0, frames + 1, rng.integers(0, 7)))
    parts, state = [], None
    for piece in np.split(video, places, axis=1):
      part, state = tokenizer.encode_stream(piece, state)
      parts.append(part)
    assert state.waiting.shape[1] == 0
    for k, scale in enumerate(zip(*parts)):
      np.testing.assert_array_equal(np.concatenate(scale, axis=1), bits[k])
    latents = bits[0].shape[1]
    cuts = np.sort(rng.integers(0, latents + 1, rng.integers(0, 4)))
    pieces = [np.split(np.asarray(scale), cuts, axis=1) for scale in bits]
    videos, state = [], DecodeState()
    for piece in zip(*pieces):
      out, state = tokenizer.decode_stream(list(piece), state)
      videos.append(out)
    streamed = np.concatenate(videos, axis=1)
    # Rounding to whole grey levels may fall to either side.
    assert np.abs(streamed.astype(int) - decoded).max() <= 1
    assert (streamed == decoded).mean() > 0.999
    np.testing.assert_array_equal(streamed, tokenizer.decode(bits))


def test_frames_off_the_grid_wait_and_are_completed_at_the_end(tokenizer):
  video = _video(11)
  bits, state = tokenizer.encode_stream(video)
  assert bits[0].shape[1] == 3 and state.waiting.shape[1] == 2
  np.testing.assert_array_equal(state.waiting, video[:, 9:])
  whole = tokenizer.encode(video)
  completed = np.concatenate([video, video[:, [-1, -1]]], axis=1)
  for scale, wanted in zip(whole, tokenizer.encode(completed)):
    np.testing.assert_array_equal(scale, wanted)
  assert tokenizer.decode(whole, num_frames=11).shape == video.shape
  assert jax.tree.leaves(state) and jax.tree.structure(state)  # a pytree


def test_state_does_not_grow_with_the_length(tokenizer):
  def size(frames):
    _, state = tokenizer.encode_stream(_video(frames))
    bits = tokenizer.encode(_video(frames))
    _, decoding = tokenizer.decode_stream(bits)
    return [x.nbytes for x in jax.tree.leaves((state.conv, decoding))]

  assert size(9) == size(41) and sum(size(9)) > 0


def test_coarse_scales_alone_decode(tokenizer):
  bits = tokenizer.encode(_video(5))
  coarse = tokenizer.decode(bits, num_scales=1)
  fine = [np.zeros_like(scale) if k else scale for k, scale in enumerate(bits)]
  np.testing.assert_array_equal(coarse, tokenizer.decode(fine, num_scales=1))
  assert not np.array_equal(coarse, tokenizer.decode(bits))
  with pytest.raises(ValueError, match='num_scales=3.*use 1 to 2'):
    tokenizer.decode(bits, num_scales=3)
  with pytest.raises(ValueError, match='uint8'):
    tokenizer.encode(np.zeros((1, 5, *SIZE, 3), np.float32))
  with pytest.raises(ValueError, match='8×8'):
    tokenizer.encode(np.zeros((1, 5, 8, 8, 3), np.uint8))
  with pytest.raises(ValueError, match=r'bits of scales .*wanted'):
    tokenizer.decode(bits[1:])


def test_a_stream_takes_every_resolution_with_scales(params):
  config = tiny.dataclasses.replace(CONFIG, more_scales=(((1, 1), (4, 2)),))
  both = Tokenizer(config, params)
  rng = np.random.default_rng(0)
  for size, scales in (((8, 12), CONFIG.scales), ((16, 8), ((1, 1), (4, 2)))):
    video = rng.integers(0, 256, (1, 9, *size, 3)).astype(np.uint8)
    bits = both.encode(video)
    assert tuple(scale.shape[2:4] for scale in bits) == scales
    assert both.decode(bits).shape == video.shape
    only = Tokenizer(tiny.dataclasses.replace(CONFIG, scales=scales), params)
    for one, other in zip(bits, only.encode(video)):
      np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(both.decode(bits), only.decode(bits))


def test_token_file_returns_its_bits_and_tells_damage(tokenizer, tmp_path):
  path = str(tmp_path / 'a.tokens')
  video = _video(4 * 149 + 2)  # more latent frames than a member holds
  writer = token_file.TokenWriter(path, digest='abc', fps=12.5)
  bits, state = tokenizer.encode_stream(video[:, :50])
  writer.add(bits)
  bits, state = tokenizer.encode_stream(video[:, 50:], state)
  writer.add(bits)
  writer.add(tokenizer.finish_encoding(state))
  assert not (tmp_path / 'a.tokens').exists()
  about = writer.close(num_frames=video.shape[1])
  assert about == token_file.read_about(path)
  assert about.latent_frames == 151 and about.fps == 12.5
  assert about.num_bits == 151 * 7 * 8
  found = [np.concatenate(x, 1) for x in zip(*token_file.read_bits(path))]
  for scale, wanted in zip(found, tokenizer.encode(video)):
    np.testing.assert_array_equal(scale, wanted)
  data = (tmp_path / 'a.tokens').read_bytes()
  assert len(data) < about.num_bits / 8 + 1000
  for name, damaged, word in (
    ('cut', data[: len(data) // 2], 'not a whole token file'),
    ('text', b'hello', 'not a whole token file'),
    ('flip', data[:60] + bytes([data[60] ^ 1]) + data[61:], 'damaged'),
  ):
    other = tmp_path / name
    other.write_bytes(damaged)
    with pytest.raises(ValueError, match=word):
      list(token_file.read_bits(str(other)))
  with zipfile.ZipFile(tmp_path / 'zip', 'w') as archive:
    archive.writestr('about.json', json.dumps({'format': 'other'}))
  with pytest.raises(ValueError, match='not a token file of format'):
    token_file.read_about(str(tmp_path / 'zip'))
  with pytest.raises(ValueError, match='no such file'):
    token_file.read_about(str(tmp_path / 'absent'))


@pytest.fixture(scope='module')
def files(params, tmp_path_factory):
  """An exported tokenizer and a video of another size and odd length."""
  root = tmp_path_factory.mktemp('files')
  config = tokenizer_config()
  config.tokenizer.update(section(CONFIG))
  write_export(root / 'tokenizer', {'autoencoder': params}, config)
  video = np.repeat(np.repeat(_video(38)[0], 4, axis=1), 4, axis=2)
  media.write_mp4(root / 'clip.mp4', video, fps=10)
  (root / 'text.avi').write_text('no video')
  return root


def _run(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'videoar_jax.tokenizer', *map(str, arguments)],
    capture_output=True,
    text=True,
  )


def test_command_turns_a_video_into_tokens_and_back(files, tmp_path):
  run = f'--checkpoint={files}/tokenizer'
  tokens, out = tmp_path / 'clip.tokens', tmp_path / 'decoded.mp4'
  again = tmp_path / 'again.mp4'
  done = _run('encode', run, f'--video={files}/clip.mp4', f'--out={tokens}')
  assert done.returncode == 0, done.stderr
  assert 'frames 38 of 8×12' in done.stdout and 'bits 616' in done.stdout
  done = _run('decode', run, f'--tokens={tokens}', f'--out={out}')
  assert done.returncode == 0, done.stderr
  done = _run('reconstruct', run, f'--video={files}/clip.mp4', f'--out={again}')
  assert done.returncode == 0, done.stderr
  assert 'psnr' in done.stdout and 'bits 616' in done.stdout
  videos = [media.read_video(path) for path in (out, again)]
  assert videos[0].shape == (38, *SIZE, 3)
  # Two processes coded the video: threads may round a sum differently, which
  # turns a bit or a grey level over now and then. Another video is 60 away.
  assert np.abs(videos[0].astype(int) - videos[1]).mean() < 1
  assert _run('--help').stdout.count('--checkpoint=RUN') == 3


def test_command_takes_a_single_frame_and_an_uneven_rate(files, tmp_path):
  run = f'--checkpoint={files}/tokenizer'
  video = np.repeat(np.repeat(_video(9)[0], 4, axis=1), 4, axis=2)
  media.write_mp4(tmp_path / 'one.mp4', video[:1], fps=10)
  times = np.cumsum([0, 40, 40, 120, 40, 40, 200, 40, 40])
  with av.open(str(tmp_path / 'uneven.mkv'), 'w') as container:
    stream = container.add_stream('ffv1', rate=25)
    stream.height, stream.width = video.shape[1:3]
    stream.codec_context.time_base = Fraction(1, 1000)
    for time, image in zip(times, video):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts, frame.time_base = int(time), Fraction(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  for name, frames, said in (
    ('one.mp4', 1, ''),
    ('uneven.mkv', 9, 'the frame rate varies'),
  ):
    out = tmp_path / f'{name}.out.mp4'
    done = _run(
      'reconstruct', run, f'--video={tmp_path}/{name}', f'--out={out}'
    )
    assert done.returncode == 0, done.stderr
    assert f'frames {frames} of 8×12' in done.stdout
    assert said in done.stdout
    assert media.read_video(out).shape == (frames, *SIZE, 3)


@pytest.mark.parametrize(
  'arguments,word',
  (
    (('squeeze',), "not 'squeeze'"),
    ((), 'encode, decode, reconstruct'),
    (('encode', '--out=x'), '--checkpoint is missing'),
    (('encode', '--checkpoint={0}/tokenizer', '--out=x'), '--video is missing'),
    (
      (
        'encode',
        '--checkpoint={0}/tokenizer',
        '--video={0}/clip.mp4',
        '--size=8x8',
        '--out={1}/x',
      ),
      '8×8: the finest scale',
    ),
    (
      (
        'encode',
        '--checkpoint={0}/tokenizer',
        '--video={0}/text.avi',
        '--out={1}/x',
      ),
      'text.avi: unreadable',
    ),
    (
      (
        'decode',
        '--checkpoint={0}/tokenizer',
        '--tokens={0}/text.avi',
        '--out={1}/x.mp4',
      ),
      'not a whole token file',
    ),
  ),
)
def test_command_refuses_in_a_line(files, tmp_path, arguments, word):
  done = _run(*(x.format(files, tmp_path) for x in arguments))
  assert done.returncode != 0
  assert word in done.stdout + done.stderr
  assert 'Traceback' not in done.stderr
  assert not list(tmp_path.iterdir())
