"""Arrays of safetensors files, read one by one: files may exceed the memory."""

import pathlib
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from videoar_jax.core import buckets

DTYPES = {'F32': np.float32, 'F16': np.float16, 'BF16': ml_dtypes.bfloat16}
_SUFFIX = '.safetensors'
_FIX = 'launch/torch_to_safetensors.py makes one of a PyTorch file'


class TensorFiles:
  """The arrays of a file, or of all the files in a folder.

  Attributes:
    path: of the file or folder.
    shapes: name -> shape.
    dtypes: name -> NumPy dtype.
  """

  def __init__(self, path: Any):
    """Reads what the files hold, and none of it.

    Args:
      path: of a file, or of a folder with `*.safetensors`, on a disk.
    Raises:
      ValueError: no such file or none in the folder, one that is damaged, a
        name in two of them, or numbers of another kind than floats.
    """
    buckets.check_on_disk(path)
    self.path = pathlib.Path(path)
    self.shapes: dict[str, tuple[int, ...]] = {}
    self.dtypes: dict[str, Any] = {}
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
      part = file.get_slice(name)
      if name in self.shapes:
        raise ValueError(
          f'{path}: {name} is also in another file of {self.path}; give a '
          'folder with one set of weights'
        )
      if part.get_dtype() not in DTYPES:
        raise ValueError(
          f'{path}: {name} is of dtype {part.get_dtype()}; wanted '
          f'{" or ".join(DTYPES)}'
        )
      self.shapes[name] = tuple(part.get_shape())
      self.dtypes[name] = DTYPES[part.get_dtype()]
      self._files[name] = file

  def read(self, name: str) -> np.ndarray:
    """An array, in its own dtype."""
    return self._files[name].get_tensor(name)

  def rows(self, name: str, indices: Sequence[int]) -> np.ndarray:
    """Some rows of an array, read alone: (n, …)."""
    part = self._files[name].get_slice(name)
    return np.concatenate([part[int(i) : int(i) + 1] for i in indices])


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
