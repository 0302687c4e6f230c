"""Test set-up: eight forced CPU devices, and where the shared data lies."""

import atexit
import importlib.metadata
import importlib.util
import os
import pathlib
import shutil
import tempfile

# XLA's CPU thread pool must be larger than the number of devices that meet in
# a collective, or a many-device program on a small machine can hang.
os.environ.setdefault('NPROC', '32')
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

if importlib.metadata.version('jaxlib').startswith('0.10.'):
  # Half the time of compiling, which is most of a test's; with XLA_FLAGS of
  # one's own, tests compile as usual. Other versions may not know the word.
  os.environ.setdefault('XLA_FLAGS', '--xla_cpu_use_fusion_emitters=false')

if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  # For this process, its workers and the commands that tests start.
  _PROGRAMS = tempfile.mkdtemp(prefix='videoar_programs_')
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _PROGRAMS
  atexit.register(shutil.rmtree, _PROGRAMS, ignore_errors=True)

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from shell import Shell  # noqa: E402

jax.config.update('jax_num_cpu_devices', 8)
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope='module', autouse=True)
def compiler_effort(request):
  """Spares the compiler where a module is not marked `optimized`.

  Most tests compile far longer than they run.
  """
  name = 'jax_disable_most_optimizations'
  jax.config.update(name, not request.node.get_closest_marker('optimized'))
  yield
  jax.config.update(name, False)


@pytest.fixture(scope='session')
def shell():
  """Runs commands in one process, see `shell.Shell`."""
  with Shell() as shell:
    yield shell


@pytest.fixture(scope='session')
def served_bucket():
  """A bucket on this machine, see `bucket.serve`; or a skip."""
  for name in ('gcsfs', 'google.cloud.storage'):
    try:
      found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
      found = None
    if found is None:
      pytest.skip(f'no {name}: pip install "videoar_jax[gcs]"')
  import bucket

  before = dict(os.environ)
  with bucket.serve() as (store, environment):
    os.environ.update(environment)
    yield store
  os.environ.clear()
  os.environ.update(before)


@pytest.fixture(scope='session')
def shared_dir() -> pathlib.Path:
  """The folder with UCF-101 clips, or a skip that says where it was sought."""
  default = pathlib.Path(__file__).parents[2] / 'shared'
  folder = pathlib.Path(os.environ.get('VIDEOAR_SHARED', default))
  if not (folder / 'data' / 'ucf9_128').is_dir():
    pytest.skip(f'no UCF-101 clips under {folder}; set VIDEOAR_SHARED')
  return folder
