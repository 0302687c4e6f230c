"""A package that is not there is missed only where it is used."""

import subprocess
import sys

import pytest

from videoar_jax.core.lazy import Lazy

# PyAV hidden, as on a machine that lacks it.
_WITHOUT_AV = """
import sys
sys.modules['av'] = None
import videoar_jax.commands.benchmark
import videoar_jax.commands.evaluate
import videoar_jax.commands.train
"""


def test_what_is_there_is_used_as_if_imported():
  assert Lazy('json').loads('[1]') == [1]


def test_what_is_missing_is_told_on_first_use():
  package = Lazy('no_such_package')
  with pytest.raises(ValueError, match='pip install no_such_package'):
    package.open  # noqa: B018


def test_commands_begin_without_the_package_that_reads_video_files():
  done = subprocess.run(
    [sys.executable, '-c', _WITHOUT_AV], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
