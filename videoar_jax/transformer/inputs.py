"""The features that tokens start from, in a plan's order.

Source: VideoAR (arXiv:2601.05966) Eq. 6; docs/paper.md, Inputs.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from videoar_jax.core import resize
from videoar_jax.plan.pyramid import Pyramid


def token_inputs(totals_bthwd: Sequence[jax.Array], plan: Pyramid) -> jax.Array:
  """The features that each token of a plan starts from (VideoAR Eq. 6).

  Args:
    totals_bthwd: per scale, the sum of the codes up to it, at full size.
    plan: order of prediction.

  Returns:
    inputs_blq; those of the first unit are zero, as a start token is read. Of
    a plan `from_last` q is twice as wide: features of the frame before follow.
  """
  # A block starts from the frame before it.
  step = plan.block_frames
  last = totals_bthwd[-1][:, step - 1 :: step][:, :-1]
  before = jnp.pad(
    jnp.repeat(last, step, axis=1), ((0, 0), (step, 0)) + ((0, 0),) * 3
  )
  inputs = [
    unit_inputs(total, before, size, plan)
    for total, size in zip([before, *totals_bthwd[:-1]], plan.scales)
  ]
  return plan.gather(inputs)


def unit_inputs(
  total_bthwd: jax.Array,
  before_bthwd: jax.Array,
  size: tuple[int, int],
  plan: Pyramid,
) -> jax.Array:
  """What a scale of some frames starts from, at its size: (b, t, h_k, w_k, q).

  Args:
    total_bthwd: sum of the coarser scales; of the first one `before_bthwd`.
    before_bthwd: the last frame of the block before, for each frame.
    size: (h_k, w_k).
    plan: order of prediction.
  """
  inputs = resize.bilinear(total_bthwd, size)
  if not plan.from_last:
    return inputs
  return jnp.concatenate([inputs, resize.bilinear(before_bthwd, size)], axis=-1)
