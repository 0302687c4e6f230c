"""What a figure was computed with."""

import functools
import hashlib
import importlib.metadata
import pathlib
import subprocess

import jax

import videoar_jax

# What decides which clips are drawn, their pixels, and what I3D says of them.
_READERS = (
  *('data/*.py', 'media.py', 'core/compiler.py', 'evaluate/i3d*.py'),
  *('evaluate/rules.py', 'evaluate/windows.py', 'evaluate/real_features.py'),
)
_LIBRARIES = ('jax', 'jaxlib', 'numpy', 'grain', 'av', 'pillow', 'array-record')


@functools.cache
def reader_digest() -> str:
  """A digest of the code and the libraries that make features of real clips."""
  root = pathlib.Path(videoar_jax.__file__).parent
  found = hashlib.sha256()
  for path in sorted(x for name in _READERS for x in root.glob(name)):
    found.update(f'{path.relative_to(root)}\0'.encode() + path.read_bytes())
  for name in _LIBRARIES:
    try:
      version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      version = ''  # those of files are not needed for what is rendered
    found.update(f'{name} {version}\n'.encode())
  return found.hexdigest()


def versions() -> dict[str, str | None]:
  """Versions of jax and this package, and the commit of a checkout.

  Returns:
    `jax`, `videoar_jax`, and `commit`: the hash, followed by `-modified` where
    tracked files differ from it, or None where the package is not run from its
    own checkout.
  """
  return {
    'jax': jax.__version__,
    'videoar_jax': videoar_jax.__version__,
    'commit': _commit(),
  }


def _commit() -> str | None:
  root = pathlib.Path(videoar_jax.__file__).parents[1]
  # An installed package may lie inside somebody else's checkout.
  if not (root / '.git').exists():
    return None
  commit = _git(root, 'rev-parse', 'HEAD')
  if not commit:
    return None
  changed = _git(root, 'status', '--porcelain', '--untracked-files=no')
  return commit + ('-modified' if changed else '')


def _git(root: pathlib.Path, *arguments: str) -> str | None:
  try:
    done = subprocess.run(
      ['git', '-C', str(root), *arguments],
      capture_output=True,
      text=True,
      timeout=20,
      check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()
