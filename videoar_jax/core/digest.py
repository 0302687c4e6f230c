"""Checksums of arrays that do not depend on where or how they are stored.

Each array is read as unsigned words; a word is mixed with a hash of its place
and all are summed modulo 2^32, so that any order of summation, and with it
any sharding, gives the same two numbers. One multiplier per place is odd:
a single changed word always changes the first sum.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

_SUB_BYTE = ('int2', 'uint2', 'int4', 'uint4', 'float4_e2m1fn')
_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint32}


def flatten(tree: Any) -> dict[str, Any]:
  """Maps `a/b/c` to each leaf; fields and indices become names."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Makes nested dicts of `a/b/c` -> leaf.

  Raises:
    ValueError: a name is both a leaf and a folder of leaves.
  """
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *parents, name = path.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
      if not isinstance(node, dict):
        raise ValueError(f'{path}: below an array')
    if name in node:
      raise ValueError(f'{path}: twice')
    node[name] = leaf
  return tree


def array_digests(arrays: Mapping[str, Any]) -> dict[str, str]:
  """Sixteen hexadecimal digits for each array, computed where it lies.

  Args:
    arrays: jax arrays or NumPy arrays of integers, floats, bools or PRNG keys;
      any shape. One jitted function digests those on accelerators.
  Raises:
    ValueError: a complex or sub-byte dtype.
  """
  arrays = {
    name: jax.random.key_data(x) if _is_key(x) else x
    for name, x in arrays.items()
  }
  on_device = {
    name: x
    for name, x in arrays.items()
    if isinstance(x, jax.Array) and not _is_in_memory(x)
  }
  sums = {}
  if on_device:
    sums = _digest_function(_common_mesh(on_device))(on_device)
  digests = {}
  for name, x in arrays.items():
    if name in sums:
      pair = np.asarray(sums[name])
    else:
      with np.errstate(over='ignore'):
        pair = np.asarray(_sums(_numpy_words(np.asarray(x)), np))
    digests[name] = f'{int(pair[0]):08x}{int(pair[1]):08x}'
  return digests


def tree_digest(params: Any) -> str:
  """One digest (64 hexadecimal digits) of a tree of arrays.

  It depends on names, shapes, dtypes and values, and on nothing else: not
  on sharding, file format or order of the dicts.
  """
  arrays = flatten(params)
  return text_digest(describe(arrays, array_digests(arrays)))


def describe(
  arrays: Mapping[str, Any], digests: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
  """What a manifest says of each array: shape, dtype and digest."""
  return {
    name: {
      'shape': list(np.shape(x)),
      'dtype': str(x.dtype if hasattr(x, 'dtype') else np.asarray(x).dtype),
      'digest': digests[name],
    }
    for name, x in arrays.items()
  }


def text_digest(value: Any) -> str:
  """SHA-256 of a JSON value, whatever the order of its keys."""
  text = json.dumps(value, sort_keys=True, separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()


def _is_in_memory(x: jax.Array) -> bool:
  """Whether NumPy can read all of an array where it lies.

  It is then as fast as a compiled program, and nothing has to be compiled.
  """
  on_cpu = all(device.platform == 'cpu' for device in x.devices())
  return on_cpu and x.is_fully_addressable


def _is_key(x: Any) -> bool:
  return isinstance(x, jax.Array) and jnp.issubdtype(
    x.dtype, jax.dtypes.prng_key
  )


def _common_mesh(arrays: Mapping[str, jax.Array]) -> Any:
  for x in arrays.values():
    if isinstance(x.sharding, NamedSharding):
      return x.sharding.mesh
  return None


@functools.lru_cache(maxsize=8)
def _digest_function(mesh: Any) -> Callable[..., dict[str, jax.Array]]:
  # Every process needs the sums, so they are left whole on each device.
  places = NamedSharding(mesh, PartitionSpec()) if mesh is not None else None

  def digest(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {
      name: jnp.stack(_sums(_jax_words(x), jnp)) for name, x in arrays.items()
    }

  return jax.jit(digest, out_shardings=places)


def _jax_words(x: jax.Array) -> jax.Array:
  word = _word_type(x.dtype)
  if x.dtype == jnp.bool_:
    return x.astype(jnp.uint32)
  return jax.lax.bitcast_convert_type(x, word).astype(jnp.uint32)


def _numpy_words(x: np.ndarray) -> np.ndarray:
  word = _word_type(x.dtype)
  pieces = x.dtype.itemsize // np.dtype(word).itemsize
  shape = (*x.shape, pieces) if pieces > 1 else x.shape
  # Little-endian, as all platforms that JAX runs on.
  words = np.ascontiguousarray(x).reshape(-1).view(word)
  return words.reshape(shape).astype(np.uint32)


def _word_type(dtype: Any) -> Any:
  kind = np.dtype(dtype)
  unknown = kind.kind == 'c' or kind.itemsize not in _WORDS
  if unknown or kind.name in _SUB_BYTE:
    raise ValueError(f'no digest for dtype {kind}; wanted 8 to 64 bit numbers')
  return _WORDS[kind.itemsize]


def _sums(words: Any, xp: Any) -> list[Any]:
  """Two sums modulo 2^32, in NumPy or in JAX (`xp`), of uint32 words."""
  u = xp.uint32
  if not words.size:  # another side may be huge
    return [xp.zeros((), u)] * 2
  place = xp.zeros(words.shape, u)
  stride = 1
  for axis in reversed(range(words.ndim)):
    size = words.shape[axis]
    shape = [size if i == axis else 1 for i in range(words.ndim)]
    steps = xp.arange(size, dtype=u) * u(stride % 2**32)
    place = place + steps.reshape(shape)
    stride *= size
  key = _mix(place * u(0x9E3779B1) + u(0x85EBCA77), xp)
  return [
    xp.sum(words * (key | u(1)), dtype=u),
    xp.sum(_mix(words ^ key, xp), dtype=u),
  ]


def _mix(x: Any, xp: Any) -> Any:
  """The finaliser of MurmurHash3 (Appleby, public domain)."""
  u = xp.uint32
  x = (x ^ (x >> u(16))) * u(0x85EBCA6B)
  x = (x ^ (x >> u(13))) * u(0xC2B2AE35)
  return x ^ (x >> u(16))
