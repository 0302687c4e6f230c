"""The random frame mask. Source: VideoAR (arXiv:2601.05966) Eq. 9."""

import dataclasses

import jax

from videoar_jax.core import fields
from videoar_jax.core.mask import GroupMask
from videoar_jax.plan.unit import UnitPlan


@dataclasses.dataclass(frozen=True)
class FrameMaskConfig:
  """Which past frames are hidden in training; off by default.

  Why it is off for UCF-101: docs/paper.md, Random frame mask.

  Attributes:
    window: past latent frames that may be seen; 0 means all.
    probability: chance that a past frame is hidden from all that follow.
  """

  window: fields.Natural = 0
  probability: fields.Chance = 0.0

  def __post_init__(self):
    fields.check(self)

  @property
  def is_on(self) -> bool:
    return self.window > 0 or self.probability > 0.0


def draw_frame_mask(
  rng: jax.Array, config: FrameMaskConfig, *, plan: UnitPlan, batch: int
) -> GroupMask:
  """Draws per example which frames later ones do not see.

  A token of frame t sees its own frame, and frame t' < t if t' >= t - window
  and t' was not hidden. The plan's own mask still applies.

  Args:
    rng: key.
    config: window and chance.
    plan: order of prediction.
    batch: examples.

  Returns:
    The mask of the plan's tokens, their frames as groups.
  """
  kept = jax.random.bernoulli(
    rng, 1.0 - config.probability, (batch, plan.num_frames)
  )
  return GroupMask(kept, plan.frame_l, config.window)
