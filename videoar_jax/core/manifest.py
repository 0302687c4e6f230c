"""One checkpoint on disk: its manifest, its arrays, and whether they agree."""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from videoar_jax.core import digest as digest_lib
from videoar_jax.core import structure
from videoar_jax.core.event_loop import let_fail_in_peace

FORMAT = 1
_SHAPE = {
  'format': int,
  'step': structure.at_least(0),
  'arrays': structure.Each(
    {'shape': [structure.at_least(0)], 'dtype': str, 'digest': str}
  ),
  'best_value': (float, type(None)),
  'meta': dict,
  'digest': str,
}
# Orbax's mark of a folder that is still being written.
PARTIAL = '.orbax-checkpoint-tmp'


class CheckpointError(ValueError):
  """A checkpoint that cannot be read, trusted or written."""


@dataclasses.dataclass(frozen=True)
class Restored:
  """A trusted checkpoint.

  Attributes:
    step: of the checkpoint.
    tree: the arrays, in the structure that was asked for.
    meta: what `Checkpoints.save` was given.
    best_value: what `Checkpoints.save` was given.
  """

  step: int
  tree: Any
  meta: dict[str, Any]
  best_value: float | None


def make_manifest(
  arrays: Mapping[str, Any],
  step: int,
  meta: dict[str, Any],
  best_value: float | None,
) -> dict[str, Any]:
  """Describes arrays (name -> array) and digests the description itself."""
  body = {
    'format': FORMAT,
    'step': int(step),
    'arrays': digest_lib.describe(arrays, digest_lib.array_digests(arrays)),
    'best_value': None if best_value is None else float(best_value),
    'meta': meta,
  }
  return {**body, 'digest': digest_lib.text_digest(body)}


def absolute(path: Any) -> epath.Path:
  """The path from the root, which Orbax insists on; a URL stays as it is."""
  text = str(path)
  return epath.Path(text if '://' in text else os.path.abspath(text))


def children(directory: Any) -> list[epath.Path]:
  """What a folder holds; nothing if it does not exist."""
  directory = epath.Path(directory)
  return sorted(directory.iterdir()) if directory.is_dir() else []


def is_number(name: str) -> bool:
  """Whether a name is a step's, as it would be written."""
  return re.fullmatch(r'0|[1-9][0-9]{0,17}', name) is not None


def is_step(path: Any) -> bool:
  """Whether a path is the committed checkpoint of one step."""
  path = epath.Path(path)
  return (
    is_number(path.name)
    and path.is_dir()
    and ocp.path.step.is_path_finalized(path)
  )


def list_steps(directory: Any) -> list[int]:
  """The committed steps of a directory of checkpoints, in ascending order."""
  return sorted(int(path.name) for path in children(directory) if is_step(path))


def read_manifest(path: Any) -> dict[str, Any]:
  """Reads and checks the manifest of one step's folder.

  Raises:
    CheckpointError: it is missing, not JSON, or not as it was written.
  """
  try:
    with _reader() as reader:
      manifest = reader.restore(
        absolute(path),
        args=ocp.args.Composite(manifest=ocp.args.JsonRestore()),
      )['manifest']
    structure.check(manifest, _SHAPE, where='manifest')
    body = {key: value for key, value in manifest.items() if key != 'digest'}
    whole = manifest['digest'] == digest_lib.text_digest(body)
  except Exception as error:  # whatever damaged JSON may cause
    raise CheckpointError(f'unreadable manifest: {brief(error)}') from error
  if not whole:
    raise CheckpointError('the manifest is not as it was written')
  if manifest['format'] != FORMAT:
    raise CheckpointError(
      f'format {manifest["format"]}; this version reads format {FORMAT}'
    )
  return manifest


def _reader() -> ocp.Checkpointer:
  """A reader that waits for no other process, which may meet damage."""
  let_fail_in_peace()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=None, active_processes={jax.process_index()}
  )
  return ocp.Checkpointer(
    ocp.CompositeCheckpointHandler(), multiprocessing_options=alone
  )


def load_arrays(
  path: Any,
  *,
  select: Callable[[list[str]], list[str]] = lambda names: names,
) -> Restored:
  """Reads arrays as NumPy, without knowing the tree, e.g. to sample.

  Args:
    path: one step's folder, or a folder of them, of which the newest that can
      be trusted is taken (nothing is moved or removed).
    select: picks arrays by name (`nets/generator/ema/head/kernel`) out of all.
  Returns:
    The checkpoint, its tree nested dicts.
  Raises:
    CheckpointError: there is none, or none that can be trusted, or no array
      is selected.
  """
  path = epath.Path(path)
  if is_step(path):
    candidates = [path]
  else:
    candidates = [path / str(step) for step in list_steps(path)[::-1]]
  if not candidates:
    raise CheckpointError(f'{path}: no committed checkpoint there')
  reasons = {}
  for candidate in candidates:
    try:
      return _load_step(candidate, select)
    except CheckpointError as error:
      logging.warning('checkpoint %s is damaged: %s', candidate, error)
      reasons[candidate.name] = str(error)
  raise CheckpointError(none_trusted(path, reasons))


def _load_step(
  path: epath.Path, select: Callable[[list[str]], list[str]]
) -> Restored:
  manifest = read_manifest(path)
  names = select(list(manifest['arrays']))
  if not names:
    known = sorted({name.rsplit('/', 1)[0] for name in manifest['arrays']})
    raise CheckpointError(f'no array selected; it has {", ".join(known)}')
  return restored(manifest, _read_checked(path, manifest, names))


