"""Kills a training run and damages its checkpoints; tells what it survived.

  python launch/chaos.py --workdir=DIR [--kills=200] [--flips=200] [--seed=0]

A tiny tokenizer is trained once without interruption and once with a checkpoint
after each step, killed (SIGKILL) again and again: at least every third time
while a checkpoint is written, else just after a commit, when old ones are
removed, or at any time since the start. The same command restarts it. Each
restart must go on from the newest committed step, print no traceback, and set
nothing aside as damaged; the last checkpoint must be the uninterrupted run's.

Then single bits of the last checkpoint are flipped, in all its files in turn.
A restart must go on from the step before, with the damaged one set aside, or
find all values as they were: then the flip was in what none reads. Every 20th
restart is the command's, to its end; of the others only the reading is done.
Faults are printed, and the exit status is 1 if there are any.
"""

import collections
import dataclasses
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import SingleDeviceSharding

from videoar_jax.core import command, digest, files, manifest
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.console import say
from videoar_jax.core.manifest import CheckpointError

ROOT = pathlib.Path(__file__).parents[1]
_STEPS_A_LIFE = 4  # a life of the run makes about half of it
_SELDOM = 20  # steps between two checkpoints where nothing is killed
_POLL_S = 0.001
_HANGS_S = 300.0
_TRAIN = (
  *(sys.executable, '-m', 'videoar_jax.train', '--workdir={workdir}'),
  f'--config={ROOT}/configs/quickstart.py:image_tokenizer',
  '--config.tokenizer.base_width=16',
  '--config.tokenizer.multipliers=(1,)',
  '--config.tokenizer.num_time_levels=0',
  '--config.tokenizer.patch=4',
  '--config.tokenizer.scales=((1,1),(2,2))',
  '--config.tokenizer.latent_width=4',
  '--config.tokenizer.norm_groups=1',
  '--config.optimizer.kind=adamw',
  '--config.optimizer.warmup_steps=1',
  '--config.data.height=8',
  '--config.data.width=8',
  '--config.data.batch_size=2',
  '--config.train.num_steps={steps}',
  '--config.train.checkpoint_every={every}',
  '--config.train.eval_every=0',
  '--config.train.sample_every=0',
)

FLAGS = command.Flags()

_KILLS = FLAGS.count('kills', 200, 'How often the run is killed.')
_FLIPS = FLAGS.count('flips', 200, 'How many bits are flipped, one at a time.')
_SEED = FLAGS.count('seed', 0, 'Of times, places and bits.', least=0)
_WORKDIR = FLAGS.text('workdir', None, 'A new folder, where it works.')


@dataclasses.dataclass
class Run:
  """A training run that may be killed.

  Attributes:
    words: its command, with {workdir}, {steps} and {every}.
    workdir: where it lives.
    steps: after which it ends.
    every: steps between two checkpoints.
    faults: what went wrong, for the end.
    resumed: how often it went on from the newest committed step.
  """

  words: tuple[str, ...]
  workdir: pathlib.Path
  steps: int
  every: int = _SELDOM
  faults: list[str] = dataclasses.field(default_factory=list)
  resumed: int = 0

  @property
  def checkpoints(self) -> pathlib.Path:
    return self.workdir / 'checkpoints'

  def newest(self) -> int | None:
    return max(manifest.list_steps(self.checkpoints), default=None)

  def last_two(self) -> list[int]:
    return manifest.list_steps(self.checkpoints)[-2:]

  def unfinished(self) -> tuple[set, set]:
    """Checkpoints half written, with their times, and half removed."""
    written = {
      (path.name, os.stat(path).st_mtime_ns)
      for path in manifest.children(self.checkpoints)
      if manifest.PARTIAL in path.name
    }
    steps = manifest.list_steps(self.checkpoints)
    paths = [self.checkpoints / str(step) / 'manifest' for step in steps]
    return written, {path for path in paths if not path.exists()}

  def command(self) -> list[str]:
    values = {'workdir': self.workdir, 'steps': self.steps, 'every': self.every}
    words = list(self.words)
    for name, value in values.items():
      words = [word.replace(f'{{{name}}}', str(value)) for word in words]
    return words

  def live(self, until: Callable[[subprocess.Popen], None]) -> int:
    """Starts it, kills it after `until`, and looks at what it said.

    Returns:
      Its exit status, below 0 where it was killed.
    """
    before = self.newest()
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as e:
      process = subprocess.Popen(
        self.command(),
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=out,
        stderr=e,
      )
      try:
        until(process)
      finally:
        process.kill()
        process.wait()
      for file in (out, e):
        file.seek(0)
      self._look(before, out.read(), e.read())
    return process.returncode

  def finish(self) -> None:
    """Lets it run to its end."""
    code = self.live(lambda process: process.wait(_HANGS_S))
    if code:
      self.faults.append(f'the run ended with status {code}')

  def _look(self, before: int | None, out: str, errors: str) -> None:
    if 'Traceback' in errors:
      self.faults.append(f'a traceback:\n{errors}')
    begun = 'parameters: ' in out
    wanted = f'resumed from checkpoint {before} '
    self.resumed += wanted in out
    if begun and (wanted in out) != (before is not None):
      self.faults.append(f'{before} was committed, and it said:\n{out}')
    after = self.newest()
    if before is not None and (after is None or after < before):
      self.faults.append(f'step {before} was committed, and now {after} is')


