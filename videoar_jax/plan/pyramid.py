"""Plans of scale pyramids: blocks of frames, each coded coarse to fine."""

import dataclasses
from collections.abc import Sequence

import einops
import jax
import jax.numpy as jnp

from videoar_jax.plan.unit import Grid, Unit, UnitPlan

Scales = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Pyramid(UnitPlan):
  """A plan whose blocks are all scales of the same frames, coarse to fine.

  A block's first scale starts from the last frame of the block before, the
  others from the sum of the coarser ones (VideoAR, arXiv:2601.05966, Eq. 6).

  Attributes:
    from_last: every scale also starts from the last frame of the block before,
      each token from what was there at its own place.
  """

  from_last: bool = False

  @property
  def block_frames(self) -> int:
    """Latent frames of a block."""
    return len(self.units[0].frames)

  @property
  def block(self) -> tuple[Unit, ...]:
    """The units of the first block; later ones differ by their frames alone."""
    return self.units[: len(self.grids)]

  @property
  def scales(self) -> Scales:
    """Sizes (h, w) of a frame, coarse to fine."""
    return tuple(grid.shape[1:] for grid in self.grids)

  def gather(self, scales_bthwd: Sequence[jax.Array]) -> jax.Array:
    """As every plan's, without a gather: blocks in turn, scale by scale."""
    rows = [
      einops.rearrange(x, 'b (n t) h w d -> b n (t h w) d', t=self.block_frames)
      for x in scales_bthwd
    ]
    tokens = jnp.concatenate(rows, axis=2)
    return einops.rearrange(tokens, 'b n l d -> b (n l) d')

  def input_width(self, num_bits: int) -> int:
    """Channels that a token of num_bits bits starts from."""
    return num_bits * (2 if self.from_last else 1)


def make_pyramid(
  name: str,
  num_frames: int,
  scales: Scales,
  *,
  block_frames: int,
  from_last: bool = False,
) -> Pyramid:
  """Block by block, within a block scale by scale.

  Args:
    name: of the plan.
    num_frames: latent frames, at least 1; a multiple of block_frames.
    scales: ((h, w), …) of one frame, coarse to fine.
    block_frames: latent frames of a block.
    from_last: see `Pyramid`.

  Raises:
    ValueError: no frame, or sizes that do not grow.
  """
  check_scales(scales)
  if num_frames < 1:
    raise ValueError(
      f'num_frames={num_frames}: a plan needs at least one frame'
    )
  # Shared, as a long video has many units.
  axes = [(tuple(range(h)), tuple(range(w))) for h, w in scales]
  units = tuple(
    Unit(frames, rows, columns, s)
    for t in range(0, num_frames, block_frames)
    for frames in [tuple(range(t, t + block_frames))]
    for s, (rows, columns) in enumerate(axes)
  )
  grids = tuple(Grid((num_frames, h, w)) for h, w in scales)
  return Pyramid(name, grids, units, len(scales), from_last=from_last)


def check_scales(scales: Scales) -> None:
  """Raises ValueError unless the sizes grow from coarse to fine."""
  if not scales:
    raise ValueError('scales=(): at least one (h, w) is needed')
  for size in scales:
    if len(size) != 2 or min(size) < 1:
      raise ValueError(
        f'scales holds {size}: sizes are (h, w), each at least 1'
      )
  for small, large in zip(scales[:-1], scales[1:]):
    if not (small[0] <= large[0] and small[1] <= large[1] and small != large):
      raise ValueError(
        f'scales has {small} before {large}: order them from coarse to fine'
      )
