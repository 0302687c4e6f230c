"""The flags by which the processes of a job find each other.

Apart from `start`, which imports JAX: a command may do without it.
"""

from absl import flags as absl_flags

from videoar_jax.core import command

START_TIMEOUT_S = 300.0


def define_flags(flags: command.Flags) -> tuple[absl_flags.FlagHolder, ...]:
  """Adds these flags to a command."""
  return (
    flags.text(
      'coordinator', None, 'Several processes: HOST:PORT of the first one.'
    ),
    flags.count('num_processes', None, 'Several processes: how many.'),
    flags.count(
      'process_id', None, 'Several processes: which one this is, from 0.', 0
    ),
    flags.number(
      'start_timeout_s',
      START_TIMEOUT_S,
      'Several processes: seconds to wait until all have come.',
      above=0,
    ),
  )
