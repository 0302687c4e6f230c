"""Gives every command damaged files and absurd flags, and watches it.

  python tests/fuzz.py [--cases=2000] [--seconds=600] [--seed=0] [--replay=17]

Case i is a function of (seed, i). A command may refuse, in one line that begins
with `error:`, or do what it was asked to. It is a fault to end with a
traceback, to hang, to die, to write or change anything outside its output, to
claim success without an output, or to leave half an output behind. Commands run
in one process under a watchdog, every tenth as a real one.
"""

import argparse
import dataclasses
import hashlib
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from fuzz_corpus import TARGETS, Target, make_corpus
from fuzz_mutations import VALUES, damage
from shell import ROOT, Done, Shell

TIMEOUT_S = 60
REAL_EVERY = 10
_OUTPUTS = ('out', 'workdir', 'save', 'plot')
_HALF = ('.partial', '.tmp')


@dataclasses.dataclass(frozen=True)
class Case:
  """One command line.

  Attributes:
    index: of the case.
    target: what is read by which command.
    how: what was done to its input.
    arguments: of the command, its name first.
  """

  index: int
  target: Target
  how: str
  arguments: tuple[str, ...]


def make_case(
  index: int, *, seed: int, corpus: pathlib.Path, folder: pathlib.Path
) -> Case:
  """Copies a target's input to `folder`, and damages it or the flags."""
  rng = np.random.default_rng((seed, index))
  target = TARGETS[rng.integers(len(TARGETS))]
  places = {
    'in': folder / 'in',
    'out': folder / 'result' / 'out',
    'corpus': corpus,
  }
  (folder / 'result').mkdir(parents=True)
  shutil.copytree(corpus / target.source, places['in'])
  arguments = [x.format_map(places) for x in target.command]
  if rng.random() < 0.4:
    how = _change_flag(arguments, rng)
  else:
    found = sorted(x for x in places['in'].glob(target.pattern) if x.is_file())
    how = damage(found[rng.integers(len(found))], rng)
  return Case(index, target, how, tuple(arguments))


def _change_flag(arguments: list[str], rng: np.random.Generator) -> str:
  """Gives one flag of the command another value, or adds it."""
  names = flag_names(arguments)
  name = names[rng.integers(len(names))]
  value = VALUES[rng.integers(len(VALUES))]
  if name in _OUTPUTS and value == '/':
    value = '/proc/self'
  kept = [x for x in arguments if not x.startswith(f'--{name}=')]
  arguments[:] = [*kept, f'--{name}={value}']
  return f'--{name}={value[:60]!r}'


def flag_names(arguments: list[str]) -> list[str]:
  """The flags of a command, with the keys of its config if it has one."""
  module = importlib.import_module(
    f'videoar_jax.commands.{arguments[0].rpartition(".")[2]}'
  )
  names = [x for x in module.FLAGS.values if '.' not in x and x != 'verbosity']
  if arguments[0] == 'train' and 'export' not in arguments:
    names += 4 * config_keys()
  return names


def config_keys() -> list[str]:
  """`config.a.b` for each key of a tokenizer's config."""
  from videoar_jax.train import defaults

  def keys(section, prefix) -> Iterator[str]:
    for name, value in section.items():
      if hasattr(value, 'items'):
        yield from keys(value, f'{prefix}.{name}')
      else:
        yield f'{prefix}.{name}'

  return list(keys(defaults.tokenizer_config(), 'config'))


def faults(case: Case, done: Done, folder: pathlib.Path) -> list[str]:
  """What a command did that it may not."""
  found = []
  if done.returncode is None:
    found.append(f'no end after {TIMEOUT_S} s')
  elif done.returncode < 0:
    found.append(f'died of signal {-done.returncode}')
  if 'Traceback' in done.stderr:
    found.append('traceback: ' + done.stderr.strip().splitlines()[-1][:200])
  left = [
    x
    for x in sorted(folder.rglob('*'))
    if x.is_file() and not x.is_relative_to(folder / 'in')
  ]
  if half := [x.name for x in left if x.name.endswith(_HALF)]:
    found.append(f'half an output is left: {half[:3]}')
  if done.returncode == 0 and not found:
    if not left:
      found.append('success without an output')
  elif done.returncode and not found:
    lines = done.stderr.strip().splitlines()
    errors = [x for x in lines if x.startswith('error: ')]
    if len(errors) != 1 and done.returncode != 130:
      found.append(f'{len(errors)} lines of error: {done.stderr[-200:]!r}')
  return found


