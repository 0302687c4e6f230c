"""Rules that the whole repository keeps."""

import ast
import importlib.util
import pathlib
import re

import ml_collections
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'videoar_jax'
SOURCES = sorted(
  path
  for folder in ('videoar_jax', 'configs', 'tests')
  for path in (ROOT / folder).rglob('*.py')
)
CONFIGS = sorted((ROOT / 'configs').glob('*.py'))
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
# Reads files of pretrained weights, by an allow-list of array constructors.
UNPICKLERS = {'videoar_jax/core/pretrained.py'}


def relative(path: pathlib.Path) -> str:
  return path.relative_to(ROOT).as_posix()


def each_source(test):
  return pytest.mark.parametrize('path', SOURCES, ids=relative)(test)


@each_source
def test_a_module_has_a_docstring(path):
  assert ast.get_docstring(ast.parse(path.read_text()))


@each_source
def test_a_file_is_short(path):
  assert len(path.read_text().splitlines()) < MAX_LINES


@each_source
def test_a_function_is_short(path):
  assert not long_functions(path.read_text())


@each_source
def test_nothing_is_left_to_do(path):
  # Written in two parts, so as not to find itself.
  assert not re.search(r'\b(TO' r'DO|FIX' r'ME|X' r'XX)\b', path.read_text())


@each_source
def test_nothing_of_a_users_file_is_executed(path):
  if path.is_relative_to(PACKAGE) and relative(path) not in UNPICKLERS:
    assert not dangerous(path.read_text())


def test_the_unpicklers_that_are_allowed_exist():
  for name in UNPICKLERS:
    assert dangerous((ROOT / name).read_text())


def long_functions(source: str) -> list[str]:
  """Functions over the limit; decorators and docstrings are not counted."""
  found = []
  for node in ast.walk(ast.parse(source)):
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      continue
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
      document = node.body[0]
      lines -= document.end_lineno - document.lineno + 1
    if lines > MAX_FUNCTION_LINES:
      found.append(f'{node.name}: {lines} lines')
  return found


def dangerous(source: str) -> list[str]:
  """What can run code out of a file: pickle, eval, exec, allow_pickle."""
  found = []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names = {alias.name.split('.')[0] for alias in node.names}
      found += sorted(names & {'pickle', 'cPickle', 'dill', 'marshal'})
    elif isinstance(node, ast.ImportFrom):
      found += [node.module] if node.module in ('pickle', 'marshal') else []
    elif isinstance(node, ast.Call):
      if isinstance(node.func, ast.Name) and node.func.id in ('eval', 'exec'):
        found.append(node.func.id)
      for keyword in node.keywords:
        value = getattr(keyword.value, 'value', None)
        if keyword.arg == 'allow_pickle' and value is not False:
          found.append('allow_pickle')
  return found


@pytest.mark.parametrize(
  'source',
  [
    'import pickle',
    'from pickle import loads',
    'eval("1")',
    'import numpy as np\nnp.load("x", allow_pickle=True)',
    'import numpy as np\nnp.load("x", allow_pickle=flag)',
  ],
)
def test_danger_is_found(source):
  assert dangerous(source)


def test_harmless_code_is_not_refused():
  source = 'model.eval()\nnp.load("x", allow_pickle=False)\nliteral_eval("1")'
  assert not dangerous(source)


def test_a_long_function_is_found():
  body = '\n'.join(['  x = 1'] * MAX_FUNCTION_LINES)
  assert long_functions(f'def f():\n{body}')
  shorter = body.removesuffix('\n  x = 1')
  assert not long_functions(f'def f():\n{shorter}')
  assert not long_functions(f'def f():\n  """Does\n\n  this.\n  """\n{shorter}')


