"""Baselines: bits drawn at random, and what their decoder makes of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from tiny_runs import FRAMES, SIDE, runs  # noqa: F401

from videoar_jax.core.config import from_section
from videoar_jax.core.export import load_weights
from videoar_jax.evaluate import baselines
from videoar_jax.tokenizer.autoencoder import make_tokenizer, to_uint8
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.quantizer import decode_scales


def test_random_bits_have_the_frequencies_of_the_clips():
  rng = np.random.default_rng(0)
  config = TokenizerConfig(
    latent_width=3, scales=((1, 1), (5, 2)), base_width=32
  )
  share_q = np.array([0.1, 0.5, 1.0])
  ones = []
  for batch in (5, 2):
    shapes = [(batch, 2, *scale, 3) for scale in config.scales]
    bits = [(rng.uniform(size=x) < share_q).astype('f4') for x in shapes]
    ones.append(baselines.count_ones(bits))
    if batch == 5:
      first = bits
  counts = baselines.BitCounts.of(
    np.concatenate(ones), scales=config.scales, latent_frames=2
  )
  both = np.concatenate([first[1], bits[1]]).mean((0, 1, 2, 3))
  np.testing.assert_allclose(counts.marginals()[1], both)
  drawn = baselines.draw_bits(
    [share_q[::-1], share_q],
    np.arange(100),
    4,
    scales=config.scales,
    latent_frames=7,
  )
  assert drawn[1].shape == (100, 7, 5, 2, 3)
  np.testing.assert_allclose(drawn[1].mean((0, 1, 2, 3)), share_q, atol=0.02)
  np.testing.assert_allclose(
    drawn[0].mean((0, 1, 2, 3)), share_q[::-1], atol=0.06
  )
  again = baselines.draw_bits(
    [share_q[::-1], share_q],
    np.array([42]),
    4,
    scales=config.scales,
    latent_frames=7,
  )
  np.testing.assert_array_equal(again[1][0], drawn[1][42])


def test_random_decoder_decodes_what_is_certain(runs):  # noqa: F811
  loaded = load_weights(runs / 'tokenizer')
  config = from_section(TokenizerConfig, loaded.config.tokenizer)
  params = loaded.nets['autoencoder']
  certain = [np.float32([0, 1, 1, 0, 1, k % 2]) for k in range(3)]
  decode = baselines.make_random_decoder(
    config, latent_frames=3, scales=config.scales
  )
  (video,) = baselines.random_bits(
    decode, params, certain, index_n=range(2), batch_size=4, seed=0
  )
  assert video.shape == (2, FRAMES, SIDE, SIDE, 3)
  bits = [
    jnp.broadcast_to(share_q, (2, 3, *scale, 6))
    for share_q, scale in zip(certain, config.scales)
  ]
  f_bthwd = decode_scales(bits, config.scales)
  decoder = functools.partial(make_tokenizer(config).apply, method='decode')
  wanted = jax.jit(decoder)({'params': params}, f_bthwd)
  gap = np.asarray(to_uint8(wanted), int) - video
  assert np.abs(gap).max() <= 1
