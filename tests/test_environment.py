"""The scripts that make environments and run the tests in them."""

import os
import re
import subprocess

import pytest
from shell import ROOT


def make_python(path, *, says):
  """An interpreter that says this of its version, or fails where it is ''."""
  path.parent.mkdir(parents=True)
  path.write_text(f'#!/bin/sh\n{f"echo {says}" if says else "exit 127"}\n')
  path.chmod(0o755)


def find_python(minor, *, path, pyenv):
  """What `find_python` of launch/environment.sh prints."""
  script = 'set -euo pipefail; source launch/environment.sh; find_python "$1"'
  done = subprocess.run(
    ['bash', '-c', script, 'bash', str(minor)],
    cwd=ROOT,
    env={'PATH': f'{path}:{os.environ["PATH"]}', 'PYENV_ROOT': str(pyenv)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.strip()


def test_a_python_is_found_on_the_path_before_those_of_pyenv(tmp_path):
  path, pyenv = tmp_path / 'bin', tmp_path / 'pyenv'
  make_python(path / 'python3.99', says='99')
  make_python(pyenv / 'versions/3.99.1/bin/python', says='99')
  assert find_python(99, path=path, pyenv=pyenv) == 'python3.99'


@pytest.mark.parametrize('says', ['', '9'])
def test_a_name_that_runs_no_such_python_is_passed_over(tmp_path, says):
  path, pyenv = tmp_path / 'bin', tmp_path / 'pyenv'
  make_python(path / 'python3.99', says=says)
  assert find_python(99, path=path, pyenv=pyenv) == ''
  own = pyenv / 'versions/3.99.1/bin/python'
  make_python(own, says='99')
  assert find_python(99, path=path, pyenv=pyenv) == str(own)


@pytest.mark.parametrize(
  ('installed', 'wanted', 'serves'),
  [
    ('metrics', 'metrics', True),
    ('tpu,gcs,metrics', 'metrics', True),
    ('tpu,gcs,metrics', 'metrics,tpu', True),
    ('tpu,gcs', '', True),
    ('', '', True),
    ('tpu,gcs', 'metrics', False),
    ('', 'metrics', False),
    ('metrics2', 'metrics', False),
    (None, '', False),
  ],
)
def test_what_was_installed_with_more_extras_serves(
  installed, wanted, serves, tmp_path
):
  if installed is not None:
    (tmp_path / f'stamp-{installed}').touch()
  script = 'source launch/environment.sh; _has_extras "$1" "$2"'
  done = subprocess.run(
    ['bash', '-c', script, 'bash', tmp_path / 'stamp', wanted], cwd=ROOT
  )
  assert (done.returncode == 0) == serves


def test_the_tests_of_the_newest_python_exist():
  script = (ROOT / '.ci' / 'run').read_text()
  named = re.findall(r'^  (tests/\w+\.py)$', script, re.M)
  assert len(named) > 9
  assert not [name for name in named if not (ROOT / name).is_file()]
