"""Writes shards one by one; what was stopped is taken up where it was."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import pathlib
from collections.abc import Callable, Generator, Iterator, Sequence

from absl import logging
from array_record.python import array_record_module
from etils import epath

from videoar_jax.core import buckets, files, lock, structure
from videoar_jax.data import shard_cache, shards

_NOTE = {**shards.SHARD, 'skipped': structure.Each(str)}
# What follows from other settings, and what to say where it differs.
_DERIVED = {
  'listing': 'from other files than are there now (names, sizes or split)',
  'counts': 'from another number of videos than there are now',
  'codec': 'by another version of this library',
  'tokenizer_digest': 'with another tokenizer',
  'encoder': 'with another text encoder',
  'prompts': 'from other prompts than are in the file now',
}


class Preparation:
  """Writes shards one by one; a rerun with the same settings takes up the rest.

  A shard appears when it is whole, and only then is noted under `.unfinished/`.
  The manifest comes last: a folder without one is not finished.

  Attributes:
    out: the folder.
    kind: `videos` or `features`.
    manifest: None until all is finished.
  """

  def __init__(self, out: str, *, kind: str, settings: dict):
    """Opens an empty folder, or one begun with equal settings.

    Args:
      out: the folder, made if need be; on a disk or in a bucket.
      kind: see `shards.read_manifest`.
      settings: JSON-able; all that decides what the shards will hold.
    Raises:
      ValueError: the folder was begun with other settings, or is in other use.
    """
    buckets.check(out)
    self.out = epath.Path(out)
    self._notes = self.out / shards.UNFINISHED
    self.kind = kind
    self._settings = json.loads(json.dumps(settings))
    self.manifest = None
    if (self.out / shards.MANIFEST).exists():
      self.manifest = shards.read_manifest(out, kind)
      self._check_settings(self.manifest['plan'])
      self._notes.rmtree(missing_ok=True)
      return
    begun = self._notes / 'plan.json'
    if begun.exists():
      fix = 'remove the folder and begin again'
      self._check_settings(files.read_json(begun, dict, fix=fix))
    elif self.out.is_dir():
      ours = (shards.UNFINISHED, lock.NAME)
      if any(file.name not in ours for file in self.out.iterdir()):
        raise ValueError(f'out={out}: holds other files; give an empty folder')
    self._notes.mkdir(parents=True, exist_ok=True)
    _write_json(begun, self._settings)

  def _check_settings(self, found: dict) -> None:
    """Raises a ValueError that tells first what the user said otherwise."""
    keys = [*self._settings, *sorted(set(found) - set(self._settings))]
    keys = [key for key in keys if found.get(key) != self._settings.get(key)]
    if not keys:
      return
    key = min(keys, key=lambda key: key in _DERIVED)
    what = f'with {key}={found.get(key)!r}, now {self._settings.get(key)!r}'
    raise ValueError(
      f'out={self.out}: was prepared {_DERIVED.get(key, what)}; give another '
      'folder, or remove this one'
    )

  def finished(self, name: str, *, num_classes: int) -> dict | None:
    """The note of a shard written before, or None."""
    file, shard = self._notes / f'{name}.json', self.out / name
    if not (file.exists() and shard.exists()):
      return None
    label = structure.at_least(0, below=num_classes)
    try:
      note = files.read_json(file, {**_NOTE, 'labels': [label]})
    except ValueError as error:
      logging.warning('%s; this shard is written again', error)
      return None
    size = shard.stat().length
    return note if (name, size) == (note['name'], note['bytes']) else None

  def write(
    self, name: str, records: Generator[bytes, None, None], stats: dict
  ) -> dict:
    """Writes one shard.

    Args:
      name: of the shard.
      records: its records; drawing them may fill `stats`. Closed at the end.
      stats: JSON-able, read when the last record is drawn.
    Returns:
      The shard's note: name, records, bytes, sha256 and the stats.
    Raises:
      OSError: the disk is full, or nothing can be written there.
    """
    count = 0
    with files.replacing(self.out / name) as partial:
      with _writing(partial) as write, contextlib.closing(records):
        for record in records:
          write(record)
          count += 1
      note = {
        'name': name,
        'records': count,
        'bytes': partial.stat().st_size,
        'sha256': shard_cache.sha256(partial),
        **stats,
      }
    _write_json(self._notes / f'{name}.json', note)
    return note

  def finish(self, manifest: dict) -> dict:
    """Writes the manifest and clears the notes; returns it complete."""
    manifest = {
      'format': f'videoar_jax.{self.kind}',
      'version': shards.VERSION,
      'plan': self._settings,
      **manifest,
    }
    _write_json(self.out / shards.MANIFEST, manifest)
    self._notes.rmtree()
    self.manifest = shards.read_manifest(str(self.out), self.kind)
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


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
  """Gives what adds a record to a new file; an error leaves no file behind."""
  # The parts are compressed already.
  writer = array_record_module.ArrayRecordWriter(
    str(path), 'group_size:1,uncompressed'
  )

  def told(action: Callable, *arguments) -> None:
    try:
      action(*arguments)
    except RuntimeError as error:  # all that array_record raises
      raise _disk_error(error, path) from None

  try:
    yield functools.partial(told, writer.write)
    told(writer.close)
  except BaseException:
    with contextlib.suppress(RuntimeError):
      writer.close()
    path.unlink(missing_ok=True)
    raise


def _disk_error(error: RuntimeError, path: pathlib.Path) -> OSError:
  """The error of the system that another one's text speaks of."""
  for code in errno.errorcode:
    if f'failed: {os.strerror(code)}; ' in str(error):
      return OSError(code, os.strerror(code), str(path))
  return OSError(errno.EIO, f'not written: {error}', str(path))


def _write_json(path: epath.Path, value: dict) -> None:
  with files.replacing(path) as partial:
    partial.write_text(json.dumps(value, indent=1) + '\n')
