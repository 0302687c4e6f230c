"""Videos over a process's devices: any mesh gives what one device gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import FRAMES, SIDE, runs  # noqa: F401
from toy import compile_cache  # noqa: F401

import videoar_jax as va
from videoar_jax.core import spread
from videoar_jax.core.export import load_weights
from videoar_jax.core.mesh import MeshConfig, logical_axes, unbox
from videoar_jax.evaluate import i3d
from videoar_jax.sample import sampler
from videoar_jax.sample.program import choose
from videoar_jax.sample.streaming import VideoStream
from videoar_jax.transformer import params as params_lib

pytestmark = pytest.mark.filterwarnings('ignore:Some donated buffers')
LABELS = [2, 0, 3, 1, 2]


@pytest.mark.parametrize(
  ('count', 'devices'), [(0, 1), (1, 1), (3, 4), (4, 4), (5, 8), (100, 8)]
)
def test_as_many_devices_as_there_are_videos_or_the_next_divisor(
  count, devices
):
  mesh = spread.own_mesh(None, count=count)
  assert mesh.size == mesh.shape['data'] == devices
  assert (', of 8 devices' in spread.describe(mesh)) == (devices < 8)


def test_a_mesh_is_given_by_its_sizes():
  assert spread.parse_mesh('fsdp=2, data=4') == MeshConfig(4, 2)
  assert spread.parse_mesh('tensor=2') == MeshConfig(-1, 1, 2)
  mesh = spread.own_mesh(spread.parse_mesh('data=2,fsdp=2'), count=1)
  assert mesh.size == 4 and spread.rounded(5, mesh) == 8
  assert spread.own_mesh(MeshConfig(fsdp=2), count=1).shape['data'] == 4
  for text in ('', 'data', 'data=', 'data=x', 'width=2', 'data=2,data=2'):
    with pytest.raises(ValueError, match=f'mesh={text}: .*write data=4,fsdp=2'):
      spread.parse_mesh(text)
  with pytest.raises(ValueError, match='data=3.* 8 devices|data=3.*are 8'):
    spread.own_mesh(MeshConfig(data=3), count=1)
  with pytest.raises(ValueError, match='at least 1'):
    spread.own_mesh(MeshConfig(data=0), count=1)


def test_rows_of_one_process_are_all_rows():
  rows = np.arange(6.0).reshape(3, 2)
  assert spread.own(3).tolist() == [0, 1, 2]
  assert spread.gather(rows, 3) is rows and spread.own_rows(rows) is rows
  (block,) = spread.gather_blocks(lambda index_n: rows[index_n], 3)
  np.testing.assert_array_equal(block, rows)
  assert spread.total([1, 2]).tolist() == [1, 2]


@pytest.fixture(scope='module')
def loaded(runs):  # noqa: F811
  return load_weights(runs / 'generator')


@pytest.fixture(scope='module')
def one(loaded):
  return sampled(loaded, None)


def make(loaded, text):
  mesh = text and spread.own_mesh(spread.parse_mesh(text), count=len(LABELS))
  generator = sampler.Generator.of(loaded, mesh)
  return generator, generator.sampling(guidance='2', batch_size=3)


def sampled(loaded, text):
  """Videos in batches of three, the last one filled up."""
  generator, sampling = make(loaded, text)
  return np.stack(
    list(
      sampler.sample_videos(
        generator.program(sampling),
        generator.nets,
        LABELS,
        sampling=sampling,
        mesh=generator.mesh,
      )
    )
  )


MESHES = [
  'data=2,fsdp=2',
  *(
    pytest.param(text, marks=pytest.mark.slow)
    for text in ('data=8', 'fsdp=8', 'data=2,fsdp=4', 'fsdp=2')
  ),
]


@pytest.mark.parametrize('text', MESHES)
def test_videos_on_a_mesh_are_those_of_one_device(loaded, one, text):
  assert len(np.unique(one)) > 100
  np.testing.assert_array_equal(sampled(loaded, text), one)


@pytest.mark.slow
@pytest.mark.parametrize('text', ['data=8', 'data=2,fsdp=4', 'fsdp=2'])
@pytest.mark.parametrize('window', [None, 1])
def test_a_stream_on_a_mesh_is_that_of_one_device(loaded, text, window):
  found = []
  for where in (None, text):
    generator, sampling = make(loaded, where)
    sampling = dataclasses.replace(sampling, window=window)
    stream = VideoStream(generator, sampling)
    pieces = stream.shots(LABELS[:3], num_shots=2, overlap=5)
    found.append(np.concatenate(list(pieces), axis=1))
  assert found[0].shape == (3, 2 * FRAMES - 5, SIDE, SIDE, 3)
  np.testing.assert_array_equal(*found)


def test_weights_lie_where_the_mesh_says(loaded):
  for text, share in (('data=8', 1), ('fsdp=8,data=1', 8)):
    generator, _ = make(loaded, text)
    layer = generator.nets['transformer']['layer_0']
    kernel = layer['mlp']['down']
    local = kernel.addressable_shards[0].data
    assert kernel.size == share * local.size
    assert len(kernel.addressable_shards) == 8
    for x in jax.tree.leaves(generator.nets['autoencoder']):
      assert x.is_fully_replicated


@pytest.mark.parametrize('where', ['cpu', 'tpu'])
def test_axes_of_weights_for_inference_are_those_of_the_arrays(
  loaded, monkeypatch, where
):
  monkeypatch.setattr(params_lib, 'platform', lambda: where)
  family = sampler.load_family(loaded)
  boxed = family.inference_shapes()
  arrays = family.inference_params(loaded.nets[family.net])

  def check(shape, array):
    assert isinstance(array, np.ndarray)  # nothing has gone to a device
    assert (shape.shape, shape.dtype) == (array.shape, array.dtype)

  jax.tree.map(check, unbox(boxed), arrays)
  axes = logical_axes(boxed)
  layer = axes['layer_0'] if where == 'cpu' else axes['layers']
  layers = () if where == 'cpu' else ('layers',)
  assert layer['qkv'] == ((*layers, 'embed', 'heads', None),) * 3
  assert layer['mlp']['down'] == (*layers, 'mlp', 'embed')


def logits_of(loaded, text):
  """Logits of the first unit and of a second one, through the cache."""
  generator, sampling = make(loaded, text)
  family, chosen = generator.family, choose(generator.family, sampling)
  plan, labels = chosen.plan, np.array(LABELS[:2], np.int32)

  @jax.jit
  def forward(params, condition_bx):
    rng = np.random.default_rng(0)
    shape = (2, plan.num_tokens, plan.input_width(family.model.num_bits))
    inputs = jnp.float32(rng.normal(size=shape))
    return family.forward(params, inputs, condition_bx, plan=plan)

  call = spread.on_mesh(forward, generator.mesh)
  return np.asarray(call(generator.nets[family.net], labels))


@pytest.mark.slow
@pytest.mark.parametrize('text', ['tensor=2', 'data=2,fsdp=2,tensor=2'])
def test_tensor_parallel_logits_are_those_of_one_device(loaded, text):
  """Sums over heads and hidden channels are taken in another order."""
  wanted = logits_of(loaded, None)
  found = logits_of(loaded, text)
  assert np.abs(wanted).max() > 0.1
  np.testing.assert_allclose(found, wanted, atol=2e-6, rtol=2e-6)


@pytest.mark.slow
def test_a_model_in_python_takes_a_mesh(runs, one):  # noqa: F811
  model = va.load(runs / 'generator', mesh='data=2')
  names = [model.classes[label] for label in LABELS]
  videos = model.sample(names, guidance=2)
  np.testing.assert_array_equal(videos, one)
  frames = list(model.stream(names[0], guidance=2))
  np.testing.assert_array_equal(np.stack(frames), one[0])
  with pytest.raises(ValueError, match='mesh=2: wanted text'):
    va.load(runs / 'generator', mesh=2)


def test_features_on_a_mesh_are_those_of_one_device(monkeypatch):
  """With the resize of I3D, and a small network in its place."""
  monkeypatch.setattr(
    i3d, '_network', jax.jit(lambda units, x: x.mean((1, 2, 3)) @ units['w'])
  )
  rng = np.random.default_rng(0)
  videos = rng.integers(0, 256, (5, 9, 20, 24, 3), np.uint8)
  units = {'w': np.float32(rng.normal(size=(3, 7)))}
  found = []
  for text in (None, 'data=4', 'data=2,fsdp=2'):
    mesh = text and spread.own_mesh(spread.parse_mesh(text), count=5)
    model = i3d.I3D(i3d.I3DConfig(), units, '', mesh)
    found.append(i3d.logits(model, videos))
  assert len(np.unique(found[0])) > 30
  for other in found[1:]:
    np.testing.assert_array_equal(other, found[0])


@pytest.mark.slow
def test_i3d_itself_on_a_mesh_is_that_of_one_device():
  rng = np.random.default_rng(0)
  videos = rng.integers(0, 256, (3, 9, 32, 32, 3), np.uint8)
  mesh = spread.own_mesh(MeshConfig(data=2, fsdp=2), count=3)
  try:
    one, many = i3d.load_i3d(), i3d.load_i3d(mesh=mesh)
  except ValueError as error:
    pytest.skip(str(error))
  np.testing.assert_array_equal(
    i3d.logits(many, videos), i3d.logits(one, videos)
  )
