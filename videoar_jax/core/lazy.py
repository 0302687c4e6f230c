"""Packages that are imported when something of them is first used.

So that a machine that lacks one can do all the work that does not need it.
"""

import importlib
from typing import Any


class MissingPackageError(ValueError):
  """A package that is not installed; the message says how to install it."""


class Lazy:
  """Stands for a package: `av = Lazy('av')` for `import av`.

  `extra` is the one of this package's extras that brings it; '': none.
  """

  def __init__(self, name: str, *, extra: str = ''):
    self._name = name
    self._wanted = f"'videoar_jax[{extra}]'" if extra else name

  def __getattr__(self, attribute: str) -> Any:
    """Raises a MissingPackageError where the package is not installed."""
    try:
      package = importlib.import_module(self._name)
    except ModuleNotFoundError as error:
      if error.name != self._name:
        raise
      raise MissingPackageError(
        f'the package {self._name} is not installed; run: pip install '
        f'{self._wanted}'
      ) from None
    return getattr(package, attribute)
