"""Weights for use: exports, and one reader for all that `--checkpoint` takes.

An export is a folder with `<net>.safetensors` for each network (arrays named
`a/b/c`, float32 or bfloat16) and `config.json`, which holds the run's config,
the step and the digest of each network. Digests are of the values as float32,
which is what they are in memory. A generator's export has its tokenizer's
export in the folder `tokenizer/`; so has a generator's workdir.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_collections
from etils import epath

from videoar_jax import zoo
from videoar_jax.core import buckets, files, lock, structure, weight_file
from videoar_jax.core import config as config_lib
from videoar_jax.core import digest as digest_lib
from videoar_jax.core import manifest as manifest_lib
from videoar_jax.core.digest import tree_digest
from videoar_jax.core.fit import check_fits
from videoar_jax.core.manifest import CheckpointError

FORMAT = 'videoar_jax export 1'
TOKENIZER = 'tokenizer'
CHECKPOINTS = 'checkpoints'
CONFIG = 'config.json'
_SUFFIX = '.safetensors'
# What training alone needs.
_TRAINING = frozenset({'discriminator'})
_ABOUT = {
  'format': structure.one_of(FORMAT),
  'step': structure.at_least(0),
  'digests': structure.Each(str, key=structure.file_name),
  'config': dict,
}
_TAKES = (
  'a workdir, its checkpoints folder, the folder of one step, an export, or '
  'zoo:NAME'
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
    path: where they were read, for messages.
  """

  config: ml_collections.ConfigDict
  nets: dict[str, Any]
  step: int
  digests: dict[str, str]
  tokenizer: 'Loaded | None' = None
  path: str = ''

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
  dtype: str = 'float32',
) -> None:
  """Writes weights and config; `config.json` comes last and completes it.

  Args:
    directory: made where it does not exist; an export there is replaced.
    nets: network name -> parameters, jax or NumPy arrays.
    config: of the run, a ConfigDict or plain dict.
    step: of the checkpoint that they are from.
    tokenizer: a generator's tokenizer, exported to `tokenizer/`.
    dtype: that numbers are rounded to, 'float32' or 'bfloat16'.
  """
  directory = epath.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  (directory / CONFIG).unlink(missing_ok=True)
  if tokenizer is not None:
    write_loaded(directory / TOKENIZER, tokenizer, dtype=dtype)
  digests = {}
  for name, params in nets.items():
    arrays = weight_file.rounded(params, dtype)
    _write(directory / f'{name}{_SUFFIX}', weight_file.dump(arrays))
    digests[name] = tree_digest(weight_file.in_memory(arrays))
  about = {
    'format': FORMAT,
    'step': int(step),
    'digests': digests,
    'config': config if isinstance(config, dict) else config.to_dict(),
  }
  with files.replacing(directory / CONFIG) as partial:
    partial.write_text(json.dumps(about, indent=2) + '\n')


def _write(path: epath.Path, data: bytes) -> None:
  with files.named(path):
    path.write_bytes(data)


def write_loaded(
  directory: Any, loaded: Loaded, *, dtype: str = 'float32'
) -> None:
  """Writes what sampling needs of it as an export, see `write_export`."""
  write_export(
    directory,
    for_sampling(loaded).nets,
    loaded.config,
    step=loaded.step,
    tokenizer=loaded.tokenizer,
    dtype=dtype,
  )


def for_sampling(loaded: Loaded) -> Loaded:
  """Weights without the networks that training alone needs."""
  used = [name for name in loaded.nets if name not in _TRAINING]
  return dataclasses.replace(
    loaded,
    nets={name: loaded.nets[name] for name in used},
    digests={name: loaded.digests[name] for name in used},
  )


