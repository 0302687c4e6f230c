"""The plan: hand-written goldens of order, positions and mask."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.plan.kinds import PLANS, make_partition, make_plan
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.plan.partition import split
from videoar_jax.plan.place import Loop, loops, place, rolls
from videoar_jax.plan.teacher_forcing import teacher_forcing
from videoar_jax.plan.unit import Grid, Unit, UnitPlan

PLAN = next_scale_plan(2, ((1, 1), (1, 2)))
PYRAMID = make_plan('clip_pyramid', 2, ((1, 1), (1, 2)))


def test_units_go_frame_by_frame_and_scale_by_scale():
  order = [(unit.frames, unit.scale) for unit in PLAN.units]
  assert order == [((0,), 0), ((0,), 1), ((1,), 0), ((1,), 1)]
  assert PLAN.offsets == (0, 1, 3, 4, 6)
  assert PLAN.num_frames == 2 and PLAN.num_tokens == 6
  np.testing.assert_array_equal(PLAN.unit_l, [0, 1, 1, 2, 3, 3])
  # Cells of the grids 2×1×1 and 2×1×2, one behind the other.
  np.testing.assert_array_equal(PLAN.cell_l, [0, 2, 3, 1, 4, 5])


def test_positions_are_native_to_each_scale_and_shared_in_time():
  expected = [(0, 0, 0), (0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 0), (1, 0, 1)]
  np.testing.assert_array_equal(PLAN.position_l3, expected)


def test_mask_is_causal_over_units_and_full_inside():
  expected = np.asarray(
    [
      [1, 0, 0, 0, 0, 0, 0],
      [1, 1, 0, 0, 0, 0, 0],
      [1, 1, 1, 1, 0, 0, 0],
      [1, 1, 1, 1, 0, 0, 0],
      [1, 1, 1, 1, 1, 0, 0],
      [1, 1, 1, 1, 1, 1, 1],
      [1, 1, 1, 1, 1, 1, 1],
    ],
    bool,
  )
  mask = PLAN.mask(1)
  np.testing.assert_array_equal(mask.dense(), expected)
  assert mask.num_pairs == expected.sum()
  assert [(x.start, x.stop, x.keys) for x in mask.runs] == [
    (0, 4, ((0, 4),)),
    (4, 7, ((0, 7),)),
  ]
  np.testing.assert_array_equal(mask.runs[1].allowed(), expected[4:])
  assert [x.stop for x in PLAN.mask(0).runs] == [3, 6]


def test_paper_plan_has_650_tokens_in_30_units():
  scales = tuple((n, n) for n in (1, 2, 3, 4, 6, 8))
  plan = next_scale_plan(5, scales)
  assert plan.num_tokens == 650 and len(plan.units) == 30


def test_a_clip_pyramid_goes_scale_by_scale_over_all_frames():
  order = [(unit.frames, unit.scale) for unit in PYRAMID.units]
  assert order == [((0, 1), 0), ((0, 1), 1)]
  assert PYRAMID.offsets == (0, 2, 6) and PYRAMID.num_frames == 2
  expected = [(0, 0, 0), (1, 0, 0), (0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]
  np.testing.assert_array_equal(PYRAMID.position_l3, expected)
  np.testing.assert_array_equal(PYRAMID.frame_l, [0, 1, 0, 0, 1, 1])
  mask = PYRAMID.mask(1)
  assert mask.dense().sum(axis=1).tolist() == [1, 3, 3, 7, 7, 7, 7]
  first, second = mask.runs
  assert (first.keys, second.keys) == (((0, 3),), ((0, 7),))
  assert second.allowed() is None


@pytest.mark.parametrize('name', PLANS)
def test_a_plan_is_whole_blocks_of_all_scales(name):
  scales = ((1, 1), (2, 3))
  plan = make_plan(name, 4, scales)
  assert plan.scales == scales
  blocks = plan.num_frames // plan.block_frames
  assert len(plan.units) == blocks * len(plan.block)
  assert plan.num_tokens == 4 * 7
  assert loops(plan) == (Loop(0, blocks),)
  for i, unit in enumerate(plan.units):
    like = plan.block[i % len(plan.block)]
    assert unit.frames[0] == i // len(plan.block) * plan.block_frames
    assert (unit.shape, unit.scale) == (like.shape, like.scale)
    assert len(unit.frames) == plan.block_frames


@pytest.mark.parametrize('name', PLANS)
@pytest.mark.parametrize(
  ('frames', 'scales', 'named'),
  [
    (0, ((1, 1),), 'num_frames=0'),
    (1, (), 'scales'),
    (1, ((2, 2), (1, 1)), 'coarse to fine'),
    (1, ((2, 2), (2, 2)), 'coarse to fine'),
    (1, ((0, 1),), 'at least 1'),
  ],
)
def test_impossible_plans_are_refused(name, frames, scales, named):
  with pytest.raises(ValueError, match=named):
    make_plan(name, frames, scales)


# The latents of 81 frames of 480×832 pixels (arXiv:2509.24081, Table 5).
VIDEO = (21, 30, 52)
PARTITIONS = {
  'frame': [1560] * 21,
  'chunk:3': [4680] * 7,
  'chunk:4': [6240] * 3 + [4680] * 3,
  'key_detail:4': [9360, 7800, 7800, 7800],
  'key_detail:3': [10920] * 3,
  'cube:2x2x2': [4290] * 4 + [3900] * 4,
  'cube:1x2x2': [8190] * 4,
  'cube:4x4x4': [
    t * h * 13 for t in (6, 5, 5, 5) for h in (8, 8, 7, 7) for _ in range(4)
  ],
}


@pytest.mark.parametrize('name', PARTITIONS)
def test_partitions_have_these_sizes_and_every_cell_once(name):
  plan = make_partition(name, VIDEO)
  assert [unit.num_tokens for unit in plan.units] == PARTITIONS[name]
  assert plan.name == name and plan.num_frames == 21
  np.testing.assert_array_equal(np.sort(plan.cell_l), np.arange(32_760))
  cells = np.ravel_multi_index(plan.position_l3.T, VIDEO)
  np.testing.assert_array_equal(cells, plan.cell_l)


def test_key_frames_come_first_and_hold_both_ends():
  plan = make_partition('key_detail:4', VIDEO)
  assert plan.units[0].frames == (0, 4, 8, 12, 16, 20)
  assert plan.units[3].frames == (3, 7, 11, 15, 19)


def test_larger_parts_come_first():
  assert split(7, 3) == ((0, 1, 2), (3, 4), (5, 6))
  assert split(4, 2) == ((0, 1), (2, 3))


@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('cubes', 'use frame, chunk:3'),
    ('cube', 'use frame, chunk:3'),
    ('cube:2x2', 'use frame, chunk:3'),
    ('chunk:', 'use frame, chunk:3'),
    ('chunk:-1', 'use frame, chunk:3'),
    ('frame:2', 'use frame, chunk:3'),
    ('chunk:0', 'chunk=0: wanted at least one'),
    ('key_detail:22', 'wanted 1 to 21'),
    ('cube:2x31x2', 'cube:2x31x2 of a grid .*31 parts of 30'),
    ('cube:0x1x1', '0 parts of 21'),
  ],
)
def test_impossible_partitions_are_refused(name, words):
  with pytest.raises(ValueError, match=words):
    make_partition(name, VIDEO)


SMALL = (3, 2, 3)
SOME = {
  **{name: make_plan(name, 3, ((1, 1), (2, 3))) for name in PLANS},
  **{
    name: make_partition(name, SMALL)
    for name in ('frame', 'chunk:2', 'key_detail:2', 'cube:2x1x2')
  },
}


@pytest.mark.parametrize('name', SOME)
def test_what_is_gathered_is_scattered_back(name):
  plan = SOME[name]
  rng = np.random.default_rng(0)
  arrays = [rng.normal(size=(2, *grid.shape, 4)) for grid in plan.grids]
  tokens = plan.gather(arrays)
  for unit, start in zip(plan.units, plan.offsets):
    box = arrays[unit.scale][
      :, np.array(unit.frames)[:, None, None], np.array(unit.rows)[:, None]
    ][:, :, :, 0, list(unit.columns)]
    wanted = box.reshape(2, -1, 4).astype(np.float32)
    found = tokens[:, start : start + unit.num_tokens]
    np.testing.assert_array_equal(found, wanted)
  np.testing.assert_array_equal(tokens, UnitPlan.gather(plan, arrays))
  for one, other in zip(plan.scatter(tokens), arrays, strict=True):
    np.testing.assert_array_equal(one, other.astype(np.float32))


@pytest.mark.parametrize('name', SOME)
def test_the_backward_mask_is_the_forward_one_turned_round(name):
  plan = SOME[name]
  turned = plan.reversed
  assert turned.reversed.units == plan.units
  order = np.argsort(
    np.concatenate(
      [
        plan.cell_l[start:stop]
        for start, stop in list(zip(plan.offsets, plan.offsets[1:]))[::-1]
      ]
    )
  )
  mask = turned.mask(0).dense()[order][:, order]
  raster = np.argsort(plan.cell_l)
  forward = plan.mask(0).dense()[raster][:, raster]
  np.testing.assert_array_equal(mask, forward.T)


@pytest.mark.parametrize('name', SOME)
def test_noisy_units_see_clean_ones_before_them_and_themselves(name):
  plan = SOME[name]
  both = teacher_forcing(plan)
  n = plan.num_tokens
  mask, plain = both.mask(0).dense(), plan.mask(0).dense()
  own = plan.unit_l[:, None] == plan.unit_l
  np.testing.assert_array_equal(mask[:n, :n], plain)
  assert not mask[:n, n:].any()
  np.testing.assert_array_equal(mask[n:, :n], plain & ~own)
  np.testing.assert_array_equal(mask[n:, n:], own)
  np.testing.assert_array_equal(both.position_l3[n:], plan.position_l3)
  # A run of queries takes at most two slices of keys.
  assert all(len(run.keys) <= 2 for run in both.mask(1).runs)
  with pytest.raises(ValueError, match='do not part the grids'):
    both.scatter(np.zeros((1, 2 * n, 1)))


@pytest.mark.parametrize('name', SOME)
@pytest.mark.parametrize('prefix', [0, 2])
def test_blocks_of_the_mask_say_what_kernels_may_skip(name, prefix):
  for plan in (SOME[name], teacher_forcing(SOME[name])):
    mask = plan.mask(prefix)
    dense, found = mask.dense(), mask.blocks(4, 5)
    for i, row in enumerate(found):
      for j, kind in enumerate(row):
        part = dense[4 * i : 4 * i + 4, 5 * j : 5 * j + 5]
        wanted = 2 if part.all() else int(part.any())
        assert kind == wanted, (i, j)


@pytest.mark.parametrize('name', SOME)
def test_places_are_those_of_the_whole_plan(name):
  some = SOME[name]
  for plan in (some, some.reversed, teacher_forcing(some)):
    for loop in loops(plan):
      for block in range(loop.first, loop.first + loop.count):
        for number in range(plan.period):
          unit = block * plan.period + number
          at = place(plan, loop, jnp.asarray(block), number)
          start, stop = plan.offsets[unit : unit + 2]
          assert at.offset == start
          position = plan.position_l3[start:stop]
          np.testing.assert_array_equal(at.position_l3, position)
          wanted = plan.mask(0).dense()[start]
          wanted[start:stop] = False  # its own tokens are not in the cache yet
          np.testing.assert_array_equal(at.seen_m, wanted)
          assert at.starts == plan.starts_u[unit]
          known = place(plan, loop, block, number, stop=block + 1)
          seen = known.seen_m
          seen = np.ones(known.reach, bool) if seen is None else seen
          assert known.reach == known.offset == start
          np.testing.assert_array_equal(seen, wanted[:start])
          assert not wanted[start:].any()
          assert known.starts == at.starts


def test_blocks_of_unequal_sizes_are_loops_of_their_own():
  plan = make_partition('key_detail:4', VIDEO)
  assert loops(plan) == (Loop(0, 1), Loop(1, 3))


@pytest.mark.parametrize(
  ('name', 'wanted'),
  [
    *((name, True) for name in (*PLANS, 'frame', 'chunk:2')),
    *(('key_detail:2', False), ('cube:2x1x1', True), ('cube:1x1x2', False)),
  ],
)
def test_a_plan_of_whole_frames_in_blocks_alone_rolls(name, wanted):
  if name in PLANS:
    plan = make_plan(name, 4, ((1, 1), (2, 3)))
  else:
    plan = make_partition(name, (4, 2, 3))
  assert rolls(plan) == wanted
  assert not rolls(teacher_forcing(plan))
  if len(plan.units) > plan.period:
    assert not rolls(plan.reversed)


@pytest.mark.parametrize('kept', [1, 2, 3])
def test_a_later_block_takes_the_place_of_the_oldest(kept):
  plan = next_scale_plan(kept, ((1, 1), (1, 2)))
  (loop,) = loops(plan)
  at = place(plan, loop, jnp.asarray(7), 1)
  np.testing.assert_array_equal(at.position_l3, [(7, 0, 0), (7, 0, 1)])
  start = 3 * (7 % kept) + 1
  assert at.offset == start and at.reach == 3 * kept
  # Of the oldest block what is written over next is seen no more.
  wanted = [not start <= m < start + 2 for m in range(3 * kept)]
  assert at.seen_m.tolist() == wanted
  first = place(plan, loop, jnp.asarray(0), 1)
  assert first.seen_m.sum() == 1 and not first.starts


def test_reversed_twice_is_the_plan():
  plan = make_partition('cube:2x1x2', SMALL)
  assert plan.reversed.reversed == plan
  assert hash(plan.reversed.reversed) == hash(plan)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'period': 2}, '3 units in blocks of 2'),
    ({'units': ()}, '0 units'),
    ({'units': (Unit((0, 3), (0,), (0,)),)}, 'wanted indices of it'),
    ({'units': (Unit((1, 0), (0,), (0,)),)}, 'ascending'),
    ({'units': (Unit((), (0,), (0,)),)}, 'wanted indices'),
    ({'graph': ((True,),)}, 'wanted 3×3 units'),
    ({'graph': ((True,) * 3, (True,) * 3, (False,) * 3)}, 'sees itself'),
  ],
)
def test_impossible_units_and_graphs_are_refused(change, words):
  plan = make_partition('frame', SMALL)
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(plan, **change)


def test_positions_may_lie_between_whole_numbers():
  halves = ((0.0, 1.0), (0.5,), (0.5, 2.5))
  grids = (Grid((2, 1, 2), halves), Grid((2, 2, 4)))
  units = (Unit((0, 1), (0,), (0, 1)), Unit((0, 1), (0, 1), (0, 1, 2, 3), 1))
  plan = UnitPlan('multiscale', grids, units)
  assert plan.position_l3.dtype == np.float32
  np.testing.assert_array_equal(
    plan.position_l3[:5],
    [(0, 0.5, 0.5), (0, 0.5, 2.5), (1, 0.5, 0.5), (1, 0.5, 2.5), (0, 0, 0)],
  )
  with pytest.raises(ValueError, match='places for'):
    Grid((1, 2, 2), halves)
  with pytest.raises(ValueError, match='at least 1'):
    Grid((2, 0, 2))
