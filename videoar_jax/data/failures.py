"""Records that cannot be read: told apart, counted, named once each."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging

from videoar_jax.core import files

_LISTED = 50
SHOWN = 10  # names in a warning


class BadRecordError(ValueError):
  """One record cannot be used; the message says which and why."""


class BadDataError(ValueError):
  """Too many records cannot be used; the message lists them."""


def listing(failures: dict[str, str]) -> str:
  """One `name: reason` per line, at most 50 of them."""
  lines = [f'  {name}: {reason}' for name, reason in failures.items()]
  if len(lines) > _LISTED:
    lines[_LISTED:] = [f'  … and {len(lines) - _LISTED} more']
  return '\n'.join(lines)


def warn(what: str, names: Iterable[str]) -> None:
  """Counts and names what is left out, if anything is; the same only once."""
  _warn_once(what, tuple(names))


@functools.cache
def _warn_once(what: str, names: tuple[str, ...]) -> None:
  """Each split is listed anew; to be told of the same once will do."""
  if names:
    more = ', …' if len(names) > SHOWN else ''
    some = ', '.join(files.shown(name) for name in names[:SHOWN])
    logging.warning('%s (%d): %s%s', what, len(names), some, more)


def check_share(failures: dict[str, str], total: int, max_share: float) -> None:
  """Raises BadDataError where more than `max_share` of `total` failed."""
  if len(failures) > max_share * total:
    raise BadDataError(
      f'{len(failures)} of {total} videos cannot be used, over the '
      f'{max_share:.0%} that max_bad_share allows; mend or remove them, or '
      f'raise max_bad_share:\n{listing(failures)}'
    )


def check_missing(missing: Sequence[str], total: int, max_share: float) -> None:
  """As `check_share`, of videos that a list names and that are not there."""
  if len(missing) > max_share * total:
    more = ', …' if len(missing) > SHOWN else ''
    raise BadDataError(
      f'{len(missing)} of {total} listed videos are missing, over the '
      f'{max_share:.0%} that max_bad_share allows: '
      f'{", ".join(missing[:SHOWN])}{more}; put them there, or raise '
      'max_bad_share'
    )


class FailureLog:
  """Keeps count of the failures that batches report in `failed`.

  Attributes:
    failures: name -> reason, in the order met.
  """

  def __init__(self, source, *, max_bad_share: float):
    """Watches batches drawn from `source` (see `source.Source`)."""
    self.failures: dict[str, str] = {}
    self._source = source
    self._max_bad_share = max_bad_share

  def update(self, failed_b: np.ndarray) -> None:
    """Takes one batch's `failed`: source indices, or -1 for a sound row.

    Raises:
      BadDataError: more than the allowed share of the source has failed.
    """
    new = False
    for index in np.unique(failed_b[failed_b >= 0]).tolist():
      name = self._source.name(index)
      if name in self.failures:
        continue
      new = True
      self.failures[name] = self._source.explain(index)
      logging.warning(
        'skipped %s: %s (%d so far; another clip takes its place)',
        name,
        self.failures[name],
        len(self.failures),
      )
    if new:
      check_share(self.failures, len(self._source), self._max_bad_share)