def _read_checked(
  path: epath.Path, manifest: dict[str, Any], names: list[str]
) -> Any:
  """Some arrays of a step, nested dicts of NumPy, as their digests say."""
  try:
    wanted = {
      name: jax.ShapeDtypeStruct(about['shape'], jnp.dtype(about['dtype']))
      for name, about in manifest['arrays'].items()
      if name in names
    }
    tree = read_arrays(path, digest_lib.nest(wanted), as_numpy=True)
    check_arrays(manifest, digest_lib.flatten(tree))
  except CheckpointError:
    raise
  except Exception as error:  # whatever damaged data may cause
    raise CheckpointError(f'unreadable arrays: {brief(error)}') from error
  return tree


def verify_step(path: Any, *, at_once: int = 2**28) -> tuple[int, int]:
  """Reads all of one step against its digests, and keeps none of it.

  Args:
    path: the step's folder.
    at_once: bytes of arrays that are in memory at a time; a larger array is
      read alone.
  Returns:
    The number of its arrays, and their bytes.
  Raises:
    CheckpointError: it cannot be trusted.
  """
  path = epath.Path(path)
  manifest = read_manifest(path)
  part, held, total = [], 0, 0
  for name, about in manifest['arrays'].items():
    size = _nbytes(about)
    if part and held + size > at_once:
      _read_checked(path, manifest, part)
      part, held = [], 0
    part.append(name)
    held, total = held + size, total + size
  _read_checked(path, manifest, part)
  return len(manifest['arrays']), total


def _nbytes(about: dict[str, Any]) -> int:
  try:
    return math.prod(about['shape']) * jnp.dtype(about['dtype']).itemsize
  except TypeError as error:
    raise CheckpointError(f'unreadable manifest: {brief(error)}') from error


def restored(manifest: dict[str, Any], tree: Any) -> Restored:
  """Puts arrays and what the manifest says of them together."""
  return Restored(
    manifest['step'], tree, manifest['meta'], manifest['best_value']
  )


def read_arrays(
  path: Any, abstract_tree: Any, *, as_numpy: bool = False
) -> Any:
  """Reads the arrays of `abstract_tree`, and no others, from a step's folder.

  Args:
    path: the step's folder.
    abstract_tree: ShapeDtypeStructs, with shardings unless `as_numpy`.
    as_numpy: NumPy arrays instead of jax arrays.
  """
  nested = digest_lib.nest(digest_lib.flatten(abstract_tree))
  if as_numpy:
    args = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), nested
    )
  else:
    args = ocp.checkpoint_utils.construct_restore_args(nested)
  with _reader() as reader:
    arrays = reader.restore(
      absolute(path),
      args=ocp.args.Composite(
        arrays=ocp.args.PyTreeRestore(
          nested, restore_args=args, partial_restore=True
        )
      ),
    )['arrays']
  flat = digest_lib.flatten(arrays)
  return jax.tree.unflatten(
    jax.tree.structure(abstract_tree),
    [flat[name] for name in digest_lib.flatten(abstract_tree)],
  )


def check_structure(
  manifest: dict[str, Any],
  wanted: Mapping[str, Any],
  path: Any,
  *,
  unread: Callable[[str], bool],
) -> None:
  """Raises a CheckpointError if a checkpoint holds other arrays than wanted.

  Args:
    manifest: of the checkpoint.
    wanted: name -> anything with shape and dtype.
    path: for the message.
    unread: which arrays it may hold besides, by name.
  """
  stored = {
    name: (tuple(about['shape']), about['dtype'])
    for name, about in manifest['arrays'].items()
    if name in wanted or not unread(name)
  }
  wanted = {name: (x.shape, str(x.dtype)) for name, x in wanted.items()}
  for name in sorted(stored.keys() | wanted.keys()):
    if stored.get(name) != wanted.get(name):
      raise CheckpointError(
        f'{path} is a checkpoint of another config: {name} is '
        f'{_about(stored.get(name))} there and {_about(wanted.get(name))} '
        'here; use the config of the checkpoint, or another workdir'
      )


def check_arrays(manifest: dict[str, Any], arrays: Mapping[str, Any]) -> None:
  """Raises a CheckpointError that names arrays unlike their digests."""
  digests = digest_lib.array_digests(arrays)
  wrong = [
    name
    for name, digest in digests.items()
    if digest != manifest['arrays'][name]['digest']
  ]
  if wrong:
    more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
    raise CheckpointError(f'digest mismatch in {", ".join(wrong[:3])}{more}')


def none_trusted(path: Any, reasons: Mapping[Any, str]) -> str:
  """The message that no checkpoint is good, and why, one by one."""
  lines = ''.join(f'\n  {step}: {why}' for step, why in reasons.items())
  return (
    f'{path}: none of its checkpoints can be trusted; put a good copy back, '
    f'or start in another workdir:{lines}'
  )


def brief(error: BaseException) -> str:
  """An exception's first line, with its type where that says more."""
  lines = str(error).strip().splitlines()
  text = lines[0][:300] if lines else ''
  if isinstance(error, CheckpointError):
    return text
  return f'{type(error).__name__}: {text}'


def _about(value: tuple[tuple[int, ...], str] | None) -> str:
  return 'absent' if value is None else f'{value[1]}{list(value[0])}'
