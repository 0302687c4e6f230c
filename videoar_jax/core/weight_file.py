"""A network's weights as safetensors, of float32 or of half its bits."""

from typing import Any

import jax
import ml_dtypes
import numpy as np
import safetensors.numpy

from videoar_jax.core import digest

DTYPES = {'float32': np.float32, 'bfloat16': ml_dtypes.bfloat16}
_STORED = {'F32': np.float32, 'BF16': ml_dtypes.bfloat16}


def rounded(params: Any, dtype: str) -> dict[str, np.ndarray]:
  """Arrays named `a/b/c`, rounded to a dtype of `DTYPES`."""
  return {
    name: np.ascontiguousarray(jax.device_get(x), DTYPES[dtype])
    for name, x in digest.flatten(params).items()
  }


def in_memory(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  """Arrays named `a/b/c` as nested dicts of float32.

  Raises:
    ValueError: a name is both an array and a folder of arrays.
  """
  return digest.nest({name: np.float32(x) for name, x in arrays.items()})


def dump(arrays: dict[str, np.ndarray]) -> bytes:
  """The file of what `rounded` returned."""
  return safetensors.numpy.save(arrays)


def parse(data: bytes) -> dict[str, np.ndarray]:
  """The arrays of a file, as they are stored.

  Raises:
    ValueError: damaged, or of a dtype that `DTYPES` has not.
  """
  try:
    entries = safetensors.deserialize(data)
  except safetensors.SafetensorError as error:
    raise ValueError(f'damaged safetensors file: {error}') from None
  arrays = {}
  for name, entry in entries:
    if entry['dtype'] not in _STORED:
      raise ValueError(
        f'{name} is of dtype {entry["dtype"]}; wanted {" or ".join(_STORED)}'
      )
    flat = np.frombuffer(entry['data'], _STORED[entry['dtype']])
    arrays[name] = flat.reshape(entry['shape'])
  return arrays
