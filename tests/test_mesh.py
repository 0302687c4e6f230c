"""The mesh: sizes, rules, fall-back to replication, constraints, batches."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core import placement
from videoar_jax.core.mesh import MeshConfig, make_mesh


def test_one_size_may_be_the_rest():
  mesh = make_mesh(MeshConfig(data=-1, fsdp=2, tensor=2))
  assert tuple(mesh.shape.items()) == (
    ('data', 2),
    ('fsdp', 2),
    ('tensor', 2),
    ('sequence', 1),
  )
  assert make_mesh(devices=jax.devices()[:1]).size == 1
  assert make_mesh(MeshConfig(data=1, fsdp=-1)).shape['fsdp'] == 8


@pytest.mark.parametrize(
  ('platform', 'attribute', 'slices'),
  [
    ('tpu', 'slice_index', [0, 1]),
    ('tpu', 'partition_index', [0, 1]),
    ('gpu', 'slice_index', [0, 0]),  # there it counts hosts
    ('cpu', 'none', [0, 0]),
  ],
)
def test_only_tpus_come_in_slices(platform, attribute, slices):
  devices = [
    types.SimpleNamespace(platform=platform, **{attribute: i}) for i in (0, 1)
  ]
  assert [mesh_lib._slice(x) for x in devices] == slices


@pytest.mark.parametrize(
  'sizes', [(3, 1, 1), (2, 2, 1), (-1, 3, 1), (-1, -1, 1)]
)
def test_sizes_that_do_not_fit_name_the_fix(sizes):
  with pytest.raises(ValueError, match=rf'mesh data={sizes[0]}.* 8\b'):
    make_mesh(MeshConfig(*sizes))


def test_dimension_that_does_not_divide_is_replicated():
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  spec = mesh_lib.partition_spec
  assert spec(('embed', 'mlp'), (4, 6), mesh) == P('fsdp', 'tensor')
  assert spec(('embed', 'mlp'), (3, 6), mesh) == P(None, 'tensor')
  assert spec(('batch', None), (4, 5), mesh) == P(('data', 'fsdp'))
  assert spec(('batch', None), (2, 5), mesh) == P('data')


def test_heads_that_do_not_divide_name_the_fix():
  mesh = make_mesh(MeshConfig(data=1, fsdp=1, tensor=4, sequence=2))
  spec = mesh_lib.partition_spec
  assert spec(('heads',), (12,), mesh) == P('tensor')
  with pytest.raises(
    ValueError, match='tensor=4 does not divide 6 heads; .*3, 6'
  ):
    spec(('embed', 'heads'), (4, 6), mesh)
  with pytest.raises(ValueError, match='tensor=4 × sequence=2 .* 12 heads'):
    spec(('attention_heads',), (12,), mesh)
  with pytest.raises(ValueError, match='6 hidden channels'):
    spec(('mlp',), (6,), mesh)


def test_tokens_are_split_unevenly_where_there_is_one_for_each_part():
  mesh = make_mesh(MeshConfig(data=2, sequence=4))
  axes = ('batch', 'length', 'channels')
  batch = ('data', 'fsdp')
  assert mesh_lib.partition_spec(axes, (2, 5, 3), mesh) == P(batch, 'sequence')
  assert mesh_lib.partition_spec(axes, (2, 3, 3), mesh) == P(batch)
  x = np.arange(30.0).reshape(2, 5, 3)
  with jax.set_mesh(mesh):
    y = jax.jit(lambda x: mesh_lib.constrain(x, *axes).sum(1))(x)
  np.testing.assert_array_equal(y, x.sum(1))


def test_mesh_axis_serves_one_dimension():
  mesh = make_mesh(MeshConfig(data=2, fsdp=4))
  assert mesh_lib.partition_spec(('embed', 'embed'), (8, 8), mesh) == P('fsdp')


def test_unlisted_name_and_wrong_rank_are_refused():
  mesh = make_mesh()
  with pytest.raises(ValueError, match="'embedd' has no rule"):
    mesh_lib.partition_spec(('embedd',), (8,), mesh)
  with pytest.raises(ValueError, match='name 1 dimensions'):
    mesh_lib.partition_spec(('embed',), (8, 8), mesh)
  with pytest.raises(ValueError, match='no rule'):
    mesh_lib.constrain(jnp.zeros((2, 3)), 'batch', 'nonsense')


def test_shardings_follow_the_boxes_also_of_scanned_layers():
  class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
      init = nn.with_logical_partitioning(
        nn.initializers.normal(), ('embed', 'mlp')
      )
      return x @ self.param('w', init, (8, 8)), None

  class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
      layers = nn.scan(
        Layer,
        variable_axes={'params': 0},
        split_rngs={'params': True},
        length=3,
        metadata_params={nn.PARTITION_NAME: 'layers'},
      )
      return layers()(x, None)[0]

  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  boxed = jax.eval_shape(
    lambda: Stack().init(jax.random.key(0), jnp.zeros((2, 8)))['params']
  )
  places = jax.tree.leaves(mesh_lib.shardings(boxed, mesh))
  assert [place.spec for place in places] == [P(None, 'fsdp', 'tensor')]
  names = mesh_lib.logical_axes(boxed)['ScanLayer_0']['w']
  assert names == ('layers', 'embed', 'mlp')


def test_large_arrays_that_stay_whole_are_told_once(caplog):
  mesh = make_mesh(MeshConfig(data=1, fsdp=8))

  def boxed(rows):
    shape = jax.ShapeDtypeStruct((rows, 2**20 + 1), jnp.float32)
    return {'w': nn.LogicallyPartitioned(shape, ('embed', None))}

  for rows in (12, 12, 8):  # 12 · 4 MiB that 8 does not divide, twice
    mesh_lib.shardings(boxed(rows), mesh)
  told = [record.message for record in caplog.records]
  assert told == [
    'mesh fsdp=8 divides no dimension of 1 arrays: all of their 48 MiB are on '
    'each device'
  ]


def test_constrain_pins_within_a_mesh_and_is_free_without():
  x = jnp.arange(64.0).reshape(8, 8)
  np.testing.assert_array_equal(mesh_lib.constrain(x, 'batch', 'mlp'), x)
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  with jax.set_mesh(mesh):
    y = jax.jit(lambda x: mesh_lib.constrain(x * 2, 'batch', 'mlp'))(x)
  assert y.sharding.spec == P(('data', 'fsdp'), 'tensor')
  np.testing.assert_array_equal(y, 2 * x)


def test_batch_is_split_over_data_and_fsdp():
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
  placed = placement.shard_batch({'x': x}, mesh)['x']
  assert placed.addressable_shards[0].data.shape == (2, 3)
  np.testing.assert_array_equal(placed, x)
  with pytest.raises(ValueError, match='batch_size=6: .* multiple of 4'):
    placement.shard_batch({'x': x[:6]}, mesh)
  np.testing.assert_array_equal(placement.batch_rows(mesh, 8), np.arange(8))
  with pytest.raises(ValueError, match='batch_size=6'):
    placement.batch_rows(mesh, 6)
  with pytest.raises(ValueError, match='multiple of 8'):
    placement.check_batch_size(4, mesh, accumulate=2)


def test_rows_of_a_device_are_not_copied(monkeypatch):
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  x, shared = np.zeros((8, 3), np.float32), []
  original = jax.make_array_from_callback

  def make(shape, sharding, part):
    for index in sharding.addressable_devices_indices_map(shape).values():
      shared.append(np.shares_memory(part(index), x))
    return original(shape, sharding, part)

  monkeypatch.setattr(jax, 'make_array_from_callback', make)
  placement.shard_batch({'x': x}, mesh)
  assert shared == [True] * 8


def test_replicated_arrays_are_whole_on_each_device():
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
  placed = placement.replicate({'x': x, 's': np.float32(3)}, mesh)
  assert len(placed['x'].addressable_shards) == 8
  np.testing.assert_array_equal(placed['x'].addressable_shards[7].data, x)
  assert float(placed['s']) == 3
