"""`python toy_job.py --workdir=… FLAGS`: the toy trained in several processes.

Variables of the environment make one process differ: PAUSE_S before each batch,
FAIL_AT the step whose batch it cannot make, FAIL_EARLY before it begins. With
AHEAD all run one step ahead, as they do on accelerators.
"""

import os
import sys
import time

import jax
import toy

from videoar_jax.core import command, job, start
from videoar_jax.core.mesh import make_mesh
from videoar_jax.train import loop, runner

FLAGS = command.Flags()
_WORKDIR = FLAGS.text('workdir', None, 'Where the run lives.')
_STEPS = FLAGS.count('steps', 12, 'Steps to train.')
_LOG = FLAGS.count('log_every', 4, 'Steps between two lines.')
job.define_flags(FLAGS)


def batches_from(step):
  """This process's rows of the toy's batches."""
  fail_at = int(os.environ.get('FAIL_AT', -1))
  while True:
    time.sleep(float(os.environ.get('PAUSE_S', 0)))
    if step == fail_at:
      raise ValueError('clip 7 is damaged')
    yield {
      name: rows.reshape(jax.process_count(), -1, rows.shape[1])[
        jax.process_index()
      ]
      for name, rows in toy.make_batch(step).items()
    }
    step += 1


class Ahead(runner.Runner):
  """A run on CPU devices that hears of the others one step later."""

  def __post_init__(self):
    super().__post_init__()
    self._ahead = self._late = 1


def main(words):
  if 'AHEAD' in os.environ:
    loop.Runner = Ahead
  with start.together(FLAGS):
    if 'FAIL_EARLY' in os.environ:
      raise ValueError('no such folder here')
    toy.train(
      _WORKDIR.value,
      mesh=make_mesh(),
      batches_from=batches_from,
      num_steps=_STEPS.value,
      checkpoint_every=4,
      log_every=_LOG.value,
      keep=9,
    )


if __name__ == '__main__':
  sys.exit(command.run(sys.modules[__name__], sys.argv))
