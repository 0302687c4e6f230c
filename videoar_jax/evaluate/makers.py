"""Videos that are compared with real clips, made some at a time.

Each takes whole batches, the last one filled up, so that one program makes all
videos of a process, whatever of them was made before.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import numpy as np

from videoar_jax.core import spread
from videoar_jax.evaluate import h264
from videoar_jax.evaluate.task import Task, Work
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.sample.program import SamplingConfig
from videoar_jax.tokenizer.features import make_reconstructor

_make_coder = functools.cache(make_reconstructor)  # compiled once


@dataclasses.dataclass(frozen=True)
class Samples:
  """A generator's samples by their indices.

  Attributes:
    generator: what samples.
    sampling: how.
    work: of the process whose samples these are.
  """

  generator: sampler_lib.Generator
  sampling: SamplingConfig
  work: Work

  def make(self, index_n: np.ndarray, conditions_nx: np.ndarray) -> np.ndarray:
    """Samples of these indices and conditions, uint8 nTHWc."""
    batch, count = self.work.batch, len(index_n)
    rows = np.minimum(np.arange(-(-count // batch) * batch), count - 1)
    videos = sampler_lib.sample_videos(
      self.generator.program(self.sampling),
      self.generator.nets,
      conditions_nx[rows],
      sampling=self.sampling,
      index_n=index_n[rows],
      mesh=self.generator.mesh,
    )
    return np.stack(list(videos)[:count])


def coded_batches(
  task: Task, videos_nTHWc: np.ndarray, *, batch: int | None = None
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
  """Yields what the tokenizer makes of some clips after others, and their bits.

  Args:
    task: whose tokenizer.
    videos_nTHWc: the clips, uint8.
    batch: clips at a time; None: of these clips alone.
  """
  code = spread.on_mesh(_make_coder(task.tokenizer), task.mesh)
  count = len(videos_nTHWc)
  batch = batch or Work.of(count, task.data.batch_size, task.mesh).batch
  for start in range(0, count, batch):
    rows = np.minimum(np.arange(start, start + batch), count - 1)
    left = min(batch, count - start)
    clips = spread.put_batch(videos_nTHWc[rows], task.mesh)
    video, bits = jax.device_get(code(task.autoencoder, clips))
    yield video[:left], [scale[:left] for scale in bits]


def reconstruct(
  task: Task, videos_nTHWc: np.ndarray, *, batch: int | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
  """Clips through the tokenizer, uint8 nTHWc, and their bits per scale."""
  made = list(coded_batches(task, videos_nTHWc, batch=batch))
  videos, bits = zip(*made) if made else ((videos_nTHWc,), ())
  return np.concatenate(videos), [np.concatenate(x) for x in zip(*bits)]


def code_h264(
  task: Task, videos_nTHWc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Clips through H.264 at the tokenizer's bits, and the bits of each."""
  coded = [h264.code_at(clip, task.bits_per_clip) for clip in videos_nTHWc]
  videos, bits = zip(*coded)
  return np.stack(videos), np.asarray(bits, np.int64)
