"""Sharded records beside a manifest: written atomically, checked on opening.

A record is `VJR1`, the header's length (uint32, little endian), a JSON header
and binary parts whose lengths are the header's `sizes`. Records lie in
ArrayRecord files, whose chunks carry checksums of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import struct
from collections.abc import Iterable, Sequence

from array_record.python import array_record_data_source, array_record_module

from videoar_jax.core import lock

MANIFEST = 'manifest.json'
SPLITS = ('train', 'validation')
_MAGIC = b'VJR1'
_VERSION = 1
_UNFINISHED = '.unfinished'
_AGAIN = 'copy it again, or run data.prepare into an empty folder'


def pack(header: dict, parts: Sequence[bytes]) -> bytes:
  """Makes one record of a JSON-able header and binary parts."""
  header = {**header, 'sizes': [len(part) for part in parts]}
  text = json.dumps(header, separators=(',', ':')).encode()
  return b''.join((_MAGIC, struct.pack('<I', len(text)), text, *parts))


def unpack(record: bytes) -> tuple[dict, list[memoryview]]:
  """Inverse of `pack`; ValueError if the record is not whole."""
  view = memoryview(record)
  if len(view) < 8 or bytes(view[:4]) != _MAGIC:
    raise ValueError(f'record starts with {bytes(view[:4])!r}, not {_MAGIC!r}')
  begin = 8 + struct.unpack('<I', view[4:8])[0]
  header = json.loads(bytes(view[8:begin]))
  parts = []
  for size in header['sizes']:
    parts.append(view[begin : begin + size])
    begin += size
  if begin != len(view):
    raise ValueError(f'record has {len(view)} bytes, its header says {begin}')
  return header, parts


def shard_names(split: str, count: int) -> list[str]:
  return [f'{split}-{i:05d}-of-{count:05d}.array_record' for i in range(count)]


def read_manifest(path: str, kind: str) -> dict:
  """Reads a prepared folder's manifest.

  Args:
    path: the folder.
    kind: `videos` or `features`.
  Raises:
    ValueError: the folder or manifest is missing, or of another kind.
  """
  folder = pathlib.Path(path)
  file = folder / MANIFEST
  if not file.is_file():
    if not folder.is_dir():
      fault = 'no such folder'
    elif (folder / _UNFINISHED).is_dir():
      fault = 'its preparation was not finished; run the same command again'
    else:
      fault = f'holds no {MANIFEST}; write it with data.prepare'
    raise ValueError(f'{path}: {fault}')
  try:
    manifest = json.loads(file.read_text())
    found = manifest['format'], manifest['version']
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f'{file}: not a manifest ({error}); {_AGAIN}') from error
  if found != (f'videoar_jax.{kind}', _VERSION):
    raise ValueError(
      f'{file}: format {found[0]!r} version {found[1]}; wanted '
      f'videoar_jax.{kind!s} version {_VERSION}; videos are read as '
      'array_record:PATH, features as features:PATH'
    )
  return manifest


class ShardReader:
  """Random access to the records of one split."""

  def __init__(self, path: str, manifest: dict, split: str):
    """Checks that every shard is there and has its size, without reading it.

    Raises:
      ValueError: a shard is missing or has another size; the split is empty.
    """
    self._path = path
    shards = manifest['splits'][split]['shards']
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
    self._shards = [shard for shard in shards if shard['records']]
    if not self._shards:
      raise ValueError(f'{path}: the {split} split holds no records')
    try:
      self._records = array_record_data_source.ArrayRecordDataSource(
        [str(pathlib.Path(path, shard['name'])) for shard in self._shards]
      )
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
    try:
      return unpack(self._records[index])
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
    return str(pathlib.Path(self._path, shard['name']))


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
      file = pathlib.Path(path, shard['name'])
      if not file.is_file():
        raise ValueError(f'{file}: missing shard; {_AGAIN}')
      if _sha256(file) != shard['sha256']:
        raise ValueError(f'{file}: altered since it was written; {_AGAIN}')
      count += 1
  return count


class Preparation:
  """Writes shards one by one; a rerun with the same plan takes up the rest.

  A shard is written under `.unfinished/`, then renamed, and only then noted
  there. The manifest comes last: a folder without one is not finished.

  Attributes:
    out: the folder.
    manifest: None until all is finished.
  """

  def __init__(self, out: str, *, kind: str, plan: dict):
    """Opens an empty folder, or one begun with an equal plan.

    Args:
      out: the folder, made if need be.
      kind: `videos` or `features`.
      plan: JSON-able; all that decides what the shards will hold.
    Raises:
      ValueError: the folder was begun with another plan, or is in other use.
    """
    self.out = pathlib.Path(out)
    self._notes = self.out / _UNFINISHED
    self._kind = kind
    self._plan = json.loads(json.dumps(plan))
    self.manifest = None
    if (self.out / MANIFEST).is_file():
      self.manifest = read_manifest(out, kind)
      self._check_plan(self.manifest['plan'])
      return
    begun = self._notes / 'plan.json'
    if begun.is_file():
      self._check_plan(json.loads(begun.read_text()))
    elif self.out.is_dir() and any(
      file.name not in (_UNFINISHED, lock.NAME) for file in self.out.iterdir()
    ):
      raise ValueError(f'out={out}: holds other files; give an empty folder')
    self._notes.mkdir(parents=True, exist_ok=True)
    _write_json(begun, self._plan)

  def _check_plan(self, found: dict) -> None:
    keys = sorted(set(found) | set(self._plan))
    for key in keys:
      if found.get(key) != self._plan.get(key):
        raise ValueError(
          f'out={self.out}: was prepared with {key}={found.get(key)!r}, now '
          f'{self._plan.get(key)!r}; give another folder, or remove this one'
        )

  def finished(self, name: str) -> dict | None:
    """The note of a shard written before, or None."""
    note, shard = self._notes / f'{name}.json', self.out / name
    if not (note.is_file() and shard.is_file()):
      return None
    found = json.loads(note.read_text())
    return found if shard.stat().st_size == found['bytes'] else None

  def write(self, name: str, records: Iterable[bytes], stats: dict) -> dict:
    """Writes one shard.

    Args:
      name: of the shard.
      records: its records; drawing them may fill `stats`.
      stats: JSON-able, read when the last record is drawn.
    Returns:
      The shard's note: name, records, bytes, sha256 and the stats.
    """
    unfinished = self._notes / name
    # The parts are compressed already.
    writer = array_record_module.ArrayRecordWriter(
      str(unfinished), 'group_size:1,uncompressed'
    )
    count = 0
    try:
      for record in records:
        writer.write(record)
        count += 1
    finally:
      writer.close()
    note = {
      'name': name,
      'records': count,
      'bytes': unfinished.stat().st_size,
      'sha256': _sha256(unfinished),
      **stats,
    }
    os.replace(unfinished, self.out / name)
    _write_json(self._notes / f'{name}.json', note)
    return note

  def finish(self, manifest: dict) -> dict:
    """Writes the manifest and clears the notes; returns it complete."""
    manifest = {
      'format': f'videoar_jax.{self._kind}',
      'version': _VERSION,
      'plan': self._plan,
      **manifest,
    }
    _write_json(self.out / MANIFEST, manifest)
    shutil.rmtree(self._notes)
    self.manifest = read_manifest(str(self.out), self._kind)
    return self.manifest


def summarise(notes: Sequence[dict], classes: Sequence[str]) -> dict:
  """One split's entry of the manifest, from the notes of its shards."""
  keys = ('name', 'records', 'bytes', 'sha256')
  per_class = dict.fromkeys(classes, 0)
  for note in notes:
    for label in note['labels']:
      per_class[classes[label]] += 1
  return {
    'shards': [{key: note[key] for key in keys} for note in notes],
    'records': sum(note['records'] for note in notes),
    'per_class': per_class,
  }


def _write_json(path: pathlib.Path, value: dict) -> None:
  temporary = path.with_name(path.name + '.tmp')
  temporary.write_text(json.dumps(value, indent=1) + '\n')
  os.replace(temporary, path)


def _sha256(path: pathlib.Path) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
