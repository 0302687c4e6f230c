"""What a figure was computed with."""

import pathlib
import subprocess

import jax

import videoar_jax


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
