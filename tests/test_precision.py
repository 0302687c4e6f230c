"""float32 products stay float32 on a TPU and a GPU, program by program."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import pytest
import tiny
from etils import epath
from test_platform import there

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import resize
from videoar_jax.evaluate import i3d, reconstruction
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.rollout.bits import sample_keys
from videoar_jax.tokenizer import perceptual
from videoar_jax.tokenizer.autoencoder import make_tokenizer, param_shapes
from videoar_jax.tokenizer.quantizer import decode_scales, encode_scales
from videoar_jax.train import defaults, tokenizer_recipe
from videoar_jax.train.state import make_context, net_optimizer

_TPU, _GPU = ('TPU v5 lite', 'tpu'), ('NVIDIA H100 80GB HBM3', 'gpu')
_PRODUCT = re.compile(r'.*(?:stablehlo|mhlo)\.(?:dot_general|convolution).*')
_F32 = jnp.float32


def products(function, *shapes, on=_TPU):
  """The lines of all products of a function as it is lowered elsewhere."""
  with there(*on):
    traced = jax.jit(function).trace(*shapes)
    kind = {'gpu': 'cuda'}.get(on[1], on[1])
    text = traced.lower(lowering_platforms=(kind,)).as_text()
  return _PRODUCT.findall(text)


def _is_float32(line):
  return re.search(r': \(tensor<[^>]*f32>, tensor<[^>]*f32>\)', line)


def check_exact(function, *shapes, on=_TPU):
  """Asserts that there are float32 products, and that each is exact."""
  found = [x for x in products(function, *shapes, on=on) if _is_float32(x)]
  assert found, 'no product of float32'
  rounded = [x for x in found if x.count('HIGHEST') != 2]
  assert not rounded, '\n'.join(rounded)


def _shape(*sizes, dtype=_F32):
  return jax.ShapeDtypeStruct(sizes, dtype)


def _gradient(function):
  """All that a function and its gradient multiply."""

  def both(*args):
    def total(*args):
      leaves = jax.tree.leaves(function(*args))
      return sum(jnp.sum(x.astype(_F32) ** 2) for x in leaves)

    return jax.value_and_grad(total, argnums=tuple(range(len(args))))(*args)

  return both


def _tokenizer(**changes):
  """The tiny tokenizer, there and back, and the shapes of its arguments."""
  config = dataclasses.replace(tiny.TOKENIZER, **changes)
  model = make_tokenizer(config)

  def run(params, video):
    return model.apply({'params': params}, video)

  return run, param_shapes(config), _shape(1, 3, 8, 8, 3)


@pytest.mark.parametrize(
  ('conv', 'on'), [('auto', _TPU), ('taps', _TPU), ('auto', _GPU)]
)
def test_tokenizer(conv, on):
  run, *shapes = _tokenizer(conv=conv)
  check_exact(_gradient(run), *shapes, on=on)


def test_bfloat16_is_left_alone():
  run, *shapes = _tokenizer(dtype='bfloat16')
  found = products(_gradient(run), *shapes)
  assert len(found) > 3
  for line in found:
    assert 'bf16' in line and 'HIGHEST' not in line, line


def test_a_stream():
  model = make_tokenizer(tiny.TOKENIZER)

  def run(params, video):
    def apply(method, x, state):
      return model.apply({'params': params}, x, state, method=method)

    first, state = apply('encode_chunk', video[:, :1], None)
    second, _ = apply('encode_chunk', video[:, 1:], state)
    decoded, state = apply('decode_chunk', first, None)
    return decoded, apply('decode_chunk', second, state)[0]

  check_exact(run, *_tokenizer()[1:])


def test_quantiser_and_resize():
  f = _shape(1, 2, 4, 6, 8)
  scales = ((1, 1), (2, 3), (4, 6))

  def run(f):
    codes = encode_scales(f, scales)
    again = decode_scales([x.bits_bthwq for x in codes], scales)
    return codes[-1].total_bthwd, again

  check_exact(_gradient(run), f)
  for function in (resize.area, resize.bilinear):
    check_exact(_gradient(lambda x, r=function: r(x, (3, 5))), f)


def _lpips_params(network):
  params, head = {}, 0
  for i, conv in enumerate(perceptual._LAYERS[network]):
    shape = (conv.kernel, conv.kernel, conv.width_in, conv.width)
    params[f'conv{i}.kernel'] = _shape(*shape)
    params[f'conv{i}.bias'] = _shape(conv.width)
    if conv.compared:
      params[f'head{head}'] = _shape(conv.width)
      head += 1
  return params


def test_measures_of_reconstruction():
  video = _shape(2, 32, 32, 3)
  check_exact(reconstruction._frame_ssim, video, video)
  params = _lpips_params(reconstruction._NETWORK)
  check_exact(reconstruction._frame_lpips, params, video, video)
  spatial = functools.partial(
    perceptual.lpips, network=reconstruction._NETWORK, spatial=True
  )
  check_exact(_gradient(spatial), params, video, video)


@pytest.mark.parametrize('on', [_TPU, _GPU])
def test_i3d(on):
  preprocess = functools.partial(i3d.preprocess, config=i3d.I3DConfig())
  check_exact(preprocess, _shape(1, 9, 8, 8, 3, dtype=jnp.uint8), on=on)
  # All its units are made of this.
  conv = functools.partial(i3d._conv, strides=(1, 2, 2))
  check_exact(conv, _shape(1, 9, 8, 8, 2), _shape(3, 3, 3, 2, 5), on=on)


def test_a_training_step_of_the_tokenizer(tmp_path):
  """Both networks, all losses but LPIPS, Muon: gradients and updates."""
  mesh = mesh_lib.make_mesh(devices=jax.devices()[:1])
  recipe = tokenizer_recipe.make_tokenizer_recipe(
    _training_config(), workdir=epath.Path(tmp_path), mesh=mesh
  )
  shapes = {
    update.net: mesh_lib.unbox(jax.eval_shape(update.init, jax.random.key(0)))
    for update in recipe.updates
  }
  video = _shape(1, 1, 8, 8, 3, dtype=jnp.uint8)
  check_exact(functools.partial(_step, recipe), shapes, video)


def _training_config():
  config = defaults.tokenizer_config()
  tokenizer = dataclasses.asdict(tiny.TOKENIZER)
  config.tokenizer.update(
    {k: v for k, v in tokenizer.items() if k in config.tokenizer}
  )
  config.data.update(
    source='synthetic', batch_size=1, num_frames=1, height=8, width=8
  )
  config.losses.update(drop_scales=1, drop_probability=0.5)
  config.adversarial.update(weight=0.1, start=0, r1=1.0, balance='adaptive')
  config.discriminator.update(
    kind='stylegan', base_width=8, multipliers=(1, 2), dtype='float32'
  )
  for name in ('optimizer', 'discriminator_optimizer'):
    config[name].update(kind='muon', warmup_steps=0)
  return config


def _step(recipe, params, video):
  """One step's gradients and changes of all networks."""
  batch, changes = {'video': video}, []
  for update in recipe.updates:
    world = {'key': jax.random.key(0), 'nets': params, 'step': 0}
    averages = {name: jnp.zeros(()) for name in update.averages}
    context = make_context(update.net, averages=averages, **world)

    def loss_of(own, update=update, context=context):
      nets = {**params, update.net: own}
      shared = update.stage.run(nets[update.stage.net], batch, context)
      return update.objective(own, batch, context.replace(shared=shared))[0]

    own = params[update.net]
    rule = net_optimizer(update, num_steps=10)
    changes.append(rule.update(jax.grad(loss_of)(own), rule.init(own), own))
  return changes


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_transformer(dtype):
  family = tiny.family(dtype=dtype)
  plan = next_scale_plan(2, tiny.SCALES)
  params = family.shapes()
  inputs = _shape(2, plan.num_tokens, tiny.NUM_BITS)
  condition = jnp.zeros(2, jnp.int32)

  def forward(params, inputs):
    return family.forward(params, inputs, condition, plan=plan)

  def roll(params):
    return family.roll(
      family.inference_params(params),
      plan=plan,
      condition_bx=condition,
      gamma_ts=jnp.ones((2, len(tiny.SCALES))),
      guided=True,
      key_b=sample_keys(0, jnp.arange(2)),
      temperature=1.0,
    ).bits

  for function, *shapes in ((forward, params, inputs), (roll, params)):
    check_exact(function, *shapes)
    half = [x for x in products(function, *shapes) if 'bf16' in x]
    assert bool(half) == (dtype == 'bfloat16')
