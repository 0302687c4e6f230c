"""Jobs of several real processes on this machine, each ended at the latest by
a hard kill."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

from tiny_config import write_config

ROOT = pathlib.Path(__file__).parents[1]


def tiny_tokenizer(path):
  """Writes a config file; the flag of its variant that trains in no time."""
  write_config(
    path,
    data={'num_frames': 1, 'height': 4, 'width': 4, 'batch_size': 8},
    tokenizer={
      'multipliers': (1, 1),
      'num_time_levels': 0,
      'encoder_blocks': 1,
      'decoder_blocks': 1,
    },
    transformer={},
  )
  return f'--config={path}:tokenizer'


class Job:
  """The processes of one job, each with a file of all that it says.

  Used with `with`, it leaves none of them alive.
  """

  def __init__(
    self,
    folder,
    name,
    *arguments,
    count=2,
    devices=2,
    only=None,
    flags=True,
    own=lambda process: {},
    cwd=lambda process: ROOT,
    **environment,
  ):
    """Starts `python -m videoar_jax.NAME`, or a file NAME, in each process.

    Args:
      folder: for what they say.
      name: of the command, or of a file in tests/.
      *arguments: of all of them.
      count: of processes; a single one gets no flags of a job.
      devices: that are forced in each.
      only: the processes that are started; default: all.
      flags: they are told of each other by flags.
      own: `process -> variables` of that one's environment.
      cwd: `process -> folder` that it runs in.
      **environment: variables besides this process's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    only = range(count) if only is None else only
    self._files = [folder / f'{i}-{time.time_ns()}.log' for i in only]
    environment = {
      **os.environ,
      'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}',
      'NPROC': '32',
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': str(devices),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
      **environment,
    }
    port = free_port()
    self.processes = []
    for process, path in zip(only, self._files):
      place = (
        f'--coordinator=127.0.0.1:{port}',
        f'--num_processes={count}',
        f'--process_id={process}',
      )
      words = [*arguments, *(place if flags and count > 1 else ())]
      script = ROOT / 'tests' / name
      program = [script] if script.exists() else ['-m', f'videoar_jax.{name}']
      with path.open('w') as file:
        self.processes.append(
          subprocess.Popen(
            [sys.executable, *program, *map(str, words)],
            cwd=cwd(process),
            env={**environment, **own(process)},
            stdout=file,
            stderr=subprocess.STDOUT,
          )
        )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    for process in self.processes:
      process.kill()
      process.wait()

  def said(self, process):
    return self._files[process].read_text(errors='replace')

  def wait_until(self, condition, *, within_s=120):
    """Returns once the condition holds; all processes live until then."""
    end = time.monotonic() + within_s
    while not condition():
      ended = [x.poll() for x in self.processes]
      assert ended.count(None) == len(ended), (ended, self._all())
      assert time.monotonic() < end, self._all()
      time.sleep(0.01)

  def expect(self, *codes, within_s=120):
    """Waits until all have ended, and checks their exit statuses."""
    end = time.monotonic() + within_s
    for process in self.processes:
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(end - time.monotonic(), 0.01))
    ended = tuple(process.poll() for process in self.processes)
    assert ended == codes, (ended, self._all())

  def _all(self):
    return '\n---\n'.join(self.said(i) for i in range(len(self._files)))


def run(folder, name, *arguments, **options):
  """Runs a job to its end; returns what the first process said."""
  with Job(folder, name, *arguments, **options) as job:
    job.expect(*[0] * len(job.processes), within_s=240)
    return job.said(0)


def free_port():
  with contextlib.closing(socket.create_server(('', 0))) as server:
    return server.getsockname()[1]
