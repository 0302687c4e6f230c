"""The causal autoencoder: streaming equals whole, no frame sees a later one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer.autoencoder import (
  make_tokenizer,
  param_shapes,
  to_float,
  to_uint8,
)
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.conv import conv3d, conv_doubled

CONFIG = TokenizerConfig(
  base_width=4,
  multipliers=(1, 2, 3),
  num_time_levels=2,
  encoder_blocks=1,
  decoder_blocks=1,
  latent_width=5,
  scales=((1, 1), (2, 3), (3, 5)),
  norm_groups=2,
  dtype='float32',
)
MODELS = {
  'paper': make_tokenizer(CONFIG),
  'small': make_tokenizer(
    dataclasses.replace(
      CONFIG, patch=2, block='mixed', norm='rms', norm_groups=3, conv='native'
    )
  ),
}


@pytest.fixture(scope='module', params=list(MODELS))
def model(request):
  return MODELS[request.param]


@pytest.fixture(scope='module')
def clip(model):
  height, width = model.config.resolution
  shape = (2, 13, height, width, 3)
  return jax.random.uniform(jax.random.key(0), shape, minval=-1.0)


@pytest.fixture(scope='module')
def params(model, clip):
  params = jax.device_get(
    unbox(jax.jit(model.init)(jax.random.key(1), clip)['params'])
  )
  # Biases start at zero, which would hide a bias in the padding.
  return jax.tree.map(
    lambda x: (
      x + 0.1 * np.random.default_rng(x.size).normal(size=x.shape).astype('f4')
    ),
    params,
  )


@functools.partial(jax.jit, static_argnames=('model', 'method'))
def run(model, params, x, method):
  return model.apply({'params': params}, x, method=method)


@functools.partial(jax.jit, static_argnames=('model', 'method'))
def run_chunk(model, params, x, state, method):
  return model.apply({'params': params}, x, state, method=method)


def test_shapes_are_one_plus_k(model, params, clip):
  f = run(model, params, clip, 'encode')
  assert f.shape == (2, 4, 3, 5, 5) and f.dtype == jnp.float32
  assert run(model, params, f, 'decode').shape == clip.shape


@pytest.mark.parametrize('chunks', [(1, 4, 8), (9, 4)])
def test_streaming_encode_equals_whole(model, params, clip, chunks):
  whole, state, parts, start = run(model, params, clip, 'encode'), None, [], 0
  for size in chunks:
    part, state = run_chunk(
      model, params, clip[:, start : start + size], state, 'encode_chunk'
    )
    parts.append(part)
    start += size
  np.testing.assert_allclose(
    jnp.concatenate(parts, 1), whole, rtol=1e-4, atol=2e-5
  )


@pytest.mark.parametrize('chunks', [(1, 1, 2), (2, 2)])
def test_streaming_decode_equals_whole(model, params, chunks):
  f = jax.random.normal(jax.random.key(2), (2, 4, 3, 5, 5))
  whole, state, parts, start = run(model, params, f, 'decode'), None, [], 0
  for size in chunks:
    part, state = run_chunk(
      model, params, f[:, start : start + size], state, 'decode_chunk'
    )
    parts.append(part)
    start += size
  np.testing.assert_allclose(
    jnp.concatenate(parts, 1), whole, rtol=1e-4, atol=2e-5
  )


@pytest.mark.parametrize('frame', [0, 1, 4, 5, 12])
def test_a_changed_frame_changes_nothing_before_it(model, params, clip, frame):
  changed = clip.at[:, frame].add(0.5)
  before, after = (run(model, params, x, 'encode') for x in (clip, changed))
  first = -(-frame // CONFIG.time_factor)  # the latent frame it falls into
  np.testing.assert_array_equal(before[:, :first], after[:, :first])
  assert jnp.abs(before[:, first] - after[:, first]).max() > 1e-4


@pytest.mark.parametrize('frame', [0, 1, 3])
def test_a_changed_latent_changes_no_pixel_before_it(model, params, frame):
  f = jax.random.normal(jax.random.key(3), (2, 4, 3, 5, 5))
  before = run(model, params, f, 'decode')
  after = run(model, params, f.at[:, frame].add(1.0), 'decode')
  first = 0 if frame == 0 else 1 + (frame - 1) * CONFIG.time_factor
  np.testing.assert_array_equal(before[:, :first], after[:, :first])
  assert jnp.abs(before[:, first:] - after[:, first:]).max() > 1e-4


@pytest.mark.parametrize('strides', [(1, 1, 1), (2, 2, 2), (1, 2, 2)])
def test_taps_equal_native_convolution(strides):
  keys = jax.random.split(jax.random.key(4))
  x = jax.random.normal(keys[0], (2, 7, 6, 5, 3))
  kernel = jax.random.normal(keys[1], (3, 3, 3, 3, 4))
  outs = [
    conv3d(
      x, kernel, strides=strides, space_padding=((1, 1), (0, 1)), conv=conv
    )
    for conv in ('native', 'taps')
  ]
  np.testing.assert_allclose(*outs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ('in_time', 'zeros'), [(True, 0), (True, 1), (False, 0), (False, 2)]
)
def test_nothing_needs_to_be_doubled(in_time, zeros):
  keys = jax.random.split(jax.random.key(4))
  x = jax.random.normal(keys[0], (2, 4, 6, 5, 3))
  kernel = jax.random.normal(keys[1], (3, 3, 3, 3, 4))

  def run(kernel, x, conv):
    return conv_doubled(x, kernel, zeros=zeros, in_time=in_time, conv=conv)

  outs = [run(kernel, x, conv) for conv in ('native', 'taps')]
  np.testing.assert_allclose(*outs, rtol=1e-4, atol=1e-4)
  weight = jax.random.normal(keys[0], outs[0].shape)
  slopes = [
    jax.grad(lambda *a, c=conv: jnp.sum(run(*a, c) * weight), (0, 1))(kernel, x)
    for conv in ('native', 'taps')
  ]
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), *slopes
  )


def test_a_patch_and_mixed_blocks_make_the_networks_smaller():
  sizes = {
    name: sum(x.size for x in jax.tree.leaves(param_shapes(model.config)))
    for name, model in MODELS.items()
  }
  assert sizes['small'] < sizes['paper']
  kernels = param_shapes(MODELS['small'].config)['encoder']['level0_block0']
  assert kernels['conv1']['kernel'].shape[:3] == (3, 3, 3)
  assert kernels['conv2']['kernel'].shape[:3] == (1, 3, 3)
  assert MODELS['small'].config.space_factor == 2 * CONFIG.space_factor


def test_uint8_survives_the_way_to_floats_and_back():
  video = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16, 1)
  np.testing.assert_array_equal(to_uint8(to_float(jnp.asarray(video))), video)


def test_paper_scale_codes_17_frames_of_128_as_5x8x8x48():
  config = TokenizerConfig()
  model = make_tokenizer(config)
  video = jax.ShapeDtypeStruct((1, 17, 128, 128, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)
  f = jax.eval_shape(
    lambda p, x: model.apply(p, x, method='encode'), params, video
  )
  assert f.shape == (1, 5, 8, 8, 48)
  assert config.latent_frames(17) == 5 and config.pixel_frames(5) == 17


@pytest.mark.parametrize(
  ('change', 'named'),
  [
    ({'norm_groups': 3}, 'norm_groups=3'),
    ({'norm': 'layer'}, 'norm='),
    ({'num_time_levels': 3}, 'num_time_levels=3'),
    ({'conv': 'fft'}, 'conv='),
    ({'block': 'half'}, 'block='),
    ({'patch': 0}, 'patch=0'),
    ({'scales': ((2, 2), (1, 1))}, 'coarse to fine'),
  ],
)
def test_impossible_configs_are_refused(change, named):
  with pytest.raises(ValueError, match=named):
    dataclasses.replace(CONFIG, **change)


def test_frames_off_the_grid_are_refused_with_the_nearest_that_fit():
  with pytest.raises(ValueError, match='num_frames=16: .* use 17'):
    CONFIG.latent_frames(16)
  with pytest.raises(ValueError, match=f'use 4{"0" * 398}1'):
    CONFIG.latent_frames(4 * 10**399)
  with pytest.raises(ValueError, match='needs 12×20'):
    CONFIG.check_resolution(16, 16)