def fingerprint(*folders: pathlib.Path) -> str:
  """Changes with any file below the folders, and with what the root holds."""
  digest = hashlib.sha256()
  for folder in folders:
    for path in sorted(folder.rglob('*')):
      about = path.lstat()
      digest.update(f'{path} {about.st_size} {about.st_mtime_ns}\n'.encode())
  digest.update('\n'.join(sorted(os.listdir(ROOT))).encode())
  return digest.hexdigest()


def run_case(
  case: Case, shell: Shell, *, corpus: pathlib.Path, folder: pathlib.Path
) -> tuple[Done, list[str]]:
  """Runs a case; returns how it ended and its faults."""
  before = fingerprint(corpus, folder / 'in')
  name, *arguments = case.arguments
  result = folder / 'result'
  done = shell.run(name, *arguments, timeout_s=TIMEOUT_S, cwd=result)
  found = faults(case, done, folder)
  if fingerprint(corpus, folder / 'in') != before:
    found.append('something outside its output was changed')
  if case.index % REAL_EVERY == 0 and not found:
    shutil.rmtree(result)
    result.mkdir()
    real = _real(name, arguments, result)
    if real.returncode != done.returncode or 'Traceback' in real.stderr:
      found.append(f'as a real command: {real.returncode} {real.stderr[-300:]}')
  return done, found


def _real(name: str, arguments: list[str], cwd: pathlib.Path) -> Done:
  words = [x.encode(errors='surrogateescape') for x in arguments]
  command = [sys.executable, '-m', f'videoar_jax.{name}', *words]
  try:
    done = subprocess.run(
      command,
      cwd=cwd,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      errors='replace',
      timeout=2 * TIMEOUT_S,
    )
  except subprocess.TimeoutExpired:
    return Done(None, stderr='hung')
  return Done(done.returncode, done.stdout, done.stderr)


def fuzz(
  indices, *, seed: int, seconds: float, verbose: bool = False
) -> tuple[int, list[str]]:
  """Runs cases until the time is up.

  Returns:
    How many ran, and a line for each with a fault.
  """
  begin, ran, lines = time.monotonic(), 0, []
  with tempfile.TemporaryDirectory(prefix='fuzz_') as name, Shell() as shell:
    root = pathlib.Path(name)
    corpus = make_corpus(root / 'corpus')
    for index in indices:
      if time.monotonic() - begin > seconds:
        break
      folder = root / f'case{index}'
      case = make_case(index, seed=seed, corpus=corpus, folder=folder)
      done, found = run_case(case, shell, corpus=corpus, folder=folder)
      ran += 1
      if found or verbose:
        command = ' '.join(case.arguments[:2])[:60]
        last = (done.stderr.strip().splitlines() or [''])[-1][:150]
        line = f'case {index}: {command}: {case.how}: {"; ".join(found)}'
        print(line, f'[{done.returncode}] {last}', flush=True)
        lines += [line] if found else []
      shutil.rmtree(folder)
  return ran, lines


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--cases', type=int, default=2000)
  parser.add_argument('--seconds', type=float, default=600)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--replay', type=int)
  chosen = parser.parse_args()
  one = chosen.replay is not None
  ran, lines = fuzz(
    [chosen.replay] if one else range(chosen.cases),
    seed=chosen.seed,
    seconds=chosen.seconds,
    verbose=one,
  )
  print(f'{ran} cases, {len(lines)} with a fault')
  sys.exit(bool(lines))


if __name__ == '__main__':
  main()
