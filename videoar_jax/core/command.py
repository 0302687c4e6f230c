"""What the commands share: words too many, missing flags, refusals."""

import contextlib
import pathlib
import re
import sys
from collections.abc import Collection, Iterator, Sequence

from absl import app, flags, logging


def check_arguments(
  argv: Sequence[str], needed: Sequence[flags.FlagHolder | flags.Flag]
) -> None:
  """Raises a UsageError for a word that is no flag, or a flag not given.

  Args:
    argv: what was left of the command line, the command first.
    needed: flags that must have a value.
  """
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument: {argv[1]}')
  for flag in needed:
    if not flag.value:
      raise app.UsageError(f'--{flag.name} is missing')


def chosen_action(argv: Sequence[str], actions: Collection[str]) -> str:
  """The action that a command line begins with.

  Raises:
    UsageError: none, or one that is not known.
  """
  if len(argv) < 2 or argv[1] not in actions:
    given = f', not {argv[1]!r}' if len(argv) > 1 else ''
    raise app.UsageError(f'say one of {", ".join(actions)}{given}')
  return argv[1]


def parse_size(text: str) -> tuple[int, int]:
  """Reads --size, as 128x192: height and width.

  Raises:
    ValueError: it is something else.
  """
  match = re.fullmatch(r'(\d+)[x×](\d+)', text)
  if not match:
    raise ValueError(f'--size={text}: wanted HEIGHTxWIDTH, as 128x192')
  return int(match[1]), int(match[2])


def output_file(out: str) -> pathlib.Path:
  """The path of --out; a ValueError if the folder it lies in does not exist."""
  path = pathlib.Path(out)
  if not path.parent.is_dir():
    raise ValueError(f'--out={path}: no folder {path.parent}; make it first')
  return path


def note(text: str) -> None:
  """Tells the user of something done that was not asked for."""
  print(f'note: {text}', file=sys.stderr)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
  """Turns a ValueError into one line and exit status 1.

  Bad input raises ValueErrors that say what is wrong; `--verbosity=1` shows
  where.
  """
  try:
    yield
  except ValueError as error:
    logging.debug('refused', exc_info=True)
    sys.exit(f'error: {error}')
