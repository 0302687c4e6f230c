"""Batches as a function of (seed, step), from any source.

Everything random is keyed by a clip's place in the endless stream, before rows
are dealt to processes and workers. So a restart is a start at an index, and
neither the number of workers nor of processes changes what is seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import grain.python as grain
import numpy as np
from absl import flags

from videoar_jax.data.captions import PromptedSource
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadDataError, BadRecordError, listing
from videoar_jax.data.prompts import PromptEncoder
from videoar_jax.data.source import Source

_ENDLESS = 2**40  # training steps; the index of a clip must fit 63 bits
_ATTEMPTS = 20  # substitutes for one row before giving up


def make_source(
  config: DataConfig, *, train: bool, prompts: PromptEncoder | None = None
) -> Source:
  """Opens a split of the data set that the config names.

  Args:
    config: see `DataConfig`.
    train: the training split, or the held-out one.
    prompts: gives each record the tokens of a prompt.
  Raises:
    ValueError: the config does not fit the source, or a path is missing.
  """
  source = config.kind.open(config.path, config, train=train)
  return add_prompts(source, config, prompts)


def add_prompts(
  source: Source, config: DataConfig, prompts: PromptEncoder | None
) -> Source:
  """The source, whose records have prompts where they are to have any.

  Args:
    source: of records.
    config: names the captions.
    prompts: what makes tokens of them; None where nothing reads prompts.
  Raises:
    ValueError: captions that nothing reads, or that do not serve.
  """
  if prompts is None:
    if config.captions:
      raise ValueError(
        f'captions={config.captions!r}: nothing here reads prompts; set '
        "transformer.condition='text', or leave captions empty"
      )
    return source
  return PromptedSource.of(source, prompts, config.captions)


def make_batches(
  config: DataConfig,
  *,
  train: bool,
  seed: int,
  start_step: int = 0,
  rows: Sequence[int] | None = None,
  prompts: PromptEncoder | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Iterates over batches; batch n is a function of (seed, n) alone.

  Each epoch is shuffled anew without replacement, so the first N <= len(source)
  clips come from N videos. Training never ends. The held-out split is passed
  once, its last batch filled up from a second pass.

  Args:
    config: see `DataConfig`; with num_workers > 0 the calling script needs the
      usual `if __name__ == '__main__'` guard.
    train: which split.
    seed: 0 <= seed < 2**32.
    start_step: the first batch to return.
    rows: which rows of each batch to return; None: all. A process of several
      needs those that its devices hold (`core.placement.batch_rows`).
    prompts: of the batches' prompts, if they are to have any.
  Yields:
    `video` uint8 (b, T, H, W, 3), RGB, or `features` bfloat16 (b, t, h, w, d);
    `label` int32 (b,); with prompts, `prompt` int32 (b, n); `failed` int32
    (b,), the index of a record that could not be read and was replaced (see
    `FailureLog`), else -1.
  Raises:
    ValueError: the config does not fit the source, or a row is not of a batch.
  """
  source = make_source(config, train=train, prompts=prompts)
  rows = _check_rows(rows, config.batch_size)
  if start_step < 0:
    raise ValueError(f'start_step={start_step}: must be 0 or more')
  clips = make_clips(source, seed=seed, flip=config.flip and train)
  steps = _ENDLESS
  if not train:
    steps = -(-len(source) // config.batch_size)
  share = _Rows(clips, config.batch_size, rows, steps)
  batches = grain.MapDataset.source(share).batch(len(rows))[start_step:]
  if not config.num_workers:
    return iter(batches.to_iter_dataset(grain.ReadOptions(2, 4)))
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # grain hands flags on to its workers
  workers = grain.MultiprocessingOptions(config.num_workers, 2)
  return iter(
    batches.to_iter_dataset(grain.ReadOptions(1, 2)).mp_prefetch(workers)
  )


def make_clips(
  source: Source, *, seed: int, flip: bool = False
) -> grain.MapDataset:
  """The endless stream of clips; clip i is a function of (seed, i) alone.

  Args:
    source: of records.
    seed: 0 <= seed < 2**32.
    flip: mirrors half of them.
  Returns:
    Clips by their index, as rows of the batches of `make_batches`.
  """
  load = _LoadClip(source, flip=flip)
  return clip_order(len(source), seed=seed).random_map(load)


def clip_order(length: int, *, seed: int) -> grain.MapDataset:
  """Index of the video that each clip of the endless stream is of."""
  return grain.MapDataset.range(length).seed(seed).shuffle().repeat(None)


def _check_rows(rows: Sequence[int] | None, batch_size: int) -> tuple[int, ...]:
  rows = tuple(map(int, range(batch_size) if rows is None else rows))
  if not rows or not all(0 <= row < batch_size for row in rows):
    raise ValueError(
      f'rows={rows}: wanted some of 0..{batch_size - 1}, the rows of a batch'
    )
  return rows


@dataclasses.dataclass(frozen=True)
class _LoadClip(grain.RandomMapTransform):
  """Loads a record; one that fails gives way to a random other."""

  source: Any
  flip: bool

  def random_map(self, element: int, rng: np.random.Generator) -> dict:
    entropy = int(rng.integers(2**63))
    index, failed, reasons = int(element), -1, {}
    for attempt in range(_ATTEMPTS):
      # A fresh stream for each attempt: what a failing decoder happened to
      # draw cannot change the substitute.
      draw = np.random.default_rng((entropy, attempt))
      mirrored = draw.integers(2) == 1  # drawn in any case: same windows
      if attempt:
        index = int(draw.integers(len(self.source)))
      try:
        record = self.source.load(index, draw)
      except BadRecordError as error:
        reasons[self.source.name(index)] = str(error)
        failed = index if attempt == 0 else failed
        continue
      if self.flip and mirrored and 'video' in record:
        record['video'] = np.ascontiguousarray(record['video'][:, :, ::-1])
      record['label'] = np.int32(record['label'])
      record['failed'] = np.int32(failed)
      return record
    raise BadDataError(
      f'{_ATTEMPTS} videos in a row cannot be used:\n{listing(reasons)}'
    )


@dataclasses.dataclass(frozen=True)
class _Rows:
  """Some rows of each batch, one after another."""

  clips: Any
  batch_size: int
  rows: tuple[int, ...]
  steps: int

  def __len__(self) -> int:
    return self.steps * len(self.rows)

  def __getitem__(self, index: int) -> dict:
    step, place = divmod(index, len(self.rows))
    return self.clips[step * self.batch_size + self.rows[place]]
