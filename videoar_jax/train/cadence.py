"""How long a run goes, and how often it does what."""

import dataclasses

from videoar_jax.core import fields


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
      none of its updates is applied, wherever it ends. 1: the first of them
      ends it.
    spike_factor: how many deviations above what is usual a loss or the norm of
      a gradient must be to be told as a spike, see `spikes`; 0: none is.
    hang_after_s: seconds without a sign of life after which the stacks of all
      threads are written, and after twice as long the process ends, see
      `watch`; 0: never.
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
  spike_factor: fields.NonNegative = 10.0
  hang_after_s: fields.NonNegative = 600.0

  def __post_init__(self):
    fields.check(self)
