"""What to turn where a step does not fit, the cheapest first."""

from collections.abc import Iterator
from typing import Any

import ml_collections

from videoar_jax.train import sections

_MOST_PARTS = 8
_MOST_SEQUENCE = 8


def knobs(
  config: ml_collections.ConfigDict, mesh: dict[str, int], slices: int = 1
) -> Iterator[tuple[str, ml_collections.ConfigDict]]:
  """Changes of a run's config that need less memory, one at a time.

  The same clips are seen in a step; what is computed stays the same up to the
  order of sums and, in parts of a batch, random draws.

  Args:
    config: of the run.
    mesh: sizes of its axes on the devices in question.
    slices: that these are of; `data` goes over them at the least.

  Yields:
    Flags, and the config that they give.
  """
  is_generator = config.recipe == sections.GENERATOR
  if is_generator and config.transformer.remat != 'full':
    yield _changed(config, {'transformer.remat': 'full'})
  if mesh['data'] > slices:
    rest = mesh['data'] * mesh['fsdp'] // slices
    yield _changed(config, {'mesh.data': slices, 'mesh.fsdp': rest})
  ways = mesh['data'] * mesh['fsdp']
  rows = config.data.batch_size // ways
  for parts in _doubled(_MOST_PARTS):
    if rows % parts == 0 and parts > config.train.accumulate:
      yield _changed(config, {'train.accumulate': parts})
  heads = config.transformer.num_heads if is_generator else 1
  split = mesh['tensor'] * mesh['sequence']
  for parts in _doubled(_MOST_SEQUENCE):
    if heads % (split * parts) == 0 and mesh['fsdp'] % parts == 0:
      fewer = mesh['fsdp'] // parts
      yield _changed(
        config,
        {'mesh.fsdp': fewer, 'mesh.sequence': mesh['sequence'] * parts},
      )


def _doubled(most: int) -> Iterator[int]:
  size = 2
  while size <= most:
    yield size
    size *= 2


def _changed(
  config: ml_collections.ConfigDict, changes: dict[str, Any]
) -> tuple[str, ml_collections.ConfigDict]:
  new = config.copy_and_resolve_references()
  new.update_from_flattened_dict(changes)
  flags = ' '.join(f'--config.{name}={x}' for name, x in changes.items())
  return flags, new
