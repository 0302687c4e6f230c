"""Launchers that go through stages, run by tests without an installation.

`make_environment` makes a folder that launch/environment.sh takes for an
environment; its `python` is this test's. With `relay` its `python -m
videoar_jax.X` runs in the one process of a `shell.Shell`, which spares the
start of each.

python stages.py SOCKET WORDS… is that `python`; `set_up` gives the process a
stub in the place of I3D.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
_LIMIT_S = 900  # of a command


def make_environment(folder: pathlib.Path, *, python: str = '') -> dict:
  """Variables of a shell that makes launchers use this test's packages.

  Args:
    folder: a new one.
    python: what to run instead of this test's interpreter.
  """
  script = folder / 'bin' / 'python'
  script.parent.mkdir(parents=True)
  script.write_text(f'#!/bin/sh\nexec {python or sys.executable} "$@"\n')
  script.chmod(0o755)
  key = subprocess.run(
    ['bash', '-c', 'source launch/environment.sh && _environment_key'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  ).stdout.strip()
  (folder / f'videoar_jax-{key}-metrics').touch()
  return {**os.environ, 'PYTHONPATH': str(ROOT), 'VIDEOAR_VENV': str(folder)}


@contextlib.contextmanager
def relay(shell, folder: pathlib.Path):
  """Runs commands that are sent to a socket in a shell; yields its `python`."""
  path = folder / 'socket'
  with socket.socket(socket.AF_UNIX) as server:
    server.bind(str(path))
    server.listen()
    threading.Thread(target=_serve, args=(server, shell), daemon=True).start()
    yield f'{sys.executable} -S -E {__file__} {path}'


def _serve(server: socket.socket, shell) -> None:
  while True:
    try:
      connection, _ = server.accept()
    except OSError:  # closed
      return
    with connection, connection.makefile('rw') as file:
      folder, name, *words = json.loads(file.readline())
      name = name.removeprefix('videoar_jax.')
      done = shell.run(name, *words, cwd=folder, timeout_s=_LIMIT_S)
      file.write(json.dumps(dataclasses.asdict(done)) + '\n')


def main(path: str, words: list[str]) -> int:
  """What `python WORDS…` does here."""
  if words[0] != '-m':  # a script of launch/
    os.execv(sys.executable, [sys.executable, *words])
  if '--follow' in words:  # beside all others, in a process of its own
    time.sleep(600)
  with socket.socket(socket.AF_UNIX) as client:
    client.connect(path)
    with client.makefile('rw') as file:
      file.write(json.dumps([os.getcwd(), *words[1:]]) + '\n')
      file.flush()
      done = json.loads(file.readline())
  sys.stdout.write(done['stdout'])
  sys.stderr.write(done['stderr'])
  return 1 if done['returncode'] is None else done['returncode']


def set_up() -> None:
  """Puts the stub of `shared_work` in the place of I3D."""
  from shared_work import MODEL, stub_logits

  from videoar_jax.evaluate import i3d

  i3d.logits, i3d.load_i3d = stub_logits, lambda config, **_: MODEL


if __name__ == '__main__':
  sys.exit(main(sys.argv[1], sys.argv[2:]))