def check_target(path: Any, *, source: Any) -> None:
  """Checks the folder that an export is to be written to.

  An export there, whole or begun, is replaced; nothing else may be in it.

  Args:
    path: of the folder.
    source: what is exported, which must not be written over.
  Raises:
    ValueError: it holds something else, is the source or the source's
      tokenizer, or nothing may be written there.
  """
  home = _home(locate(source))
  folder = files.output_folder(path, inputs=(source, home, home / TOKENIZER))
  for found in manifest_lib.children(folder):
    known = (CONFIG, files.partial_name(CONFIG), TOKENIZER, lock.NAME)
    if found.name not in known and not found.name.endswith(_SUFFIX):
      raise ValueError(
        f'{path}: holds {found.name}, which is of no export; give a new folder'
      )


def read_export(directory: Any) -> Loaded:
  """Reads an export, its tokenizer's too, and checks its digests.

  Raises:
    CheckpointError: it is not one, a file is missing, or the weights are not
      as they were written.
  """
  directory = epath.Path(directory)
  loaded = _read_own(directory)
  return dataclasses.replace(loaded, tokenizer=_read_tokenizer(directory))


def _read_own(directory: epath.Path) -> Loaded:
  """An export without what lies in `tokenizer/`."""
  about = _read_about(directory)
  if about is None:
    raise CheckpointError(
      f'{directory}: not an export (no {CONFIG} with format {FORMAT!r})'
    )
  return Loaded(
    config=_config(about['config'], where=directory / CONFIG),
    nets={
      name: _read_net(directory / f'{name}{_SUFFIX}', digest)
      for name, digest in about['digests'].items()
    },
    step=about['step'],
    digests=about['digests'],
    path=str(directory),
  )


def _read_net(path: epath.Path, digest: str) -> dict[str, Any]:
  try:
    net = weight_file.in_memory(weight_file.parse(path.read_bytes()))
    found = tree_digest(net)
  except (OSError, ValueError) as error:
    raise CheckpointError(
      f'{path}: unreadable ({manifest_lib.brief(error)}); export again'
    ) from error
  if found != digest:
    raise CheckpointError(
      f'{path}: digest mismatch, the file is damaged or was replaced; '
      'export again'
    )
  return net


def check_net(
  loaded: Loaded, name: str, shapes: Callable[[], Any], *, sizes: Iterable[int]
) -> None:
  """Checks a network's weights against the network that its config makes.

  Args:
    loaded: the weights, and the config.
    name: of the network.
    shapes: gives the parameters' shapes and dtypes.
    sizes: widths and numbers of layers in the config. One above all sizes in
      the weights is refused before `shapes` makes so large a network.
  Raises:
    CheckpointError: the network is missing; or one of its arrays is missing,
      unknown, of another shape or dtype, or holds NaN or infinity.
  """
  where = f'{loaded.path}: {name}'
  fix = 'give weights with the config that they were trained with'
  if not isinstance(loaded.nets.get(name), dict):
    raise CheckpointError(f'{where} is missing; {fix}')
  given = digest_lib.flatten(loaded.nets[name])
  most = max([len(given), *(side for x in given.values() for side in x.shape)])
  try:
    if max(sizes) > most:
      raise ValueError(f'{max(sizes)} of something, the weights have {most}')
    wanted = digest_lib.flatten(shapes())
  except Exception as error:  # a nonsensical config may raise anything
    raise CheckpointError(
      f'{where}: its config makes no such network '
      f'({manifest_lib.brief(error)}); {fix}'
    ) from None
  check_fits(given, wanted, where=where, fix=fix)


def load_weights(
  path: Any, *, ema: bool = True, expect: str | None = None
) -> Loaded:
  """Reads weights from anything that `--checkpoint` takes.

  Args:
    path: a workdir, its checkpoints folder (both: the newest checkpoint that
      can be trusted), the folder of one step, an export, or zoo:NAME.
    ema: averaged parameters, where they are kept; else those of the last step.
      An export holds what it was made of.
    expect: the recipe it must be of, 'tokenizer' or 'generator'. The tokenizer
      of a generator is the one that lies beside it.
  Raises:
    CheckpointError: no such path, not a checkpoint, none that can be trusted,
      or of another recipe.
  """
  path = locate(path)
  if not path.exists():
    raise CheckpointError(f'{path}: no such checkpoint; give {_TAKES}')
  home = _home(path)
  checkpoints = path if home != path else path / CHECKPOINTS
  beside = (home / CONFIG).exists() and (home / TOKENIZER / CONFIG).exists()
  if expect == TOKENIZER and beside:
    loaded = _read_own(home / TOKENIZER)
  elif home != path or manifest_lib.list_steps(checkpoints):
    loaded = _load_run(checkpoints, home, ema=ema)
  elif _read_about(path) is not None:
    loaded = read_export(path)
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