@pytest.mark.parametrize(
  'room', sorted(PACKAGE.glob('*/__init__.py')), ids=lambda p: p.parent.name
)
def test_a_rooms_docstring_names_each_of_its_modules(room):
  document = ast.get_docstring(ast.parse(room.read_text()))
  modules = {
    path.stem
    for path in room.parent.glob('*.py')
    if not path.stem.startswith('_')
  }
  named = set(re.findall(r'^(?:- )?`?(\w+)`?:?\s', document, re.M))
  assert modules <= named, f'not named: {sorted(modules - named)}'


# What names end in that is as short as axes, or without a vowel, and is a word.
WORDS = {'at', 'by', 'in', 'of', 'on', 'rng', 'to', 'up'}


def axes_of(source: str) -> dict[str, str]:
  """Names of variables and arguments that end in axes -> these axes.

  Axes are up to seven letters and digits after the last underscore: one or two
  of them, or any without a vowel. That tells them from words but for `WORDS`.
  """
  found = {}
  for node in ast.walk(ast.parse(source)):
    name = ''
    if isinstance(node, ast.arg):
      name = node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      name = node.id
    ending = re.fullmatch(r'[a-z]\w*_([a-zA-Z0-9]{1,7})', name)
    if ending and ending[1] not in WORDS:
      axes = ending[1]
      if len(axes) < 3 or not re.search('[aeiou]', axes):
        found[name] = axes
  return found


def glossary() -> set[str]:
  """The letters that core/shapes.py explains."""
  path = PACKAGE / 'core' / 'shapes.py'
  text = ast.get_docstring(ast.parse(path.read_text()))
  return set(re.findall(r'(?:^ {4}| {2})([a-zA-Z])  \w', text, re.M))


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=relative)
def test_the_glossary_explains_each_axis_of_a_name(path):
  known = glossary()
  for name, axes in axes_of(path.read_text()).items():
    assert set(re.sub(r'\d', '', axes)) <= known, name


def test_axes_are_told_from_words():
  source = """
def f(x_bthwd, mean_real, *, scale_d, logits_of, drop_rng):
  total_zz = videos_nTHWc[0]
  for frame_q2, num_frames in total_zz:
    MAX_S = plan.frame_l
"""
  assert axes_of(source) == {
    'x_bthwd': 'bthwd',
    'scale_d': 'd',
    'total_zz': 'zz',
    'frame_q2': 'q2',
  }
  assert 'z' not in glossary() and {'b', 'T', 's', 'q', 'g'} <= glossary()


def load_config(path: pathlib.Path, variant: str | None):
  """Calls a config file's get_config, without a variant if None."""
  spec = importlib.util.spec_from_file_location(f'config_{path.stem}', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(*([] if variant is None else [variant]))


def documented_variants(path: pathlib.Path) -> set[str]:
  """Variants in the docstring's commands: `--config=configs/NAME.py:THIS`.

  '' where a command names none. With `Variants: … smoke …`, each of them with
  `,smoke` too.
  """
  document = ast.get_docstring(ast.parse(path.read_text())) or ''
  used = set(re.findall(rf'{path.name}(?::([\w,]+))?', document))
  if re.search(r'^Variants:.*\bsmoke\b', document, re.M | re.S):
    used |= {f'{variant},smoke' for variant in used if 'smoke' not in variant}
  return used


@pytest.mark.parametrize('path', CONFIGS, ids=relative)
def test_each_documented_variant_of_a_config_builds_and_is_locked(path):
  variants = documented_variants(path)
  assert variants, 'its docstring holds no command with a variant'
  for variant in sorted(variants):
    config = load_config(path, variant)
    assert isinstance(config, ml_collections.ConfigDict)
    assert config.is_locked
    assert config.recipe in ('tokenizer', 'generator')
    with pytest.raises((AttributeError, KeyError)):
      config.train.num_stepz = 1


@pytest.mark.parametrize('path', CONFIGS, ids=relative)
def test_an_unknown_variant_of_a_config_is_refused(path):
  for variant in sorted(documented_variants(path)):
    with pytest.raises(ValueError, match='nonsense'):
      load_config(path, f'{variant},nonsense')
