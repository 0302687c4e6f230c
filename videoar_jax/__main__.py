"""`videoar-jax COMMAND …`: each command by its name in videoar_jax/commands.

`python -m videoar_jax COMMAND …` is the same.
"""

import ast
import difflib
import pathlib
import pkgutil
import sys

import videoar_jax
from videoar_jax.core.command import launch
from videoar_jax.core.config_files import own_configs

_BAD_LINE = 2
_COMMANDS = pathlib.Path(__file__).parent / 'commands'


def main() -> None:
  """Runs the command that the first word names, with the words after it."""
  known = sorted(module.name for module in pkgutil.iter_modules([_COMMANDS]))
  given = sys.argv[1] if len(sys.argv) > 1 else ''
  if given in known:
    sys.argv = [f'{sys.argv[0]} {given}', *sys.argv[2:]]
    launch(given)
  elif given in ('-h', '-help', '--help'):
    print(_help(known))
  elif given == '--version':
    print(f'videoar-jax {videoar_jax.__version__}')
  else:
    print(f'error: {_fault(given, known)}; see --help', file=sys.stderr)
    sys.exit(_BAD_LINE)


def _fault(given: str, known: list[str]) -> str:
  if not given:
    return f'no command is given; say one of {", ".join(known)}'
  near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
  fix = f'did you mean {near[0]}?' if near else f'say one of {", ".join(known)}'
  return f'{given}: no such command; {fix}'


def _help(known: list[str]) -> str:
  """What the commands do, and which configs come along."""
  configs = sorted(path.stem for path in own_configs().glob('*.py'))
  return '\n'.join(
    [
      'videoar-jax COMMAND --flag=value …',
      '',
      *(f'  {name:10} {_about(name)}' for name in known),
      '',
      'videoar-jax COMMAND --help lists the flags of one.',
      'Configs that come along, as --config=configs/NAME.py:VARIANT:',
      *(f'  {name}' for name in configs),
      f'They lie in {own_configs()}.',
    ]
  )


def _about(name: str) -> str:
  """The first sentence of a command, which is not imported for it."""
  source = (_COMMANDS / f'{name}.py').read_text(encoding='utf-8')
  return (ast.get_docstring(ast.parse(source)) or '').partition('\n')[0]


if __name__ == '__main__':
  main()