def _names(folder: pathlib.Path) -> set[str]:
  try:
    return set(os.listdir(folder))
  except FileNotFoundError:
    return set()


@dataclasses.dataclass
class Times:
  """Seconds to the first checkpoint, and of a write, as last seen."""

  start: float = 5.0
  write: float = 0.1


def kill_again_and_again(
  run: Run, kills: int, *, rng: random.Random
) -> collections.Counter:
  """Kills a run so many times; counts when that was."""
  counts, times = collections.Counter(), Times()
  for number in range(kills):
    kind = rng.choice(['write', 'commit', 'any'])
    if 3 * counts['inside a write'] <= number:
      kind = 'write'
    before, left = run.newest(), run.unfinished()
    if run.live(_until(run, kind, times, rng)) >= 0:
      run.faults.append(f'it ended by itself at kill {number}')
      break
    counts['kills'] += 1
    # Not what an earlier life left.
    inside, half = (bool(a - b) for a, b in zip(run.unfinished(), left))
    counts['inside a write'] += inside
    counts['of them after a commit'] += inside and run.newest() is not None
    counts['inside a removal'] += half
    counts['before a new commit'] += run.newest() == before
    if (number + 1) % 20 == 0:
      say(f'{number + 1} kills, step {run.newest()}')
  return counts


def _until(
  run: Run, kind: str, times: Times, rng: random.Random
) -> Callable[[subprocess.Popen], None]:
  """Waits for a moment of a kind; returns sooner where the run ends."""
  left, delay = rng.randint(1, 2), rng.uniform(0, times.write)
  if kind == 'any':
    left, delay = 0, rng.uniform(0, 1.2 * times.start)

  def until(process: subprocess.Popen) -> None:
    begun, since, wait = time.monotonic(), {}, left
    seen = _names(run.checkpoints)  # of an earlier life
    while wait and process.poll() is None:
      now = time.monotonic()
      if now > begun + _HANGS_S:
        run.faults.append(f'it came to no checkpoint in {_HANGS_S} s')
        return
      names = _names(run.checkpoints)
      for name in names - seen:
        number, written, _ = name.partition(manifest.PARTIAL)
        if written:
          times.start = times.start if since else now - begun
          since[number] = now
        elif number in since:
          times.write = now - since[number]
        wait = max(wait - ((kind == 'write') == bool(written)), 0)
      seen = names
      time.sleep(_POLL_S)
    time.sleep(delay)

  return until


def same(*runs: Run) -> bool:
  """Whether the last checkpoints are of one step and hold the same bits."""
  found = []
  for run in runs:
    restored = manifest.load_arrays(run.checkpoints / str(run.newest()))
    arrays = digest.flatten(restored.tree)
    found.append((restored.step, {k: x.tobytes() for k, x in arrays.items()}))
  return found[0] == found[1]


def flip_bits(
  run: Run,
  flips: int,
  *,
  wanted: Run,
  rng: random.Random,
  command_every: int = 20,
) -> tuple[collections.Counter, collections.Counter]:
  """Flips bits of a run's last checkpoint, one at a time, each in a copy.

  Args:
    run: its two last checkpoints are whole.
    flips: how many, over all files in turn.
    wanted: has the checkpoint that a restart must end with.
    rng: chooses places and bits.
    command_every: after so many flips, the command restarts the run; 0: never.
  Returns:
    How often each file was hit; and how often that changed nothing.
  """
  newest = run.checkpoints / str(run.newest())
  paths = [
    path.relative_to(newest)
    for path in sorted(newest.rglob('*'))
    if path.is_file() and path.stat().st_size
  ]
  rng.shuffle(paths)
  hit, harmless = collections.Counter(), collections.Counter()
  for number in range(flips):
    name = paths[number % len(paths)]
    with tempfile.TemporaryDirectory(dir=run.workdir.parent) as scratch:
      copy = dataclasses.replace(run, workdir=pathlib.Path(scratch) / 'run')
      shutil.copytree(run.workdir, copy.workdir)
      flip_bit(copy.checkpoints / newest.name / name, rng)
      by_command = command_every and number % command_every == 0
      restart = _restart if by_command else _read
      unchanged = restart(copy, wanted, str(name))
    # Files of data have names of no meaning.
    kind = str(name.parent / '*' if name.parent.name == 'd' else name)
    hit[kind] += 1
    harmless[kind] += unchanged
  return hit, harmless