def locate(path: Any) -> epath.Path:
  """The folder that a checkpoint is read from, whether or not it exists.

  Raises:
    CheckpointError: no model comes with the package under that name, or it
      lies in a bucket that cannot be reached.
  """
  try:
    found = epath.Path(zoo.locate(path) if zoo.is_name(path) else path)
    buckets.check(found)
    return found
  except ValueError as error:
    raise CheckpointError(str(error)) from None


def read_config(path: Any) -> ml_collections.ConfigDict:
  """The config that lies beside weights, which are not read.

  Args:
    path: as for `load_weights`.
  Raises:
    CheckpointError: there is none.
  """
  home = _home(locate(path))
  about = _read_about(home)
  if about is not None:
    return _config(about['config'], where=home / CONFIG)
  if not (home / CONFIG).exists():
    raise CheckpointError(f'{path}: no {CONFIG} there; give {_TAKES}')
  return config_lib.load_config(home / CONFIG)


def tokenizer_digests(path: Any) -> dict[str, str] | None:
  """Digests of the tokenizer beside a generator's weights, if it has one.

  Args:
    path: as for `load_weights`.
  Raises:
    CheckpointError: the tokenizer's config is damaged.
  """
  about = _read_about(_home(locate(path)) / TOKENIZER)
  return None if about is None else about['digests']


def _home(path: epath.Path) -> epath.Path:
  """The workdir or export that a path of `--checkpoint` lies in."""
  if (path / CONFIG).exists():
    return path
  if manifest_lib.is_step(path):
    return path.parent.parent
  return path.parent if manifest_lib.list_steps(path) else path


def _load_run(path: epath.Path, workdir: epath.Path, *, ema: bool) -> Loaded:
  restored = manifest_lib.load_arrays(
    path, select=functools.partial(_select_nets, ema=ema)
  )
  nets = {}
  for name, kinds in restored.tree['nets'].items():
    (nets[name],) = kinds.values()
  return Loaded(
    config=_config(restored.meta.get('config'), where=path),
    nets=nets,
    step=restored.step,
    digests={name: tree_digest(params) for name, params in nets.items()},
    tokenizer=_read_tokenizer(workdir),
    path=str(path),
  )


def _select_nets(names: list[str], *, ema: bool) -> list[str]:
  """Of each network its average, or the last parameters where it has none."""
  nets = {x: f'{x}/'.split('/')[1:3] for x in names if x.startswith('nets/')}
  averaged = {net for net, kind in nets.values() if ema and kind == 'ema'}
  return [
    name
    for name, (net, kind) in nets.items()
    if kind == ('ema' if net in averaged else 'params')
  ]


def _config(values: Any, *, where: Any) -> ml_collections.ConfigDict:
  try:
    return config_lib.from_dict(values)
  except ValueError as error:
    raise CheckpointError(f'{where}: {error}') from None


def _read_tokenizer(directory: epath.Path) -> Loaded | None:
  path = directory / TOKENIZER
  return _read_own(path) if (path / CONFIG).exists() else None


def _read_about(directory: epath.Path) -> dict[str, Any] | None:
  """The content of an export's config.json; None if it is no export."""
  path = directory / CONFIG
  if not path.exists():
    return None
  try:
    about = files.read_json(path, dict)
    if about.get('format') != FORMAT:
      return None
    structure.check(about, _ABOUT, where=str(path))
  except ValueError as error:
    raise CheckpointError(f'{error}; export again') from None
  return about
