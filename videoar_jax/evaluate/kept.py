"""What takes long, kept in files, so that work that was cut short goes on.

An array is kept under a key, which is a digest of all that decides it. I3D's
features of clips that are asked for again and again lie in the user's cache;
what one evaluation makes lies beside its result until that is written.
"""

import contextlib
import hashlib
import re
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from videoar_jax.core import cache, files, spread
from videoar_jax.core.archive import Archive
from videoar_jax.evaluate import i3d, provenance
from videoar_jax.evaluate.stages import Stages
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.sample.program import SamplingConfig

BLOCK = 32  # videos in a file
# Names of files, whole or partial.
_OWN = re.compile(r'[0-9a-f]{64}\.npz|\.[0-9a-f]{64}\.partial\.npz')


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


def read(
  folder: epath.Path | None, key: str, shape: tuple[int, ...]
) -> np.ndarray | None:
  """What is kept under a key; None where nothing of that shape is whole."""
  path = folder and folder / f'{key}.npz'
  if path is None or not path.exists():
    return None
  try:
    with Archive(path, fix='it is made again') as archive:
      rows = archive.read_array('rows')
    return rows if rows.shape == shape else None
  except ValueError as error:
    logging.warning('%s', error)
    return None


def write(folder: epath.Path | None, key: str, rows: np.ndarray) -> None:
  """Keeps an array, if it can."""
  if folder is None:
    return
  path = folder / f'{key}.npz'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as partial:
      np.savez(partial, rows=rows)
  except OSError as error:
    logging.warning('%s: cannot keep it: %s', path, error)


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
    rows_nd = read(folder, key, (len(block), i3d.NUM_CLASSES))
    if rows_nd is None:
      rows_nd = i3d.logits(model, block)
      write(folder, key, rows_nd)
    found.append(rows_nd)
  return np.concatenate(found[1:] or found)


def shared_logits(
  model: i3d.I3D,
  own_nTHWc: np.ndarray,
  count: int,
  folder: epath.Path | None = None,
) -> np.ndarray:
  """`logits` of all videos, of which each process works out its share.

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


def samples(
  generator: sampler_lib.Generator,
  sampling: SamplingConfig,
  conditions_nx: np.ndarray,
  stages: Stages,
  *,
  digest: str,
  folder: epath.Path | None,
) -> np.ndarray:
  """This process's share of the samples, one for each condition.

  Args:
    generator: what samples.
    sampling: how.
    conditions_nx: of all samples.
    stages: are told how long it takes.
    digest: of the generator's weights.
    folder: where they are kept, some at a time; None: nowhere.
  Returns:
    uint8 nTHWc.
  """
  index_n = spread.own(len(conditions_nx))
  height, width = sampling.size
  shape = (sampling.num_frames, height, width, 3)
  videos_nTHWc = np.empty((len(index_n), *shape), np.uint8)
  decided = digest, sampling, provenance.versions()
  blocks, missing = {}, []
  for start in range(0, len(index_n), BLOCK):
    rows = slice(start, start + BLOCK)
    block_n = index_n[rows]
    key = folder and key_of(decided, block_n, conditions_nx[block_n])
    kept = read(folder, key, (len(block_n), *shape))
    if kept is None:
      missing += range(start, start + len(block_n))
      blocks[start + len(block_n) - 1] = rows, key
    else:
      videos_nTHWc[rows] = kept
  with stages.counted('sampling', len(missing)) as progress:
    stream = sampler_lib.sample_videos(
      generator.program(sampling),
      generator.nets,
      conditions_nx[index_n[missing]],
      sampling=sampling,
      index_n=index_n[missing],
      mesh=generator.mesh,
    )
    for row, video in zip(missing, stream):
      videos_nTHWc[row] = video
      progress.add(1)
      if row in blocks:
        rows, key = blocks[row]
        write(folder, key, videos_nTHWc[rows])
  return videos_nTHWc


def clear(folder: epath.Path) -> None:
  """Removes what is kept in a folder, and the folder where nothing else is."""
  # Other processes may do the same, and other files keep the folder.
  with contextlib.suppress(OSError, ValueError):
    for path in folder.iterdir() if folder.exists() else ():
      if _OWN.fullmatch(path.name):
        path.unlink(missing_ok=True)
    folder.rmdir()
