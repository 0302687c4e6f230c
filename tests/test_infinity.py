"""Importing Infinity's image tokenizer, on a made-up state dict of its names.

The real weights are not at hand: the names, shapes and forward pass here are
those of its public code, written down a second time.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.core.digest import flatten
from videoar_jax.core.mesh import unbox
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.infinity import import_weights, infinity_name

CONFIG = dataclasses.replace(
  tiny.TOKENIZER,
  base_width=8,
  multipliers=(1, 2, 2),
  num_time_levels=1,
  encoder_blocks=2,
  decoder_blocks=3,
  latent_width=6,
  scales=((1, 1), (3, 3)),
)
RNG = np.random.default_rng(0)


def _conv(state, name, width_in, width, side=3):
  shape = (width, width_in, side, side)
  scale = (width_in * side * side) ** -0.5
  state[f'{name}.conv.weight'] = RNG.normal(size=shape) * scale
  state[f'{name}.conv.bias'] = RNG.normal(size=width) * 0.1


def _norm(state, name, width):
  state[f'{name}.norm.weight'] = 1 + 0.2 * RNG.normal(size=width)
  state[f'{name}.norm.bias'] = 0.2 * RNG.normal(size=width)


def _block(state, name, width_in, width):
  _norm(state, f'{name}.norm1', width_in)
  _conv(state, f'{name}.conv1', width_in, width)
  _norm(state, f'{name}.norm2', width)
  _conv(state, f'{name}.conv2', width, width)
  if width_in != width:
    _conv(state, f'{name}.nin_shortcut', width_in, width, side=1)


def _state_dict(latent_width):
  """Names and shapes of the 2D tokenizer with the widths of CONFIG."""
  state, widths = {}, [8, 16, 16]
  _conv(state, 'encoder.conv_in', 3, 8)
  before = 8
  for i, width in enumerate(widths):
    for j in range(2):
      _block(state, f'encoder.down.{i}.block.{j}', before, width)
      before = width
    if i < 2:
      _conv(state, f'encoder.down.{i}.downsample.conv', width, width)
  for net in ('encoder', 'decoder'):
    for j in (1, 2):
      _block(state, f'{net}.mid.block_{j}', 16, 16)
  _norm(state, 'encoder.norm_out', 16)
  _conv(state, 'encoder.conv_out', 16, latent_width)
  _conv(state, 'decoder.conv_in', latent_width, 16)
  for i in (2, 1, 0):
    for j in range(3):
      _block(state, f'decoder.up.{i}.block.{j}', before, widths[i])
      before = widths[i]
    if i > 0:
      _conv(state, f'decoder.up.{i}.upsample.conv', before, before)
  _norm(state, 'decoder.norm_out', 8)
  _conv(state, 'decoder.conv_out', 8, 3)
  state['quantizer.lfq.mask'] = np.ones(4)
  return {name: x.astype(np.float32) for name, x in state.items()}


def _reference(state, net, x):
  """Infinity's 2D encoder or decoder, NHWC."""

  def conv(name, x, stride=1):
    kernel = state[f'{name}.conv.weight'].transpose(2, 3, 1, 0)
    half = kernel.shape[0] // 2
    padding = [(0, 1)] * 2 if stride == 2 else [(half, half)] * 2
    out = jax.lax.conv_general_dilated(
      x,
      kernel,
      (stride,) * 2,
      padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    return out + state[f'{name}.conv.bias']

  def norm_swish(name, x):
    b, h, w, c = x.shape
    grouped = x.reshape(b, h, w, CONFIG.norm_groups, -1)
    mean = grouped.mean((1, 2, 4), keepdims=True)
    variance = grouped.var((1, 2, 4), keepdims=True)
    x = ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(b, h, w, c)
    x = x * state[f'{name}.norm.weight'] + state[f'{name}.norm.bias']
    return x / (1 + np.exp(-x))

  def block(name, x):
    h = conv(f'{name}.conv1', norm_swish(f'{name}.norm1', x))
    h = conv(f'{name}.conv2', norm_swish(f'{name}.norm2', h))
    if f'{name}.nin_shortcut.conv.weight' in state:
      x = conv(f'{name}.nin_shortcut', x)
    return x + h

  def middle(x):
    return block(f'{net}.mid.block_2', block(f'{net}.mid.block_1', x))

  x = conv(f'{net}.conv_in', x)
  if net == 'encoder':
    for i in range(3):
      for j in range(2):
        x = block(f'encoder.down.{i}.block.{j}', x)
      if i < 2:
        x = conv(f'encoder.down.{i}.downsample.conv', x, stride=2)
    x = middle(x)
  else:
    x = middle(x)
    for i in (2, 1, 0):
      for j in range(3):
        x = block(f'decoder.up.{i}.block.{j}', x)
      if i > 0:
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        x = conv(f'decoder.up.{i}.upsample.conv', x)
  return conv(f'{net}.conv_out', norm_swish(f'{net}.norm_out', x))


@pytest.fixture(scope='module')
def initial():
  clip = jnp.zeros((1, 3, 12, 12, 3))
  init = jax.jit(make_tokenizer(CONFIG).init)(jax.random.key(0), clip)
  return jax.device_get(unbox(init['params']))


def test_single_frames_come_out_as_they_do_there(initial):
  state = _state_dict(CONFIG.latent_width)
  params, report = import_weights(state, initial, CONFIG)
  assert not report.missing
  assert report.skipped == {'quantizer.lfq.mask': 'no counterpart'}
  assert len(report.mapped) == len(flatten(initial)) == len(state) - 1
  model = make_tokenizer(CONFIG)
  x = RNG.uniform(-1, 1, (2, 12, 12, 3)).astype(np.float32)
  f = model.apply({'params': params}, x[:, None], method='encode')
  np.testing.assert_allclose(
    f[:, 0], _reference(state, 'encoder', x), rtol=1e-4, atol=1e-4
  )
  z = RNG.normal(size=(2, 3, 3, 6)).astype(np.float32)
  video = model.apply({'params': params}, z[:, None], method='decode')
  np.testing.assert_allclose(
    video[:, 0], _reference(state, 'decoder', z), rtol=1e-3, atol=1e-4
  )


def test_another_latent_width_keeps_the_two_layers_beside_it(initial):
  params, report = import_weights(_state_dict(4), initial, CONFIG)
  assert set(report.missing) == {
    'encoder/conv_out/kernel',
    'encoder/conv_out/bias',
    'decoder/conv_in/kernel',
  }
  for name in report.missing:
    np.testing.assert_array_equal(flatten(params)[name], flatten(initial)[name])
  text = '\n'.join(report.lines())
  assert 'encoder.conv_out.conv.weight: (4, 16, 3, 3) there' in text
  assert '3 arrays missing' in text and '4 arrays skipped' in text


def test_kernels_of_the_3d_variant_are_taken_whole(initial):
  state = _state_dict(CONFIG.latent_width)
  name = 'decoder.conv_out.conv.weight'
  state[name] = RNG.normal(size=(3, 8, 3, 3, 3)).astype(np.float32)
  params, _ = import_weights(state, initial, CONFIG)
  np.testing.assert_array_equal(
    params['decoder']['conv_out']['kernel'][1, 2, 0],
    state[name][:, :, 1, 2, 0].T,
  )


def test_names_and_foreign_files(initial):
  assert infinity_name('encoder/level0_down/bias') == (
    'encoder.down.0.downsample.conv.conv.bias'
  )
  assert infinity_name('decoder/level2_block1/norm2/scale') == (
    'decoder.up.2.block.1.norm2.norm.weight'
  )
  assert infinity_name('decoder/middle_block1/conv1/kernel') == (
    'decoder.mid.block_2.conv1.conv.weight'
  )
  with pytest.raises(ValueError, match='no array of an Infinity tokenizer'):
    import_weights({'a': np.ones(3)}, initial, CONFIG)
