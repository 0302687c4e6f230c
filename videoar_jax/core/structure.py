"""What a JSON value from a file must look like, said once and checked.

A shape is
  a type, or a tuple of types    a value of that type; bool is no int
  {'key': shape, 'other?': …}    an object with these keys; `?`: may be missing
  Each(shape)                    an object whose values are all so
  [shape]                        a list whose items are all so
  a function                     raises a ValueError for a value it refuses
  None                           anything
"""

import dataclasses
import math
import re
import reprlib
from collections.abc import Iterator
from typing import Any

_SHOWN = 60
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = _SHOWN
_NAMES = {
  str: 'text',
  int: 'a whole number',
  float: 'a number',
  bool: 'true or false',
  dict: 'an object',
  list: 'a list',
  type(None): 'null',
}


@dataclasses.dataclass(frozen=True)
class Each:
  """An object whose names are checked by `key` and whose values by `value`."""

  value: Any
  key: Any = None


def check(value: Any, shape: Any, *, where: str) -> None:
  """Raises a ValueError that names the first place where a value differs.

  Args:
    value: what `json.loads` gave.
    shape: see above.
    where: what to call it.
  """
  for place, fault in _faults(value, shape, ''):
    raise ValueError(f'{where}: {place or "it"} {fault}')


def _faults(value: Any, shape: Any, place: str) -> Iterator[tuple[str, str]]:
  if shape is None:
    return
  if isinstance(shape, dict | Each):
    yield from _object_faults(value, shape, place)
  elif isinstance(shape, list):
    if not isinstance(value, list | tuple):
      yield place, _is_not(value, list)
      return
    for i, item in enumerate(value):
      yield from _faults(item, shape[0], f'{place}[{i}]')
  elif isinstance(shape, type | tuple):
    types = shape if isinstance(shape, tuple) else (shape,)
    types += (int,) if float in types else ()
    fits = isinstance(value, types)
    if isinstance(value, bool):
      fits = bool in types
    if not fits:
      yield place, _is_not(value, *types)
  else:
    try:
      shape(value)
    except ValueError as error:
      yield place, f'is {_shown(value)}: {error}'


def _object_faults(value: Any, shape: Any, place: str):
  if not isinstance(value, dict):
    yield place, _is_not(value, dict)
    return
  prefix = f'{place}.' if place else ''
  if isinstance(shape, Each):
    for key, item in value.items():
      place = f'{prefix}{_key(key)}'
      yield from _faults(key, shape.key, place)
      yield from _faults(item, shape.value, place)
    return
  for name, inner in shape.items():
    key = name.removesuffix('?')
    if key in value:
      yield from _faults(value[key], inner, f'{prefix}{key}')
    elif key == name:
      yield f'{prefix}{key}', 'is missing'


def _is_not(value: Any, *types: type) -> str:
  wanted = ' or '.join(_NAMES.get(x, x.__name__) for x in types)
  return f'is {_shown(value)}; wanted {wanted}'


def _shown(value: Any) -> str:
  text = _BRIEF.repr(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'


def _key(name: str) -> str:
  """A name as it stands, where that fits a line."""
  return name if name.isprintable() and len(name) <= _SHOWN else _shown(name)


def one_of(*known: Any) -> Any:
  """A shape: one of some values."""

  def choice(value: Any) -> None:
    if value not in known:
      raise ValueError(f'wanted {" or ".join(map(str, known))}')

  return choice


def file_name(value: Any) -> None:
  """A shape: the name of a file that lies beside, in no other folder."""
  if not isinstance(value, str) or not re.fullmatch(r'[\w.\-]{1,200}', value):
    raise ValueError('wanted a plain file name')
  if value.startswith('.'):
    raise ValueError('wanted a plain file name')


def at_least(least: int, *, below: int = 2**63) -> Any:
  """A shape: a whole number from `least` upwards, below another."""

  def whole(value: Any) -> None:
    if type(value) is not int or not least <= value < below:
      limit = str(below) if below < 2**63 else '2**63'
      raise ValueError(
        f'wanted a whole number of at least {least}, below {limit}'
      )

  return whole


def positive(value: Any) -> None:
  """A shape: a finite number above 0."""
  if type(value) not in (int, float) or not 0 < value < math.inf:
    raise ValueError('wanted a positive number')
