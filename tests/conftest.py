"""Test set-up: eight forced CPU devices, and where the shared data lies."""

import os
import pathlib

# XLA's CPU thread pool must be larger than the number of devices that meet in
# a collective, or a many-device program on a small machine can hang.
os.environ.setdefault('NPROC', '32')
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

jax.config.update('jax_num_cpu_devices', 8)
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope='session')
def shared_dir() -> pathlib.Path:
  """The folder with UCF-101 clips, or a skip that says where it was sought."""
  default = pathlib.Path(__file__).parents[2] / 'shared'
  folder = pathlib.Path(os.environ.get('VIDEOAR_SHARED', default))
  if not (folder / 'data' / 'ucf9_128').is_dir():
    pytest.skip(f'no UCF-101 clips under {folder}; set VIDEOAR_SHARED')
  return folder
