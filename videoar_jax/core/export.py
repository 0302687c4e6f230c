"""Weights for use: exports, and one reader for all that `--checkpoint` takes.

An export is a folder with `<net>.safetensors` for each network (arrays named
`a/b/c`) and `config.json`, which holds the run's config, the step and the
digest of each network. A generator's export has its tokenizer's export in
the folder `tokenizer/`; so has a generator's workdir.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
import safetensors.numpy
from absl import logging
from etils import epath

from videoar_jax.core import config as config_lib
from videoar_jax.core import digest as digest_lib
from videoar_jax.core import manifest as manifest_lib
from videoar_jax.core.digest import tree_digest
from videoar_jax.core.manifest import CheckpointError

FORMAT = 'videoar_jax export 1'
TOKENIZER = 'tokenizer'
CHECKPOINTS = 'checkpoints'
CONFIG = 'config.json'
_TAKES = (
  'a workdir, its checkpoints folder, the folder of one step, or an export'
)


@dataclasses.dataclass(frozen=True)
class Loaded:
  """Weights and the config they were trained with.

  Attributes:
    config: the run's resolved config, locked.
    nets: network name -> parameters, nested dicts of NumPy arrays.
    step: of the checkpoint they are from.
    digests: network name -> digest of its parameters; the tokenizer's keys
      cached features.
    tokenizer: a generator's tokenizer, where it lies beside it.
  """

  config: ml_collections.ConfigDict
  nets: dict[str, Any]
  step: int
  digests: dict[str, str]
  tokenizer: 'Loaded | None' = None

  @property
  def digest(self) -> str:
    """One digest of all the networks together, the tokenizer not counted."""
    return digest_lib.text_digest(self.digests)


def write_export(
  directory: Any,
  nets: Mapping[str, Any],
  config: Any,
  *,
  step: int = 0,
  tokenizer: Loaded | None = None,
) -> None:
  """Writes weights and config; `config.json` comes last and completes it.

  Args:
    directory: made where it does not exist; an export there is replaced.
    nets: network name -> parameters, jax or NumPy arrays.
    config: of the run, a ConfigDict or plain dict.
    step: of the checkpoint that they are from.
    tokenizer: a generator's tokenizer, exported to `tokenizer/`.
  """
  directory = epath.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  (directory / CONFIG).unlink(missing_ok=True)
  if tokenizer is not None:
    write_loaded(directory / TOKENIZER, tokenizer)
  for name, params in nets.items():
    arrays = {
      key: np.ascontiguousarray(jax.device_get(x))
      for key, x in digest_lib.flatten(params).items()
    }
    path = directory / f'{name}.safetensors'
    path.write_bytes(safetensors.numpy.save(arrays))
  plain = config if isinstance(config, dict) else config.to_dict()
  about = {
    'format': FORMAT,
    'step': int(step),
    'digests': {name: tree_digest(params) for name, params in nets.items()},
    'config': plain,
  }
  partial = directory / f'{CONFIG}.partial'
  partial.write_text(json.dumps(about, indent=2) + '\n')
  partial.replace(directory / CONFIG)


def write_loaded(directory: Any, loaded: Loaded) -> None:
  """Writes what `load_weights` returned as an export."""
  write_export(
    directory,
    loaded.nets,
    loaded.config,
    step=loaded.step,
    tokenizer=loaded.tokenizer,
  )


def read_export(directory: Any) -> Loaded:
  """Reads an export and checks its digests.

  Raises:
    CheckpointError: it is not one, a file is missing, or the weights are not
      as they were written.
  """
  directory = epath.Path(directory)
  about = _read_about(directory)
  if about is None:
    raise CheckpointError(
      f'{directory}: not an export (no {CONFIG} with format {FORMAT!r})'
    )
  nets = {}
  for name, digest in about['digests'].items():
    path = directory / f'{name}.safetensors'
    try:
      arrays = safetensors.numpy.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
      raise CheckpointError(
        f'{path}: unreadable ({manifest_lib.brief(error)}); export again'
      ) from error
    nets[name] = digest_lib.nest(arrays)
    if tree_digest(nets[name]) != digest:
      raise CheckpointError(
        f'{path}: digest mismatch, the file is damaged or was replaced; '
        'export again'
      )
  return Loaded(
    config=config_lib.from_dict(about['config']),
    nets=nets,
    step=about['step'],
    digests=about['digests'],
    tokenizer=_read_tokenizer(directory),
  )


def load_weights(
  path: Any, *, ema: bool = True, expect: str | None = None
) -> Loaded:
  """Reads weights from anything that `--checkpoint` takes.

  Args:
    path: a workdir, its checkpoints folder (both: the newest checkpoint that
      can be trusted), the folder of one step, or an export.
    ema: averaged parameters; else those of the last step. An export holds
      what it was made of.
    expect: the recipe it must be of, 'tokenizer' or 'generator'.
  Raises:
    CheckpointError: no such path, not a checkpoint, none that can be trusted,
      or of another recipe.
  """
  path = epath.Path(path)
  if not path.exists():
    raise CheckpointError(f'{path}: no such checkpoint; give {_TAKES}')
  if _read_about(path) is not None:
    loaded = read_export(path)
  elif manifest_lib.is_step(path):
    loaded = _load_run(path, path.parent.parent, ema=ema)
  elif manifest_lib.list_steps(path):
    loaded = _load_run(path, path.parent, ema=ema)
  elif manifest_lib.list_steps(path / CHECKPOINTS):
    loaded = _load_run(path / CHECKPOINTS, path, ema=ema)
  else:
    raise CheckpointError(
      f'{path}: holds no committed checkpoint; give {_TAKES}, or train first'
    )
  recipe = loaded.config.get('recipe')
  if expect is not None and recipe != expect:
    raise CheckpointError(
      f'{path} is a checkpoint of recipe {recipe!r}; wanted a {expect}, give '
      f'the workdir of a {expect} run'
    )
  return loaded


def read_config(path: Any) -> ml_collections.ConfigDict:
  """The config that lies beside weights, which are not read.

  Args:
    path: as for `load_weights`.
  Raises:
    CheckpointError: there is none.
  """
  path = epath.Path(path)
  about = _read_about(path)
  if about is not None:
    return config_lib.from_dict(about['config'])
  for folder in (path, path.parent, path.parent.parent):
    if (folder / CONFIG).exists():
      return config_lib.load_config(folder / CONFIG)
  raise CheckpointError(f'{path}: no {CONFIG} there; give {_TAKES}')


def tokenizer_digests(path: Any) -> dict[str, str] | None:
  """Digests of the tokenizer beside a generator's weights, if it has one.

  Args:
    path: as for `load_weights`.
  """
  path = epath.Path(path)
  for folder in (path, path.parent, path.parent.parent):
    about = _read_about(folder / TOKENIZER)
    if about is not None:
      return about['digests']
  return None


def _load_run(path: epath.Path, workdir: epath.Path, *, ema: bool) -> Loaded:
  kind = 'ema' if ema else 'params'
  restored = manifest_lib.load_arrays(
    path,
    select=lambda name: name.split('/')[::2][:2] == ['nets', kind],
  )
  nets = {name: net[kind] for name, net in restored.tree['nets'].items()}
  return Loaded(
    config=config_lib.from_dict(restored.meta['config']),
    nets=nets,
    step=restored.step,
    digests={name: tree_digest(params) for name, params in nets.items()},
    tokenizer=_read_tokenizer(workdir),
  )


def _read_tokenizer(directory: epath.Path) -> Loaded | None:
  path = directory / TOKENIZER
  return read_export(path) if (path / CONFIG).exists() else None


def _read_about(directory: epath.Path) -> dict[str, Any] | None:
  """The content of an export's config.json; None if it is no export."""
  path = directory / CONFIG
  if not path.exists():
    return None
  try:
    about = json.loads(path.read_text())
  except ValueError as error:
    logging.warning('%s: not JSON: %s', path, error)
    return None
  return about if about.get('format') == FORMAT else None
