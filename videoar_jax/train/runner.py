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
from jax.sharding import Mesh

from videoar_jax.core import command, console, fields, processes
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.train import metrics as metrics_lib
from videoar_jax.train.preemption import Stopped, StopRequest
from videoar_jax.train.state import TrainState, Update
from videoar_jax.train.step import due_metrics, make_step, metric_prefix

Batch = dict[str, np.ndarray]

# Steps whose metrics may lie on the devices, a few scalars each, unread.
_MOST_UNREAD = 1000


class TrainingError(ValueError):
  """Training cannot go on."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """How long to train, and how often to do what; intervals are in steps.

  Attributes:
    num_steps: of the whole run, also the length of the learning-rate schedule.
    log_every: between two lines of metrics.
    checkpoint_every: between two checkpoints; 0: by time alone.
    checkpoint_every_s: seconds between two checkpoints; 0: by steps alone.
    eval_every: between two evaluations of held-out data; 0: never.
    eval_batches: held-out batches in one evaluation.
    sample_every: between two visualisations; 0: never, not even at the end.
    keep: latest checkpoints that are kept, besides the best one.
    wandb: project of Weights & Biases that gets the metrics, too; '': none.
    accumulate: parts that a batch is cut into to save memory.
    max_bad_updates: consecutive steps with a loss or gradient that is not
      finite after which training stops. They are counted where metrics are
      fetched (at a log, an evaluation, a preview, a save, after 1000 steps),
      so that a run ends up to `log_every - 1` steps after the last of them;
      none of its updates is applied, wherever it ends.
  """

  num_steps: fields.Count = 1000
  log_every: fields.Count = 10
  checkpoint_every: fields.Natural = 0
  checkpoint_every_s: fields.NonNegative = 300.0
  eval_every: fields.Natural = 0
  eval_batches: fields.Count = 4
  sample_every: fields.Natural = 0
  keep: fields.Count = 2
  wandb: str = ''
  accumulate: fields.Count = 1
  max_bad_updates: fields.Count = 20

  def __post_init__(self):
    fields.check(self)


class _Asked(NamedTuple):
  """What the processes were asked after a step."""

  step: int
  answer: Callable[[], tuple[int, ...]]


@dataclasses.dataclass(kw_only=True)
class Runner:
  """A run in progress; the arguments are those of `loop.run`.

  Attributes:
    state: of training, after `done` steps.
    done: steps done.
    best: lowest value of the best metric so far.
  """

  config: ml_collections.ConfigDict
  loop: LoopConfig
  updates: Sequence[Update]
  mesh: Mesh
  frozen: dict[str, Any]
  checkpoints: Checkpoints
  writer: metrics_lib.MetricWriter
  evaluate: Callable[[TrainState], Mapping[str, float] | None] | None
  visualise: Callable[[TrainState, int], None] | None
  telling: metrics_lib.Telling | None
  best_metric: str
  state: TrainState
  done: int
  best: float | None

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
    self._unread: list[dict[str, jax.Array]] = []  # of the last steps
    # Processes hear of one another as many steps later, when the devices have
    # answered, and have batches for so long: nobody waits to agree.
    self._late = self._ahead if jax.process_count() > 1 else 0
    self._made: collections.deque[Batch] = collections.deque()
    self._failure: Exception | None = None  # of the batch after those
    self._asked: collections.deque[_Asked] = collections.deque()
    self._averages = metrics_lib.Averages()
    self._prefix = metric_prefix(self.updates, self.updates[0])
    self._start = self.done
    self._bad = 0
    self._rows = 0  # clips of the batch that was fetched last
    self._saved_at, self._saved = time.monotonic(), self.done
    self._restart_clock()

  def train(self, batches: Iterator[Batch], request: StopRequest) -> None:
    """Steps to the end, or until a signal, which raises `Stopped`."""
    quiet = jax.process_index() > 0
    with (
      console.Progress(
        self.loop.num_steps, done=self.done, quiet=quiet
      ) as self._progress,
      jax.transfer_guard('disallow'),
    ):
      self._train(batches, request)

  def _train(self, batches: Iterator[Batch], request: StopRequest) -> None:
    batch = self._next(batches)
    first = self.done + 1
    while self.done < self.loop.num_steps:
      with self._compiling(self.done + 1 == first):
        self.state, metrics = self._step(self.state, batch, self.frozen)
      self.done += 1
      self._unread.append(metrics)
      self._progress.add()
      self._clips += self._rows
      if self.done < self.loop.num_steps:
        # The host makes the next batch while the device computes.
        batch = self._next(batches)
      self._hold_back()
      if self.done == first or self._pauses():
        self._read()
      if self.done == first:
        seconds = time.monotonic() - self._clock
        say(f'first step, with compilation: {seconds:.1f} s')
      if self._due(self.loop.log_every):
        self._log()
      if self.done == first:
        self._restart_clock()
      self._evaluate_and_save(request)

  def save(self, *, wait: bool = False, value: float | None = None) -> None:
    """Writes a checkpoint of the state as it is."""
    meta = {'config': self.config.to_dict(), 'best': self.best}
    with jax.transfer_guard('allow'):  # all of the state goes to the host
      self.checkpoints.save(
        self.done, self.state, meta, best_value=value, wait=wait
      )
    self._saved_at, self._saved = time.monotonic(), self.done

  def _compiling(self, is_first: bool) -> contextlib.AbstractContextManager:
    """Tells that the first step is compiled, which takes long."""
    if not is_first:
      return contextlib.nullcontext()
    return console.waiting(
      'compiling the training step', quiet=jax.process_index() > 0
    )

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
    self._data_wait_s += time.monotonic() - before
    if not self._made:
      return None
    batch = self._made.popleft()
    rows = len(next(iter(batch.values())))
    self._rows = rows * jax.process_count()
    mesh_lib.check_batch_size(self._rows, self.mesh, self.loop.accumulate)
    return mesh_lib.shard_batch(batch, self.mesh)

  def _wanted(self) -> int:
    """Batches to have made before the next step, its own included."""
    return min(1 + self._late, self.loop.num_steps - self.done)

  def _make(self, batches: Iterator[Batch]) -> None:
    """Makes a batch, or keeps the reason why there is none."""
    try:
      batch = next(batches)
    except StopIteration:
      steps = self.done + len(self._made)
      self._failure = TrainingError(
        f'the data ended after {steps} of {self.loop.num_steps} steps; '
        'training data must repeat'
      )
    except Exception as error:  # all processes end and save together
      self._failure = error
    else:
      self._made.append({k: x for k, x in batch.items() if k != 'failed'})

  def _hold_back(self) -> None:
    """Waits until no more steps are under way than may be."""
    if len(self._unread) > self._ahead:
      jax.block_until_ready(self._unread[-1 - self._ahead])

  def _read(self) -> None:
    """Waits for all steps, fetches what they tell and counts bad ones."""
    first = self.done - len(self._unread) + 1
    unread, self._unread = jax.device_get(self._unread), []
    for done, metrics in enumerate(unread, first):
      values = {name: float(value) for name, value in metrics.items()}
      self._averages.add(due_metrics(self.updates, values, step=done - 1))
      self._bad = self._bad + 1 if values['skipped_updates'] else 0
      if self._bad >= self.loop.max_bad_updates:
        raise TrainingError(
          f'loss or gradient was not finite in {self._bad} steps in a row, the '
          f'last of them {done}; none of these updates was applied. Look at '
          'the data and lower optimizer.learning_rate; the same command '
          'resumes from the newest checkpoint'
        )

  def _due(self, every: int) -> bool:
    last = self.done == self.loop.num_steps
    return every > 0 and (last or self.done % every == 0)

  def _pauses(self) -> bool:
    """Whether something after this step wants its metrics or its state."""
    loop = self.loop
    return len(self._unread) >= _MOST_UNREAD or any(
      self._due(every)
      for every in (
        loop.log_every,
        loop.eval_every,
        loop.sample_every,
        loop.checkpoint_every,
      )
    )

  def _restart_clock(self) -> None:
    self._clock, self._clock_step = time.monotonic(), self.done
    self._data_wait_s, self._clips = 0.0, 0

  def _log(self) -> None:
    """Writes the means since the last line, and the speed."""
    steps = self.done - self._clock_step
    seconds = (time.monotonic() - self._clock) / max(steps, 1)
    values = self._averages.take()
    speed = {
      'clips_per_s': self._clips / max(steps, 1) / seconds,
      'step_s': seconds,
      'data_wait_s': self._data_wait_s / max(steps, 1),
    }
    self.writer.write(self.done, 'train', {**values, **speed})
    left = self.loop.num_steps - self.done
    quality = metrics_lib.quality(values, self.telling, prefix=self._prefix)
    self._progress.show(
      self._where(), f'{quality} {metrics_lib.speed(speed, steps_left=left)}'
    )
    if skipped := values['skipped_updates']:
      say(
        f'{self._where()} {skipped:.0f} updates of the last {steps} steps were '
        'left out: loss or gradient was not finite'
      )
    self._restart_clock()

  def _evaluate_and_save(self, request: StopRequest) -> None:
    """What comes between two steps; ends training if a signal came."""
    paused = time.monotonic()
    value = self._evaluate() if self._due(self.loop.eval_every) else None
    if self.visualise is not None and self._due(self.loop.sample_every):
      with jax.transfer_guard('allow'):  # samplers place what they are given
        self.visualise(self.state, self.done)
    last = self.done == self.loop.num_steps
    stop, old, failed = self._agreed(request)
    if stop or old or failed:
      # Steps under way are training's time; and of bad ones nothing is saved.
      waited = time.monotonic()
      self._read()
      paused += time.monotonic() - waited
    better = value is not None and (self.best is None or value < self.best)
    if better:
      self.best = value
    every = self.loop.checkpoint_every
    if last or stop or old or failed or better or self._due(every):
      self.save(wait=bool(last or stop or failed), value=value)
    # Evaluating and saving is not the training step's time.
    self._clock += time.monotonic() - paused
    if failed:
      self._raise_failure(failed)
    if stop:
      say(f'stopped at step {self.done}, saved; the same command resumes')
      raise Stopped(stop, self.done)

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
    self.writer.write(self.done, 'heldout', values)
    say(f'{self._where()} held out {metrics_lib.quality(values, self.telling)}')
    value = float(values[self.best_metric])
    return value if np.isfinite(value) else None

  def _where(self) -> str:
    return f'step {self.done}/{self.loop.num_steps}'

  def _agreed(self, request: StopRequest) -> tuple[int, bool, int]:
    """What all processes know at this step, however each of them learnt it.

    Returns:
      The number of a signal or 0; whether the last save is too old; 0, or 1 +
      the number of a process that has no further batch.
    """
    age = time.monotonic() - self._saved_at
    old = 0 < self.loop.checkpoint_every_s <= age
    flags = request.number or 0, int(old), self._failed()
    self._asked.append(_Asked(self.done, processes.ask(*flags)))
    if len(self._asked) <= self._late:
      return 0, False, 0
    asked = self._asked.popleft()
    stop, old, failed = asked.answer()
    return stop, bool(old) and asked.step > self._saved, failed

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
