"""Static masks of attention, by units of tokens."""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Run:
  """Neighbouring queries whose attention is one product.

  Attributes:
    start: the first query token.
    stop: behind the last.
    keys: (start, stop) of the keys that any of them sees, ascending, apart.
    mask_lm: which query sees which of these keys; None: all see all.
  """

  start: int
  stop: int
  keys: tuple[tuple[int, int], ...]
  mask_lm: np.ndarray | None


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
  def runs(self) -> tuple[Run, ...]:
    """The products PREFIX makes; each leaves out keys that none of it sees."""
    return tuple(map(self._run, self.cuts[:-1], self.cuts[1:]))

  @property
  def num_pairs(self) -> int:
    """Pairs of a query and a key that it sees."""
    lengths = np.asarray(self.lengths)
    return int(lengths @ np.asarray(self.sees) @ lengths)

  def dense(self) -> np.ndarray:
    """The mask as a boolean (l, l) array, True where attention is allowed."""
    return self._of_tokens(np.asarray(self.sees), self.lengths, self.lengths)

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
    mask_lm = None
    if not sees[:, seen].all():
      lengths = np.asarray(self.lengths)
      mask_lm = self._of_tokens(
        sees[:, seen], lengths[first:stop], lengths[seen]
      )
    return Run(self.offsets[first], self.offsets[stop], tuple(keys), mask_lm)

  def _of_keys(self, seen_u: np.ndarray) -> np.ndarray:
    return np.repeat(seen_u, self.lengths)

  def _units(self, start: int, stop: int) -> slice:
    """Units that hold tokens of a range."""
    first = np.searchsorted(self.offsets, start, side='right') - 1
    return slice(first, np.searchsorted(self.offsets, stop, side='left'))

  @staticmethod
  def _of_tokens(sees, lengths_q, lengths_k) -> np.ndarray:
    return np.repeat(np.repeat(sees, lengths_q, axis=0), lengths_k, axis=1)
