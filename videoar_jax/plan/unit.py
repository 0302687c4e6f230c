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
    frame: the first of its latent frames, from 0.
    scale: index of the scale, from 0.
    size: (h, w) tokens of a frame.
    num_frames: latent frames that it spans.
  """

  frame: int
  scale: int
  size: tuple[int, int]
  num_frames: int = 1

  @property
  def num_tokens(self) -> int:
    return self.num_frames * self.size[0] * self.size[1]

  def positions(self) -> np.ndarray:
    """(t, h, w) of each token, native to the unit's own grid: (l, 3) int32."""
    t, h, w = np.indices((self.num_frames, *self.size))
    position = np.stack([self.frame + t, h, w], axis=-1)
    return position.reshape(-1, 3).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class UnitPlan:
  """Units in the order of prediction; static and hashable.

  Units come in blocks, each all scales of the same frames, coarse to fine. A
  block's first scale starts from the last frame of the block before, the others
  from the sum of the coarser ones (VideoAR, arXiv:2601.05966, Eq. 6).

  Attributes:
    name: what kind of plan this is.
    units: the units, first predicted first.
    from_last: every scale also starts from the last frame of the block before,
      each token from what was there at its own place.
  """

  name: str
  units: tuple[Unit, ...]
  from_last: bool = False

  @property
  def num_frames(self) -> int:
    return self.units[-1].frame + self.units[-1].num_frames

  @property
  def block_frames(self) -> int:
    """Latent frames of a block."""
    return self.units[0].num_frames

  @property
  def block(self) -> tuple[Unit, ...]:
    """The units of the first block; later ones differ by their frames alone."""
    return tuple(unit for unit in self.units if unit.frame == 0)

  @property
  def scales(self) -> tuple[tuple[int, int], ...]:
    """Sizes of a frame, coarse to fine."""
    return tuple(unit.size for unit in self.block)

  @property
  def num_tokens(self) -> int:
    return sum(unit.num_tokens for unit in self.units)

  def input_width(self, num_bits: int) -> int:
    """Channels that a token of num_bits bits starts from."""
    return num_bits * (2 if self.from_last else 1)

  @functools.cached_property
  def offsets(self) -> tuple[int, ...]:
    """Index of each unit's first token, and the number of tokens at the end."""
    counts = [unit.num_tokens for unit in self.units]
    return tuple(np.cumsum([0, *counts]).tolist())

  @functools.cached_property
  def frame_l(self) -> np.ndarray:
    return self.position_l3[:, 0]

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
      A mask over prefix_length + num_tokens tokens, cut at blocks; at units
      where there is but one block.
    """
    visible = [prefix_length] * prefix_length
    cuts = [0] if prefix_length else []
    one_block = len(self.block) == len(self.units)
    for unit, stop in zip(self.units, self.offsets[1:]):
      if one_block or unit.scale == 0:
        cuts.append(prefix_length + stop - unit.num_tokens)
      visible += [prefix_length + stop] * unit.num_tokens
    # The few prefix tokens share the first product.
    cuts = [0, *cuts[2:]] if prefix_length else cuts
    return BlockMask(tuple(visible), (*cuts, len(visible)))
