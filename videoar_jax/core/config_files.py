"""Config files: a user's own, or those that come with the package."""

import difflib
import os
import pathlib
from typing import Any

from absl import flags

from videoar_jax.core.console import note

_FOLDER = 'configs'


class ConfigParser(flags.ArgumentParser):
  """Reads the config file that `find_config` finds."""

  def __init__(self, reader: flags.ArgumentParser):
    """Args: reader: builds a config from a path that may have a variant."""
    super().__init__()
    self._reader = reader

  def parse(self, argument: str) -> Any:
    found = find_config(argument)
    if not os.path.exists(found.partition(':')[0]):
      raise ValueError(f'no such file{_nearest(found)}')
    if found != argument:
      note(f'{argument}: not here; the one that comes along: {found}')
    return self._reader.parse(found)

  def flag_type(self) -> str:
    return self._reader.flag_type()


def find_config(given: str) -> str:
  """The config file that a flag names.

  Args:
    given: a path, which may have a variant after a colon.
  Returns:
    The same; or, where it is `configs/NAME.py` and no such file is here, the
    package's own config of that name, if it has one.
  """
  path, colon, variant = given.partition(':')
  if os.path.exists(path) or os.path.dirname(path) != _FOLDER:
    return given
  own = own_configs() / os.path.basename(path)
  return f'{own}{colon}{variant}' if own.is_file() else given


def _nearest(given: str) -> str:
  """The package's config whose name is most like a given one, as a fix."""
  name = os.path.basename(given.partition(':')[0])
  known = [path.name for path in own_configs().glob('*.py')]
  near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
  return f'; did you mean {_FOLDER}/{near[0]}?' if near else ''


def own_configs() -> pathlib.Path:
  """The folder of configs in the installed package, or in its checkout."""
  package = pathlib.Path(__file__).parents[1]
  installed = package / _FOLDER
  return installed if installed.is_dir() else package.parent / _FOLDER
