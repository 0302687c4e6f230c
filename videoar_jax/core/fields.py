"""Numbers within bounds and words of a list, stated where they are declared.

  learning_rate: fields.NonNegative = 1e-4
  log_every: fields.Count = 10

`check` reads this off a dataclass's annotations; configs call it when they are
made, so that a bad value is told before any work begins. Functions that take
such values themselves call `check_call`.
"""

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

_MOST_INTEGER = 2**63 - 1


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
    if not isinstance(value, int | float):
      return ''
    if isinstance(value, float) and not math.isfinite(value):
      return 'wanted a finite number'
    outside = (
      (self.least is not None and value < self.least)
      or (self.above is not None and value <= self.above)
      or (self.most is not None and value > self.most)
      or (self.below is not None and value >= self.below)
    )
    if outside:
      return f'wanted {self}'
    if isinstance(value, int) and abs(value) > _MOST_INTEGER:
      return 'wanted a number below 2**63'
    return ''

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


@dataclasses.dataclass(frozen=True)
class Choice:
  """The words that are allowed."""

  options: tuple[str, ...]

  def fault(self, value: Any) -> str:
    """What is wrong with a word; '' if nothing is."""
    return '' if value in self.options else f'use {" or ".join(self.options)}'


_MOST = 2**31 - 1  # JAX counts in 32 bits
Count = Annotated[int, Range(least=1, most=_MOST)]
Natural = Annotated[int, Range(least=0, most=_MOST)]
# Of one dimension of an array.
Size = Annotated[int, Range(least=1, most=2**16)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
Chance = Annotated[float, Range(least=0, below=1)]
# Weight of the old value in a running mean; with 1 it would never change.
Decay = Annotated[float, Range(least=0, below=1)]
Seed = Annotated[int, Range(least=0, most=2**32 - 1)]
# Of activations.
Dtype = Annotated[str, Choice(('float32', 'bfloat16', 'float16'))]


def check(instance: Any) -> None:
  """Raises a ValueError if a field of a dataclass is not what it may be.

  Every float must be finite, with bounds or without. None passes; of a tuple,
  nested or not, each part is checked.
  """
  names = [field.name for field in dataclasses.fields(instance)]
  values = {name: getattr(instance, name) for name in names}
  _check(_rules(type(instance)), values)


def check_call(function: Callable, values: Mapping[str, Any]) -> None:
  """As `check`, of a function's arguments: `values` are its `locals()`."""
  _check(_rules(function), values)


def _check(
  rules: Mapping[str, Range | Choice], values: Mapping[str, Any]
) -> None:
  for name, rule in rules.items():
    value = values.get(name)
    for part in _parts(value):
      if fault := rule.fault(part):
        raise ValueError(f'{name}={value!r}: {fault}')


def _parts(value: Any) -> Iterator[Any]:
  if isinstance(value, tuple | list):
    for item in value:
      yield from _parts(item)
  elif value is not None:
    yield value


@functools.cache
def _rules(declared: Any) -> dict[str, Range | Choice]:
  """What each annotated name states; no bounds where it states nothing."""
  hints = typing.get_type_hints(declared, include_extras=True)
  found = {}
  for name, hint in hints.items():
    stated = [x for x in _metadata(hint) if isinstance(x, Range | Choice)]
    found[name] = stated[0] if stated else Range()
  return found


def _metadata(hint: Any) -> list[Any]:
  """What is annotated to a hint, or to a part of it, as in `Count | None`."""
  found = list(getattr(hint, '__metadata__', ()))
  for part in typing.get_args(hint):
    found += _metadata(part)
  return found