def flip_bit(path: pathlib.Path, rng: random.Random) -> None:
  data = bytearray(path.read_bytes())
  data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  path.write_bytes(data)


def _restart(run: Run, wanted: Run, name: str) -> bool:
  """Restarts by the command; whether the damage changed nothing."""
  before, _ = run.last_two()
  options = {'capture_output': True, 'text': True, 'timeout': _HANGS_S}
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(run.command(), env=environment, **options)
  unchanged = 'is trained already' in done.stdout
  back = f'resumed from checkpoint {before} ' in done.stdout
  if done.returncode or 'Traceback' in done.stderr or unchanged == back:
    run.faults.append(f'{name}: the command said:\n{done.stdout}{done.stderr}')
  elif not same(run, wanted):
    run.faults.append(f'{name}: the command ended elsewhere')
  return unchanged


def _read(run: Run, wanted: Run, name: str) -> bool:
  """As `_restart`, of what a restart reads, in this process."""
  whole = manifest.read_manifest(wanted.checkpoints / str(wanted.newest()))
  place = SingleDeviceSharding(jax.devices()[0])
  abstract = digest.nest(
    {
      key: jax.ShapeDtypeStruct(
        about['shape'], jnp.dtype(about['dtype']), sharding=place
      )
      for key, about in whole['arrays'].items()
    }
  )
  before, newest = run.last_two()
  try:
    restored = Checkpoints(run.checkpoints).restore(abstract)
  except CheckpointError as error:
    run.faults.append(f'{name}: {error}')
    return False
  found = digest.array_digests(digest.flatten(restored.tree))
  step = manifest.read_manifest(run.checkpoints / str(restored.step))
  right = found == {k: about['digest'] for k, about in step['arrays'].items()}
  moved = list(run.workdir.glob(f'checkpoints_damaged/{newest}-*'))
  back = restored.step == before and len(moved) == 1
  unchanged = restored.step == newest and step == whole and not moved
  if not right or unchanged == back:
    run.faults.append(f'{name}: restored {restored.step}, moved {moved}')
  return unchanged


def survive(
  words: tuple[str, ...],
  folder: pathlib.Path,
  *,
  kills: int,
  flips: int,
  seed: int,
) -> list[str]:
  """Does all of it in a folder, and says what came out; the faults."""
  rng, steps = random.Random(seed), _STEPS_A_LIFE * kills + 20
  straight = Run(words, folder / 'straight', steps)
  killed = Run(words, folder / 'killed', steps, 1, straight.faults)
  straight.finish()
  say(f'{steps} steps without interruption')
  counts = kill_again_and_again(killed, kills, rng=rng)
  say(', '.join(f'{count} {name}' for name, count in counts.items()))
  killed.every = _SELDOM
  killed.finish()
  if _names(killed.workdir / 'checkpoints_damaged'):
    killed.faults.append('a kill damaged a committed checkpoint')
  say(f'{killed.resumed} restarts went on from the newest committed step')
  equal = same(straight, killed)
  say(f'the last checkpoint is {"" if equal else "NOT "}the uninterrupted one')
  if not equal:
    killed.faults.append('another last checkpoint')
  if killed.faults:  # it has no checkpoints to damage
    return killed.faults
  logging.set_verbosity(logging.ERROR)  # each flip is warned of
  hit, harmless = flip_bits(killed, flips, wanted=straight, rng=rng)
  back = hit.total() - harmless.total()
  say(
    f'{hit.total()} flips: {back} led to the step before, others to the same:'
  )
  for name, count in sorted(hit.items()):
    say(f'  {name}: {harmless[name]} of {count} to the same')
  return killed.faults


def main(words: list[str]) -> None:
  command.check_arguments(words, (_WORKDIR,))
  folder = pathlib.Path(files.output_folder(_WORKDIR.value, local=True))
  if _names(folder):
    raise ValueError(f'--workdir={folder}: not empty; give a new folder')
  folder.mkdir(parents=True, exist_ok=True)
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', f'{folder}/programs')
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  faults = survive(
    _TRAIN, folder, kills=_KILLS.value, flips=_FLIPS.value, seed=_SEED.value
  )
  for fault in faults:
    say(f'FAULT: {fault}')
  say(f'{len(faults)} faults')
  sys.exit(bool(faults))


if __name__ == '__main__':
  sys.exit(command.run(sys.modules[__name__], sys.argv))
