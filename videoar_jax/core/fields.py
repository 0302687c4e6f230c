"""Numbers that must lie within bounds, stated where a config declares them.

  learning_rate: fields.NonNegative = 1e-4
  log_every: fields.Count = 10

`check` reads the bounds off a dataclass's annotations; configs call it when
they are made, so that a bad number is told before any work begins. Functions
that take such numbers themselves call `check_call`.
"""

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

_MOST = 2**63  # what no array counts or holds as an integer


@dataclasses.dataclass(frozen=True)
class Range:
  """The numbers that are allowed; infinity and NaN never are.

  Attributes:
    least: the smallest.
    above: all are greater than this.
    most: the greatest.
    below: all are less than this.
  """

  least: float | None = None
  above: float | None = None
  most: float | None = None
  below: float | None = None

  def fault(self, value: Any) -> str:
    """What is wrong with a number; '' if nothing is."""
    if isinstance(value, float) and not math.isfinite(value):
      return 'wanted a finite number'
    if isinstance(value, int) and abs(value) >= _MOST:
      return 'wanted a number below 2**63'
    outside = (
      (self.least is not None and value < self.least)
      or (self.above is not None and value <= self.above)
      or (self.most is not None and value > self.most)
      or (self.below is not None and value >= self.below)
    )
    return f'wanted {self}' if outside else ''

  def __str__(self) -> str:
    parts = (
      ('at least', self.least),
      ('more than', self.above),
      ('at most', self.most),
      ('less than', self.below),
    )
    return ' and '.join(
      f'{words} {bound}' for words, bound in parts if bound is not None
    )


Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
# Of what was, in a running mean: 1 would never learn anything.
Decay = Annotated[float, Range(least=0, below=1)]
Seed = Annotated[int, Range(least=0, most=2**32 - 1)]


def check(instance: Any) -> None:
  """Raises a ValueError if a field of a dataclass is out of its bounds.

  Numbers within tuples are held to the same. Every float must be finite, with
  bounds or without. None passes.
  """
  names = [field.name for field in dataclasses.fields(instance)]
  values = {name: getattr(instance, name) for name in names}
  _check(_bounds(type(instance)), values)


def check_call(function: Callable, values: Mapping[str, Any]) -> None:
  """As `check`, of a function's arguments: `values` are its `locals()`."""
  _check(_bounds(function), values)


def _check(bounds_of: Mapping[str, Range], values: Mapping[str, Any]) -> None:
  for name, bounds in bounds_of.items():
    value = values.get(name)
    for number in _numbers(value):
      if fault := bounds.fault(number):
        raise ValueError(f'{name}={value}: {fault}')


def _numbers(value: Any) -> Iterator[int | float]:
  if isinstance(value, int | float):
    yield value
  elif isinstance(value, tuple | list):
    for item in value:
      yield from _numbers(item)


@functools.cache
def _bounds(declared: Any) -> dict[str, Range]:
  """The bounds of each annotated name; of one that states none, empty ones."""
  found = {}
  for name, hint in typing.get_type_hints(
    declared, include_extras=True
  ).items():
    stated = [x for x in _metadata(hint) if isinstance(x, Range)]
    found[name] = stated[0] if stated else Range()
  return found


def _metadata(hint: Any) -> list[Any]:
  """What is annotated to a hint, or to a part of it, as in `Count | None`."""
  found = list(getattr(hint, '__metadata__', ()))
  for part in typing.get_args(hint):
    found += _metadata(part)
  return found
