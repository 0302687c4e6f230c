"""The Wan VAE: whole clips, chunks, and agreement with diffusers.

Goldens: tests/goldens/wan_goldens.py.
"""

import dataclasses
import functools
import pathlib

import golden_inputs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import compile_cache  # noqa: F401

from videoar_jax.core import foreign
from videoar_jax.core.digest import flatten, nest
from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer.conv import Stream
from videoar_jax.tokenizer.wan_config import WanVaeConfig
from videoar_jax.tokenizer.wan_layers import ChannelNorm, Doubling, Halving
from videoar_jax.tokenizer.wan_vae import make_wan_vae, param_shapes
from videoar_jax.tokenizer.wan_weights import Names, naming

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
TINY = golden_inputs.VAE
CONFIG = WanVaeConfig(
  base_width=TINY['base_dim'],
  multipliers=tuple(TINY['dim_mult']),
  halves_time=tuple(TINY['temperal_downsample']),
  num_res_blocks=TINY['num_res_blocks'],
  latent_width=TINY['z_dim'],
  latent_mean=tuple(TINY['latents_mean']),
  latent_std=tuple(TINY['latents_std']),
  decoder_dtype='float32',
)
MODEL = make_wan_vae(CONFIG)


@pytest.fixture(scope='module')
def params():
  """The weights of the goldens, by their names in diffusers."""
  way = naming(CONFIG, Names.DIFFUSERS)
  shapes = {x.name: x.shape for x in way.values()}
  report = foreign.compare(way, shapes, where='drawn')
  ours = {k: x.shape for k, x in flatten(param_shapes(CONFIG)).items()}
  taken = foreign.take(
    way, report, lambda name: golden_inputs.drawn(name, shapes[name]), ours
  )
  return nest({name: np.array(x) for name, x in taken.items()})


@functools.partial(jax.jit, static_argnames=('model', 'method'))
def run(params, *inputs, method, model=MODEL):
  return model.apply({'params': params}, *inputs, method=method)


def streamed(params, x, sizes, *, method, model=MODEL):
  """What chunks of some sizes give, joined."""
  parts, state, begin = [], None, 0
  for size in sizes:
    piece = x[:, begin : begin + size]
    part, state = run(params, piece, state, method=method, model=model)
    parts.append(part)
    begin += size
  return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)


def golden(name):
  with np.load(GOLDENS / 'wan_vae.npz') as found:
    return found[name]


@pytest.mark.parametrize('which', list(golden_inputs.VAE_CLIPS))
def test_latents_are_those_of_diffusers(params, which):
  found = run(params, golden_inputs.vae_clip(which), method='encode')
  wanted = golden(f'moments_{which}')
  np.testing.assert_allclose(np.concatenate(found, -1), wanted, atol=1e-5)


