"""Several streams of batches in one run: images, videos, resolutions, lengths.

Streams take turns, each as often in a round as its weight says, so that which
stream a step draws from, and which of its batches, follow from the step alone.
A run resumes anywhere, and all processes agree without a word. Batches of one
stream have one shape; the compiler makes a program for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import FailureLog
from videoar_jax.data.pipeline import clip_order, make_batches, make_source
from videoar_jax.data.prompts import PromptEncoder


def make_mixture(
  streams: Sequence[DataConfig],
  *,
  seed: int,
  start_step: int = 0,
  rows_of: Callable[[int], Sequence[int]] | None = None,
  prompts: PromptEncoder | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Iterates over the training batches of all streams, turn by turn.

  Records that cannot be read are counted stream by stream.

  Args:
    streams: at least one; see `DataConfig.weight`.
    seed: as for `make_batches`; of every stream.
    start_step: the first batch to return.
    rows_of: of a batch's size, which of its rows to return; None: all.
    prompts: as for `make_batches`.
  Yields:
    The batches of `make_batches`.
  Raises:
    BadDataError: too many records of one stream cannot be read.
    ValueError: as `make_batches`.
  """
  turns = round_of([stream.weight for stream in streams])
  logs, batches = [], []
  for index, stream in enumerate(streams):
    source = make_source(stream, train=True, prompts=prompts)
    logs.append(FailureLog(source, max_bad_share=stream.max_bad_share))
    batches.append(
      make_batches(
        stream,
        train=True,
        seed=seed,
        start_step=batches_before(turns, index, start_step),
        rows=rows_of and rows_of(stream.batch_size),
        prompts=prompts,
      )
    )
  step = start_step
  while True:
    index = turns[step % len(turns)]
    batch = next(batches[index])
    logs[index].update(batch['failed'])
    yield batch
    step += 1


def clips_of_step(
  streams: Sequence[DataConfig],
  *,
  seed: int,
  step: int,
  prompts: PromptEncoder | None = None,
) -> list[str]:
  """What messages call the clips in the batch of a step, of all processes.

  A record that cannot be read is named, not the one that takes its place.

  Args:
    streams: as for `make_mixture`.
    seed: as for `make_mixture`.
    step: counted from 0.
    prompts: as for `make_mixture`.
  """
  turns = round_of([stream.weight for stream in streams])
  index = turns[step % len(turns)]
  rows = streams[index].batch_size
  source = make_source(streams[index], train=True, prompts=prompts)
  order = clip_order(len(source), seed=seed)
  first = rows * batches_before(turns, index, step)
  return [source.name(int(order[first + row])) for row in range(rows)]


def round_of(weights: Sequence[int]) -> tuple[int, ...]:
  """The streams' turns in a round, each stream's spread evenly over it."""
  turns = [
    ((place + 0.5) / weight, index)
    for index, weight in enumerate(weights)
    for place in range(weight)
  ]
  return tuple(index for _, index in sorted(turns))


def batches_before(turns: Sequence[int], index: int, step: int) -> int:
  """How many batches of a stream come before a step."""
  rounds, rest = divmod(step, len(turns))
  return rounds * turns.count(index) + turns[:rest].count(index)
