"""Sharded records beside a manifest: checked on opening, and when read.

A record is `VJR1`, the header's length (uint32, little endian), a JSON header
and binary parts whose lengths are the header's `sizes`. Records lie in
ArrayRecord files, whose chunks carry checksums of their own. The folder may lie
in a bucket: the shards that are read are copied to this machine first.
"""

from __future__ import annotations

import json
import os
import pathlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

from array_record.python import array_record_data_source
from etils import epath

from videoar_jax.core import buckets, files, structure
from videoar_jax.data import shard_cache
from videoar_jax.data.failures import BadRecordError

MANIFEST = 'manifest.json'
SPLITS = ('train', 'validation')
_MAGIC = b'VJR1'
VERSION = 1
UNFINISHED = '.unfinished'
_AGAIN = 'copy it again, or run data.prepare into an empty folder'

_NATURAL, _COUNT = structure.at_least(0), structure.at_least(1)
SHARD = {
  'name': structure.file_name,
  'records': _NATURAL,
  'bytes': _NATURAL,
  'sha256': str,
}
_SPLIT = {
  'shards': [SHARD],
  'records': _NATURAL,
  'per_class': structure.Each(_NATURAL),
}
# What every reader needs of the settings.
_CLIPS = {'height': _COUNT, 'width': _COUNT}
_SETTINGS = {'videos': _CLIPS, 'features': _CLIPS, 'embeddings': {}}


def pack(header: dict, parts: Sequence[bytes]) -> bytes:
  """Makes one record of a JSON-able header and binary parts."""
  header = {**header, 'sizes': [len(part) for part in parts]}
  text = json.dumps(header, separators=(',', ':')).encode()
  return b''.join((_MAGIC, struct.pack('<I', len(text)), text, *parts))


def unpack(
  record: bytes, shape: dict | None = None
) -> tuple[dict, list[memoryview]]:
  """Inverse of `pack`.

  Args:
    record: as stored.
    shape: of its header, see `structure.check`.
  Raises:
    ValueError: the record is not whole, or has another header.
  """
  view = memoryview(record)
  if len(view) < 8 or bytes(view[:4]) != _MAGIC:
    raise ValueError(f'record starts with {bytes(view[:4])!r}, not {_MAGIC!r}')
  begin = 8 + struct.unpack('<I', view[4:8])[0]
  header = files.parse_json(
    bytes(view[8:begin]),
    {'sizes': [_NATURAL], **(shape or {})},
    where='header',
  )
  stated = begin + sum(header['sizes'])
  if stated != len(view):
    raise ValueError(f'record has {len(view)} bytes, its header says {stated}')
  parts = []
  for size in header['sizes']:
    parts.append(view[begin : begin + size])
    begin += size
  return header, parts


def shard_names(split: str, count: int) -> list[str]:
  return [f'{split}-{i:05d}-of-{count:05d}.array_record' for i in range(count)]


def read_manifest(path: str, kind: str, settings: dict | None = None) -> dict:
  """Reads a prepared folder's manifest.

  Args:
    path: the folder.
    kind: `videos`, `features` or `embeddings`.
    settings: what else they hold, see `structure.check`.
  Raises:
    ValueError: the folder or manifest is missing, damaged, or of another kind.
  """
  buckets.check(path)
  folder = epath.Path(path)
  file = folder / MANIFEST
  if not file.exists():
    if not folder.is_dir():
      fault = 'no such folder'
    elif (folder / UNFINISHED).is_dir():
      fault = 'its preparation was not finished; run the same command again'
    else:
      fault = f'holds no {MANIFEST}; write it with data.prepare'
    raise ValueError(f'{path}: {fault}')
  shape = {'format': str, 'version': int}
  manifest = files.read_json(file, shape, fix=_AGAIN)
  found = manifest['format'], manifest['version']
  if found != (f'videoar_jax.{kind}', VERSION):
    raise ValueError(
      f'{file}: format {found[0]!r} version {found[1]}; wanted '
      f'videoar_jax.{kind!s} version {VERSION}; videos are read as '
      'array_record:PATH, features as features:PATH, embeddings by prompt'
    )
  shape = {
    'plan': {**_SETTINGS[kind], **(settings or {})},
    'classes': [str],
    'splits': {split: _SPLIT for split in SPLITS},
    'skipped': structure.Each(str),
  }
  try:
    structure.check(manifest, shape, where=str(file))
  except ValueError as error:
    raise ValueError(f'{error}; {_AGAIN}') from None
  return manifest


