"""A short run of the fuzzer, and that it finds what it is to find."""

import numpy as np
import pytest
from fuzz import Case, faults, fuzz
from fuzz_corpus import TARGETS
from fuzz_mutations import damage
from shell import Done

CASES = 40


def test_no_command_falls_over_damaged_files_and_absurd_flags():
  ran, lines = fuzz(range(CASES), seed=1, seconds=120)
  assert ran > CASES // 4
  assert not lines


def found(done, folder, arguments=('sample', '--out=out')):
  return faults(Case(1, TARGETS[0], '', arguments), done, folder)


def test_each_fault_is_seen(tmp_path):
  result = tmp_path / 'result'
  result.mkdir()
  assert 'no end' in found(Done(None), tmp_path)[0]
  assert 'signal 9' in found(Done(-9), tmp_path)[0]
  trace = 'Traceback (most recent call last):\nKeyError: 1'
  assert 'KeyError' in found(Done(1, stderr=trace), tmp_path)[0]
  assert found(Done(0), tmp_path) == ['success without an output']
  assert '0 lines' in found(Done(1, stderr='it broke'), tmp_path)[0]
  (result / '.out.partial').write_text('')
  assert 'half' in found(Done(1, stderr='error: x'), tmp_path)[0]


def test_a_refusal_and_a_result_are_no_faults(tmp_path):
  (tmp_path / 'result').mkdir()
  assert not found(Done(1, stderr='note: x\nerror: y\n'), tmp_path)
  (tmp_path / 'result' / 'out').write_text('made')
  assert not found(Done(0), tmp_path)


@pytest.mark.parametrize('name', ['a.json', 'b.jsonl', 'c.bin'])
def test_damage_is_a_function_of_the_seed(tmp_path, name):
  path, kinds = tmp_path / name, set()
  for seed in range(40):
    outcomes = []
    for _ in range(2):
      path.write_text('{"a": [1, {"b": "x"}], "c": 0.5}\n')
      how = damage(path, np.random.default_rng(seed))
      outcomes.append((how, path.read_bytes()))
    assert outcomes[0] == outcomes[1]
    kinds.add(outcomes[0][0].split()[0])
  assert len(kinds) >= 5
