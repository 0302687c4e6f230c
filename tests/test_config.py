"""Configs: round trips, types, and unknown keys that name the nearest."""

import dataclasses
import enum

import pytest

from videoar_jax.core import config as config_lib


class Kind(enum.Enum):
  SMALL = 'small'
  LARGE = 'large'


@dataclasses.dataclass(frozen=True)
class Inner:
  width: int = 3


@dataclasses.dataclass(frozen=True)
class Outer:
  learning_rate: float = 0.1
  sizes: tuple[tuple[int, int], ...] = ((1, 2), (3, 5))
  name: str = 'x'
  flip: bool = False
  limit: int | None = None
  kind: Kind = Kind.SMALL
  inner: Inner = Inner()


def test_section_survives_json_and_disk(tmp_path):
  outer = Outer(limit=7, kind=Kind.LARGE, inner=Inner(width=11))
  config = config_lib.section(outer)
  assert config_lib.from_section(Outer, config) == outer
  again = config_lib.from_json(config_lib.to_json(config))
  assert config_lib.from_section(Outer, again) == outer
  assert again.sizes == ((1, 2), (3, 5))
  config_lib.save_config(config, tmp_path / 'config.json')
  loaded = config_lib.load_config(tmp_path / 'config.json')
  assert config_lib.from_section(Outer, loaded) == outer


def test_read_config_is_locked():
  config = config_lib.from_json('{"a": {"b": 1}}')
  with pytest.raises((AttributeError, KeyError)):
    config.a.c = 2


def test_unknown_key_names_the_nearest():
  values = {**config_lib.section(Outer()).to_dict(), 'learning_rat': 1.0}
  with pytest.raises(
    ValueError, match='Outer: unknown key learning_rat; did you mean learning_r'
  ):
    config_lib.from_section(Outer, values)
  nested = {**config_lib.section(Outer()).to_dict(), 'inner': {'widht': 3}}
  with pytest.raises(ValueError, match='Inner: .*widht; did you mean width'):
    config_lib.from_section(Outer, nested)


def test_missing_key_is_named():
  values = config_lib.section(Outer()).to_dict()
  del values['sizes']
  with pytest.raises(ValueError, match='missing key sizes'):
    config_lib.from_section(Outer, values)


@pytest.mark.parametrize(
  ('key', 'value'),
  [('flip', 1), ('name', 3), ('limit', 2.5), ('sizes', 4), ('kind', 'huge')],
)
def test_value_of_another_type_is_refused(key, value):
  values = {**config_lib.section(Outer()).to_dict(), key: value}
  with pytest.raises(ValueError, match=f'Outer.{key}='):
    config_lib.from_section(Outer, values)


def test_int_becomes_the_float_of_its_field():
  values = {**config_lib.section(Outer()).to_dict(), 'learning_rate': 1}
  rate = config_lib.from_section(Outer, values).learning_rate
  assert rate == 1.0 and isinstance(rate, float)


def test_json_is_never_evaluated():
  with pytest.raises(ValueError):
    config_lib.from_json('__import__("os").getcwd()')
  with pytest.raises(ValueError, match='wanted an object'):
    config_lib.from_json('[1]')


def test_differences_name_dotted_keys():
  old = config_lib.from_dict({'a': {'b': [1, 2], 'c': 1}, 'd': 1})
  new = config_lib.from_dict({'a': {'b': (1, 2), 'c': 2}, 'e': 3})
  assert config_lib.differences(old, new) == {
    'a.c': (1, 2),
    'd': (1, None),
    'e': (None, 3),
  }
