"""What steps tell: fetched where the run pauses, averaged, and judged."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from videoar_jax.core import files, placement, processes
from videoar_jax.train.cadence import LoopConfig
from videoar_jax.train.metrics import Averages
from videoar_jax.train.spikes import Spikes
from videoar_jax.train.state import TrainState, Update
from videoar_jax.train.step import (
  BAD_GRADIENT,
  BAD_INPUT,
  due_metrics,
  finite_leaves,
  leaf_names,
  metric_prefix,
)

FILE = 'bad_updates.jsonl'
_NAMED = 8  # clips in a message
_INDICES = (BAD_INPUT, BAD_GRADIENT)  # metrics that number a tensor


class TrainingError(ValueError):
  """Training cannot go on."""


@dataclasses.dataclass(frozen=True)
class Told:
  """What the steps since the last line come to.

  Attributes:
    values: means of their metrics.
    bad: where the first update was left out, and why; '' if none was.
    spike: the first jump of a loss or gradient; '' if there was none.
  """

  values: dict[str, float]
  bad: str
  spike: str


class Observed:
  """Holds the metrics of steps on the devices until they are asked for."""

  def __init__(
    self,
    updates: Sequence[Update],
    workdir: Any,
    *,
    loop: LoopConfig,
    clips_of: Callable[[int], Sequence[str]] | None,
  ):
    """Args:
    updates: what is trained.
    workdir: gets bad_updates.jsonl, once there is one.
    loop: says after how many bad updates training stops, and what a spike is.
    clips_of: names of the clips in the batch of a step, counted from 0.
    """
    self._updates, self._path = updates, epath.Path(workdir) / FILE
    self._loop, self._clips_of = loop, clips_of
    self._spikes = Spikes(loop.spike_factor)
    self._unread: list[dict[str, jax.Array]] = []  # of the last steps
    self._inputs: list[Any] = []  # shapes of their batches
    self._averages = Averages()
    self._bad_in_a_row = 0
    self._bad = self._spike = ''

  def __len__(self) -> int:
    """Steps that are not read yet."""
    return len(self._unread)

  def add(self, metrics: dict[str, jax.Array], batch: Any) -> None:
    """Takes a step's metrics, which may still be worked out."""
    self._unread.append(metrics)
    self._inputs.append(leaf_names(batch))

  def is_idle(self) -> bool:
    """Whether the devices are done with all steps."""
    return not self._unread or self._unread[-1]['skipped_updates'].is_ready()

  def hold_back(self, ahead: int) -> None:
    """Waits until no more than so many steps besides one are under way."""
    if len(self._unread) > ahead:
      jax.block_until_ready(self._unread[-1 - ahead])

  def read(self, done: int, state: TrainState) -> None:
    """Waits for all steps, fetches what they tell and judges it.

    Args:
      done: steps done.
      state: after them.
    Raises:
      TrainingError: too many updates in a row were left out.
    """
    first = done - len(self._unread) + 1
    unread, self._unread = jax.device_get(self._unread), []
    inputs, self._inputs = self._inputs, []
    for step, (metrics, names) in enumerate(zip(unread, inputs), first):
      values = {name: float(value) for name, value in metrics.items()}
      values = due_metrics(self._updates, values, step=step - 1)
      if values['skipped_updates']:
        self._bad_in_a_row += 1
        if not self._bad:
          tensor = self._first_bad(values, names, state)
          self._bad = f'step {step}: {tensor}{self._clips(step, tensor)}'
      else:
        self._bad_in_a_row = 0
      if self._loop.spike_factor:
        values['spikes'] = self._see_spikes(step, values)
      self._averages.add(
        {k: v for k, v in values.items() if not k.endswith(_INDICES)}
      )
      if self._bad_in_a_row >= self._loop.max_bad_updates:
        raise TrainingError(
          f'loss or gradient was not finite in {self._bad_in_a_row} steps in a '
          f'row, the last of them {step}; none of these updates was applied. '
          f'{self._bad}. Look at the data and lower optimizer.learning_rate; '
          'the same command resumes from the newest checkpoint'
        )

  def take(self) -> Told:
    """What the steps that were read come to; begins anew."""
    told = Told(self._averages.take(), self._bad, self._spike)
    self._bad = self._spike = ''
    return told

  def _first_bad(
    self, values: Mapping[str, float], inputs: Sequence[str], state: TrainState
  ) -> str:
    """The first tensor of a step that is not finite, in words."""
    if (index := int(values[BAD_INPUT])) >= 0:
      return f"the batch's {inputs[index]} is not finite"
    for update in self._updates:
      params = state.nets[update.net].params
      finite = placement.to_host(jax.jit(finite_leaves)(params))
      if not finite.all():
        name = leaf_names(params)[int(np.argmin(finite))]
        return f'the parameter {update.net}/{name} is not finite'
    for update in self._updates:
      prefix = metric_prefix(self._updates, update)
      loss = values.get(f'{prefix}loss', 0.0)
      if not math.isfinite(loss):
        return f'the loss of {update.net} is {loss}'
      index = int(values.get(f'{prefix}{BAD_GRADIENT}', -1))
      if index >= 0:
        name = leaf_names(state.nets[update.net].params)[index]
        return f'the gradient of {update.net}/{name} is not finite, or its norm'
    return 'the norm of all gradients is not finite'

  def _clips(self, step: int, tensor: str) -> str:
    """The clips of a step's batch, in words; all of them go to the file."""
    names = []
    try:
      names += self._clips_of(step - 1) if self._clips_of else []
    except Exception as error:  # as of a damaged listing; only names are lost
      logging.warning('clips of step %d are not known: %s', step, error)
    if processes.is_first():
      line = {'step': step, 'tensor': tensor, 'clips': names}
      try:
        files.append(self._path, json.dumps(line) + '\n')
      except OSError as error:
        logging.error('%s: %s. Training goes on', self._path, error)
    if not names:
      return ''
    rest = len(names) - _NAMED
    more = f' and {rest} more, see {self._path}' if rest > 0 else ''
    return f'; its clips are {", ".join(names[:_NAMED])}{more}'

  def _see_spikes(self, step: int, values: Mapping[str, float]) -> float:
    """How many of a step's losses and gradients jump."""
    count = 0
    for update in self._updates:
      prefix = metric_prefix(self._updates, update)
      for name in (f'{prefix}loss', f'{prefix}grad_norm'):
        value = values.get(name, math.nan)
        usual = self._spikes.see(name, value)
        if usual is not None:
          count += 1
          text = f'step {step}: {name} {value:.4g}, usually {usual:.4g}'
          self._spike = self._spike or text
    return float(count)
