"""Videos to the Wan VAE's latents and back, however they are cut."""

import golden_inputs
import jax
import numpy as np
import pytest
from test_wan_vae import CONFIG, params, run  # noqa: F401
from toy import compile_cache  # noqa: F401

from videoar_jax.tokenizer import wan_stream
from videoar_jax.tokenizer.autoencoder import to_float, to_uint8
from videoar_jax.tokenizer.wan_stream import WanCodec

# One of those that other tests compile whole clips for.
FRAMES, *SIZE = golden_inputs.VAE_CLIPS['even']


@pytest.fixture(scope='module')
def codec(params):  # noqa: F811
  return WanCodec(CONFIG, params)


def _video(frames, *, batch=1):
  rng = np.random.default_rng(frames)
  return rng.integers(0, 256, (batch, frames, *SIZE, 3), np.uint8)


def test_no_cut_changes_a_bit_and_two_programs_serve_all(codec, params):  # noqa: F811
  video = _video(FRAMES)
  whole = codec.encode(video)
  assert whole.shape == (1, 4, 2, 3, 4) and whole.dtype == np.float32
  decoded = codec.decode(whole)
  assert decoded.shape == video.shape and decoded.dtype == np.uint8
  programs = [
    wan_stream._encode._cache_size(),
    wan_stream._decode._cache_size(),
  ]
  assert programs == [2, 2]
  rng = np.random.default_rng(0)
  for _ in range(3):
    places = np.sort(rng.integers(0, FRAMES + 1, rng.integers(0, 7)))
    parts, state = [], None
    for piece in np.split(video, places, axis=1):
      part, state = codec.encode_stream(piece, state)
      parts.append(part)
    assert state.waiting.shape[1] == 0
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    places = np.sort(rng.integers(0, 5, rng.integers(0, 4)))
    parts, state = [], None
    for piece in np.split(whole, places, axis=1):
      part, state = codec.decode_stream(piece, state)
      parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), decoded)
  assert programs == [
    wan_stream._encode._cache_size(),
    wan_stream._decode._cache_size(),
  ]


def test_streams_give_what_whole_clips_give(codec, params):  # noqa: F811
  video = _video(FRAMES)
  latents = run(params, to_float(video), method='encode')
  wanted = CONFIG.normalised(latents.mean_bthwd)
  found = codec.encode(video)
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  decoded = to_uint8(run(params, CONFIG.denormalised(found), method='decode'))
  streamed = codec.decode(found)
  # Rounding to whole grey levels may fall to either side.
  assert np.abs(streamed.astype(int) - decoded).max() <= 1
  assert (streamed == decoded).mean() > 0.999
  np.testing.assert_array_equal(streamed, codec.reconstruct(video))


def test_frames_off_the_grid_wait_and_are_completed_at_the_end(codec):
  video = _video(7)
  latents, state = codec.encode_stream(video)
  assert latents.shape[1] == 2 and state.waiting.shape[1] == 2
  completed = np.concatenate([video, video[:, [-1, -1]]], axis=1)
  np.testing.assert_array_equal(codec.encode(video), codec.encode(completed))
  assert codec.reconstruct(video).shape == video.shape


def test_state_is_handed_on_and_does_not_grow(codec):
  def used(frames):
    latents, state = codec.encode_stream(_video(frames))
    _, decoding = codec.decode_stream(latents)
    return state, decoding

  sizes = []
  for frames in (5, 13):
    state, decoding = used(frames)
    sizes.append([x.nbytes for x in jax.tree.leaves((state.conv, decoding))])
  assert sizes[0] == sizes[1] and sum(sizes[0]) > 0
  codec.encode_stream(_video(4), state)
  assert all(x.is_deleted() for x in state.conv.values())


def test_what_cannot_be_coded_is_refused(codec):
  with pytest.raises(ValueError, match='float32.*wanted uint8'):
    codec.encode(np.zeros((1, 5, *SIZE, 3), np.float32))
  with pytest.raises(
    ValueError, match='12×16: wanted multiples of 8; use 16×16'
  ):
    codec.encode(np.zeros((1, 5, 12, 16, 3), np.uint8))
  with pytest.raises(
    ValueError, match='latents of shape .*wanted .b, t, h, w, 4'
  ):
    codec.decode(np.zeros((1, 2, 2, 3, 5), np.float32))
