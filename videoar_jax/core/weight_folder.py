"""Weights of others as safetensors: one file, or several and their index.

Arrays are read one by one, when they are asked for, so that a network larger
than half of the memory can be taken over.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from videoar_jax.core import buckets, files, structure

# How diffusers names a network's files.
STEM = 'diffusion_pytorch_model'
_SUFFIX, _INDEX = '.safetensors', '.safetensors.index.json'
# What names in an index are, and which file they are in.
_ABOUT = {'weight_map': structure.Each(structure.file_name)}
_PICKLED = ('.pth', '.pt', '.bin', '.ckpt')


class Stored:
  """An array in a file; `np.asarray` reads it.

  Attributes:
    shape: of the array.
  """

  def __init__(self, file: Any, name: str, where: str):
    self._file, self._name, self._where = file, name, where
    self.shape = tuple(file.get_slice(name).get_shape())

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    try:
      return np.asarray(self._file.get_tensor(self._name), dtype)
    except (KeyError, TypeError, safetensors.SafetensorError) as error:
      kind = self._file.get_slice(self._name).get_dtype()
      raise ValueError(
        f'{self._where}: {self._name} of dtype {kind} cannot be read '
        f'({error}); wanted float32, bfloat16 or float16'
      ) from None


class Part(NamedTuple):
  """An array to be written, which is made when its file is.

  Attributes:
    name: of the array.
    shape: of the array.
    make: gives it.
  """

  name: str
  shape: tuple[int, ...]
  make: Callable[[], np.ndarray]


def folder_of(path: str | os.PathLike) -> pathlib.Path:
  """The folder that a path of weights is, or lies in."""
  path = pathlib.Path(path)
  return path if path.is_dir() else path.parent


def read(path: str | os.PathLike) -> dict[str, Stored]:
  """Opens all arrays of a network.

  Args:
    path: a file of safetensors, an index of several, or a folder that holds
      one of these.

  Raises:
    ValueError: there is none, or more than one; it is damaged, or in a bucket;
      or an index names what is not there.
  """
  buckets.check_on_disk(path)
  path = _file_of(pathlib.Path(path))
  if not path.name.endswith(_INDEX):
    return _read_file(path)
  about = files.read_json(path, _ABOUT)
  places: dict[str, list[str]] = {}
  for name, file in about['weight_map'].items():
    places.setdefault(file, []).append(name)
  found = {}
  for file, names in places.items():
    arrays = _read_file(path.parent / file)
    for name in names:
      if name not in arrays:
        raise ValueError(
          f'{path}: says that {name} is in {file}, which has no such array; '
          'copy the files again'
        )
      found[name] = arrays[name]
  return found


def _file_of(path: pathlib.Path) -> pathlib.Path:
  """The one file or index that a path stands for."""
  if path.suffix in _PICKLED:
    raise ValueError(
      f'{path}: a pickle, which may run code; make safetensors of it: python '
      f'launch/torch_to_safetensors.py {path} {path.with_suffix(_SUFFIX)}'
    )
  if not path.is_dir():
    if not path.is_file():
      raise ValueError(f'{path}: no such file; check the path')
    return path
  for ending in (_INDEX, _SUFFIX):
    found = sorted(x for x in path.iterdir() if x.name.endswith(ending))
    if len(found) == 1:
      return found[0]
    if found:
      names = ', '.join(x.name for x in found[:3])
      raise ValueError(f'{path}: holds {names}; name the one that is meant')
  raise ValueError(
    f'{path}: holds no {_SUFFIX}; give a file of safetensors, or its folder'
  )


def _read_file(path: pathlib.Path) -> dict[str, Stored]:
  try:
    file = safetensors.safe_open(path, framework='numpy')
    return {name: Stored(file, name, str(path)) for name in file.keys()}  # noqa: SIM118
  except FileNotFoundError:
    raise ValueError(
      f'{path}: no such file, and the index names it; copy all files'
    ) from None
  except (OSError, safetensors.SafetensorError) as error:
    raise ValueError(f'{path}: damaged safetensors file: {error}') from None


def write(
  folder: str | os.PathLike,
  parts: Iterable[Part],
  *,
  dtype: Any,
  shard_bytes: int,
  about: dict[str, Any],
) -> list[pathlib.Path]:
  """Writes a network as diffusers does.

  Args:
    folder: a new one, or empty.
    parts: its arrays.
    dtype: that they are rounded to.
    shard_bytes: the most of one file, unless one array is larger; of several
      files an index is written.
    about: what `config.json` holds, which comes last.

  Returns:
    The files of arrays.

  Raises:
    ValueError: the folder holds something, or nothing can be written there.
  """
  folder = pathlib.Path(files.output_folder(folder, local=True))
  if folder.is_dir() and any(folder.iterdir()):
    raise ValueError(f'{folder}: holds something; give a new folder')
  folder.mkdir(parents=True, exist_ok=True)
  shards = _shards(parts, np.dtype(dtype).itemsize, shard_bytes)
  places, written = {}, []
  for i, shard in enumerate(shards, 1):
    several = f'-{i:05d}-of-{len(shards):05d}' if len(shards) > 1 else ''
    path = folder / f'{STEM}{several}{_SUFFIX}'
    arrays = {x.name: np.ascontiguousarray(x.make(), dtype) for x in shard}
    with files.replacing(path) as partial:
      # Without it readers of PyTorch refuse the file.
      safetensors.numpy.save_file(arrays, partial, metadata={'format': 'pt'})
    places |= dict.fromkeys(arrays, path.name)
    written.append(path)
  if len(shards) > 1:
    size = sum(_bytes(x, np.dtype(dtype).itemsize) for y in shards for x in y)
    index = {'metadata': {'total_size': size}, 'weight_map': places}
    _write_json(folder / f'{STEM}{_INDEX}', index)
  _write_json(folder / 'config.json', about)
  return written


def _shards(
  parts: Iterable[Part], itemsize: int, most: int
) -> list[list[Part]]:
  """Parts in their order, as many in a file as fit."""
  shards: list[list[Part]] = [[]]
  held = 0
  for part in parts:
    size = _bytes(part, itemsize)
    if shards[-1] and held + size > most:
      shards.append([])
      held = 0
    shards[-1].append(part)
    held += size
  return shards


def _bytes(part: Part, itemsize: int) -> int:
  return itemsize * int(np.prod(part.shape))


def _write_json(path: pathlib.Path, value: Any) -> None:
  with files.replacing(path) as partial:
    partial.write_text(json.dumps(value, indent=2) + '\n')