@pytest.mark.parametrize('which', list(golden_inputs.VAE_LATENTS))
def test_videos_are_those_of_diffusers(params, which):
  found = run(params, golden_inputs.vae_latents(which), method='decode')
  found, wanted = jnp.clip(found, -1, 1), golden(f'video_{which}')
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_chunks_give_what_diffusers_gives_for_whole_clips(params):
  # Of 1, 5, 9 and 13 frames, as each begins the next.
  video = golden_inputs.vae_clip('even')
  found = streamed(params, video, [1, 4, 4, 4], method='encode_chunk')
  wanted = golden('moments_even')
  np.testing.assert_allclose(np.concatenate(found, -1), wanted, atol=1e-5)
  f = golden_inputs.vae_latents('even')
  found = streamed(params, f, [1, 1, 1, 1], method='decode_chunk')
  wanted = golden('video_even')
  np.testing.assert_allclose(np.clip(found, -1, 1), wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('frames', [1, 5, 9])
@pytest.mark.parametrize('conv', ['taps', 'native'])
def test_any_length_and_chunks_of_any_size_give_the_same(params, frames, conv):
  model = make_wan_vae(dataclasses.replace(CONFIG, conv=conv))
  video = golden_inputs.vae_clip('even')[:, :frames]
  wanted = golden('moments_even')[:, : CONFIG.latent_frames(frames)]
  found = run(params, video, method='encode', model=model)
  np.testing.assert_allclose(np.concatenate(found, -1), wanted, atol=1e-5)
  f = golden_inputs.vae_latents('even')[:, : wanted.shape[1]]
  out = run(params, f, method='decode', model=model)
  out, wanted_out = np.clip(out, -1, 1), golden('video_even')[:, :frames]
  np.testing.assert_allclose(out, wanted_out, atol=1e-5)
  if frames == 9:
    for sizes in ((5, 4), (1, 8)):
      found = streamed(params, video, sizes, method='encode_chunk', model=model)
      np.testing.assert_allclose(np.concatenate(found, -1), wanted, atol=1e-5)
    for sizes in ((2, 1), (1, 2)):
      out = streamed(params, f, sizes, method='decode_chunk', model=model)
      np.testing.assert_allclose(np.clip(out, -1, 1), wanted_out, atol=1e-5)


@pytest.mark.parametrize('frame', [0, 1, 4, 5, 12])
def test_a_changed_frame_changes_nothing_before_it(params, frame):
  video = golden_inputs.vae_clip('even')
  changed = video.copy()
  changed[:, frame] *= -1
  before, after = (run(params, x, method='encode') for x in (video, changed))
  first = -(-frame // CONFIG.time_factor)  # the latent frame it falls into
  for one, other in zip(before, after):
    np.testing.assert_array_equal(one[:, :first], other[:, :first])
    assert np.abs(one[:, first] - other[:, first]).max() > 1e-4


@pytest.mark.parametrize('frame', [0, 1, 3])
def test_a_changed_latent_changes_no_pixel_before_it(params, frame):
  f = golden_inputs.vae_latents('even')
  changed = f.copy()
  changed[:, frame] += 1
  before, after = (run(params, x, method='decode') for x in (f, changed))
  first = 0 if frame == 0 else 1 + (frame - 1) * CONFIG.time_factor
  np.testing.assert_array_equal(before[:, :first], after[:, :first])
  assert np.abs(before[:, first:] - after[:, first:]).max() > 1e-4


@pytest.mark.parametrize('layer', [Halving, Doubling])
def test_taps_and_native_convolutions_agree_whole_and_streamed(layer):
  x = np.random.default_rng(0).normal(size=(2, 5, 5, 6, 4)).astype(np.float32)
  nets = [layer(True, conv, jnp.float32) for conv in ('taps', 'native')]
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    unbox(jax.eval_shape(nets[0].init, jax.random.key(0), x, None)),
  )

  @functools.partial(jax.jit, static_argnums=0)
  def apply(net, x, state):
    stream = Stream(state)
    return net.apply(params, x, stream), stream.new

  wanted, _ = apply(nets[0], x, None)
  for net in nets:
    first, state = apply(net, x[:, :1], None)
    later, _ = apply(net, x[:, 1:], state)
    found = jnp.concatenate([first, later], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_full_network_has_its_size_and_its_latents():
  config = WanVaeConfig()
  shapes = param_shapes(config)
  leaves = jax.tree.leaves(shapes)
  assert (len(leaves), sum(x.size for x in leaves)) == (194, 126_892_531)
  model = make_wan_vae(config)
  video = jax.ShapeDtypeStruct((1, 81, 480, 832, 3), jnp.float32)
  apply = functools.partial(model.apply, method='encode')
  latents = jax.eval_shape(apply, {'params': shapes}, video)
  assert latents.mean_bthwd.shape == (1, 21, 60, 104, 16)
  assert latents.logvar_bthwd.dtype == jnp.float32
  f = jax.ShapeDtypeStruct((1, 1, 60, 104, 16), jnp.float32)
  apply = functools.partial(model.apply, method='decode_chunk')
  out, state = jax.eval_shape(apply, {'params': shapes}, f, None)
  assert out.shape == (1, 1, 480, 832, 3)
  kept = sum(x.size for x in state.values())
  assert kept == 944_286_720
  assert all(x.dtype == jnp.bfloat16 for x in state.values())


@pytest.mark.slow
def test_every_parameter_learns_from_the_beginning():
  config = dataclasses.replace(
    CONFIG, base_width=2, multipliers=(1, 1), halves_time=(True,), conv='native'
  )
  model = make_wan_vae(config)
  rng = np.random.default_rng(0)
  video = rng.uniform(-1, 1, (1, 5, 4, 4, 3)).astype(np.float32)

  def loss(params):
    latents = model.apply(params, video, method='encode')
    out = model.apply(params, latents.mean_bthwd, method='decode')
    return jnp.mean(jnp.square(out - video)) + jnp.mean(
      jnp.square(latents.logvar_bthwd)
    )

  @jax.jit
  def first_slopes(key):
    return jax.grad(loss)(unbox(model.init(key, video)))

  slopes = flatten(first_slopes(jax.random.key(0)))
  for name, slope in slopes.items():
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0, name


def test_the_norm_has_a_slope_where_all_channels_are_zero():
  norm, x = ChannelNorm(), jnp.zeros((1, 1, 1, 2, 4))
  scale = {'params': {'scale': jnp.ones(4)}}
  slope = jax.grad(lambda x: jnp.sum(norm.apply(scale, x)))(x)
  assert np.isfinite(slope).all()


def test_latents_are_normalised_by_channel():
  rng = np.random.default_rng(0)
  raw = rng.normal(CONFIG.latent_mean, CONFIG.latent_std, (9, 50, 5, 5, 4))
  normal = CONFIG.normalised(raw.astype(np.float32))
  axes = (0, 1, 2, 3)
  np.testing.assert_allclose(normal.mean(axes), 0, atol=0.05)
  np.testing.assert_allclose(normal.std(axes), 1, atol=0.05)
  np.testing.assert_allclose(CONFIG.denormalised(normal), raw, atol=1e-5)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'halves_time': (True,)}, 'halves_time=.*3 halvings'),
    ({'latent_std': (1.0,)}, 'latent_std has 1 numbers'),
    ({'latent_std': (1.0, 1.0, 1.0, 0.0)}, 'latent_std='),
    ({'base_width': 7, 'multipliers': (1, 2, 2, 3)}, 'makes 21 channels at'),
    ({'conv': 'fft'}, 'conv='),
  ],
)
def test_impossible_configs_are_refused(change, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(CONFIG, **change)


def test_clips_that_do_not_fit_are_refused_with_what_would():
  with pytest.raises(ValueError, match='num_frames=16: .* use 17'):
    CONFIG.latent_frames(16)
  with pytest.raises(
    ValueError, match='479×832: wanted multiples of 8; use 48'
  ):
    CONFIG.check_resolution(479, 832)
