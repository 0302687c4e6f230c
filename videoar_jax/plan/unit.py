"""UnitPlan: the one source of order.

A video is predicted unit by unit. All tokens of a unit are predicted together
and see the prefix, every earlier unit, and each other.
"""

import dataclasses
import functools

import numpy as np

from videoar_jax.core.attention import BlockMask


@dataclasses.dataclass(frozen=True)
class Unit:
  """Tokens that are predicted in one step.

  Attributes:
    frame: latent frame, from 0.
    scale: index of the scale, from 0.
    size: (h, w) tokens.
  """

  frame: int
  scale: int
  size: tuple[int, int]

  @property
  def num_tokens(self) -> int:
    return self.size[0] * self.size[1]

  def positions(self) -> np.ndarray:
    """(t, h, w) of each token, native to the unit's own grid: (l, 3) int32."""
    h, w = np.indices(self.size)
    t = np.full_like(h, self.frame)
    return np.stack([t, h, w], axis=-1).reshape(-1, 3).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class UnitPlan:
  """Units in the order of prediction; static and hashable.

  Attributes:
    name: what kind of plan this is.
    units: the units, first predicted first.
  """

  name: str
  units: tuple[Unit, ...]

  @property
  def num_frames(self) -> int:
    return self.units[-1].frame + 1

  @property
  def num_tokens(self) -> int:
    return sum(unit.num_tokens for unit in self.units)

  @functools.cached_property
  def offsets(self) -> tuple[int, ...]:
    """Index of each unit's first token, and the number of tokens at the end."""
    counts = [unit.num_tokens for unit in self.units]
    return tuple(np.cumsum([0, *counts]).tolist())

  @functools.cached_property
  def frame_l(self) -> np.ndarray:
    return self._per_token([unit.frame for unit in self.units])

  @functools.cached_property
  def scale_l(self) -> np.ndarray:
    return self._per_token([unit.scale for unit in self.units])

  @functools.cached_property
  def position_l3(self) -> np.ndarray:
    """(t, h, w) of each token, before the shift by the prefix's length."""
    return np.concatenate([unit.positions() for unit in self.units])

  def _per_token(self, values: list[int]) -> np.ndarray:
    counts = [unit.num_tokens for unit in self.units]
    return np.repeat(np.asarray(values, np.int32), counts)

  def mask(self, prefix_length: int) -> BlockMask:
    """The mask of training: prefix, then units, block-causal.

    Args:
      prefix_length: tokens before the first unit; they see one another.

    Returns:
      A mask over prefix_length + num_tokens tokens, cut at frames.
    """
    visible = [prefix_length] * prefix_length
    cuts = [0] if prefix_length else []
    for unit, stop in zip(self.units, self.offsets[1:]):
      if unit.scale == 0:
        cuts.append(prefix_length + stop - unit.num_tokens)
      visible += [prefix_length + stop] * unit.num_tokens
    # The few prefix tokens share the first frame's product.
    cuts = [0, *cuts[2:]] if prefix_length else cuts
    return BlockMask(tuple(visible), (*cuts, len(visible)))
