"""A disk that is full, for the tests."""

import contextlib
import resource


@contextlib.contextmanager
def full(size: int):
  """Lets no file of this process grow beyond a size in bytes."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
