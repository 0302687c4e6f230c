"""Compiled programs are kept between commands, where nobody is in the way."""

import os
import subprocess
import sys

_PROGRAM = """
import jax, jax.numpy as jnp
from videoar_jax.core import cache

jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
cache.keep_programs()
print(jax.config.jax_compilation_cache_dir)
jax.jit(lambda x: jnp.sin(x) + 1)(2.0)
"""


def _run(**variables):
  plain = {
    name: value
    for name, value in os.environ.items()
    if name != 'JAX_COMPILATION_CACHE_DIR'
  }
  done = subprocess.run(
    [sys.executable, '-c', _PROGRAM],
    env={**plain, **variables},
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.strip()


def test_programs_are_kept_in_a_folder_of_the_processor(tmp_path):
  first = _run(VIDEOAR_CACHE=str(tmp_path))
  assert first.startswith(str(tmp_path / 'programs'))
  kept = {path.name for path in tmp_path.rglob('*-cache')}
  assert kept
  assert _run(VIDEOAR_CACHE=str(tmp_path)) == first
  assert {path.name for path in tmp_path.rglob('*-cache')} == kept


def test_a_folder_that_jax_was_told_stays(tmp_path):
  own = str(tmp_path / 'own')
  assert _run(JAX_COMPILATION_CACHE_DIR=own, VIDEOAR_CACHE='/none') == own
