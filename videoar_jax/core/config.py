"""Configs: frozen dataclasses for modules, ConfigDicts for files and flags.

A module owns a frozen dataclass; a config file assembles `section(instance)`
of each into one locked ConfigDict, and a module gets its own dataclass back
through `from_section`. On disk a config is plain JSON.
"""

import contextlib
import dataclasses
import difflib
import enum
import json
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import ml_collections
from etils import epath

from videoar_jax.core import files


def section(instance: Any) -> ml_collections.ConfigDict:
  """Lists every field of a dataclass instance as a ConfigDict.

  Args:
    instance: a dataclass; nested dataclasses become nested sections, enums
      their values, tuples stay tuples.
  """
  values = {}
  for field in dataclasses.fields(instance):
    value = getattr(instance, field.name)
    if dataclasses.is_dataclass(value):
      value = section(value)
    elif isinstance(value, enum.Enum):
      value = value.value
    values[field.name] = value
  return ml_collections.ConfigDict(values, convert_dict=False)


def from_section(
  cls: type, values: Any, path: str = '', *, where: str | None = None
) -> Any:
  """Builds the dataclass `cls` from its section.

  Args:
    cls: a dataclass.
    values: ConfigDict or dict with exactly the fields of `cls`. Lists become
      tuples (nested ones too), an int becomes a float where the field is one.
    path: where `values` is a whole config, the dotted name of the section in
      it, which messages then give with the key: `more_data.image`.
    where: what messages call it instead; '' gives keys alone.
  Raises:
    ValueError: no such section, an unknown key (its nearest key is named), a
      missing key, a value of another type than the field's, or one that `cls`
      refuses.
  """
  if where is None:
    where = path or cls.__name__
  return _build(cls, _at(values, path), where)


def _build(cls: type, values: Any, where: str) -> Any:
  hints = typing.get_type_hints(cls)
  names = [field.name for field in dataclasses.fields(cls)]
  if not isinstance(values, dict | ml_collections.ConfigDict):
    raise ValueError(f'{where}={values!r}: wanted a section with keys')
  check_keys(values.keys(), names, where=where or 'config')
  missing = sorted(set(names) - set(values.keys()))
  if missing:
    raise ValueError(
      f'{where or "config"}: missing key {", ".join(missing)}; '
      f'build the section with section({cls.__name__}(...))'
    )
  fields = {
    name: _field_value(hints[name], values[name], _joined(where, name))
    for name in names
  }
  with of_section(where):
    try:
      return cls(**fields)
    except ArithmeticError as error:
      raise ValueError(f'{fields}: {error}') from None


def _joined(where: str, name: str) -> str:
  return f'{where}.{name}' if where else name


@contextlib.contextmanager
def of_section(name: str) -> Iterator[None]:
  """Puts a section's name before the key that a ValueError begins with."""
  try:
    yield
  except ValueError as error:
    raise ValueError(_joined(name, str(error))) from error


def _at(config: Any, path: str) -> Any:
  """The section of a config with a dotted name."""
  for name in path.split('.') if path else ():
    sections = isinstance(config, dict | ml_collections.ConfigDict)
    if not sections or name not in config:
      raise ValueError(f'{path}: the config has no such section')
    config = config[name]
  return config


def from_saved(cls: type, values: Any, path: str = '') -> Any:
  """Builds the dataclass `cls` from its section of a checkpoint's config.

  A key that did not exist yet when the checkpoint was written takes its
  default: so a new key's default must keep what the code did before it.

  Args:
    cls: a dataclass with a default for every field.
    values: as for `from_section`.
    path: as for `from_section`.
  Raises:
    ValueError: as `from_section`, a missing key excepted.
  """
  values = _at(values, path)
  if isinstance(values, dict | ml_collections.ConfigDict):
    values = {**section(cls()), **values}
  return _build(cls, values, path or cls.__name__)


def check_keys(
  given: Iterable[str], known: Iterable[str], *, where: str
) -> None:
  """Raises a ValueError that names the nearest known key of an unknown one."""
  known = list(known)
  for key in given:
    if key in known:
      continue
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    fix = f'did you mean {near[0]}?' if near else f'known: {", ".join(known)}'
    raise ValueError(f'{where}: unknown key {key}; {fix}')


