"""What takes long, kept in files, so that work that was cut short goes on.

Arrays are kept under a key, which is a digest of all that decides them. What
I3D says of clips that are asked for again and again lies in the user's cache;
what one evaluation makes lies beside its result until that is written: rows of
numbers, a few for each video, and no videos but those that are to be saved.
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from videoar_jax.core import cache, files, spread
from videoar_jax.core.archive import Archive
from videoar_jax.data.work import Progress
from videoar_jax.evaluate import i3d

BLOCK = 32  # videos in a file
FLUSH_S = 20.0  # after which rows are written
_STOP = 'stop'
# Names of files, whole or partial.
_OWN = re.compile(r'\.?[0-9a-f]{64}(_[0-9]+)?(\.partial)?\.npz')

Rows = dict[str, np.ndarray]


def key_of(*values: Any) -> str:
  """A digest of arrays' bytes and of other values' `repr`."""
  found = hashlib.sha256()
  for value in values:
    if isinstance(value, np.ndarray):
      found.update(repr((value.shape, str(value.dtype))).encode())
      found.update(np.ascontiguousarray(value).tobytes())
    else:
      found.update(repr(value).encode())
  return found.hexdigest()


def device_facts() -> tuple[str, str]:
  """What rounds as it does: the backend and the kind of its devices."""
  return jax.default_backend(), jax.local_devices()[0].device_kind


def read(folder: epath.Path | None, name: str) -> Rows | None:
  """The arrays that are kept under a name; None where none are whole."""
  path = folder and folder / f'{name}.npz'
  if path is None or not path.exists():
    return None
  try:
    with Archive(path, fix='it is made again') as archive:
      names = [x.removesuffix('.npy') for x in archive.names]
      return {name: archive.read_array(name) for name in names}
  except ValueError as error:
    logging.warning('%s', error)
    return None


def write(
  folder: epath.Path | None, name: str, rows: Mapping[str, np.ndarray]
) -> None:
  """Keeps arrays, if it can."""
  if folder is None:
    return
  path = folder / f'{name}.npz'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as partial:
      np.savez(partial, **rows)
  except OSError as error:
    logging.warning('%s: cannot keep it: %s', path, error)


def collect(
  chunks: Callable[[int], Iterator[tuple[int, Rows]]],
  *,
  count: int,
  folder: epath.Path | None,
  key: str,
  needed: Sequence[str],
  progress: Progress,
) -> Rows:
  """The rows of all of this process's videos, worked out some at a time.

  They are written as they come, so that a process that is killed loses the
  last seconds alone.

  Args:
    chunks: from the place of a video, counted over this process's own, yields
      how many videos come next, and their rows by name.
    count: videos of this process.
    folder: where rows are kept; None: nowhere.
    key: of all that decides them.
    needed: names without which rows that were kept do not serve.
    progress: is told of every video.
  Returns:
    The rows of each name, one after another.
  """
  found = list(_kept(folder, key, count, needed))
  done = sum(number for number, _ in found)
  if done:
    progress.add(done, worked=False)
  new: list[tuple[int, Rows]] = []

  def flush() -> None:
    if new:
      number = sum(number for number, _ in new)
      begin = done - number
      rows = _joined([rows for _, rows in new])
      write(folder, f'{key}_{begin}', {**rows, _STOP: np.int64(done)})
      found.append((number, rows))
      new.clear()

  last = time.monotonic()
  try:
    for number, rows in chunks(done) if done < count else ():
      new.append((number, rows))
      done += number
      progress.add(number)
      if time.monotonic() - last >= FLUSH_S:
        flush()
        last = time.monotonic()
  finally:
    flush()
  return _joined([rows for _, rows in found])


def _kept(
  folder: epath.Path | None, key: str, count: int, needed: Sequence[str]
) -> Iterator[tuple[int, Rows]]:
  """What was written before, from the first video on."""
  done = 0
  while done < count:
    rows = read(folder, f'{key}_{done}')
    stop = int(rows.pop(_STOP, 0)) if rows else 0
    if not done < stop <= count or not rows.keys() >= {*needed}:
      return
    yield stop - done, rows
    done = stop


def _joined(parts: list[Rows]) -> Rows:
  names = dict.fromkeys(name for rows in parts for name in rows)
  # One by one, so that few are there twice.
  return {
    name: np.concatenate([rows.pop(name) for rows in parts if name in rows])
    for name in names
  }


def logits(
  model: i3d.I3D,
  videos_nTHWc: np.ndarray,
  folder: epath.Path | None,
) -> np.ndarray:
  """`i3d.logits`, kept some videos at a time; of none, no rows."""
  rules = model.sha256, getattr(model, 'config', None), jax.default_backend()
  found = [np.zeros((0, i3d.NUM_CLASSES), np.float32)]
  for start in range(0, len(videos_nTHWc), BLOCK):
    block = videos_nTHWc[start : start + BLOCK]
    key = folder and key_of(rules, block)
    rows_nd = (read(folder, key) or {}).get('rows')
    if rows_nd is None or rows_nd.shape != (len(block), i3d.NUM_CLASSES):
      rows_nd = i3d.logits(model, block)
      write(folder, key, {'rows': rows_nd})
    found.append(rows_nd)
  return np.concatenate(found[1:] or found)


def shared_logits(
  model: i3d.I3D,
  own_nTHWc: np.ndarray,
  count: int,
  folder: epath.Path | None = None,
) -> np.ndarray:
  """`logits` of a few videos, of which each process works out its share.

  Args:
    model: from `i3d.load_i3d`.
    own_nTHWc: this process's videos.
    count: videos in all.
    folder: where the features are kept.
  """
  return spread.gather(logits(model, own_nTHWc, folder), count)


def cached_logits(model: i3d.I3D, videos_nTHWc: np.ndarray) -> np.ndarray:
  """`logits` of clips that are asked for again, kept in the user's cache."""
  own_nTHWc = spread.own_rows(videos_nTHWc)
  folder = cache.cache_dir() / 'i3d'
  return shared_logits(model, own_nTHWc, len(videos_nTHWc), folder)


def clear(folder: epath.Path) -> None:
  """Removes what is kept in a folder, and the folder where nothing else is."""
  # Other processes may do the same, and other files keep the folder.
  with contextlib.suppress(OSError, ValueError):
    for path in folder.iterdir() if folder.exists() else ():
      if _OWN.fullmatch(path.name):
        path.unlink(missing_ok=True)
    folder.rmdir()
