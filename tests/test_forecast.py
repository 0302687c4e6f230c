"""What a run needs ahead of time: collectives, bounds, knobs, the command."""

import importlib.util
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_collections
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from videoar_jax.benchmark.program import parse
from videoar_jax.core.chips import CHIPS
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.forecast import collectives as lib
from videoar_jax.forecast import table
from videoar_jax.forecast.knobs import knobs
from videoar_jax.forecast.roofline import make_bounds

# A layer loop of three rounds, one gather in it that a fusion runs beside, one
# that is waited for; a scatter as compilers for TPU write it; a gather that
# goes on over two fusions.
PROGRAM = """
HloModule step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%double (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %twice = f32[8]{0} add(%p, %p)
}

%async_collective_fusion.1 (q: f32[2]) -> f32[8] {
  %q = f32[2]{0} parameter(0)
  ROOT %chained.1 = f32[8]{0} all-gather(%q), channel_id=9, replica_groups=[1,4]<=[4], dimensions={0}
}

%fused_end (r: f32[2]) -> f32[8] {
  %r = f32[2]{0} parameter(0)
  ROOT %chained.2 = f32[8]{0} all-gather(%r), channel_id=9, replica_groups=[1,4]<=[4], dimensions={0}
}

%all-reduce-scatter.7 (s: f32[8]) -> f32[4] {
  %s = f32[8]{0} parameter(0)
  %whole = f32[8]{0} all-reduce(%s), channel_id=4, replica_groups={{0,1},{2,3}}, to_apply=%add
  ROOT %part = f32[4]{0} slice(%whole), slice={[0:4]}
}

%exchange (z: f32[8]) -> f32[8] {
  %z = f32[8]{0} parameter(0)
  ROOT %swapped = f32[8]{0} all-to-all(%z), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
}

%on_sparse_core (o: f32[2]) -> f32[8] {
  %o = f32[2]{0} parameter(0)
  ROOT %there = f32[8]{0} all-gather(%o), channel_id=8, replica_groups=[1,4]<=[4], dimensions={0}
}

%body (t: (s32[], f32[2])) -> (s32[], f32[2]) {
  %t = (s32[], f32[2]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %w = f32[2]{0} get-tuple-element(%t), index=1
  %start = (f32[2]{0}, f32[8]{0}) all-gather-start(%w), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}
  %waited = f32[4]{0} all-gather(%w), channel_id=2, replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}
  %work = f32[8]{0} fusion(%p0), kind=kLoop, calls=%double
  %done = f32[8]{0} all-gather-done(%start)
  %p0 = f32[8]{0} broadcast(%one), dimensions={}
  ROOT %out = (s32[], f32[2]{0}) tuple(%next, %w)
}

%condition (u: (s32[], f32[2])) -> pred[] {
  %u = (s32[], f32[2]{0}) parameter(0)
  %j = s32[] get-tuple-element(%u), index=0
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%j, %three), direction=LT
}

ENTRY %main (x: f32[2], y: f32[8]) -> f32[4] {
  %x = f32[2]{0} parameter(0)
  %y = f32[8]{0} parameter(1)
  %zero = s32[] constant(0)
  %begin = (s32[], f32[2]{0}) tuple(%zero, %x)
  %loop = (s32[], f32[2]{0}) while(%begin), condition=%condition, body=%body
  %all = f32[8]{0} all-reduce(%y), channel_id=3, replica_groups={}, to_apply=%add
  %moved = f32[2]{0} collective-permute(%x), channel_id=6, source_target_pairs={{0,1},{1,0}}
  %first = pred[] constant(true)
  %branch = f32[8]{0} conditional(%first, %y, %y), true_computation=%exchange, false_computation=%double
  %called = (f32[2]{0}, f32[8]{0}) call-start(%x), async_execution_thread="sparsecore", to_apply=%on_sparse_core
  %meanwhile = f32[8]{0} fusion(%y), kind=kLoop, calls=%double
  %returned = f32[8]{0} call-done(%called)
  %chain.1 = f32[8]{0} fusion(%x), kind=kCustom, calls=%async_collective_fusion.1
  %chain.2 = f32[8]{0} fusion(%x), kind=kCustom, calls=%fused_end
  ROOT %scattered = f32[4]{0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.7
}
"""  # noqa: E501


