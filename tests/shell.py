"""Runs commands one after another in one process, which imports JAX once.

A command runs as `python -m videoar_jax.<name>` would, from the parsing of its
flags to its exit status, on one CPU device. Where a command hangs or kills the
process, `run` says so and the next command gets a new one.
"""

import contextlib
import dataclasses
import importlib
import io
import json
import os
import pathlib
import select
import subprocess
import sys
import traceback

ROOT = pathlib.Path(__file__).parents[1]
# The quickstart's networks, smaller: flags of a tokenizer, and of a generator.
TINY = [
  '--config.tokenizer.base_width=4',
  '--config.tokenizer.multipliers=(1,1)',
  '--config.tokenizer.scales=((1,1),(4,4))',
  '--config.tokenizer.latent_width=4',
  '--config.data.height=16',
  '--config.data.width=16',
]
SMALL = [
  '--config.transformer.num_layers=1',
  '--config.transformer.width=16',
  '--config.data.height=16',
  '--config.data.width=16',
  '--config.data.batch_size=4',
]


@dataclasses.dataclass(frozen=True)
class Done:
  """A command that ended.

  Attributes:
    returncode: its exit status; None where it hung, below 0 where a signal
      ended the process.
    stdout: what it printed.
    stderr: what it said.
  """

  returncode: int | None
  stdout: str = ''
  stderr: str = ''


class Shell:
  """The process; a context manager."""

  def __init__(self, **environment: str):
    """Args:
    environment: variables of the process, besides this one's; SHELL_SET_UP
      names a module whose `set_up` is called before the first command.
    """
    self._environment = {
      **os.environ,
      # Tests compile far longer than they run.
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      **environment,
    }
    self._process: subprocess.Popen | None = None

  def __enter__(self) -> 'Shell':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.wait()
      self._process = None

  def run(
    self, name: str, *arguments, timeout_s: float = 300, cwd=ROOT
  ) -> Done:
    """Runs `python -m videoar_jax.<name> <arguments>`."""
    if self._process is None or self._process.poll() is not None:
      self._process = subprocess.Popen(
        [sys.executable, '-u', __file__],
        cwd=ROOT,
        env={**self._environment, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
      )
    line = json.dumps([str(cwd), name, *map(str, arguments)]) + '\n'
    try:
      self._process.stdin.write(line.encode())
      self._process.stdin.flush()
      ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
      answer = self._process.stdout.readline() if ready else b''
    except BrokenPipeError:
      ready, answer = True, b''
    if answer:
      return Done(**json.loads(answer))
    code = self._process.wait() if ready else None
    self.close()
    return Done(code, stderr='hung' if code is None else f'died ({code})')


def serve() -> None:
  """Reads commands from stdin, a JSON list a line, and answers in kind."""
  answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # of libraries in C
  if module := os.environ.get('SHELL_SET_UP'):
    importlib.import_module(module).set_up()
  for line in sys.stdin:
    folder, name, *arguments = json.loads(line)
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      code = run_here(name, arguments)
    answer = Done(code, out.getvalue(), err.getvalue())
    answers.write(json.dumps(dataclasses.asdict(answer)) + '\n')
    answers.flush()


def run_here(name: str, arguments: list[str]) -> int:
  """Runs a command in this process, with flags as in a new one."""
  from videoar_jax.core import command

  try:
    module = importlib.import_module(
      f'videoar_jax.commands.{name.rpartition(".")[2]}'
    )
    code = command.run(module, [name, *arguments]) or 0
  except SystemExit as ended:
    code = ended.code or 0
    if isinstance(code, str):
      print(code, file=sys.stderr)
      code = 1
  except BaseException:
    traceback.print_exc()
    code = 1
  return code


if __name__ == '__main__':
  serve()
