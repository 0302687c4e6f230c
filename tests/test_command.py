"""What the commands share: missing flags and one-line refusals."""

import types

import pytest
from absl import app

from videoar_jax.core import command

GIVEN = types.SimpleNamespace(name='given', value='x')
MISSING = types.SimpleNamespace(name='out', value=None)


def test_a_flag_without_a_value_is_named():
  command.check_arguments(['sample'], (GIVEN,))
  with pytest.raises(app.UsageError, match='--out is missing'):
    command.check_arguments(['sample'], (GIVEN, MISSING))


def test_a_word_that_is_no_flag_is_refused():
  with pytest.raises(app.UsageError, match='unexpected argument: runs/x'):
    command.check_arguments(['sample', 'runs/x'], ())


def test_bad_input_ends_in_one_line_and_a_bug_does_not():
  with pytest.raises(SystemExit) as ended, command.refusals():
    raise ValueError('num_frames=16: use 17')
  assert ended.value.code == 'error: num_frames=16: use 17'
  with pytest.raises(KeyError), command.refusals():
    raise KeyError('a bug')
