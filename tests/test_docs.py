"""The pages: all on the map, no dead link, no command with a wrong flag."""

import ast
import importlib
import re
import shlex

import pytest
from shell import ROOT

from videoar_jax.core import command

PAGES = [
  ROOT / 'README.md',
  *sorted((ROOT / 'docs').glob('*.md')),
  ROOT / 'launch' / 'README.md',
]
_LINK = re.compile(r'\]\((?!https?://)([^)#\s]+)')
_COMMAND = re.compile(r'python -m videoar_jax\.([\w.]+)( .*)')
# What stands for a value, or for more words, and cannot be parsed.
_OPEN = re.compile(r'[…$`]')


def commands(text: str) -> list[tuple[str, list[str]]]:
  """The commands of a page's blocks: name of the command, words after it."""
  found = []
  for line in re.sub(r' *\\\n *(?:> )?', ' ', text).splitlines():
    shown = re.match(r'(?:    |\$ |python )', line)
    match = _COMMAND.search(line) if shown else None
    if match and not _OPEN.search(match[2]):
      words = re.sub(r'[][]', ' ', match[2])  # what may be left out
      found.append((match[1], shlex.split(words, comments=True)))
  return found


COMMANDS = [
  pytest.param(name, words, id=f'{page.stem}-{i}-{name}')
  for page in PAGES
  for i, (name, words) in enumerate(commands(page.read_text()))
]


@pytest.mark.parametrize(('name', 'words'), COMMANDS)
def test_a_command_of_the_pages_can_be_read(monkeypatch, name, words):
  monkeypatch.chdir(ROOT)
  module = importlib.import_module(
    f'videoar_jax.commands.{name.rpartition(".")[2]}'
  )
  given = command.parse(module.FLAGS, [name, *words])
  assert len(given) <= 1  # an action


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_a_page_links_to_what_there_is(page):
  for target in _LINK.findall(page.read_text()):
    assert (page.parent / target).exists(), target


def test_the_map_names_each_page():
  text = (ROOT / 'docs' / 'README.md').read_text()
  for page in PAGES[1:]:
    assert page.name == 'README.md' or f']({page.name})' in text


def paper_sections(source: str) -> list[str]:
  """Headings of docs/paper.md that the docstrings of a source name.

  They are named as "docs/paper.md, Tokenizer" or "…, Tokenizer and Scales". A
  mention without a heading gives ''.
  """
  found = []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      words = ' '.join((ast.get_docstring(node) or '').split())
      for rest in words.split('docs/paper.md')[1:]:
        named = re.match(r', ([A-Z][a-zA-Z ]+)', rest)
        found += named[1].split(' and ') if named else ['']
  return found


def test_docstrings_name_sections_of_the_paper_that_exist():
  page = (ROOT / 'docs' / 'paper.md').read_text()
  headings = re.findall(r'^## (.+)$', page, re.M)
  sources = [
    p for d in ('videoar_jax', 'configs') for p in (ROOT / d).rglob('*.py')
  ]
  named = {path: paper_sections(path.read_text()) for path in sources}
  assert sum(map(bool, named.values())) > 10
  for path, sections in named.items():
    assert set(sections) <= set(headings), path


def test_a_section_of_the_paper_is_found_over_a_line_break():
  source = (
    '"""See docs/paper.md,\nFlipped\nhistories and Scales: x. docs/paper.md."""'
  )
  assert paper_sections(source) == ['Flipped histories', 'Scales', '']


def test_a_wrong_flag_or_key_on_a_page_is_found():
  text = (
    'As typed:\n\n    $ python -m videoar_jax.train \\\n'
    '        --config=configs/quickstart.py:tokenizer '
    '--config.optimizer.learning_rat=1  # wrong\n'
  )
  ((name, words),) = commands(text)
  assert name == 'train' and words[-1] == '--config.optimizer.learning_rat=1'
  module = importlib.import_module('videoar_jax.commands.train')
  with pytest.raises((ValueError, command.UsageError), match='learning_rat'):
    command.parse(module.FLAGS, [name, *words])