def test_collectives_of_a_program():
  found = lib.read_collectives(parse(PROGRAM), devices=4, slices=2).found
  told = [
    (x.kind, x.num_bytes, x.parts, x.times, x.hidden, x.slices) for x in found
  ]
  assert told == [
    (lib.GATHER, 32, 4, 3, True, 2),
    (lib.GATHER, 16, 2, 3, False, 2),
    (lib.REDUCE, 32, 4, 1, False, 2),
    (lib.PERMUTE, 8, 2, 1, False, 1),
    (lib.EXCHANGE, 32, 4, 0.5, False, 2),
    (lib.GATHER, 32, 4, 1, True, 2),
    (lib.GATHER, 32, 4, 1, True, 2),
    (lib.SCATTER, 32, 2, 1, False, 1),
  ]
  moved = [x.moved_bytes for x in found]
  assert moved == [3 * 24, 3 * 8, 2 * 24, 8, 12, 24, 24, 16]
  # Of four devices in two slices, a half comes from the other one.
  assert found[0].within_bytes == 3 * 16 and found[0].between_bytes == 3 * 8
  assert found[2].within_bytes == 2 * 16 and found[2].between_bytes == 2 * 8


def test_loops_of_unknown_length_are_named():
  text = PROGRAM.replace('direction=LT', 'direction=EQ')
  found = lib.read_collectives(parse(text), devices=4)
  assert found.unknown_loops == ('loop',)
  assert found.found[0].times == 1


@pytest.mark.parametrize(
  ('text', 'groups'),
  [
    ('replica_groups={{0,2},{1,3}}, to_apply=%add', [[0, 2], [1, 3]]),
    ('replica_groups={}, to_apply=%add', [[0, 1, 2, 3]]),
    ('replica_groups=[2,2]<=[4], dimensions={0}', [[0, 1], [2, 3]]),
    ('replica_groups=[2,2]<=[2,2]T(1,0), x=1', [[0, 2], [1, 3]]),
    ("replica_groups=mesh['a'=2,'b'=2] {'b'}, x=1", [[0, 1], [2, 3]]),
    ("replica_groups=mesh['a'=2,'b'=2] {'a'}, x=1", [[0, 2], [1, 3]]),
    (
      "replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}, x=1",
      [[0, 1], [2, 3]],
    ),
  ],
)
def test_groups_of_devices(text, groups):
  assert lib.read_groups(f'channel_id=1, {text}', 4) == groups


def test_groups_that_cannot_be_read_are_named():
  with pytest.raises(ValueError, match='groups.*strange'):
    lib.read_groups('replica_groups=strange, x=1', 4)


def test_collectives_of_a_compiled_program():
  mesh = make_mesh(MeshConfig(data=2, fsdp=4))
  weights = NamedSharding(mesh, P('fsdp'))
  rows = NamedSharding(mesh, P(('data', 'fsdp')))

  def loss(w, x):
    return jnp.sum(jnp.tanh(x @ w))

  step = jax.jit(jax.grad(loss), out_shardings=weights)
  w = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=weights)
  x = jax.ShapeDtypeStruct((16, 64), jnp.float32, sharding=rows)
  text = step.lower(w, x).compile().as_text()
  found = lib.read_collectives(parse(text), devices=8).found
  gathered = [x for x in found if x.kind == lib.GATHER]
  assert sum(x.num_bytes for x in gathered) >= 64 * 32 * 4
  assert any(x.kind in (lib.REDUCE, lib.SCATTER) for x in found)
  assert {x.parts for x in found} <= {2, 4, 8}


def test_least_time_of_a_step():
  def one(hidden, slices=1):
    return lib.Collective(lib.GATHER, 400e9, 2, 1.0, hidden, slices)

  # 200 GB received at 200 GB/s each way.
  bounds = make_bounds(
    CHIPS['v5e'], [one(True), one(False)], flops=394e12, memory_bytes=819e9
  )
  assert bounds.compute_s == 2
  assert (bounds.memory_s, bounds.network_s, bounds.waiting_s) == (1, 2, 1)
  assert (bounds.least_s, bounds.most_mfu) == (3, 2 / 3)
  slow = make_bounds(
    CHIPS['v5e'], [one(True, slices=2)], flops=1e12, memory_bytes=0
  )
  assert slow.bound_by == 'network'
  assert slow.least_s == pytest.approx(200e9 / 3.1e9)
  # Half of a chip is a device.
  half = make_bounds(CHIPS['tpu7x'], [], flops=2307e12, memory_bytes=0)
  assert half.compute_s == 2


