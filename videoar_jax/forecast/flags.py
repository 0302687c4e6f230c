"""The flags of `--plan_only`, which commands share."""

import dataclasses
from typing import Any

from absl import flags as absl_flags

from videoar_jax.core import command


@dataclasses.dataclass(frozen=True)
class PlanFlags:
  """Holders of the flags.

  Attributes:
    plan_only: whether to plan and do no more.
    topology: to plan for.
    tokenizer: config of a generator's tokenizer.
  """

  plan_only: absl_flags.FlagHolder
  topology: absl_flags.FlagHolder
  tokenizer: Any

  def check_unused(self, *others: Any) -> None:
    """Raises a UsageError where one is given that nothing would read.

    Args:
      others: flags of the command that are read with --plan_only alone.
    """
    for flag in (self.topology, self.tokenizer, *others):
      if flag.value:
        raise command.UsageError(
          f'--{flag.name} is read with --plan_only alone'
        )


def define_flags(flags: command.Flags) -> PlanFlags:
  """Defines them among a command's flags."""
  return PlanFlags(
    flags.switch(
      'plan_only', False, 'Says what it needs on TPUs, and does no more.'
    ),
    flags.text('topology', None, '--plan_only: TPUs, as v5e:16x16.'),
    flags.config(
      'tokenizer', "--plan_only: config of a generator's tokenizer."
    ),
  )
