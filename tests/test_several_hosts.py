"""Jobs of several real processes: one is lost, stopped or wrong, and all end.

Here a process stands for a host, with CPU devices of its own.
"""

import random
import re
import signal
import time

import jax
import jobs
import numpy as np
import pytest

from videoar_jax.core import manifest, peers

KILLED = -signal.SIGKILL
TRAIN = (
  '--config.train.num_steps=12',
  '--config.train.checkpoint_every=4',
  '--config.train.log_every=6',
  '--config.optimizer.warmup_steps=3',
  '--config.data.num_workers=0',
)


def steps(workdir):
  return manifest.list_steps(workdir / 'checkpoints')


def digests(workdir):
  """Of all arrays of the last checkpoint, and its step."""
  step = steps(workdir)[-1]
  found = manifest.read_manifest(workdir / 'checkpoints' / str(step))
  return step, {k: about['digest'] for k, about in found['arrays'].items()}


def errors(text):
  return [x for x in text.splitlines() if x.startswith('error: ')]


def toy(tmp_path, name, *words, **options):
  """A job that trains the toy in the workdir of that name."""
  words = (f'--workdir={tmp_path / name}', *words)
  return jobs.Job(tmp_path / 'logs', 'toy_job.py', *words, **options)


def one(process, **variables):
  """Variables of the environment of one process alone."""
  return lambda i: variables if i == process else {}


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory):
  """The workdir of two processes that nobody disturbed."""
  folder = tmp_path_factory.mktemp('whole')
  with toy(folder, 'run') as job:
    job.expect(0, 0)
    for process in range(2):
      told = rf'process {process} of 2 on \S+: 2 of 4 devices \(cpu\)'
      assert re.search(told, job.said(process))
  return folder / 'run'


@pytest.fixture(scope='module')
def whole(whole_run):
  return digests(whole_run)


def finish(tmp_path, whole):
  """Starts the same command again, which ends as if nothing had been."""
  with toy(tmp_path, 'run') as job:
    job.expect(0, 0)
    assert 'resumed from checkpoint' in job.said(0)
  assert digests(tmp_path / 'run') == whole


def check_lost(job, survivor, lost):
  """One line, with the process that was lost, and the status."""
  codes = [peers.LOST, peers.LOST]
  codes[lost] = KILLED
  job.expect(*codes, within_s=30)
  (line,) = errors(job.said(survivor))
  assert line.startswith(f'error: process {lost} on ') and 'was lost' in line
  assert 'Traceback' not in job.said(survivor)
  assert 'stack trace' not in job.said(survivor)


def test_a_killed_process_ends_the_job_and_nothing_is_lost(tmp_path, whole):
  with toy(tmp_path, 'run', PAUSE_S='0.3') as job:
    job.wait_until(lambda: steps(tmp_path / 'run'))
    job.processes[1].kill()
    check_lost(job, 0, lost=1)
  assert steps(tmp_path / 'run')[-1] < whole[0]
  finish(tmp_path, whole)


