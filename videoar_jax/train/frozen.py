"""The tokenizer of a generator's run, and the copy of it in the workdir."""

from typing import Any

from etils import epath

from videoar_jax.core import manifest, processes
from videoar_jax.core.console import note
from videoar_jax.core.export import (
  CHECKPOINTS,
  TOKENIZER,
  Loaded,
  for_sampling,
  load_weights,
  write_loaded,
)
from videoar_jax.core.manifest import CheckpointError


def load_tokenizer(config: Any, workdir: epath.Path) -> Loaded:
  """The tokenizer that a generator is trained on.

  A run that has checkpoints goes on with its copy, wherever the tokenizer in
  the config has gone to.

  Args:
    config: of the run, with the path `tokenizer`.
    workdir: where the run lives.
  Raises:
    ValueError: no tokenizer is named, or another than the run's checkpoints
      were trained on.
    CheckpointError: it cannot be read.
  """
  kept = workdir / TOKENIZER
  begun = bool(manifest.list_steps(workdir / CHECKPOINTS)) and kept.exists()
  if not begun and not config.tokenizer:
    raise ValueError(
      "tokenizer='': a generator needs a trained tokenizer; pass "
      '--config.tokenizer=WORKDIR_OR_EXPORT'
    )
  if not begun:
    return _load(config.tokenizer)
  own = _load(kept)
  if config.tokenizer:
    _check_same(config.tokenizer, own, kept)
  return own


def _load(path: Any) -> Loaded:
  return for_sampling(load_weights(path, expect='tokenizer'))


def _check_same(path: str, own: Loaded, kept: epath.Path) -> None:
  try:
    given = _load(path)
  except CheckpointError as error:
    if processes.is_first():
      note(f'{error}; going on with the copy in {kept}')
    return
  if given.digests != own.digests:
    raise ValueError(
      f'tokenizer={path}: not the one that {kept.parent} is trained on (digest '
      f'{given.digest[:12]}, wanted {own.digest[:12]}); go on with '
      f'--config.tokenizer={kept}, or use another --workdir'
    )


def keep_tokenizer(loaded: Loaded, workdir: epath.Path) -> None:
  """Copies it, so that the run's checkpoints need nothing outside.

  A copy of another one, or a part of one, left by a run that came to no
  checkpoint, is replaced. The first process alone writes and reads it here: no
  checkpoint is written before it is done, and without one no run reads it.
  """
  if not processes.is_first():
    return
  kept = workdir / TOKENIZER
  try:
    same = _load(kept).digests == loaded.digests
  except CheckpointError:
    same = False
  if not same:
    write_loaded(kept, loaded)