def _config(**changes):
  config = ml_collections.ConfigDict(
    {
      'recipe': 'generator',
      'transformer': {'remat': 'dots', 'num_heads': 4},
      'mesh': {'data': -1, 'fsdp': 1, 'tensor': 1, 'sequence': 1},
      'train': {'accumulate': 1},
      'data': {'batch_size': 16},
    }
  )
  config.update_from_flattened_dict(changes)
  return config


def test_knobs_come_in_order_and_fit_the_run():
  mesh = {'data': 2, 'fsdp': 4, 'tensor': 1, 'sequence': 1}
  found = list(knobs(_config(), mesh))
  assert [flags for flags, _ in found] == [
    '--config.transformer.remat=full',
    '--config.mesh.data=1 --config.mesh.fsdp=8',
    '--config.train.accumulate=2',
    '--config.mesh.fsdp=2 --config.mesh.sequence=2',
    '--config.mesh.fsdp=1 --config.mesh.sequence=4',
  ]
  assert found[2][1].train.accumulate == 2
  assert '--config.mesh.data=2 --config.mesh.fsdp=8' in [
    flags for flags, _ in knobs(_config(), {**mesh, 'data': 4}, slices=2)
  ]
  split = [flags for flags, _ in knobs(_config(), {**mesh, 'tensor': 2})]
  assert split[-1] == '--config.mesh.fsdp=2 --config.mesh.sequence=2'
  mesh['data'] = 1
  full = _config(**{'transformer.remat': 'full', 'data.batch_size': 4})
  assert [flags for flags, _ in knobs(full, mesh)] == [
    '--config.mesh.fsdp=2 --config.mesh.sequence=2',
    '--config.mesh.fsdp=1 --config.mesh.sequence=4',
  ]


def test_what_does_not_fit_is_told_with_the_knob():
  found = {
    'topology': 'v5e:2x4',
    'slices': 1,
    'chips': 8,
    'mesh': {'data': 1, 'fsdp': 8, 'tensor': 1, 'sequence': 1},
    'batch_size': 64,
    'parameters': 10**9,
    'parameter_bytes': 2**30,
    'average_bytes': 0,
    'optimizer_bytes': 2**31,
    'peak_bytes': 2**35,
    'hbm_bytes': 2**34,
    'fits': False,
    'compile_s': 3.0,
  }
  text = '\n'.join(
    table.of_step({**found, 'knob': None, 'knobs_tried': ['--a']})
  )
  assert 'DOES NOT FIT' in text and 'none of: --a' in text
  knob = {'flags': '--config.train.accumulate=2', 'peak_bytes': 2**33}
  text = '\n'.join(table.of_step({**found, 'knob': knob}))
  assert '--config.train.accumulate=2 (8.00 GiB)' in text


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (('--topology=v5p-128',), "for v5p-128 write 'v5p:4x4x4'"),
    (('--topology=v5e:4x4', '--slices=0'), 'slices'),
    ((), '--topology is missing'),
    (('--topology=v5e:4x4', '--tokenizer='), '--tokenizer is missing'),
  ],
)
def test_a_plan_that_cannot_be_made_is_refused(shell, flags, message):
  given = {'--tokenizer': 'configs/quickstart.py:tokenizer'}
  words = [f'{k}={v}' for k, v in given.items() if f'{k}=' not in flags]
  done = shell.run(
    'train',
    '--plan_only',
    '--config=configs/quickstart.py:generator',
    *words,
    *(flag for flag in flags if not flag.endswith('=')),
  )
  assert done.returncode and message in done.stderr, done.stderr


@pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='needs the extra plan'
)
@pytest.mark.parametrize('kernel', ['xla', 'prefix', 'splash'])
def test_a_small_model_is_compiled_for_a_tpu(kernel, tmp_path):
  out = tmp_path / 'plan.json'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'videoar_jax.train', '--plan_only'),
      *('--topology=v5e:2x2', '--config=configs/quickstart.py:generator,smoke'),
      *('--config.mesh.data=2', '--config.mesh.fsdp=2'),
      f'--config.transformer.attention={kernel}',
      '--tokenizer=configs/quickstart.py:tokenizer,smoke',
      f'--out={out}',
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert 'fits' in done.stdout
  found = json.loads(out.read_text())
  assert found['chips'] == 4 and found['fits']
  assert found['flops'] > 0 and found['least_s'] > 0
  kinds = {one['kind'] for one in found['collectives']}
  assert lib.GATHER in kinds and kinds & {lib.SCATTER, lib.REDUCE}
