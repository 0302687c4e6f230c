"""Jobs of several processes: one is lost, stopped or wrong, and all end.

Here a process stands for a host; it has CPU devices of its own.
"""

import signal

import jobs
import pytest

from videoar_jax.core import manifest, peers

TRAIN = (
  '--config.train.num_steps=12',
  '--config.train.checkpoint_every=4',
  '--config.train.log_every=6',
  '--config.optimizer.warmup_steps=3',
  '--config.data.num_workers=0',
  '--config.train.keep=9',
)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  return jobs.tiny_tokenizer(tmp_path_factory.mktemp('config') / 'tiny.py')


def steps(workdir):
  return manifest.list_steps(workdir / 'checkpoints')


def digests(workdir, step=12):
  found = manifest.read_manifest(workdir / 'checkpoints' / str(step))
  return {name: about['digest'] for name, about in found['arrays'].items()}


def train(tmp_path, config, name, *others, **options):
  """The job that trains in the workdir of that name."""
  words = (config, *TRAIN, f'--workdir={tmp_path / name}', *others)
  return jobs.Job(tmp_path / 'logs', 'train', *words, **options)


def test_a_killed_process_ends_the_job_and_nothing_is_lost(tmp_path, config):
  with train(tmp_path, config, 'whole') as job:
    job.expect(0, 0)
    assert 'process 1 of 2 on ' in job.said(1)
    assert ': 2 of 4 devices (cpu)' in job.said(1)
  with train(tmp_path, config, 'run') as job:
    job.wait_until(lambda: steps(tmp_path / 'run'))
    job.processes[1].kill()
    job.expect(peers.LOST, -signal.SIGKILL, within_s=30)
    last = job.said(0).splitlines()[-1]
    assert last.startswith('error: process 1 on ')
    assert 'was lost' in last and 'Traceback' not in job.said(0)
  assert steps(tmp_path / 'run') != steps(tmp_path / 'whole')
  with train(tmp_path, config, 'run') as job:
    job.expect(0, 0)
    assert 'resumed from checkpoint' in job.said(0)
  assert digests(tmp_path / 'run') == digests(tmp_path / 'whole')
