"""Shards of a bucket, copied to this machine once and read from there.

An epoch visits records in random order, and each epoch all of them: from the
bucket itself every record would be a request of its own, every time, and a
fault of the network a damaged record. Copies lie in the user's cache under the
SHA-256 that the manifest states, so that runs share them; all processes of a
machine wait for the one that copies.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging
from etils import epath

from videoar_jax.core import buckets
from videoar_jax.core.console import note

_FOLDER = 'shards'
_AT_ONCE = 8  # shards that are copied at a time
_ATTEMPTS = 4


def fetch(path: str, shards: Sequence[dict]) -> list[str]:
  """The files of shards on this machine, copied if they are not there.

  What was cut short goes on where it stopped.

  Args:
    path: the folder in a bucket.
    shards: their entries in the manifest.
  Raises:
    ValueError: the digest in the manifest is none, or a shard has another.
    OSError: the disk has no room, or the bucket cannot be read.
  """
  from videoar_jax.core import cache  # imports JAX, which workers do without

  folder = cache.cache_dir() / _FOLDER
  files = [_file(folder, path, shard) for shard in shards]
  wanted = {
    file: shard
    for file, shard in zip(files, shards)
    if not _is_whole(file, shard)
  }
  if wanted:
    folder.mkdir(parents=True, exist_ok=True)
    size = sum(_left(file, shard) for file, shard in wanted.items())
    _check_space(folder, size)
    note(
      f'{path}: copying {len(wanted)} shards, {size / 2**20:.1f} MiB, to '
      f'{folder}'
    )
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
      work = [
        pool.submit(_copy, f'{path.rstrip("/")}/{shard["name"]}', file, shard)
        for file, shard in wanted.items()
      ]
      try:
        for one in concurrent.futures.as_completed(work):
          one.result()
      except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
  return [str(file) for file in files]


def _file(folder: pathlib.Path, path: str, shard: dict) -> pathlib.Path:
  if not re.fullmatch('[0-9a-f]{64}', shard['sha256']):
    raise ValueError(
      f'{path}: sha256={shard["sha256"]!r} of {shard["name"]} is no SHA-256; '
      'prepare again'
    )
  return folder / f'{shard["sha256"]}.array_record'


def _is_whole(file: pathlib.Path, shard: dict) -> bool:
  """Whether it was copied before: what bears this name was checked then."""
  return file.is_file() and file.stat().st_size == shard['bytes']


def _left(file: pathlib.Path, shard: dict) -> int:
  """Bytes that are still to be copied."""
  there = 0
  with contextlib.suppress(FileNotFoundError):
    there = file.with_suffix('.partial').stat().st_size
  return max(0, shard['bytes'] - there)


def _check_space(folder: pathlib.Path, size: int) -> None:
  free = shutil.disk_usage(folder).free
  if free < size:
    raise OSError(
      errno.ENOSPC,
      f'{size / 1e9:.1f} GB of shards, {free / 1e9:.1f} GB are free',
      str(folder),
    )


def _copy(url: str, file: pathlib.Path, shard: dict) -> None:
  partial = file.with_suffix('.partial')
  with _alone(file):
    if _is_whole(file, shard):
      return
    for attempt in range(1, _ATTEMPTS + 1):
      try:
        if not partial.exists() or partial.stat().st_size < shard['bytes']:
          buckets.download(url, partial)
      except OSError as error:
        if attempt == _ATTEMPTS:
          raise
        logging.warning('%s; going on with it', error)
        continue
      if sha256(partial) == shard['sha256']:
        os.replace(partial, file)
        return
      if partial.stat().st_size >= shard['bytes']:
        partial.unlink()
  raise ValueError(
    f'{url}: not what the manifest says (size or SHA-256); copy it again, or '
    'run data.prepare into an empty folder'
  )


def sha256(file: Any) -> str:
  """The digest of a file, on a disk or in a bucket."""
  with epath.Path(file).open('rb') as opened:
    return hashlib.file_digest(opened, 'sha256').hexdigest()


@contextlib.contextmanager
def _alone(file: pathlib.Path) -> Iterator[None]:
  """Lets one process of this machine work at a file at a time."""
  with open(file.with_suffix('.lock'), 'a') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield
