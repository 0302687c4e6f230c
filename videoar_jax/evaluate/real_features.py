"""I3D's features of the real clips of a draw: in files, and in the cache.

Those of a protocol's real clips are a few megabytes. In a file of its own they
go to a machine without the data (see `apart`); in the user's cache they let
the next checkpoint be measured without that any clip is decoded.
"""

import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from videoar_jax.core import cache, files, processes, structure
from videoar_jax.core.archive import Archive
from videoar_jax.evaluate import i3d, kept, protocols, provenance
from videoar_jax.evaluate.task import Task
from videoar_jax.evaluate.windows import Draw

_FIX = 'make it again with `python -m videoar_jax.evaluate features`'
_ABOUT = {
  'classes': [str],
  'protocol': (str, type(None)),
  'frames': structure.at_least(i3d.MIN_FRAMES),
  'resolution': [structure.at_least(1)],
  'weights_sha256': str,
  'seed?': structure.at_least(0),
  'videos_substituted?': structure.at_least(0),
}


@dataclasses.dataclass(frozen=True)
class RealFeatures:
  """What is kept of the real clips of one draw.

  Attributes:
    rows_nd: I3D's logits, float32.
    labels_n: class of each clip, indices into `about['classes']`.
    about: plain values: classes, protocol (a name or None), frames,
      resolution, weights_sha256 of I3D, and where the clips are from.
  """

  rows_nd: np.ndarray
  labels_n: np.ndarray
  about: dict[str, Any]

  @property
  def rules(self) -> protocols.Protocol:
    """The protocol, or the default one for its feature rules."""
    return protocols.get_protocol(self.about['protocol'] or protocols.DEFAULT)

  @property
  def substituted(self) -> int:
    """Clips whose video could not be read."""
    return self.about.get('videos_substituted', 0)


def describe(task: Task, draw: Draw, model: i3d.I3D, substituted: int) -> dict:
  """What `RealFeatures.about` says of a draw."""
  return {
    'classes': list(draw.classes),
    'protocol': task.protocol and task.protocol.name,
    'frames': task.frames,
    'resolution': [task.data.height, task.data.width],
    'weights_sha256': model.sha256,
    'source': task.data.source,
    'split': task.split.value,
    'seed': draw.seed,
    'videos_substituted': substituted,
    'versions': provenance.versions(),
  }


def write(path: Any, draws: Sequence[RealFeatures]) -> None:
  """Writes the features of draws as an .npz file, whole or not at all."""
  data = io.BytesIO()
  np.savez(
    data,
    rows=np.stack([x.rows_nd for x in draws]),
    labels=np.stack([x.labels_n for x in draws]),
    about=np.asarray(json.dumps([x.about for x in draws])),
  )
  with files.replacing(path) as partial:
    partial.write_bytes(data.getvalue())


def read(path: Any) -> list[RealFeatures]:
  """Reads what `write` wrote, also before it knew of several draws.

  Raises:
    ValueError: missing, damaged, or not such a file.
  """
  with Archive(path, fix=_FIX) as archive:
    rows, labels, text = map(archive.read_array, ('rows', 'labels', 'about'))
  one = rows.ndim == 2
  shape = _ABOUT if one else [_ABOUT]
  about = files.parse_json(str(text), shape, where=str(path), fix=_FIX)
  if one:
    rows, labels, about = rows[None], labels[None], [about]
  sound = about and rows.shape == (*labels.shape, i3d.NUM_CLASSES)
  if (
    not sound
    or len(rows) != len(about)
    or labels.dtype.kind != 'i'
    or not np.isfinite(rows).all()
    or not ((labels >= 0) & (labels < len(about[0]['classes']))).all()
  ):
    raise ValueError(f'{path}: not features and labels of clips; {_FIX}')
  return [RealFeatures(*parts) for parts in zip(rows, labels, about)]


def find(task: Task, draw: Draw, model: i3d.I3D | None) -> RealFeatures | None:
  """What the first process's user has in the cache, on all processes."""
  path, found = _path(task, draw, model), None
  if path is None:
    return None
  if processes.is_first() and path.exists():
    try:
      (found,) = read(path)
    except ValueError as error:
      logging.warning('%s', error)
  (there,) = processes.agree(int(found is not None))
  if not there:
    return None
  rows_nd, labels_n, substituted = _of_first(found)
  about = describe(task, draw, model, substituted)
  return RealFeatures(rows_nd, labels_n, about)


def keep(
  task: Task, draw: Draw, model: i3d.I3D | None, real: RealFeatures
) -> None:
  """Puts the features of a draw into the cache, if they can be."""
  path = _path(task, draw, model)
  if path is None or not processes.is_first():
    return
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, [real])
  except OSError as error:
    logging.warning('%s: cannot keep it: %s', path, error)


def _path(task: Task, draw: Draw, model: i3d.I3D | None) -> epath.Path | None:
  """Where the features of a draw lie, by all that decides them."""
  if model is None or task.identity is None:
    return None
  key = kept.key_of(
    provenance.reader_digest(),
    kept.device_facts(),
    (model.sha256, task.rules.i3d),
    (task.identity, draw.seed),
  )
  return epath.Path(cache.cache_dir() / 'real' / f'{key}.npz')


def _of_first(found: RealFeatures | None) -> tuple[np.ndarray, np.ndarray, int]:
  """The first process's features, labels and substituted clips, on all."""
  rows, labels, substituted = b'', b'', 0
  if found is not None:
    rows = np.ascontiguousarray(found.rows_nd, np.float32).tobytes()
    labels = np.ascontiguousarray(found.labels_n, np.int32).tobytes()
    substituted = found.substituted
  labels_n = np.frombuffer(processes.bytes_of(0, labels), np.int32)
  rows_nd = np.frombuffer(processes.bytes_of(0, rows), np.float32)
  (substituted,) = processes.agree(substituted)
  return rows_nd.reshape(len(labels_n), -1), labels_n, substituted
