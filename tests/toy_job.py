"""`python toy_job.py --workdir=… FLAGS`: the toy trained in several processes.

Variables of the environment make one process differ: PAUSE_S before each batch,
FAIL_AT the step whose batch it cannot make, FAIL_EARLY before it begins, and
FAIL_HELD_OUT the evaluation whose second batch it cannot make. With AHEAD all
run one step ahead, as they do on accelerators.
"""

import os
import sys
import time

import jax
import toy

from videoar_jax.core import command, job, start
from videoar_jax.core.mesh import make_mesh
from videoar_jax.train import heldout, loop, runner

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


def make_evaluate(mesh):
  """The toy's loss on three batches that are the same at each call."""
  fail_at, calls = int(os.environ.get('FAIL_HELD_OUT', -1)), 0

  def batches():
    nonlocal calls
    calls += 1
    for index, batch in zip(range(3), batches_from(1000)):
      if index == 1 and calls == fail_at:
        raise ValueError('clip 9 is damaged')
      yield batch

  return heldout.make_heldout([toy.make_update()], batches=batches, mesh=mesh)


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
    mesh = make_mesh()
    toy.train(
      _WORKDIR.value,
      mesh=mesh,
      evaluate=make_evaluate(mesh),
      eval_every=4,
      batches_from=batches_from,
      num_steps=_STEPS.value,
      checkpoint_every=4,
      log_every=_LOG.value,
      keep=9,
    )


if __name__ == '__main__':
  sys.exit(command.run(sys.modules[__name__], sys.argv))
