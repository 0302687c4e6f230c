"""Packages that are imported when something of them is first used.

So that a machine that lacks one can do all the work that does not need it.
"""

import importlib
from typing import Any


class Lazy:
  """Stands for a package: `av = Lazy('av')` for `import av`."""

  def __init__(self, name: str):
    self._name = name

  def __getattr__(self, attribute: str) -> Any:
    """Raises a ValueError where the package is not installed."""
    try:
      package = importlib.import_module(self._name)
    except ModuleNotFoundError as error:
      if error.name != self._name:
        raise
      raise ValueError(
        f'the package {self._name} is not installed; run: pip install '
        f'{self._name}'
      ) from None
    return getattr(package, attribute)
