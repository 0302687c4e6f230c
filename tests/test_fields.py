"""Numbers out of bounds are told by the field that holds them."""

import dataclasses
import math
from typing import Annotated

import pytest

from videoar_jax.core import fields


@dataclasses.dataclass(frozen=True)
class Config:
  steps: fields.Count = 1
  rate: fields.NonNegative = 0.0
  share: fields.Share = 0.5
  decay: fields.Decay = 0.9
  seed: fields.Seed = 0
  plain: float = 1.0
  window: fields.Count | None = None
  widths: tuple[fields.Count, ...] = (1, 2)
  betas: tuple[float, float] = (0.9, 0.99)
  loud: bool = True
  name: str = ''

  def __post_init__(self):
    fields.check(self)


@pytest.mark.parametrize(
  'values',
  [
    {},
    {
      'steps': 2**31 - 1,
      'rate': 1e300,
      'share': 1,
      'decay': 0,
      'seed': 2**32 - 1,
    },
    {'window': 3, 'widths': (), 'plain': -5, 'loud': False},
  ],
)
def test_numbers_within_bounds_pass(values):
  Config(**values)


@pytest.mark.parametrize(
  ('values', 'words'),
  [
    ({'steps': 0}, 'steps=0: wanted at least 1'),
    ({'steps': 10**30}, 'at most 2147483647'),
    ({'rate': -1}, 'rate=-1: wanted at least 0'),
    ({'rate': math.nan}, 'rate=nan: wanted a finite number'),
    ({'share': 1.5}, 'share=1.5: wanted at least 0 and at most 1'),
    ({'decay': 1.0}, 'decay=1.0: wanted at least 0 and less than 1'),
    ({'seed': -5}, 'seed=-5: wanted at least 0'),
    ({'seed': 2**32}, 'at most 4294967295'),
    ({'plain': math.inf}, 'plain=inf: wanted a finite number'),
    ({'window': 0}, 'window=0: wanted at least 1'),
    ({'widths': (4, 0)}, r'widths=\(4, 0\): wanted at least 1'),
    ({'betas': (0.9, math.nan)}, 'betas=.*wanted a finite number'),
  ],
)
def test_a_number_out_of_bounds_is_named(values, words):
  with pytest.raises(ValueError, match=words):
    Config(**values)


def test_bounds_may_be_open_and_say_so():
  bounds = fields.Range(above=0, below=1)
  assert str(bounds) == 'more than 0 and less than 1'
  assert not bounds.fault(0.5)
  assert bounds.fault(0) == bounds.fault(1) == f'wanted {bounds}'


def test_bounds_of_ones_own_can_be_declared():
  @dataclasses.dataclass(frozen=True)
  class Own:
    top_p: Annotated[float, fields.Range(above=0, most=1)] = 1.0

  fields.check(Own())
  with pytest.raises(ValueError, match='top_p=0: wanted more than 0'):
    fields.check(Own(top_p=0))
