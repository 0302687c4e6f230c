"""Arrays of safetensors files, read one by one: files may exceed the memory."""

import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from videoar_jax.core import buckets

DTYPES = {'F32': np.float32, 'F16': np.float16, 'BF16': ml_dtypes.bfloat16}
_SUFFIX = '.safetensors'
_PIECE = 2**26  # bytes
_FIX = 'launch/torch_to_safetensors.py makes one of a PyTorch file'


class TensorFiles:
  """The arrays of a file, or of all the files in a folder.

  Attributes:
    path: of the file or folder.
    shapes: name -> shape.
  """

  def __init__(self, path: Any):
    """Reads what the files hold, and none of it.

    Args:
      path: of a file, or of a folder with `*.safetensors`, on a disk.
    Raises:
      ValueError: no such file or none in the folder, one that is damaged, or a
        name in two of them.
    """
    buckets.check_on_disk(path)
    self.path = pathlib.Path(path)
    self.shapes: dict[str, tuple[int, ...]] = {}
    self._files: dict[str, Any] = {}
    for file in _files(self.path):
      self._add(file)

  def _add(self, path: pathlib.Path) -> None:
    try:
      file = safetensors.safe_open(path, framework='numpy')
      names = list(file.keys())
    except (OSError, safetensors.SafetensorError) as error:
      raise ValueError(f'{path}: damaged safetensors file: {error}') from None
    for name in names:
      if name in self.shapes:
        raise ValueError(
          f'{path}: {name} is also in another file of {self.path}; give a '
          'folder with one set of weights'
        )
      self.shapes[name] = tuple(file.get_slice(name).get_shape())
      self._files[name] = file

  def read(self, name: str) -> np.ndarray:
    """An array, in its own dtype.

    Raises:
      ValueError: of another dtype than `DTYPES`.
    """
    self._part(name)
    return self._files[name].get_tensor(name)

  def rows(self, name: str, indices: Sequence[int]) -> np.ndarray:
    """Some rows of an array, read alone: (n, …)."""
    part = self._part(name)
    return np.concatenate([part[int(i) : int(i) + 1] for i in indices])

  def pieces(self, name: str) -> Iterator[np.ndarray]:
    """An array of one axis or more, some rows at a time, in order."""
    part, shape = self._part(name), self.shapes[name]
    row = math.prod(shape[1:]) * np.dtype(DTYPES[part.get_dtype()]).itemsize
    step = max(1, _PIECE // max(row, 1))
    for begin in range(0, shape[0], step):
      yield part[begin : min(begin + step, shape[0])]

  def _part(self, name: str) -> Any:
    """What gives slices of an array."""
    part = self._files[name].get_slice(name)
    if part.get_dtype() not in DTYPES:
      raise ValueError(
        f'{self.path}: {name} is of dtype {part.get_dtype()}; wanted '
        f'{" or ".join(DTYPES)}'
      )
    return part


def _files(path: pathlib.Path) -> list[pathlib.Path]:
  if path.is_dir():
    found = sorted(path.glob(f'*{_SUFFIX}'))
    if not found:
      raise ValueError(f'{path}: holds no *{_SUFFIX}; {_FIX}')
    return found
  if not path.is_file():
    raise ValueError(f'{path}: no such file or folder')
  if path.suffix != _SUFFIX:
    raise ValueError(f'{path}: wanted a {_SUFFIX} file; {_FIX}')
  return [path]