@pytest.mark.slow
def test_the_first_process_killed_ends_the_job_alike(tmp_path, whole):
  with toy(tmp_path, 'run', PAUSE_S='0.3') as job:
    job.wait_until(lambda: steps(tmp_path / 'run'))
    job.processes[0].kill()
    check_lost(job, 1, lost=0)
  finish(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize('process', [0, 1])
def test_a_process_that_stands_still_ends_the_job(tmp_path, process):
  with toy(tmp_path, 'run', PAUSE_S='0.3') as job:
    job.wait_until(lambda: steps(tmp_path / 'run'))
    job.processes[process].send_signal(signal.SIGSTOP)
    assert job.processes[1 - process].wait(30) == peers.LOST
    (line,) = errors(job.said(1 - process))
    assert f'process {process} on ' in line and 'no sign of life' in line


@pytest.mark.slow
@pytest.mark.parametrize(
  ('process', 'number', 'ahead'),
  [
    (0, signal.SIGTERM, {}),
    (1, signal.SIGTERM, {'AHEAD': '1'}),
    (1, signal.SIGINT, {}),
  ],
)
def test_a_signal_to_one_process_stops_all(
  tmp_path, whole, process, number, ahead
):
  """Long before they log."""
  with toy(tmp_path, 'run', '--log_every=12', PAUSE_S='0.5', **ahead) as job:
    job.wait_until(lambda: steps(tmp_path / 'run'))
    job.processes[process].send_signal(number)
    job.expect(128 + number, 128 + number, within_s=30)
    assert 'saved; the same command resumes' in job.said(0)
  assert 4 < steps(tmp_path / 'run')[-1] < 12
  finish(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize('ahead', [{}, {'AHEAD': '1'}])
@pytest.mark.parametrize('process', [0, 1])
def test_data_that_one_process_cannot_read_end_all_saved(
  tmp_path, whole, process, ahead
):
  with toy(tmp_path, 'run', own=one(process, FAIL_AT='6'), **ahead) as job:
    job.expect(1, 1)
    assert errors(job.said(process)) == ['error: clip 7 is damaged']
    (line,) = errors(job.said(1 - process))
    assert re.fullmatch(
      rf'error: process {process} on \S+: clip 7 is damaged', line
    )
  assert steps(tmp_path / 'run') == [4, 6]
  finish(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('ahead', 'evaluation', 'saved'),
  [({}, 2, [4, 8]), ({'AHEAD': '1'}, 2, [4, 8, 9]), ({'AHEAD': '1'}, 3, None)],
)
def test_held_out_data_that_one_process_cannot_read_end_all_saved(
  tmp_path, whole, ahead, evaluation, saved
):
  fails = one(1, FAIL_HELD_OUT=str(evaluation))
  with toy(tmp_path, 'run', own=fails, **ahead) as job:
    job.expect(1, 1)
    assert errors(job.said(1)) == ['error: clip 9 is damaged']
    (line,) = errors(job.said(0))
    assert 'clip 9 is damaged' in line or 'held-out data failed' in line
  assert steps(tmp_path / 'run') == (saved or [4, 8, 12])
  finish(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('early', 'ahead'),
  [
    ({'FAIL_EARLY': '1'}, {}),
    ({'FAIL_AT': '0'}, {}),
    ({'FAIL_AT': '1'}, {'AHEAD': '1'}),
  ],
)
def test_a_process_that_cannot_begin_ends_all(tmp_path, early, ahead):
  with toy(tmp_path, 'run', own=one(1, **early), **ahead) as job:
    job.expect(1, 1, within_s=60)
    (line,) = errors(job.said(0))
    assert line.startswith('error: process 1 on ')
  assert steps(tmp_path / 'run') == []


@pytest.mark.slow
def test_processes_that_differ_are_named(tmp_path):
  with toy(tmp_path, 'run', own=one(1, JAX_NUM_CPU_DEVICES='3')) as job:
    job.expect(1, 1)
    for process in range(2):
      (line,) = errors(job.said(process))
      assert 'process 1 on ' in line and 'devices 3 there, 2 here' in line


@pytest.mark.slow
@pytest.mark.parametrize('process', [0, 1])
def test_a_process_that_does_not_come_is_named(tmp_path, process):
  words = ('--start_timeout_s=4',)
  with toy(tmp_path, 'run', *words, only=(process,)) as job:
    job.expect(1, within_s=30)
    (line,) = errors(job.said(0))
  if process:
    assert 'no answer from process 0 at 127.0.0.1:' in line
  else:
    assert 'process 1 of 2 did not come to 127.0.0.1:' in line
  assert 'check that' in line


@pytest.mark.slow
def test_slurm_is_known(tmp_path):
  """Its variables, as srun sets them, in place of the flags."""
  with toy(
    tmp_path,
    'run',
    flags=False,
    own=lambda process: {
      'SLURM_PROCID': str(process),
      'SLURM_LOCALID': str(process),
    },
    SLURM_JOB_ID=str(random.randrange(4096)),
    SLURM_STEP_NODELIST='localhost',
    SLURM_NTASKS='2',
  ) as job:
    job.expect(0, 0)
    assert 'process 1 of 2 on ' in job.said(1)


@pytest.mark.slow
def test_a_slurm_job_of_one_process_stays_alone(tmp_path):
  with toy(
    tmp_path,
    'run',
    count=1,
    SLURM_JOB_ID='7',
    SLURM_STEP_NODELIST='localhost',
    SLURM_NTASKS='1',
    SLURM_PROCID='0',
    SLURM_LOCALID='0',
  ) as job:
    job.expect(0)
    assert 'process 0' not in job.said(0)


@pytest.mark.slow
def test_train_killed_and_started_again_equals_uninterrupted(tmp_path):
  config = jobs.tiny_tokenizer(tmp_path / 'tiny.py')

  def train(name):
    words = (config, *TRAIN, f'--workdir={tmp_path / name}')
    return jobs.Job(tmp_path / 'logs', 'train', *words)

  with train('whole') as job:
    job.expect(0, 0, within_s=400)
  with train('run') as job:
    job.wait_until(lambda: steps(tmp_path / 'run'), within_s=400)
    job.processes[1].kill()
    check_lost(job, 0, lost=1)
  with train('run') as job:
    job.expect(0, 0, within_s=400)
    assert 'resumed from checkpoint' in job.said(0)
  assert digests(tmp_path / 'run') == digests(tmp_path / 'whole')


@pytest.mark.slow
def test_four_processes_killed_at_random_equal_uninterrupted(tmp_path):
  draw = random.Random(0)
  options = {'count': 4, 'devices': 1}
  with toy(tmp_path, 'whole', **options) as job:
    job.expect(0, 0, 0, 0)
  for _ in range(5):
    with toy(tmp_path, 'run', PAUSE_S='0.4', **options) as job:
      job.wait_until(lambda job=job: ' of 4 devices' in job.said(3))
      time.sleep(draw.uniform(0, 6))
      victim = draw.randrange(4)
      job.processes[victim].kill()
      codes = [KILLED if i == victim else peers.LOST for i in range(4)]
      job.expect(*codes, within_s=30)
  with toy(tmp_path, 'run', **options) as job:
    job.expect(0, 0, 0, 0)
  assert digests(tmp_path / 'run') == digests(tmp_path / 'whole')


@pytest.mark.slow
def test_a_run_moves_between_one_two_and_four_processes(tmp_path, whole_run):
  for count, until in ((1, 4), (2, 8), (4, 12)):
    options = {'count': count, 'devices': 4 // count, 'PAUSE_S': '0.3'}
    with toy(tmp_path, 'run', **options) as job:
      if until < 12:
        job.wait_until(lambda until=until: until in steps(tmp_path / 'run'))
      else:
        job.expect(0, 0, 0, 0)
  moved, straight = (
    manifest.load_arrays(path / 'checkpoints').tree
    for path in (tmp_path / 'run', whole_run)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    moved,
    straight,
  )
