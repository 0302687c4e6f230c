"""Static masks of attention, by units of tokens; what differs by example.

No mask is ever an array of tokens × tokens in a program: which query sees which
key is computed where it is used, from a few numbers for each token.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

Ranges = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Run:
  """Neighbouring queries whose attention is one product.

  Attributes:
    start: the first query token.
    stop: behind the last.
    keys: (start, stop) of the keys that any of them sees, ascending, apart.
    sees: which unit of the queries sees which unit of these keys; None: all
      see all.
    lengths_q: tokens of each unit of the queries.
    lengths_k: tokens of each unit of the keys.
  """

  start: int
  stop: int
  keys: Ranges
  sees: np.ndarray | None
  lengths_q: np.ndarray
  lengths_k: np.ndarray

  @property
  def stops(self) -> np.ndarray | None:
    """How many of the keys each unit sees, if these are always the first."""
    if self.sees is None:
      return np.full(len(self.lengths_q), self.lengths_k.sum(), np.int32)
    counts = self.sees.sum(axis=1)
    first = np.arange(self.sees.shape[1]) < counts[:, None]
    if (first != self.sees).any():
      return None
    return np.cumsum([0, *self.lengths_k])[counts].astype(np.int32)

  def allowed(self) -> jax.Array | None:
    """Which query sees which key: (queries, keys) bool; None: all see all."""
    if self.sees is None:
      return None
    stops = self.stops
    if stops is not None:
      stops_l = _computed(np.repeat(stops, self.lengths_q))
      return jnp.arange(self.lengths_k.sum()) < stops_l[:, None]
    units_q, units_k = (
      np.repeat(np.arange(len(x)), x) for x in (self.lengths_q, self.lengths_k)
    )
    rows = jnp.take(_computed(self.sees), units_q, axis=0)
    return jnp.take(rows, units_k, axis=1)


@dataclasses.dataclass(frozen=True)
class UnitMask:
  """A static mask of tokens in units, which see a unit whole or not at all.

  Attributes:
    lengths: tokens of each unit, in their order.
    sees: row i says which units the tokens of unit i see.
    cuts: units at which PREFIX splits the queries; starts with 0 and ends with
      the number of units.
  """

  lengths: tuple[int, ...]
  sees: tuple[tuple[bool, ...], ...]
  cuts: tuple[int, ...]

  @functools.cached_property
  def offsets(self) -> tuple[int, ...]:
    """Index of each unit's first token, and the number of tokens at the end."""
    return tuple(np.cumsum([0, *self.lengths]).tolist())

  @functools.cached_property
  def unit_l(self) -> np.ndarray:
    """The unit of each token."""
    return np.repeat(np.arange(len(self.lengths)), self.lengths)

  @functools.cached_property
  def runs(self) -> tuple[Run, ...]:
    """The products PREFIX makes; each leaves out keys that none of it sees."""
    return tuple(map(self._run, self.cuts[:-1], self.cuts[1:]))

  @functools.cached_property
  def whole(self) -> Run:
    """One product of all queries."""
    return self._run(0, len(self.lengths))

  @property
  def num_pairs(self) -> int:
    """Pairs of a query and a key that it sees."""
    lengths = np.asarray(self.lengths)
    return int(lengths @ np.asarray(self.sees) @ lengths)

  def dense(self) -> np.ndarray:
    """The mask as a boolean (l, l) array, for tests of what is computed."""
    return self.part(slice(None), slice(None))

  def part(self, queries: slice, keys: slice) -> np.ndarray:
    """The mask of some queries and keys: bool (queries, keys)."""
    unit_l = self.unit_l
    return np.asarray(self.sees)[unit_l[queries][:, None], unit_l[keys]]

  def blocks(self, block_q: int, block_k: int) -> np.ndarray:
    """How much of each block of queries × keys is seen, as kernels skip it.

    Args:
      block_q: queries of a block; the last may have fewer.
      block_k: keys of a block, likewise.

    Returns:
      int8 (blocks of queries, blocks of keys): 0 nothing, 1 some, 2 all.
    """
    found = []
    for first in range(0, self.offsets[-1], block_q):
      rows = self._units(first, first + block_q)
      seen = np.asarray(self.sees)[rows]
      every, some = (self._of_keys(x(seen, axis=0)) for x in (np.all, np.any))
      starts = np.arange(0, self.offsets[-1], block_k)
      whole = np.logical_and.reduceat(every, starts)
      found.append(whole.astype(np.int8) + np.logical_or.reduceat(some, starts))
    return np.stack(found)

  def _run(self, first: int, stop: int) -> Run:
    sees = np.asarray(self.sees)[first:stop]
    seen = np.flatnonzero(sees.any(axis=0))
    keys: list[tuple[int, int]] = []
    for unit in seen:
      start, end = self.offsets[unit : unit + 2]
      if keys and keys[-1][1] == start:
        start = keys.pop()[0]
      keys.append((start, end))
    sees, lengths = sees[:, seen], np.asarray(self.lengths)
    return Run(
      start=self.offsets[first],
      stop=self.offsets[stop],
      keys=tuple(keys),
      sees=None if sees.all() else sees,
      lengths_q=lengths[first:stop],
      lengths_k=lengths[seen],
    )

  def _of_keys(self, seen_u: np.ndarray) -> np.ndarray:
    return np.repeat(seen_u, self.lengths)

  def _units(self, start: int, stop: int) -> slice:
    """Units that hold tokens of a range."""
    first = np.searchsorted(self.offsets, start, side='right') - 1
    return slice(first, np.searchsorted(self.offsets, stop, side='left'))