def to_json(config: ml_collections.ConfigDict) -> str:
  """Writes a config as JSON text; tuples become lists."""
  return json.dumps(config.to_dict(), indent=2, allow_nan=False) + '\n'


def from_dict(values: dict[str, Any]) -> ml_collections.ConfigDict:
  """Makes a locked config of nested dicts; lists become tuples.

  Raises:
    ValueError: not a dict, or a key that no config can have.
  """
  if not isinstance(values, dict):
    raise ValueError(f'config is of {type(values).__name__}; wanted an object')
  try:
    return ml_collections.ConfigDict(_tuples(values)).lock()
  except (AttributeError, KeyError, TypeError) as error:
    raise ValueError(f'not a config: {error}') from None


def save_config(config: ml_collections.ConfigDict, path: Any) -> None:
  """Writes a config to a JSON file, whole or not at all."""
  with files.replacing(path) as partial:
    partial.write_text(to_json(config))


def load_config(path: Any) -> ml_collections.ConfigDict:
  """Reads a config from a JSON file.

  Raises:
    ValueError: there is no such file, or it is not a JSON object.
  """
  path = epath.Path(path)
  values = files.read_json(path, dict, fix='wanted the config.json of a run')
  try:
    return from_dict(values)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def differences(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
  """Lists dotted keys whose values differ, as key -> (old, new).

  Keys only one side has are listed with None on the other.
  """
  old, new = _flat(_plain(old)), _flat(_plain(new))
  return {
    key: (old.get(key), new.get(key))
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
  }


def _plain(config: Any) -> dict[str, Any]:
  values = config if isinstance(config, dict) else config.to_dict()
  return _tuples(values)


def _flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  flat = {}
  for key, value in values.items():
    if isinstance(value, dict):
      flat.update(_flat(value, f'{prefix}{key}.'))
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def _tuples(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _tuples(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return tuple(_tuples(item) for item in value)
  return value


def _field_value(hint: Any, value: Any, name: str) -> Any:
  if dataclasses.is_dataclass(hint):
    return _build(hint, value, name)
  if isinstance(hint, type) and issubclass(hint, enum.Enum):
    return _enum_value(hint, value, name)
  value = _tuples(value)
  wanted = _plain_types(hint)
  if float in wanted and type(value) is int and int not in wanted:
    value = float(value)
  if not _fits(hint, value):
    shown = ' or '.join(kind.__name__ for kind in wanted)
    if tuple in wanted:
      shown = str(hint).replace(', ...', '…')
    raise ValueError(
      f'{name}={value!r} is of type {type(value).__name__}; wanted {shown}'
    )
  return value


def _fits(hint: Any, value: Any) -> bool:
  """Whether a value is of a hint's type, and so are the parts of a tuple."""
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    return any(_fits(part, value) for part in typing.get_args(hint))
  wanted = _plain_types(hint)
  # bool is an int to Python, never to a config.
  if isinstance(value, bool):
    return bool in wanted or object in wanted
  parts = typing.get_args(hint)
  if not isinstance(value, tuple) or tuple not in wanted or not parts:
    return isinstance(value, wanted)
  if parts[-1] is Ellipsis:
    return all(_fits(parts[0], item) for item in value)
  return len(parts) == len(value) and all(map(_fits, parts, value))


def _enum_value(hint: type[enum.Enum], value: Any, name: str) -> enum.Enum:
  try:
    return hint(value)
  except ValueError as error:
    known = ', '.join(str(member.value) for member in hint)
    raise ValueError(f'{name}={value!r}: wanted one of {known}') from error


def _plain_types(hint: Any) -> tuple[type, ...]:
  """The runtime types that a field's annotation allows."""
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    return sum((_plain_types(arg) for arg in typing.get_args(hint)), ())
  if typing.get_origin(hint) is typing.Literal:
    return tuple({type(arg) for arg in typing.get_args(hint)})
  origin = typing.get_origin(hint) or hint
  return (origin,) if isinstance(origin, type) else (object,)
