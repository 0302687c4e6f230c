"""Imports go one way through the rooms, and nobody imports a command."""

import ast
import pathlib

import pytest

import videoar_jax

PACKAGE = 'videoar_jax'
ROOT = pathlib.Path(videoar_jax.__file__).parent
ROOMS = (
  'zoo',
  'core',
  'data',
  'plan',
  'tokenizer',
  'transformer',
  'objectives',
  'rollout',
  'families',
  'sample',
  'evaluate',
  'train',
  'benchmark',
  'forecast',
  'lease',
  'report',
  'api',
  'page',
  'commands',
)
# Modules beside the rooms -> the first room that may import them.
SHARED = {'media': 'data'}
# Commands: nobody imports them, but `core.command.launch` by name.
LEAVES = {'commands', 'data.prepare', 'demo'}


def imported(source: str, *, module: str) -> set[str]:
  """The package's modules that a module imports anywhere, lazily too.

  Args:
    source: Python.
    module: its dotted name below the package; a room's `__init__` is the room.
  Returns:
    Dotted names below the package. `from room import name` gives `room.name`
    whether or not that is a module; the package itself is ''.
  """
  found = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      base = node.module or ''
      if node.level:
        parents = f'{PACKAGE}.{module}'.split('.')[: -node.level]
        base = '.'.join([*parents, *filter(None, [base])])
      found |= {f'{base}.{alias.name}' for alias in node.names}
  return {
    name.removeprefix(PACKAGE).removeprefix('.')
    for name in found
    if name == PACKAGE or name.startswith(f'{PACKAGE}.')
  }


def is_leaf(name: str) -> bool:
  """Whether a dotted name is a command, or something in one."""
  parts = name.split('.')
  return (
    '__main__' in parts or parts[0] in LEAVES or '.'.join(parts[:2]) in LEAVES
  )


def violations(source: str, *, module: str) -> list[str]:
  """What a module may not import, as 'module imports other: why'."""
  wrong = []
  for name in sorted(imported(source, module=module)):
    reason = refusal(module, name)
    if reason:
      wrong.append(f'{module} imports {name}: {reason}')
  return wrong


def refusal(module: str, name: str) -> str:
  """Why `module` may not import `name`, or ''."""
  own, other = module.split('.')[0], name.split('.')[0]
  if is_leaf(name):
    return 'a command, which nobody imports'
  if is_leaf(module) or not name:  # the package itself holds its version
    return ''
  if own in SHARED:
    return '' if other in (own, 'core') else 'it may import core alone'
  if own not in ROOMS:
    return f'{own} is neither a room nor known beside them'
  if other in SHARED:
    late = ROOMS.index(own) >= ROOMS.index(SHARED[other])
    return '' if late else f'{other} is for {SHARED[other]} and later rooms'
  if other not in ROOMS:
    return 'neither a room nor known beside them'
  if ROOMS.index(other) > ROOMS.index(own):
    return f'{other} comes after {own}'
  return ''


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(part for part in parts if part != '__init__')


MODULES = sorted(ROOT.rglob('*.py'))


def test_every_room_exists_and_is_listed():
  rooms = {path.parent.name for path in ROOT.glob('*/__init__.py')}
  assert rooms == set(ROOMS)


@pytest.mark.parametrize('path', MODULES, ids=module_name)
def test_a_module_imports_only_from_its_own_and_earlier_rooms(path):
  if path == ROOT / '__init__.py':
    assert not imported(path.read_text(), module='')
  else:
    assert not violations(path.read_text(), module=module_name(path))


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('core.mesh', 'import videoar_jax.train.step'),
    ('core.mesh', 'from videoar_jax.data import config'),
    ('data.folder', 'from videoar_jax import train'),
    ('data.folder', 'from ..sample import bits'),
    ('plan.unit', 'def f():\n  from videoar_jax.tokenizer import conv'),
    ('rollout.bits', 'if True:\n  import videoar_jax.evaluate.motion as m'),
    ('core.layers', 'from videoar_jax import media'),
    ('media', 'from videoar_jax.data import decode'),
    ('train.loop', 'from videoar_jax.data import prepare'),
    ('train.loop', 'from videoar_jax.data.prepare import main'),
    ('train.loop', 'from videoar_jax.commands.sample import run'),
    ('data.folder', 'import videoar_jax.data.prepare'),
    ('train.loop', 'from videoar_jax.sample.__main__ import main'),
    ('train.loop', 'import videoar_jax.report'),
    ('report.facts', 'from videoar_jax.evaluate import __main__'),
    ('stray', 'from videoar_jax.core import mesh'),
    ('train.loop', 'from videoar_jax import stray'),
  ],
)
def test_a_violation_is_found(module, source):
  assert len(violations(source, module=module)) == 1


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('train.loop', 'from videoar_jax.core import mesh\nimport jax'),
    ('train.loop', 'from videoar_jax.train.step import make_step'),
    ('data.folder', 'from videoar_jax import media'),
    ('data.folder', 'from .decode import window'),
    ('media', 'import videoar_jax.core.shapes'),
    ('sample.__main__', 'from videoar_jax.train import loop'),
    ('data.prepare', 'from videoar_jax.tokenizer import features'),
    ('core.mesh', 'import videoar_jaxish.train'),
    ('core.mesh', 'import videoar_jax'),
  ],
)
def test_what_is_allowed_is_not_refused(module, source):
  assert violations(source, module=module) == []
