"""The data pipeline's batches, and the network and distance of FVD."""

import math
import time
from typing import Any

import numpy as np

from videoar_jax.benchmark import process
from videoar_jax.core import archive
from videoar_jax.core.config import from_section
from videoar_jax.data.config import DataConfig
from videoar_jax.data.pipeline import make_batches
from videoar_jax.evaluate import frechet, i3d

_BATCHES = 20


def measure_data(section: Any, num_workers: int) -> dict:
  """Times batches of a run's data.

  Args:
    section: `data` of the run's config.
    num_workers: decoding processes.

  Returns:
    `first_s`, until the first batch; `clips_per_s` of twenty after it; bytes of
    a batch.
  """
  config = from_section(DataConfig, {**section, 'num_workers': num_workers})
  started = time.perf_counter()
  batches = make_batches(config, train=True, seed=0)
  batch = next(batches)
  first_s = time.perf_counter() - started
  started = time.perf_counter()
  for _ in range(_BATCHES):
    next(batches)
  seconds = time.perf_counter() - started
  return {
    'num_workers': num_workers,
    'first_s': first_s,
    'clips_per_s': _BATCHES * config.batch_size / seconds,
    'batch_bytes': sum(array.nbytes for array in batch.values()),
    'peak_host_bytes': process.peak_host_bytes(),
  }


def check_videos(section: Any, num_videos: int) -> None:
  """Raises a ValueError for videos that I3D or memory cannot take.

  Args:
    section: `data` of a run's config, for the size of a video.
    num_videos: of each set.
  """
  if section.num_frames < i3d.MIN_FRAMES:
    raise ValueError(
      f'data.num_frames={section.num_frames}: I3D needs at least '
      f'{i3d.MIN_FRAMES}'
    )
  size = (num_videos, section.num_frames, section.height, section.width, 3)
  free = archive.free_memory()
  if math.prod(size) > free:
    raise ValueError(
      f'num_videos={num_videos}: they take {math.prod(size) / 1e9:.0f} GB of '
      f'memory, {free / 1e9:.0f} are free; ask for less'
    )


def measure_fvd(section: Any, num_videos: int) -> dict:
  """Times I3D on videos of noise, and the distance of their features.

  Args:
    section: `data` of a run's config, for the size of a video.
    num_videos: of each set.

  Returns:
    `first_s`, I3D on one batch with compilation; `i3d_videos_per_s` after it;
    `distance_s`, the Fréchet distance of two sets.
  """
  rng = np.random.default_rng(0)
  size = (num_videos, section.num_frames, section.height, section.width, 3)
  videos_nTHWc = rng.integers(0, 256, size, np.uint8)
  model = i3d.load_i3d()
  started = time.perf_counter()
  i3d.logits(model, videos_nTHWc[:1])
  first_s = time.perf_counter() - started
  started = time.perf_counter()
  rows_nd = i3d.logits(model, videos_nTHWc)
  logits_s = time.perf_counter() - started
  other_nd = rows_nd + rng.standard_normal(rows_nd.shape)
  started = time.perf_counter()
  frechet.frechet_distance(rows_nd, other_nd)
  return {
    'num_videos': num_videos,
    'first_s': first_s,
    'i3d_videos_per_s': num_videos / logits_s,
    'distance_s': time.perf_counter() - started,
    'peak_host_bytes': process.peak_host_bytes(),
    'peak_device_bytes': process.peak_device_bytes(),
  }
