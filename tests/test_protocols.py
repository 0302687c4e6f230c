"""Protocols: names, twins, and results that do not compare."""

import json

import pytest

from videoar_jax.evaluate import comparable, protocols

RESULT = {
  'protocol': 'magvit_16f',
  'num_real': 10_000,
  'num_generated': 10_000,
  'frames': 16,
  'resolution': [128, 128],
  'split': 'train',
  'weights_sha256': 'a' * 64,
  'rules': protocols.describe(protocols.get_protocol('magvit_16f')),
}


def test_an_earlier_name_gives_the_same_object():
  for earlier, name in protocols.ALIASES.items():
    found = protocols.get_protocol(earlier)
    assert found is protocols.get_protocol(name) and found.name == name
    assert earlier not in protocols.PROTOCOLS


@pytest.mark.parametrize(
  ('name', 'twin'),
  [
    ('ucf101_train10k_17f_128', 'ucf9_train256x4_17f_128'),
    ('magvit_16f', 'ucf9_magvit256_16f'),
    ('larp_16f', 'ucf9_larp256_16f'),
    ('styleganv_2048_16f', 'ucf9_styleganv256_16f'),
    ('tats_2048_16f', 'ucf9_tats256_16f'),
    ('omnitokenizer_2048_17f', 'ucf9_omnitokenizer256_17f'),
  ],
)
def test_a_paper_has_a_twin_on_nine_classes(name, twin):
  own, other = map(protocols.get_protocol, (name, twin))
  assert (own.data_set, other.num_videos, other.resolution) == (
    'UCF-101',
    256,
    128,
  )
  for key in ('num_frames', 'split', 'window', 'labels', 'i3d', 'repeats'):
    assert getattr(own, key) == getattr(other, key), key
  assert own.covariance is other.covariance and name in other.source
  assert 'arXiv' in own.source


def test_four_draws_as_magvit_has_them():
  for name in (protocols.DEFAULT, 'magvit_16f'):
    assert protocols.get_protocol(name).repeats == 4
  assert protocols.get_protocol('larp_16f').repeats == 1


def test_equal_rules_compare_also_after_json():
  earlier = {**RESULT, 'protocol': 'ucf101_train10k_16f_128'}
  of_no_fvd = {**RESULT, 'weights_sha256': None}
  results = {'a': RESULT, 'b': json.loads(json.dumps(RESULT)), 'c': earlier}
  comparable.check_comparable({**results, 'd': of_no_fvd, 'e': {}})
  comparable.check_comparable({})


@pytest.mark.parametrize(
  ('key', 'value', 'words'),
  [
    ('protocol', 'larp_16f', 'protocol magvit_16f in a, larp_16f in b'),
    ('num_real', 64, 'num_real 10000 in a, 64 in b'),
    ('num_generated', 64, 'num_generated 10000 in a, 64 in b'),
    ('frames', 17, 'frames 16 in a, 17 in b'),
    ('resolution', [64, 64], 'resolution 128×128 in a, 64×64 in b'),
    ('split', 'validation', 'split train in a, validation in b'),
    ('weights_sha256', 'b' * 64, f'weights_sha256 {"a" * 64} in a'),
  ],
)
def test_what_differs_is_named(key, value, words):
  with pytest.raises(ValueError, match='under one protocol') as caught:
    comparable.check_comparable({'a': RESULT, 'b': {**RESULT, key: value}})
  assert words in str(caught.value)
  assert str(caught.value).count(' in b') == 1


def test_rules_that_changed_under_one_name_are_named():
  rules = json.loads(json.dumps(RESULT['rules']))
  rules |= {'repeats': 1, 'source': 'elsewhere'}
  rules['i3d']['epsilon'] = 1e-5
  with pytest.raises(ValueError) as caught:
    comparable.check_comparable({'a': RESULT, 'b': {**RESULT, 'rules': rules}})
  assert 'rules.i3d.epsilon 0.001 in a, 1e-05 in b' in str(caught.value)
  assert 'rules.repeats 4 in a, 1 in b' in str(caught.value)
  assert 'elsewhere' not in str(caught.value)
