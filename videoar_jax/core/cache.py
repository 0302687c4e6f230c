"""What is kept on this machine between commands: weights and programs."""

import hashlib
import os
import pathlib
import platform

import jax

_CPU = pathlib.Path('/proc/cpuinfo')


def cache_dir() -> pathlib.Path:
  """$VIDEOAR_CACHE, or ~/.cache/videoar_jax; it may be removed at any time."""
  own = os.environ.get('VIDEOAR_CACHE')
  return (
    pathlib.Path(own) if own else pathlib.Path.home() / '.cache/videoar_jax'
  )


def keep_programs() -> None:
  """Lets JAX keep compiled programs for later commands.

  Does nothing where JAX was told a folder of its own
  ($JAX_COMPILATION_CACHE_DIR). A home may be shared by machines: each kind of
  processor has its own folder, as a program of one may not run on another.
  """
  if jax.config.jax_compilation_cache_dir is None:
    folder = cache_dir() / 'programs' / _processor()
    jax.config.update('jax_compilation_cache_dir', str(folder))


def _processor() -> str:
  """A name for what this machine's processor can do."""
  features = ''
  if _CPU.exists():
    lines = _CPU.read_text(encoding='utf-8', errors='replace').splitlines()
    kinds = ('model name', 'flags', 'Features')
    features = '\n'.join(sorted({x for x in lines if x.startswith(kinds)}))
  digest = hashlib.sha256(features.encode()).hexdigest()[:8]
  return f'{platform.machine()}-{digest}'
