"""Configs: round trips, types, and unknown keys that name the nearest."""

import dataclasses
import enum
from typing import Annotated

import pytest

from videoar_jax.core import config as config_lib
from videoar_jax.core import fields


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
  config_lib.save_config(config, tmp_path / 'config.json')
  loaded = config_lib.load_config(tmp_path / 'config.json')
  assert config_lib.from_section(Outer, loaded) == outer
  assert loaded.sizes == ((1, 2), (3, 5))


def test_read_config_is_locked():
  config = config_lib.from_dict({'a': {'b': 1}})
  with pytest.raises((AttributeError, KeyError)):
    config.a.c = 2


def test_unknown_key_names_the_nearest():
  values = {**config_lib.section(Outer()).to_dict(), 'learning_rat': 1.0}
  with pytest.raises(
    ValueError, match='Outer: unknown key learning_rat; did you mean learning_r'
  ):
    config_lib.from_section(Outer, values)
  nested = {**config_lib.section(Outer()).to_dict(), 'inner': {'widht': 3}}
  with pytest.raises(ValueError, match='Outer.inner: .*widht; .* width'):
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


@pytest.mark.parametrize(
  ('data', 'words'),
  [
    (b'__import__("os").getcwd()', 'not JSON'),
    (b'[1]', 'wanted an object'),
    (b'', 'not JSON'),
    (b'{"a": NaN}', 'NaN'),
    (b'{"a": ' * 10**5, 'nested too deeply'),
    (b'\xff', 'not UTF-8'),
  ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, data, words):
  path = tmp_path / 'config.json'
  path.write_bytes(data)
  with pytest.raises(ValueError, match=words) as error:
    config_lib.load_config(path)
  assert str(path) in str(error.value) and '\n' not in str(error.value)
  with pytest.raises(ValueError, match='no such file'):
    config_lib.load_config(tmp_path / 'none.json')


@dataclasses.dataclass(frozen=True)
class Bounded:
  rate: fields.NonNegative = 0.1
  scale: float = 1.0
  steps: fields.Count | None = None
  sizes: tuple[tuple[fields.Count, fields.Count], ...] = ()
  kind: Annotated[str, fields.Choice(('a', 'b'))] = 'a'

  def __post_init__(self):
    fields.check(self)


@pytest.mark.parametrize(
  ('key', 'value', 'words'),
  [
    ('rate', -1.0, 'more.x.rate=-1.0: wanted at least 0'),
    ('rate', float('nan'), 'more.x.rate=nan: wanted a finite number'),
    ('scale', float('inf'), 'more.x.scale=inf: wanted a finite number'),
    ('steps', 0, 'more.x.steps=0: wanted at least 1'),
    ('steps', 2**40, 'at most 2147483647'),
    ('sizes', ((1, 2), (3, -4)), r'more.x.sizes=\(\(1, 2\), \(3, -4\)\): wan'),
    ('kind', 'c', "more.x.kind='c': use a or b"),
    ('kind', 3, 'more.x.kind=3 is of type int'),
    ('rat', 3, 'more.x: unknown key rat; did you mean rate'),
  ],
)
def test_a_bad_value_is_told_with_its_section_and_key(key, value, words):
  section = {**config_lib.section(Bounded()), key: value}
  config = {'more': {'x': section}}
  for read in (config_lib.from_section, config_lib.from_saved):
    with pytest.raises(ValueError, match=words):
      read(Bounded, config, 'more.x')


@pytest.mark.parametrize(
  ('config', 'words'),
  [
    ({}, 'more.x: the config has no such section'),
    ({'more': 3}, 'more.x: the config has no such section'),
    ({'more': {'x': 3}}, 'more.x=3: wanted a section'),
  ],
)
def test_a_section_that_is_missing_is_named(config, words):
  for read in (config_lib.from_section, config_lib.from_saved):
    with pytest.raises(ValueError, match=words):
      read(Bounded, config, 'more.x')


def test_differences_name_dotted_keys():
  old = config_lib.from_dict({'a': {'b': [1, 2], 'c': 1}, 'd': 1})
  new = config_lib.from_dict({'a': {'b': (1, 2), 'c': 2}, 'e': 3})
  assert config_lib.differences(old, new) == {
    'a.c': (1, 2),
    'd': (1, None),
    'e': (None, 3),
  }
