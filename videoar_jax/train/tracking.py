"""Weights & Biases, where a run names a project (`train.wandb`).

Nothing of it is needed otherwise. `WANDB_MODE=offline` keeps the run below the
workdir, for `wandb sync` later.
"""

import importlib
import secrets
from collections.abc import Mapping
from typing import Any

from absl import logging
from etils import epath

from videoar_jax.core import files

_ID = 'wandb_id'  # file in the workdir: a resumed run goes on with its own
_STEP = 'step'


def check_installed(project: str) -> None:
  """Raises a ValueError where a project is named and the package is missing."""
  if project:
    _package(project)


class Tracker:
  """A run of Weights & Biases."""

  def __init__(self, project: str, *, workdir: Any, config: Mapping[str, Any]):
    """Begins it, or goes on with that of the workdir.

    Args:
      project: that it is filed under.
      workdir: of the run, after which it is named; keeps its id.
      config: what is shown as its settings.
    Raises:
      ValueError: the package is missing, or does not let the run begin.
    """
    package, workdir = _package(project), epath.Path(workdir)
    try:
      self._run = package.init(
        project=project,
        id=_read_id(workdir),
        name=workdir.name,
        dir=str(workdir) if '://' not in str(workdir) else None,
        config=dict(config),
        resume='allow',
      )
      # Steps that a resumed run does again are not refused.
      self._run.define_metric('*', step_metric=_STEP)
    except Exception as error:  # whatever the service or the network raises
      raise ValueError(
        f'train.wandb={project}: {_brief(error)}; run `wandb login`, set '
        "WANDB_MODE=offline, or leave it ''"
      ) from error

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Sends numbers of a step; a fault is logged and stops nothing."""
    try:
      self._run.log({_STEP: step, **values})
    except Exception as error:  # see above
      logging.error('metrics of step %d not sent: %s', step, _brief(error))

  def close(self) -> None:
    """Sends what is left."""
    try:
      self._run.finish()
    except Exception as error:  # see above
      logging.error('Weights & Biases is incomplete: %s', _brief(error))


def _package(project: str) -> Any:
  try:
    return importlib.import_module('wandb')
  except ImportError as error:
    raise ValueError(
      f'train.wandb={project}: the package wandb cannot be imported '
      f"({_brief(error)}); pip install 'videoar_jax[wandb]', or leave it ''"
    ) from None


def _read_id(workdir: epath.Path) -> str:
  path = workdir / _ID
  if not path.exists():
    path.write_text(f'{secrets.token_hex(8)}\n')
  found = files.read_text(path).strip()
  if not found.isalnum() or not found.isascii():
    raise ValueError(f'{path}: no id of a run; remove it to begin another')
  return found


def _brief(error: BaseException) -> str:
  return ' '.join(str(error).split())[:200] or type(error).__name__
