"""What a command tells while it works."""

import time

import pytest

from videoar_jax.core import console


def test_long_work_is_told_and_reminded_of(capsys):
  with console.waiting('compiling', every_s=0.02):
    time.sleep(0.2)
  first, *reminders = capsys.readouterr().err.splitlines()
  assert first == 'note: compiling …'
  assert len(reminders) > 2
  assert all(line.endswith('s so far') for line in reminders)
  time.sleep(0.1)
  assert not capsys.readouterr().err  # nothing after the end


def test_an_error_ends_the_reminders(capsys):
  with pytest.raises(KeyError), console.waiting('it', every_s=0.02):
    raise KeyError
  time.sleep(0.1)
  assert capsys.readouterr().err.count('\n') == 1


def test_other_processes_say_nothing(capsys):
  with console.waiting('it', every_s=0.01, quiet=True):
    time.sleep(0.05)
  assert not capsys.readouterr().err


def test_items_are_passed_on(capsys):
  for items in ([], [1], [1, 2, 3]):
    assert list(console.first_slow(iter(items), 'making')) == items
  assert capsys.readouterr().err.count('making …') == 3


@pytest.mark.parametrize(
  ('number', 'text'),
  [
    (0, '0'),
    (812, '812'),
    (3149, '3.15 k'),
    (926_000_000, '926 M'),
    (2_150_000_000, '2.15 G'),
  ],
)
def test_numbers_are_readable(number, text):
  assert console.count(number) == text
