"""The cache as accelerators read it: no further than it is filled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_transformer as whole_lib
import tiny
from test_transformer import FEW, KINDS, inputs_of

from videoar_jax.core import attention
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.plan.place import loops, place, reads_unwritten

SMALL = ((1, 1), (1, 2))


@pytest.fixture
def elsewhere(monkeypatch):
  """Attention as on an accelerator, whose fresh memory holds anything."""
  monkeypatch.setattr(attention, 'platform', lambda: 'gpu')
  monkeypatch.setattr(
    jax.lax, 'empty', lambda shape, dtype: jnp.full(shape, jnp.nan, dtype)
  )


@pytest.mark.parametrize(
  ('frames', 'kept', 'scales', 'kind'),
  [
    (3, 3, FEW, 'class'),
    (3, 3, FEW, 'text'),
    (10, 10, SMALL, 'class'),
    (6, 2, SMALL, 'text'),
    (12, 9, SMALL, 'class'),
  ],
)
def test_what_is_read_is_written_or_zero(elsewhere, frames, kept, scales, kind):
  changes, condition = KINDS[kind]
  plan = next_scale_plan(frames, scales)
  params = tiny.transformer_params(**dict(changes))
  inputs = inputs_of(plan)
  same = {'plan': plan, 'changes': changes}
  window = 0 if kept == frames else kept - 1
  wanted = whole_lib.whole(
    params,
    inputs,
    condition,
    kept_bt=jnp.ones((2, frames), bool),
    window=window,
    **same,
  )
  run = functools.partial(whole_lib.cached.__wrapped__, **same)
  run = jax.jit(functools.partial(run, kept=next_scale_plan(kept, scales)))
  found = run(params, inputs, condition)
  np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=2e-5)


def test_a_long_video_has_few_reaches():
  for frames, most in ((8, 8), (9, 5), (100, 8)):
    plan = next_scale_plan(frames, SMALL)
    (loop,) = loops(plan)
    reaches = place(plan, loop, jnp.asarray(0), 1, stop=frames).reaches
    assert len(reaches) == most and reads_unwritten(plan) == (frames > 8)
    for block in (0, 1, 5, frames - 1):
      at = place(plan, loop, jnp.asarray(block), 1, stop=frames)
      assert at.reaches[at.reach] >= at.offset
      if frames == 8:
        assert at.reaches[at.reach] == at.offset
    rolled = place(plan, loop, jnp.asarray(frames + 3), 1)
    assert rolled.reaches[rolled.reach] == plan.num_tokens


def test_room_is_filled_with_zeros_where_it_may_be_read(elsewhere):
  model = tiny.transformer()
  for frames, zero in ((3, False), (10, True)):
    cache = model.apply(
      {'params': tiny.transformer_params()},
      jnp.asarray([1]),
      plan=next_scale_plan(frames, SMALL),
      method='prefill',
    )
    rest = cache.k[..., model.config.prefix_length :, :]
    assert bool(jnp.isnan(rest).all()) is not zero
