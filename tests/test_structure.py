"""What a JSON value must look like, and how it is told that it does not."""

import json

import pytest

from videoar_jax.core import structure

SHAPE = {
  'format': structure.one_of('x 1', 'x 2'),
  'step': structure.at_least(0),
  'rate?': structure.positive,
  'digests': structure.Each(str, key=structure.file_name),
  'sizes?': [[int]],
  'loss?': (float, type(None)),
  'on?': bool,
  'free?': None,
}
GOOD = {'format': 'x 1', 'step': 3, 'digests': {'a.b-c_1': 'd'}}


def check(**changes) -> None:
  structure.check({**GOOD, **changes}, SHAPE, where='x.json')


def test_a_value_of_its_shape_passes():
  check()
  check(rate=1e-9, sizes=[[1, 2], []], loss=None, on=False, free={'a': [1]})
  check(loss=2, more='keys that are not spoken of')


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'format': 'y'}, "format is 'y': wanted x 1 or x 2"),
    ({'format': ['x 1']}, 'format is'),
    ({'step': -1}, 'step is -1: wanted a whole number of at least 0'),
    ({'step': 1.0}, 'step is 1.0'),
    ({'step': True}, 'step is True'),
    ({'step': 10**30}, 'step is 1000'),
    ({'rate': 0}, 'rate is 0: wanted a positive number'),
    ({'rate': '1'}, "rate is '1'"),
    ({'digests': []}, r'digests is \[\]; wanted an object'),
    ({'digests': {'a': 1}}, 'digests.a is 1; wanted text'),
    ({'sizes': [[1], 2]}, r'sizes\[1\] is 2; wanted a list'),
    ({'sizes': [[1, None]]}, r'sizes\[0\]\[1\] is None; wanted a whole'),
    ({'sizes': [[True]]}, r'sizes\[0\]\[0\] is True; wanted a whole number'),
    ({'loss': 'nan'}, "loss is 'nan'; wanted a number or null"),
    ({'on': 1}, 'on is 1; wanted true or false'),
  ],
)
def test_the_first_difference_is_named(changes, words):
  with pytest.raises(ValueError, match=f'x.json: {words}'):
    check(**changes)


def test_a_missing_key_and_another_kind_of_value_are_named():
  with pytest.raises(ValueError, match='x.json: digests is missing'):
    structure.check({'format': 'x 1', 'step': 1}, SHAPE, where='x.json')
  for value in ([], None, 3, 'text'):
    with pytest.raises(ValueError, match='x.json: it is .*wanted an object'):
      structure.check(value, SHAPE, where='x.json')


@pytest.mark.parametrize(
  'name',
  ['../outside', '/etc/passwd', 'a/b', '..', '.hidden', '', 'a\n', 'a\0', 7]
  + ['x' * 201],
)
def test_a_name_that_leads_elsewhere_is_refused(name):
  with pytest.raises(ValueError, match='wanted a plain file name'):
    structure.file_name(name)


def test_what_is_shown_of_a_value_is_one_short_line():
  deep = json.loads('[' * 500 + ']' * 500)
  for value in (deep, 'x\n' * 10**6, {'k' * 10**6: 1}, list(range(10**6))):
    with pytest.raises(ValueError) as caught:
      check(step=value)
    assert len(str(caught.value)) < 200 and '\n' not in str(caught.value)
  with pytest.raises(ValueError) as caught:
    check(digests={'x\n' * 10**5: 'd'})
  assert len(str(caught.value)) < 250 and '\n' not in str(caught.value)
