"""Streams of frames to bits and back."""

import functools

import jax
import numpy as np
import pytest
import tiny
from toy import compile_cache  # noqa: F401

from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer.autoencoder import (
  make_tokenizer,
  to_float,
  to_uint8,
)
from videoar_jax.tokenizer.quantizer import encode_scales
from videoar_jax.tokenizer.stream import Codec, DecodeState

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
  return Codec(CONFIG, params, digest='of this test')


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
    if frames in (1, 5, 17, 65)
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
  with pytest.raises(ValueError, match=r'bits of shapes .*wanted'):
    tokenizer.decode(bits[1:])


def test_a_stream_takes_every_resolution_with_scales(params):
  config = tiny.dataclasses.replace(CONFIG, more_scales=(((1, 1), (4, 2)),))
  both = Codec(config, params)
  rng = np.random.default_rng(0)
  for size, scales in (((8, 12), CONFIG.scales), ((16, 8), ((1, 1), (4, 2)))):
    video = rng.integers(0, 256, (1, 9, *size, 3)).astype(np.uint8)
    bits = both.encode(video)
    assert tuple(scale.shape[2:4] for scale in bits) == scales
    assert both.decode(bits).shape == video.shape
    only = Codec(tiny.dataclasses.replace(CONFIG, scales=scales), params)
    for one, other in zip(bits, only.encode(video)):
      np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(both.decode(bits), only.decode(bits))
