"""A `gcloud` that keeps slices of TPU VMs in a folder, and the cloud behind it.

Run as a program it is the command: it knows the verbs and flags that
launch/tpu_vm.sh uses, as gcloud 528 documents them, and refuses others. Each
worker is a folder, its home; ssh runs commands there. `FakeCloud` is the view
of the tests, which put the command first on the path.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

CHIPS_A_CORE = {'v5p': 2, 'v4': 2}
PLACE = {'zone', 'project'}
CONNECTION = {'worker', 'node', 'tunnel-through-iap', *PLACE}
FLAGS = {
  'create': {
    *('node-id', 'node-count', 'accelerator-type', 'runtime-version', 'spot'),
    *('network', 'subnetwork', *PLACE),
  },
  'describe': {'format', *PLACE},
  'delete': {'force', 'quiet', *PLACE},
  'ssh': {'command', *CONNECTION},
  'scp': CONNECTION,
}
# What a request goes through, a step with each look.
QUEUE = ['WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE']


class Slice:
  """A queued resource, its state in a file, its workers in folders."""

  def __init__(self, root: pathlib.Path, name: str):
    self.folder = root / 'slices' / name
    self._file = self.folder / 'slice.json'

  def read(self) -> dict | None:
    return json.loads(self._file.read_text()) if self._file.exists() else None

  def write(self, about: dict) -> None:
    self.folder.mkdir(parents=True, exist_ok=True)
    new = self._file.with_suffix('.new')
    new.write_text(json.dumps(about))
    new.replace(self._file)

  def workers(self) -> list[pathlib.Path]:
    return sorted(self.folder.glob('w*'))

  def end_jobs(self, *, notice: bool) -> None:
    """Ends all that runs on the workers, after a SIGTERM where with notice."""
    found = [
      [int(x) for x in path.read_text().split()]
      for path in self.folder.glob('w*/videoar/jobs/*/pids')
    ]
    for _, child in found if notice else ():
      _kill(os.kill, child, signal.SIGTERM)
    time.sleep(0.4 * notice)
    for runner, _ in found:
      _kill(os.killpg, runner, signal.SIGKILL)


def _kill(kill, number: int, with_signal: int) -> None:
  with contextlib.suppress(ProcessLookupError):
    kill(number, with_signal)


class FakeCloud:
  """What a test sees and does: calls, slices, the taking away of one."""

  def __init__(self, root: pathlib.Path):
    self.root, self.bin = root, root / 'bin'
    self.bin.mkdir(parents=True)
    program = f'exec {sys.executable} -S -E {os.path.abspath(__file__)} "$@"'
    self.add_program('gcloud', program)
    # What makes an environment on a worker: one with this test's packages.
    self.add_program(
      'uv',
      'if test "$1" = venv; then mkdir -p "${@: -1}/bin"\n'
      f'python="${{@: -1}}/bin/python"\n'
      f'printf \'#!/bin/sh\\nexec {sys.executable} "$@"\\n\' >"$python"\n'
      'chmod +x "$python"; fi',
    )

  def add_program(self, name: str, script: str) -> None:
    path = self.bin / name
    path.write_text(f'#!/usr/bin/env bash\n{script}\n')
    path.chmod(0o755)

  def environment(self, **more: str) -> dict[str, str]:
    path = f'{self.bin}:{os.environ["PATH"]}'
    assert shutil.which('gcloud', path=path) == str(self.bin / 'gcloud')
    return {**os.environ, 'PATH': path, 'FAKE_CLOUD': str(self.root), **more}

  def calls(self) -> list[list[str]]:
    path = self.root / 'calls'
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]

  def slice(self, name: str = 'pod') -> Slice:
    return Slice(self.root, name)

  def take_away(self, name: str = 'pod', *, notice: bool) -> None:
    """Preempts a slice: its workers are gone, the request is suspended."""
    found = self.slice(name)
    found.end_jobs(notice=notice)
    found.write({**found.read(), 'state': 'SUSPENDED'})
    for worker in found.workers():
      shutil.rmtree(worker, ignore_errors=True)


def main(words: list[str]) -> int:
  root = pathlib.Path(os.environ['FAKE_CLOUD'])
  with (root / 'calls').open('a') as file:
    file.write(json.dumps(words) + '\n')
  assert words[:2] == ['compute', 'tpus'], words
  group, verb, *rest = words[2:]
  given = [x.removeprefix('--') for x in rest if x.startswith('--')]
  flags = dict(x.partition('=')[::2] for x in given)
  names = [x for x in rest if not x.startswith('--')]
  if unknown := flags.keys() - FLAGS[verb] or 'zone' not in flags and {'zone'}:
    return say(f'ERROR: unrecognized or missing: {unknown}', 2)
  if group == 'tpu-vm':
    return describe_node(root, names[0])
  name = names[-1].partition(':')[0]
  found = Slice(root, name)
  if verb == 'create':
    return create(found, flags)
  if found.read() is None:
    return say(f'ERROR: (gcloud) NOT_FOUND: Resource {name} was not found', 1)
  if verb == 'scp':
    return copy(found, names)
  return {'describe': describe, 'delete': delete, 'ssh': ssh}[verb](
    found, flags
  )


def say(text: str, status: int) -> int:
  print(text, file=sys.stderr)
  return status


def create(found: Slice, flags: dict) -> int:
  if found.read() is not None:
    return say('ERROR: (gcloud) ALREADY_EXISTS', 1)
  if ('node-id' in flags) == ('node-count' in flags):
    return say('ERROR: exactly one of --node-id, --node-count', 2)
  kind, size = flags['accelerator-type'].rsplit('-', 1)
  # Four chips a machine; of some kinds the cores are counted.
  workers = max(1, int(size) // CHIPS_A_CORE.get(kind, 1) // 4)
  nodes = int(flags.get('node-count', 1))
  found.write({'state': QUEUE[0], 'workers': workers, 'nodes': nodes})
  return 0


def describe(found: Slice, flags: dict) -> int:
  about = found.read()
  if flags['format'] != 'value(state.state)':
    print(about.get('message', ''))
    return 0
  print(about['state'])
  if about['state'] in QUEUE[:-1] and not about.get('stuck'):
    about['state'] = QUEUE[QUEUE.index(about['state']) + 1]
    if about['state'] == 'ACTIVE':
      for node in range(about['nodes']):
        for i in range(about['workers']):
          (found.folder / f'w{node}_{i}').mkdir()
    found.write(about)
  return 0


def describe_node(root: pathlib.Path, node: str) -> int:
  found, index = Slice(root, node), 0
  if found.read() is None:  # of several: NAME-0, NAME-1
    name, _, number = node.rpartition('-')
    found, index = Slice(root, name), int(number or 0)
  about = found.read()
  if about is None or about['state'] != 'ACTIVE':
    return say(f'ERROR: (gcloud) NOT_FOUND: {node}', 1)
  addresses = [f'10.{index}.0.{i}' for i in range(about['workers'])]
  print(';'.join(addresses))
  return 0


def delete(found: Slice, flags: dict) -> int:
  if 'force' not in flags or 'quiet' not in flags:
    return say('ERROR: its nodes are there, or a question is asked', 1)
  found.end_jobs(notice=False)
  shutil.rmtree(found.folder)
  return 0


def reached(found: Slice, flags: dict) -> list[pathlib.Path]:
  if found.read()['state'] != 'ACTIVE':
    return []
  # As with gcloud, what cannot be reached is passed over.
  all_workers = [x for x in found.workers() if not (x / 'unreachable').exists()]
  if flags.get('worker', '0') == 'all' and flags.get('node', '0') == 'all':
    return all_workers
  return all_workers[:1]


def ssh(found: Slice, flags: dict) -> int:
  running = [
    subprocess.Popen(
      ['bash', '-c', flags['command']],
      cwd=worker,
      env={
        **{k: v for k, v in os.environ.items() if not k.startswith('SECRET')},
        'HOME': str(worker),
        'HOSTNAME': f't1v-{worker.name}',
      },
      stdin=subprocess.DEVNULL,
    )
    for worker in reached(found, flags)
  ]
  return max([process.wait() for process in running], default=0)


def copy(found: Slice, names: list[str]) -> int:
  *sources, target = names
  if not (workers := reached(found, {'worker': 'all', 'node': 'all'})):
    return say('ERROR: no worker', 1)
  for worker in workers:
    for source in sources:
      shutil.copy(source, worker / target.partition(':')[2])
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