def header_shape(manifest: dict) -> dict:
  """What the headers of all records hold, see `structure.check`."""
  label = structure.at_least(0, below=len(manifest['classes']))
  return {'name': str, 'label': label}


class ShardReader:
  """Random access to the records of one split."""

  def __init__(self, path: str, manifest: dict, split: str, header: dict):
    """Checks that every shard is there and has its size, without reading it.

    Shards of a bucket are copied to this machine, and their digests compared.

    Args:
      path: the folder.
      manifest: see `read_manifest`.
      split: one of SPLITS.
      header: shape of the records' headers beside `header_shape`.
    Raises:
      ValueError: a shard is missing or has another size; the split is empty.
      OSError: a bucket cannot be read, or the disk has no room for its shards.
    """
    self._path = path
    self._header = {**header_shape(manifest), **header}
    shards = manifest['splits'][split]['shards']
    if not buckets.is_bucket(path):
      _check_sizes(path, shards)
    self._shards = [shard for shard in shards if shard['records']]
    if not self._shards:
      raise ValueError(f'{path}: the {split} split holds no records')
    if buckets.is_bucket(path):
      copies = shard_cache.fetch(path, self._shards)
    else:
      copies = [os.path.join(path, shard['name']) for shard in self._shards]
    try:
      self._records = array_record_data_source.ArrayRecordDataSource(copies)
    except Exception as error:  # array_record raises bare RuntimeErrors
      raise ValueError(
        f'{path}: unreadable shard: {error}; {_AGAIN}'
      ) from error
    stated = sum(shard['records'] for shard in self._shards)
    if len(self._records) != stated:
      raise ValueError(
        f'{path}: {len(self._records)} {split} records, the manifest says '
        f'{stated}: altered; {_AGAIN}'
      )

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> tuple[dict, list[memoryview]]:
    """Header and parts of a record; ValueError naming a damaged shard."""
    return self.read(index, lambda header, parts: (header, parts))

  def read(self, index: int, decode: Callable[[dict, list], Any]) -> Any:
    """What `decode` makes of a record's header and parts.

    Raises:
      BadRecordError: as `decode` does, where a sound record does not serve.
      ValueError: the record is damaged; its shard is named.
    """
    try:
      return decode(*unpack(self._records[index], self._header))
    except (BadRecordError, MemoryError):
      raise
    except Exception as error:  # array_record raises bare RuntimeErrors
      raise ValueError(
        f'{self._shard_of(index)}: record {index} is damaged ({error}); '
        f'{_AGAIN}'
      ) from error

  def _shard_of(self, index: int) -> str:
    for shard in self._shards:
      if index < shard['records']:
        break
      index -= shard['records']
    return str(epath.Path(self._path, shard['name']))


def _check_sizes(path: str, shards: Sequence[dict]) -> None:
  """Raises a ValueError for a shard that is missing or has another size."""
  for shard in shards:
    file = pathlib.Path(path, shard['name'])
    if not file.is_file():
      raise ValueError(f'{file}: missing shard; {_AGAIN}')
    size = file.stat().st_size
    if size != shard['bytes']:
      raise ValueError(
        f'{file}: {size} bytes, the manifest says {shard["bytes"]}: '
        f'truncated or altered; {_AGAIN}'
      )


def verify_digests(path: str, kind: str) -> int:
  """Reads every shard and compares its SHA-256 with the manifest.

  Returns:
    The number of shards.
  Raises:
    ValueError: a shard is missing or differs.
  """
  manifest = read_manifest(path, kind)
  count = 0
  for split in manifest['splits'].values():
    for shard in split['shards']:
      file = epath.Path(path, shard['name'])
      if not file.exists():
        raise ValueError(f'{file}: missing shard; {_AGAIN}')
      if shard_cache.sha256(file) != shard['sha256']:
        raise ValueError(f'{file}: altered since it was written; {_AGAIN}')
      count += 1
  return count