@dataclasses.dataclass(frozen=True)
class GroupMask:
  """Groups of tokens, of which later ones do not see all; by example.

  A token of group g sees its own group, and of those before it the ones that
  are kept, among the last `window`. All see group -1.

  Attributes:
    kept_bg: which groups are kept, bool.
    group_l: the group of each token, int.
    window: how many groups before its own a token may see; 0: all.
  """

  kept_bg: jax.Array
  group_l: np.ndarray
  window: int = 0

  def behind(self, tokens: int) -> 'GroupMask':
    """The same behind so many tokens that all see."""
    group_l = np.concatenate([np.full(tokens, -1, np.int64), self.group_l])
    return dataclasses.replace(self, group_l=group_l)

  def kept(self) -> jax.Array:
    """Whether the group of each token is kept: bool (b, l)."""
    padded = jnp.pad(self.kept_bg, ((0, 0), (1, 0)), constant_values=True)
    return jnp.take(padded, self.group_l + 1, axis=1)

  def allowed(self, queries: slice, keys: Ranges) -> jax.Array:
    """Which query may see which key: bool (b, queries or 1, keys)."""
    of_q, of_k = self.group_l[queries], take(self.group_l, keys, axis=0)
    if (of_q == of_q[0]).all():
      of_q = of_q[:1]
    group_q, group_k = _computed(of_q)[:, None], jnp.asarray(of_k)
    always = (group_k == group_q) | (group_k < 0)
    kept = take(self.kept(), keys, axis=1)[:, None]
    if self.window:
      kept = kept & (group_k >= group_q - self.window)
    return kept | always


def take(x, ranges: Ranges, *, axis: int):
  """Some ranges of an axis, side by side."""
  parts = [
    x[(slice(None),) * (axis % x.ndim) + (slice(start, stop),)]
    for start, stop in ranges
  ]
  xp = np if isinstance(x, np.ndarray) else jnp
  return xp.concatenate(parts, axis=axis)


def _computed(x: np.ndarray) -> jax.Array:
  """An array of which the compiler does not work anything out beforehand."""
  return jax.lax.optimization_barrier(jnp.asarray(x))
