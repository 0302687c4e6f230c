"""Units and plans: the one source of order.

A video is predicted unit by unit. All tokens of a unit are predicted together
and see one another, the prefix, and the units that the plan says.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core.mask import UnitMask

Sees = tuple[tuple[bool, ...], ...]
_REVERSED = ' reversed'
_MOST_RUNS = 32


@dataclasses.dataclass(frozen=True)
class Grid:
  """The cells of one scale of a video's latents, and where they lie.

  Attributes:
    shape: (t, h, w).
    places: of the frames, rows and columns on the axes of the positions, which
      may lie between whole numbers; None: 0, 1, 2, … on each.
  """

  shape: tuple[int, int, int]
  places: tuple[tuple[float, ...], ...] | None = None

  def __post_init__(self):
    if len(self.shape) != 3 or min(self.shape) < 1:
      raise ValueError(f'grid {self.shape}: wanted (t, h, w), each at least 1')
    if self.places is not None:
      counts = tuple(map(len, self.places))
      if counts != self.shape:
        raise ValueError(f'grid {self.shape}: it has places for {counts}')

  @property
  def num_cells(self) -> int:
    t, h, w = self.shape
    return t * h * w


@dataclasses.dataclass(frozen=True)
class Unit:
  """Tokens that are predicted together: frames × rows × columns of a grid.

  Tokens are ordered frame by frame, row by row.

  Attributes:
    frames: indices on the grid, ascending; they need not be neighbours.
    rows: likewise.
    columns: likewise.
    scale: index of the grid.
  """

  frames: tuple[int, ...]
  rows: tuple[int, ...]
  columns: tuple[int, ...]
  scale: int = 0

  @property
  def axes(self) -> tuple[tuple[int, ...], ...]:
    """Frames, rows and columns."""
    return self.frames, self.rows, self.columns

  @property
  def shape(self) -> tuple[int, int, int]:
    """Tokens along (t, h, w)."""
    return tuple(map(len, self.axes))

  @property
  def num_tokens(self) -> int:
    t, h, w = self.shape
    return t * h * w

  def cells(self) -> np.ndarray:
    """(t, h, w) of each token on its grid: (l, 3) int32."""
    return _product(self.axes).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class UnitPlan:
  """Units in the order of prediction; static and hashable.

  Attributes:
    name: what kind of plan this is.
    grids: of the scales, coarse to fine.
    units: the units, first predicted first.
    period: units in a block; neighbouring blocks of equal shapes run as one
      loop.
    graph: row i says which units unit i sees, itself among them; None: itself
      and all before it. All see the prefix, and the prefix sees itself.

  Raises:
    ValueError: a unit lies outside its grid, blocks are not whole, or the graph
      is not of these units.
  """

  name: str
  grids: tuple[Grid, ...]
  units: tuple[Unit, ...]
  period: int = 1
  graph: Sees | None = None

  def __post_init__(self):
    for unit in self.units:
      shape = self.grids[unit.scale].shape
      for axis, length in zip(unit.axes, shape):
        inside = axis and axis[0] >= 0 and axis[-1] < length
        if not inside or any(a >= b for a, b in zip(axis, axis[1:])):
          raise ValueError(
            f'plan {self.name}: unit {unit} of a grid {shape}; wanted indices '
            'of it, ascending'
          )
    if not self.units or len(self.units) % self.period:
      raise ValueError(
        f'plan {self.name}: {len(self.units)} units in blocks of {self.period}'
      )
    if self.graph is not None:
      count, sees = len(self.units), np.asarray(self.graph, bool)
      if sees.shape != (count, count) or not sees.diagonal().all():
        raise ValueError(
          f'plan {self.name}: a graph of shape {sees.shape}; wanted {count}×'
          f'{count} units, each of which sees itself'
        )

  @property
  def num_frames(self) -> int:
    return self.grids[-1].shape[0]

  @property
  def num_tokens(self) -> int:
    return self.offsets[-1]

  @functools.cached_property
  def offsets(self) -> tuple[int, ...]:
    """Index of each unit's first token, and the number of tokens at the end."""
    counts = [unit.num_tokens for unit in self.units]
    return tuple(np.cumsum([0, *counts]).tolist())

  @functools.cached_property
  def sees_uu(self) -> np.ndarray:
    """Which unit sees which: (units, units) bool, the prefix left out."""
    if self.graph is not None:
      return np.asarray(self.graph, bool)
    return np.tri(len(self.units), dtype=bool)

  @functools.cached_property
  def starts_u(self) -> np.ndarray:
    """Which units see no other unit: (units,) bool."""
    return self.sees_uu.sum(axis=1) == 1

  @functools.cached_property
  def unit_l(self) -> np.ndarray:
    """The unit of each token, int32."""
    return self._per_token(range(len(self.units)))

  @functools.cached_property
  def scale_l(self) -> np.ndarray:
    """The scale of each token, int32."""
    return self._per_token([unit.scale for unit in self.units])

  @functools.cached_property
  def frame_l(self) -> np.ndarray:
    """The latent frame of each token, int32."""
    return np.concatenate([unit.cells()[:, 0] for unit in self.units])

  @functools.cached_property
  def position_l3(self) -> np.ndarray:
    """(t, h, w) of each token, before the shift by the prefix's length."""
    return np.concatenate([self.positions(unit) for unit in self.units])

  def positions(self, unit: Unit) -> np.ndarray:
    """(t, h, w) of the tokens of a unit: (l, 3).

    int32; float32 where a grid has places of its own.
    """
    whole = all(grid.places is None for grid in self.grids)
    return _product(self.axes(unit)).astype(np.int32 if whole else np.float32)

  def axes(self, unit: Unit) -> tuple[tuple[float, ...], ...]:
    """Where a unit's frames, rows and columns lie."""
    places = self.grids[unit.scale].places
    if places is None:
      return unit.axes
    return tuple(
      tuple(axis[i] for i in chosen) for axis, chosen in zip(places, unit.axes)
    )

  @functools.cached_property
  def cell_l(self) -> np.ndarray:
    """Each token's cell among those of all grids, coarse to fine, int32."""
    firsts = np.cumsum([0, *(grid.num_cells for grid in self.grids)])
    cells = [
      firsts[unit.scale]
      + np.ravel_multi_index(unit.cells().T, self.grids[unit.scale].shape)
      for unit in self.units
    ]
    return np.concatenate(cells).astype(np.int32)

  def gather(self, scales_bthwd: Sequence[jax.Array]) -> jax.Array:
    """Lays what belongs to the cells of all grids out in the plan's order.

    Args:
      scales_bthwd: an array for each grid.

    Returns:
      Tokens (b, l, d).
    """
    cells = [x.reshape(x.shape[0], -1, x.shape[-1]) for x in scales_bthwd]
    return jnp.take(jnp.concatenate(cells, axis=1), self.cell_l, axis=1)

  def scatter(self, tokens_bld: jax.Array) -> list[jax.Array]:
    """The inverse of `gather`: (b, t, h, w, d) for each grid.

    Raises:
      ValueError: the plan has a cell twice, or not at all.
    """
    if sorted(self.cell_l) != list(range(self.num_tokens)):
      raise ValueError(f'plan {self.name}: its units do not part the grids')
    cells = jnp.take(tokens_bld, np.argsort(self.cell_l), axis=1)
    stops = np.cumsum([grid.num_cells for grid in self.grids])[:-1]
    parts = jnp.split(cells, stops, axis=1)
    return [
      x.reshape(x.shape[0], *grid.shape, x.shape[-1])
      for x, grid in zip(parts, self.grids)
    ]

  def mask(self, prefix_length: int) -> UnitMask:
    """The mask of a whole sequence: prefix, then units.

    Queries are split at blocks, or at units if there is only one block; into
    few parts, so that many small units are not as many products.

    Args:
      prefix_length: tokens before the first unit; they see one another.
    """
    count = len(self.units)
    sees = np.ones((count + 1, count + 1), bool)
    sees[0, 1:] = False
    sees[1:, 1:] = self.sees_uu
    lengths = (prefix_length, *(unit.num_tokens for unit in self.units))
    period = self.period if count > self.period else 1
    step = period * -(-count // (period * _MOST_RUNS))
    # The few prefix tokens share the first product.
    cuts = (0, *range(1 + step, count + 1, step), count + 1)
    return UnitMask(lengths, tuple(map(tuple, sees.tolist())), cuts)

  @property
  def reversed(self) -> 'UnitPlan':
    """The units from the last to the first; each sees those that saw it."""
    graph = None
    if self.graph is not None:
      turned = self.sees_uu.T[::-1, ::-1]
      graph = tuple(map(tuple, turned.tolist()))
    name = self.name.removesuffix(_REVERSED)
    name += '' if name != self.name else _REVERSED
    return UnitPlan(name, self.grids, self.units[::-1], self.period, graph)

  def _per_token(self, values: Sequence[int]) -> np.ndarray:
    counts = [unit.num_tokens for unit in self.units]
    return np.repeat(np.asarray(values, np.int32), counts)


def _product(axes: Sequence[Sequence[float]]) -> np.ndarray:
  """All (t, h, w) of three axes, the last one fastest: (l, 3)."""
  grids = np.meshgrid(*axes, indexing='ij')
  return np.stack(grids, axis=-1).reshape(-1, 3)
