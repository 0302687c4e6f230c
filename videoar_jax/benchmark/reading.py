"""Records of prepared shards, read from a bucket and from the disk."""

import functools
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from videoar_jax.core import buckets
from videoar_jax.core.config import from_section
from videoar_jax.data import array_record, features, shard_cache, shards
from videoar_jax.data.config import DataConfig

_RECORDS = 2000  # that are read at random
_AT_ONCE = (1, 16, 64)  # requests
_MOST_S = 5.0  # of reading by so many
_KINDS = {
  array_record.ARRAY_RECORD.name: 'videos',
  features.FEATURES.name: 'features',
}


def measure_shards(section: Any, step_s: float, hosts: int) -> dict:
  """Times random records of a training split.

  From a bucket each is a request for as many bytes as a record has, which is
  what `array_record` sends for one. Nothing is decoded.

  Args:
    section: `data` of a run's config; its source is prepared.
    step_s: seconds of a step of the run.
    hosts: machines that share a batch.
  Returns:
    `records_per_s_needed` by a host; `record_bytes`, the mean;
    `records_per_s_disk`; and of a bucket `records_per_s_<n>_at_once` and
    `copy_bytes_per_s`, else None.
  Raises:
    ValueError: the source is not prepared, or its shards are damaged.
  """
  config = from_section(DataConfig, section)
  kind, path = config.kind.name, config.path
  if kind not in _KINDS:
    raise ValueError(
      f'data.source={config.source!r}: wanted {" or ".join(_KINDS)}:PATH'
    )
  found = {
    'records_per_s_needed': config.batch_size / step_s / hosts,
    'step_s': step_s,
    'hosts': hosts,
  }
  manifest = shards.read_manifest(path, _KINDS[kind])
  split = manifest['splits'][shards.SPLITS[0]]
  parts = [shard for shard in split['shards'] if shard['records']]
  size = sum(shard['bytes'] for shard in parts) // split['records']
  found['record_bytes'] = size
  rng = np.random.default_rng(0)
  with tempfile.TemporaryDirectory() as folder:
    os.environ['VIDEOAR_CACHE'] = folder  # of this process: nothing is there
    began = time.perf_counter()
    if buckets.is_bucket(path):
      shard_cache.fetch(path, parts)
      total = sum(shard['bytes'] for shard in parts)
      found['copy_bytes_per_s'] = total / (time.perf_counter() - began)
      places = [
        (f'{path}/{shard["name"]}', int(rng.integers(shard['bytes'])))
        for shard in rng.choice(parts, _RECORDS)
      ]
      for count in _AT_ONCE:
        found[f'records_per_s_{count}_at_once'] = _rate(
          functools.partial(buckets.read_parts, size=size, at_once=count),
          places,
          8 * count,
        )
    reader = shards.ShardReader(path, manifest, shards.SPLITS[0], {})
    order = rng.integers(len(reader), size=_RECORDS).tolist()
    found['records_per_s_disk'] = _rate(
      lambda some: [reader[index] for index in some], order, _RECORDS
    )
  return found


def _rate(read: Callable, places: list, most: int) -> float:
  """Records a second, of all places or as many as the time allows.

  Args:
    read: takes up to `most` places.
    places: of the records.
    most: at a time.
  """
  began, done = time.perf_counter(), 0
  while done < len(places) and time.perf_counter() - began < _MOST_S:
    done += len(read(places[done : done + most]))
  return done / (time.perf_counter() - began)
