"""Commands as one of several processes runs them; a stub in place of I3D.

python shared_work.py ADDRESS COUNT PROCESS LINES runs command lines, a JSON
list of lists of words, one after another. With the address `kill:N` it is one
process, which kills itself when it samples for the Nth time.
"""

import contextlib
import importlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import types

import numpy as np

from videoar_jax.core import command, start
from videoar_jax.evaluate import i3d, kept, makers

MODEL = types.SimpleNamespace(sha256='0' * 64, config=i3d.I3DConfig())


def stub_logits(model, videos, *, batch_size=None):
  """A projection of a video's frames."""
  rng = np.random.default_rng(0)
  x = np.asarray(videos, np.float64)[:, ::3, 3::5, 3::5].mean(2)
  x = x.reshape(len(videos), -1)[:, :27]
  return np.float32(x @ rng.standard_normal((27, i3d.NUM_CLASSES)) / 100)


def run_lines(lines):
  """Runs command lines in this process."""
  for name, *words in lines:
    module = importlib.import_module(f'videoar_jax.commands.{name}')
    assert not command.run(module, [name, *words])


def run_killed(lines, *, at, cwd):
  """Runs command lines in a process that is killed when it samples."""
  words = [sys.executable, __file__, f'kill:{at}', '1', '0', json.dumps(lines)]
  root = str(pathlib.Path(__file__).parents[1])
  env = {**os.environ, 'NPROC': '16', 'PYTHONPATH': root}
  done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=cwd)
  assert done.returncode == -signal.SIGKILL, done.stderr


def run_shared(lines, *, count, devices, cwd):
  """Runs command lines in so many processes; what each of them said."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  env = {**os.environ, 'NPROC': '16', 'JAX_NUM_CPU_DEVICES': str(devices)}
  env['PYTHONPATH'] = str(pathlib.Path(__file__).parents[1])
  begun = [
    subprocess.Popen(
      [sys.executable, __file__, address, str(count), str(i)]
      + [json.dumps(lines)],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env=env,
      cwd=cwd,
    )
    for i in range(count)
  ]
  try:
    said = [process.communicate(timeout=900)[0] for process in begun]
  finally:
    for process in begun:
      process.kill()
  assert not any(process.returncode for process in begun), '\n'.join(said)
  return said


def _kill_at(number):
  """Writes all rows at once, and kills this process at its Nth samples."""
  kept.FLUSH_S, make, calls = 0.0, makers.Samples.make, []

  def killed(*arguments):
    calls.append(arguments)
    if len(calls) == number:
      os.kill(os.getpid(), signal.SIGKILL)
    return make(*arguments)

  makers.Samples.make = killed


def _main():
  import jax

  address, count, process, lines = sys.argv[1:]
  jax.config.update('jax_disable_most_optimizations', True)
  if address.startswith('kill:'):
    _kill_at(int(address.removeprefix('kill:')))
  else:
    jax.distributed.initialize(address, int(count), int(process))
  start.together = lambda flags: contextlib.nullcontext()
  i3d.logits, i3d.load_i3d = stub_logits, lambda config, **_: MODEL
  run_lines(json.loads(lines))


if __name__ == '__main__':
  _main()
