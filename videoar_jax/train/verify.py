"""A run's checkpoints, read against their digests; nothing is changed."""

from collections.abc import Callable
from typing import Any

from etils import epath

from videoar_jax.core import export, manifest
from videoar_jax.core.console import say
from videoar_jax.core.manifest import CheckpointError


def verify_run(workdir: Any) -> bool:
  """Tells of each checkpoint whether it is whole, and where a restart goes on.

  It may be a run in progress: what that removes meanwhile is passed over.

  Args:
    workdir: of the run; the copy of its tokenizer, if it has one, counts too.
  Returns:
    Whether the newest checkpoint, and that copy, are whole.
  Raises:
    CheckpointError: there is no checkpoint.
  """
  workdir = epath.Path(workdir)
  folder = workdir / export.CHECKPOINTS
  steps = manifest.list_steps(folder)[::-1]
  if not steps:
    raise CheckpointError(
      f'{workdir}: holds no committed checkpoint; give the workdir of a run'
    )
  found = {}
  for step in steps:
    path = folder / str(step)
    whole, told = _read(_sizes, path)
    if whole or manifest.is_step(path):
      say(f'step {step}: {told}')
      found[step] = whole
  begin = max((step for step, whole in found.items() if whole), default=None)
  if begin is None:
    say('no checkpoint can be trusted: put a good copy back')
  else:
    say(f'a restart goes on from step {begin}')
  copied, copy = True, workdir / export.TOKENIZER
  if (copy / export.CONFIG).exists():
    copied, told = _read(_networks, copy)
    say(f'its tokenizer: {told}')
  return copied and begin is not None and begin == max(found)


def _read(
  read: Callable[[epath.Path], str], path: epath.Path
) -> tuple[bool, str]:
  """Whether all that lies there is whole, and what is told of it."""
  try:
    return True, f'{read(path)}, whole'
  except CheckpointError as error:
    return False, f'damaged: {error}'


def _sizes(path: epath.Path) -> str:
  count, size = manifest.verify_step(path)
  return f'{count} arrays, {size / 1e6:.1f} MB'


def _networks(path: epath.Path) -> str:
  return f'{len(export.read_export(path).nets)} networks'
