"""The plan: hand-written goldens of order, positions and mask."""

import numpy as np
import pytest

from videoar_jax.plan.kinds import PLANS, make_plan
from videoar_jax.plan.next_scale import next_scale_plan

PLAN = next_scale_plan(2, ((1, 1), (1, 2)))
PYRAMID = make_plan('clip_pyramid', 2, ((1, 1), (1, 2)))


def test_units_go_frame_by_frame_and_scale_by_scale():
  order = [(unit.frame, unit.scale) for unit in PLAN.units]
  assert order == [(0, 0), (0, 1), (1, 0), (1, 1)]
  assert PLAN.offsets == (0, 1, 3, 4, 6)
  assert PLAN.num_frames == 2 and PLAN.num_tokens == 6


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
  assert mask.cuts == (0, 4, 7)
  assert PLAN.mask(0).cuts == (0, 3, 6)


def test_paper_plan_has_650_tokens_in_30_units():
  scales = tuple((n, n) for n in (1, 2, 3, 4, 6, 8))
  plan = next_scale_plan(5, scales)
  assert plan.num_tokens == 650 and len(plan.units) == 30


def test_a_clip_pyramid_goes_scale_by_scale_over_all_frames():
  order = [(u.frame, u.num_frames, u.scale) for u in PYRAMID.units]
  assert order == [(0, 2, 0), (0, 2, 1)]
  assert PYRAMID.offsets == (0, 2, 6) and PYRAMID.num_frames == 2
  expected = [(0, 0, 0), (1, 0, 0), (0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]
  np.testing.assert_array_equal(PYRAMID.position_l3, expected)
  np.testing.assert_array_equal(PYRAMID.frame_l, [0, 1, 0, 0, 1, 1])
  mask = PYRAMID.mask(1)
  assert mask.visible_l == (1, 3, 3, 7, 7, 7, 7) and mask.cuts == (0, 3, 7)


@pytest.mark.parametrize('name', PLANS)
def test_a_plan_is_whole_blocks_of_all_scales(name):
  scales = ((1, 1), (2, 3))
  plan = make_plan(name, 4, scales)
  assert plan.scales == scales
  blocks = plan.num_frames // plan.block_frames
  assert len(plan.units) == blocks * len(plan.block)
  assert plan.num_tokens == 4 * 7
  for i, unit in enumerate(plan.units):
    like = plan.block[i % len(plan.block)]
    assert unit.frame == i // len(plan.block) * plan.block_frames
    assert (unit.size, unit.scale, unit.num_frames) == (
      like.size,
      like.scale,
      plan.block_frames,
    )


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
