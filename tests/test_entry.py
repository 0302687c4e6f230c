"""`videoar-jax COMMAND …`: one word for each command, and help for the rest."""

import sys

import pytest

import videoar_jax
from videoar_jax import __main__ as entry


def ended(monkeypatch, *words):
  """The exit status of a command line."""
  monkeypatch.setattr(sys, 'argv', ['videoar-jax', *words])
  try:
    entry.main()
  except SystemExit as end:
    return end.code or 0
  return 0


@pytest.mark.parametrize(
  ('words', 'told'),
  [
    ([], 'no command is given; say one of benchmark, demo'),
    (['trian'], 'trian: no such command; did you mean train?'),
    (['--seed=3'], '--seed=3: no such command; say one of benchmark'),
  ],
)
def test_what_is_no_command_is_one_line(monkeypatch, capsys, words, told):
  assert ended(monkeypatch, *words) == 2
  said = capsys.readouterr().err
  assert told in said and said.count('\n') == 1


def test_help_names_each_command_and_config(monkeypatch, capsys):
  assert ended(monkeypatch, '--help') == 0
  said = capsys.readouterr().out
  assert '  sample     Samples videos from a trained generator.\n' in said
  for name in ('train', 'prepare', 'evaluate', 'tokenizer', 'benchmark'):
    assert f'\n  {name} ' in said
  assert '\n  quickstart\n' in said


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
  assert ended(monkeypatch, '--version') == 0
  assert capsys.readouterr().out == f'videoar-jax {videoar_jax.__version__}\n'


def test_a_command_gets_the_words_after_its_name(monkeypatch, capsys):
  assert ended(monkeypatch, 'prepare', '--help') == 0
  assert 'features: windows per video' in capsys.readouterr().out
  assert ended(monkeypatch, 'prepare', '--bach=3') == 2
  said = capsys.readouterr().err
  assert 'note: videoar_jax.prepare: starting' in said and 'bach' in said
