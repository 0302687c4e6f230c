"""Steps, logs, evaluations and saves of one run, from one step onwards.

The host hands out a step and makes the next batch while the devices compute;
what a step tells is fetched only where the run pauses: to log, evaluate, show
or save. At most one step waits behind the one that runs; so far is the bar
ahead, while times are taken where the run pauses. Nothing passes between host
and devices that is not asked to.
"""

import collections
import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import ml_collections
import numpy as np
from absl import logging
from etils import epath
from jax.sharding import Mesh

from videoar_jax.core import command, console, placement, processes
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.train import goodput
from videoar_jax.train import metrics as metrics_lib
from videoar_jax.train.cadence import LoopConfig
from videoar_jax.train.clock import COMPILE, EVALUATE, SAVE, STEPS, Clock, Pace
from videoar_jax.train.observed import Observed, TrainingError
from videoar_jax.train.preemption import Stopped, StopRequest
from videoar_jax.train.profile import Profile
from videoar_jax.train.state import TrainState, Update
from videoar_jax.train.step import make_step, metric_prefix, step_flops
from videoar_jax.train.watch import Watch

Batch = dict[str, np.ndarray]

# Steps whose metrics may lie on the devices, a few scalars each, unread.
_MOST_UNREAD = 1000


class _Asked(NamedTuple):
  """What the processes were asked after a step."""

  step: int
  answer: Callable[[], tuple[int, ...]]


@dataclasses.dataclass(kw_only=True)
class Runner:
  """A run in progress; the arguments are those of `loop.run`.

  Attributes:
    traced: the first and the last step to trace; None: none.
    clock: that has run since the start.
    state: of training, after `done` steps.
    done: steps done.
    best: lowest value of the best metric so far.
  """

  workdir: epath.Path
  config: ml_collections.ConfigDict
  loop: LoopConfig
  updates: Sequence[Update]
  mesh: Mesh
  frozen: dict[str, Any]
  checkpoints: Checkpoints
  evaluate: Callable[[TrainState], Mapping[str, float] | None] | None
  visualise: Callable[[TrainState, int], None] | None
  telling: metrics_lib.Telling | None
  best_metric: str
  clips_of: Callable[[int], Sequence[str]] | None
  traced: tuple[int, int] | None
  state: TrainState
  done: int
  best: float | None
  clock: Clock

  def __post_init__(self):
    self._step = make_step(
      self.updates,
      num_steps=self.loop.num_steps,
      mesh=self.mesh,
      accumulate=self.loop.accumulate,
    )
    # Steps under way besides the one that is handed out: enough to keep the
    # devices busy; more would only hold more batches in memory. Several CPU
    # devices can hang in a collective (jax 0.10.2): there each is waited for.
    several_cpus = (
      self.mesh.size > 1 and self.mesh.devices.flat[0].platform == 'cpu'
    )
    self._ahead = 0 if several_cpus else 1
    # Processes hear of one another as many steps later, when the devices have
    # answered, and have batches for so long: nobody waits to agree.
    self._late = self._ahead if jax.process_count() > 1 else 0
    self._made: collections.deque[Batch] = collections.deque()
    self._failure: Exception | None = None  # of the batch after those
    self._asked: collections.deque[_Asked] = collections.deque()
    self._prefix = metric_prefix(self.updates, self.updates[0])
    self._start = self.done
    self._rows = 0  # clips of the batch that was fetched last
    self._flops: dict[Any, float] = {}
    self._saved_at, self._saved = time.monotonic(), self.done
    self._pace = Pace(self.clock, self.mesh)
    self._times = goodput.Times(self.workdir, self.clock, step=self.done)
    self._profile = Profile(self.workdir, self.traced, done=self.done)
    self._observed = Observed(
      self.updates, self.workdir, loop=self.loop, clips_of=self.clips_of
    )
    self._writer = metrics_lib.MetricWriter(
      self.workdir,
      start_step=self.done,
      project=self.loop.wandb,
      config=self.config.to_dict(),
    )

  def train(self, batches: Iterator[Batch], request: StopRequest) -> None:
    """Steps to the end, or until a signal, which raises `Stopped`."""
    quiet = jax.process_index() > 0
    with (
      console.Progress(
        self.loop.num_steps, done=self.done, quiet=quiet
      ) as self._progress,
      Watch(self.clock, self.workdir, after_s=self.loop.hang_after_s),
      jax.transfer_guard('disallow'),
    ):
      self._train(batches, request)

  def _train(self, batches: Iterator[Batch], request: StopRequest) -> None:
    batch = self._next(batches)
    first = self.done + 1
    self.clock.begin(COMPILE)
    while self.done < self.loop.num_steps:
      number = self.done + 1
      with self._compiling(batch), self._profile.step(number):
        self.state, metrics = self._step(self.state, batch, self.frozen)
      self._observed.add(metrics, batch)
      self._pace.add(clips=self._rows, flops=self._count_flops(batch))
      self.done += 1
      self._progress.add()
      if self.done < self.loop.num_steps:
        # The host makes the next batch while the device computes.
        batch = self._next(batches)
      self._observed.hold_back(self._ahead)
      self._profile.end(self.done, metrics)
      if self.done == first or self._pauses():
        self._read()
      if self.done == first:
        seconds = self.clock.seconds()[COMPILE]
        say(f'first step, with compilation: {seconds:.1f} s')
      if self._due(self.loop.log_every):
        self._log()
      if self.done == first:
        self.clock.begin(STEPS)
        self._pace.restart()
      self.clock.step()
      self._evaluate_and_save(request)

  def save(self, *, wait: bool = False, value: float | None = None) -> None:
    """Writes a checkpoint of the state as it is."""
    meta = {'config': self.config.to_dict(), 'best': self.best}
    with jax.transfer_guard('allow'), self.clock.spending(SAVE):
      # All of the state goes to the host.
      self.checkpoints.save(
        self.done, self.state, meta, best_value=value, wait=wait
      )
    self._saved_at, self._saved = time.monotonic(), self.done

  def close(self) -> None:
    """Writes all that is left; of a whole run, tells where its time went."""
    with contextlib.ExitStack() as closing:  # all of it, whatever fails
      closing.callback(self.checkpoints.close)
      closing.callback(self._times.write, self.done)
      closing.callback(self._writer.close)
      closing.callback(self._profile.close)
    if self.done == self.loop.num_steps and processes.is_first():
      say(f'goodput {goodput.describe(goodput.read_times(self.workdir))}')

  @contextlib.contextmanager
  def _compiling(self, batch: Any) -> Iterator[None]:
    """For handing out a step: where it is of a new kind, it is compiled."""
    if self._kind(batch) in self._flops:
      yield
      return
    quiet = bool(self._flops) or jax.process_index() > 0
    with (
      self.clock.spending(COMPILE),
      console.waiting('compiling the training step', quiet=quiet),
    ):
      yield

  def _kind(self, batch: Any) -> Any:
    """What tells apart the programs of the step that comes next."""
    due = tuple(update.is_due(self.done) for update in self.updates)
    shapes = jax.tree.map(lambda x: (x.shape, str(x.dtype)), batch)
    return due, tuple(sorted(shapes.items()))

  def _next(self, batches: Iterator[Batch]) -> Any:
    """The next batch, checked and placed; None where none could be made.

    Then `_evaluate_and_save` ends training, in all processes after the same
    step: who fails has flagged it when the batches made before ran out.
    """
    before = time.monotonic()
    while self._failure is None and len(self._made) < self._wanted():
      self._make(batches)
    if self.done == self._start:
      (failed,) = processes.agree(self._failed())
      if failed:  # before the first step
        self._raise_failure(failed)
    idle = self._observed.is_idle()
    self._pace.wait(time.monotonic() - before, idle=idle)
    if not self._made:
      return None
    placed = placement.shard_batch(self._made.popleft(), self.mesh)
    self._rows = len(next(iter(placed.values())))
    placement.check_batch_size(self._rows, self.mesh, self.loop.accumulate)
    return placed

  def _wanted(self) -> int:
    """Batches to have made before the next step, its own included."""
    return min(1 + self._late, self.loop.num_steps - self.done)

  def _make(self, batches: Iterator[Batch]) -> None:
    """Makes a batch, or keeps the reason why there is none."""
    try:
      batch = next(batches)
    except StopIteration:
      where = f'{self.done + len(self._made)} of {self.loop.num_steps} steps'
      self._failure = TrainingError(
        f'the data ended after {where}; training data must repeat'
      )
    except Exception as error:  # all processes end and save together
      self._failure = error
    else:
      self._made.append({k: x for k, x in batch.items() if k != 'failed'})

  def _count_flops(self, batch: Any) -> float:
    """Operations of the step that was handed out last; 0: not known.

    Each kind of step is counted once, while the devices compute the first one.
    """
    kind = self._kind(batch)
    if kind not in self._flops:
      try:
        with self.clock.spending(COMPILE):
          self._flops[kind] = step_flops(
            self.updates,
            self.state,
            batch,
            self.frozen,
            step=self.done,
            accumulate=self.loop.accumulate,
          )
      except ValueError as error:  # a kernel that is of one platform alone
        say(f'operations are not counted: {error}')
        self._flops[kind] = 0.0
    return self._flops[kind]

  def _read(self) -> None:
    """Waits for all steps, fetches what they tell and judges it."""
    self._observed.read(self.done, self.state)

  def _due(self, every: int) -> bool:
    last = self.done == self.loop.num_steps
    return every > 0 and (last or self.done % every == 0)

  def _pauses(self) -> bool:
    """Whether something after this step wants its metrics or its state."""
    loop = self.loop
    return len(self._observed) >= _MOST_UNREAD or any(
      self._due(every)
      for every in (
        loop.log_every,
        loop.eval_every,
        loop.sample_every,
        loop.checkpoint_every,
      )
    )

  def _log(self) -> None:
    """Writes the means since the last line, and the speed."""
    told, speed = self._observed.take(), self._pace.figures()
    values = told.values
    self._writer.write(self.done, 'train', {**values, **speed})
    self._times.write(self.done)
    left = self.loop.num_steps - self.done
    quality = metrics_lib.quality(values, self.telling, prefix=self._prefix)
    self._progress.show(
      self._where(), f'{quality} {metrics_lib.speed(speed, steps_left=left)}'
    )
    steps = self._pace.steps
    if skipped := values['skipped_updates']:
      say(
        f'{self._where()} {skipped:.0f} updates of the last {steps} steps were '
        f'left out: loss or gradient was not finite; {told.bad}'
      )
    if spikes := values.get('spikes'):
      say(
        f'{self._where()} {spikes:.0f} spikes in the last {steps} steps; '
        f'{told.spike}'
      )
    self._pace.restart()

  def _evaluate_and_save(self, request: StopRequest) -> None:
    """What comes between two steps; ends training if a signal came."""
    with self.clock.spending(EVALUATE):
      value = self._look()
    last = self.done == self.loop.num_steps
    stop, old, failed = self._agreed(request, 0 if last else self._late)
    if stop or old or failed:
      # Of bad steps nothing is saved.
      self._read()
    better = value is not None and (self.best is None or value < self.best)
    if better:
      self.best = value
    every = self.loop.checkpoint_every
    if last or stop or old or failed or better or self._due(every):
      try:
        self.save(wait=bool(last or stop or failed), value=value)
      except Exception as error:
        if not failed:
          raise
        logging.error('step %d is not saved: %s', self.done, error)
    if failed:
      self._raise_failure(failed)
    if stop and not last:
      say(f'stopped at step {self.done}, saved; the same command resumes')
      raise Stopped(stop, self.done)

  def _look(self) -> float | None:
    """Held-out metrics and pictures; the run ends where they fail, saved."""
    value = None
    try:
      if self._due(self.loop.eval_every):
        value = self._evaluate()
      if self.visualise is not None and self._due(self.loop.sample_every):
        with jax.transfer_guard('allow'):  # samplers place what they are given
          self.visualise(self.state, self.done)
    except Exception as error:  # all processes end and save together
      self._failure = self._failure or error
    return value

  def _evaluate(self) -> float | None:
    """Writes held-out metrics; returns the one that decides on the best."""
    values = self.evaluate(self.state) if self.evaluate is not None else None
    if not values:
      return None
    if self.best_metric not in values:
      raise TrainingError(
        f'best_metric={self.best_metric!r} is not among the held-out metrics '
        f'{", ".join(sorted(values))}'
      )
    self._writer.write(self.done, 'heldout', values)
    say(f'{self._where()} held out {metrics_lib.quality(values, self.telling)}')
    value = float(values[self.best_metric])
    return value if np.isfinite(value) else None

  def _where(self) -> str:
    return f'step {self.done}/{self.loop.num_steps}'

  def _agreed(self, request: StopRequest, late: int) -> tuple[int, bool, int]:
    """What all processes know by now, but for what came in the last steps.

    Returns:
      The number of a signal or 0; whether the last save is too old; 0, or 1 +
      the number of a process that cannot go on.
    """
    age_s = time.monotonic() - self._saved_at
    old = 0 < self.loop.checkpoint_every_s <= age_s
    flags = request.number or 0, int(old), self._failed()
    self._asked.append(_Asked(self.done, processes.ask(*flags)))
    stop, old, failed = 0, False, 0
    while len(self._asked) > late:
      asked = self._asked.popleft()
      number, aged, fault = asked.answer()
      stop, failed = stop or number, failed or fault
      old = old or (bool(aged) and asked.step > self._saved)
    return stop, old, failed

  def _failed(self) -> int:
    return 1 + jax.process_index() if self._failure is not None else 0

  def _raise_failure(self, failed: int) -> NoReturn:
    """Raises what one process met, in all of them."""
    error, text = self._failure, ''
    if error is not None:
      text = command.describe(error) or f'{type(error).__name__}: {error}'
      text = f'process {jax.process_index()} on {socket.gethostname()}: {text}'
    text = processes.text_of(failed - 1, text)
    raise error or TrainingError(text)


def say(text: str) -> None:
  """Prints a line, from the first process only."""
  if jax.process_index() == 0:
    console.say(text)
