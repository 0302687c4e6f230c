"""Wan's weights from files of others, and back to diffusers' form.

Names are known of the original, of diffusers, and of students that were trained
from it, whose files hold several networks (`generator_ema.model.blocks…`).
"""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from videoar_jax.core import weight_folder
from videoar_jax.core.config import differences, section
from videoar_jax.core.digest import flatten, nest
from videoar_jax.core.mesh import unbox
from videoar_jax.core.weight_file import DTYPES
from videoar_jax.core.weight_folder import Part
from videoar_jax.transformer.wan import WanTransformer, init_params
from videoar_jax.transformer.wan_card import read_card, to_card
from videoar_jax.transformer.wan_config import WanConfig
from videoar_jax.transformer.wan_names import (
  Entry,
  Naming,
  global_entries,
  layer_entries,
  layer_name,
  shapes,
  to_ours,
  to_theirs,
)

_LAYERS = 'layers/'
# An array that every file of Wan has, by one name.
_MARK = 'patch_embedding.weight'
# The networks of a student's file, the one to be used first.
_STUDENTS = ('generator_ema', 'generator')
# What wrappers of PyTorch put into names.
_WRAPPERS = re.compile(
  r'_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.|_orig_mod\.'
)
_SHOWN, _LISTED = 5, 20
_SHARD_BYTES = 10 * 10**9


@dataclasses.dataclass(frozen=True)
class Match:
  """How the names in a file are those of a network.

  Attributes:
    naming: whose names they are.
    prefix: what stands before each.
    mapped: name without prefix and wrappers -> name in the file.
    missing: names that the network has, and the file has not.
    unexpected: names in the file that the network has not.
    misfits: names in the file -> (shape there, shape wanted).
  """

  naming: Naming
  prefix: str
  mapped: dict[str, str]
  missing: tuple[str, ...]
  unexpected: tuple[str, ...]
  misfits: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

  def lines(self) -> list[str]:
    """The report as text; lines for the first names that were not mapped."""
    below = f' below {self.prefix!r}' if self.prefix else ''
    found = [
      f'{len(self.mapped)} arrays mapped, of {self.naming.value} names{below}'
    ]
    for title, names in (
      ('missing', self.missing),
      ('unexpected', self.unexpected),
    ):
      found.append(f'{len(names)} arrays {title}')
      found += [f'  {name}' for name in names[:_LISTED]]
      if len(names) > _LISTED:
        found.append(f'  and {len(names) - _LISTED} more')
    found += [f'  {fault}' for fault in self.faults()[len(self.missing) :]]
    return found

  def faults(self) -> list[str]:
    """What stands against using the arrays: those missing, then misfits."""
    return [f'{name} is missing' for name in self.missing] + [
      f'{name} is {_sides(there)}, wanted {_sides(wanted)}'
      for name, (there, wanted) in self.misfits.items()
    ]


@dataclasses.dataclass(frozen=True)
class Imported:
  """A network that was taken over.

  Attributes:
    params: its parameters, float32 NumPy.
    config: its shape.
    match: what became of each name.
  """

  params: Any
  config: WanConfig
  match: Match


def load(
  path: str | os.PathLike,
  config: WanConfig | None = None,
  *,
  net: str | None = None,
) -> Imported:
  """Reads Wan's weights.

  Args:
    path: see `weight_folder.read`.
    config: the network's shape; None: the default, with what the `config.json`
      beside it says.
    net: which of several networks in a file, as 'generator'; None: the averaged
      student before the other.

  Raises:
    ValueError: no such weights, or they are of another network; the first
      arrays that are missing or of another shape are named.
  """
  folder = weight_folder.folder_of(path)
  there = read_card(folder, default=config or WanConfig())
  if config is not None and config != there:
    ((name, (wanted, found)), *_) = differences(
      section(config), section(there)
    ).items()
    raise ValueError(
      f'{path}: its config.json has {name}={found}, wanted {wanted}; give the '
      'config of these weights'
    )
  try:
    return import_arrays(weight_folder.read(path), there, net=net)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def import_arrays(
  arrays: Mapping[str, Any], config: WanConfig, *, net: str | None = None
) -> Imported:
  """Puts arrays of others together as parameters.

  Args:
    arrays: their names -> what has a shape, and `np.asarray` reads.
    config: the network's shape.
    net: see `load`.

  Raises:
    ValueError: see `match`; an array is missing, of another shape, or holds
      NaN or infinity.
  """
  found = match(arrays, config, net=net)
  if faults := found.faults():
    more = len(faults) - _SHOWN
    raise ValueError(
      '; '.join(faults[:_SHOWN])
      + (f'; and {more} more arrays' if more > 0 else '')
      + f'. They are of a network with {_sizes(arrays, found)}; give its config'
    )

  def read(name: str, entry: Entry, shape: tuple[int, ...]) -> np.ndarray:
    theirs = np.asarray(arrays[found.mapped[name]], np.float32)
    if not np.isfinite(np.sum(theirs, dtype=np.float64)):
      raise ValueError(f'{found.mapped[name]} holds NaN or infinity')
    return to_ours(theirs, entry, shape)

  ours = {}
  places = param_shapes(config)
  for entry in global_entries(config):
    name = entry.named(found.naming)
    ours[entry.ours] = read(name, entry, places[entry.ours].shape)
  for entry in layer_entries(config):
    shape = places[_LAYERS + entry.ours].shape
    layers = ours[_LAYERS + entry.ours] = np.empty(shape, np.float32)
    for i in range(config.num_layers):
      name = layer_name(entry, i, found.naming)
      layers[i] = read(name, entry, shape[1:])
  return Imported(nest(ours), config, found)


def match(
  arrays: Mapping[str, Any], config: WanConfig, *, net: str | None = None
) -> Match:
  """Compares names and shapes with those of a network; reads no array.

  Args:
    arrays: their names -> what has a shape.
    config: the network's shape.
    net: see `load`.

  Raises:
    ValueError: no network of Wan is among them, or several and it is not said
      which.
  """
  plain: dict[str, str] = {}
  for name in arrays:
    if plain.setdefault(_WRAPPERS.sub('', name), name) != name:
      raise ValueError(f'{name}: twice, but for what wrappers put into names')
  prefix = _prefix(plain, net)
  own = {
    name.removeprefix(prefix): given
    for name, given in plain.items()
    if name.startswith(prefix)
  }
  naming, wanted = max(
    ((naming, shapes(config, naming)) for naming in Naming),
    key=lambda x: len(x[1].keys() & own.keys()),
  )
  mapped = {name: own[name] for name in wanted if name in own}
  misfits = {
    given: (tuple(arrays[given].shape), wanted[name])
    for name, given in mapped.items()
    if tuple(arrays[given].shape) != wanted[name]
  }
  return Match(
    naming=naming,
    prefix=prefix,
    mapped=mapped,
    missing=tuple(name for name in wanted if name not in own),
    unexpected=tuple(sorted(arrays.keys() - set(mapped.values()))),
    misfits=misfits,
  )


def _prefix(names: Mapping[str, str], net: str | None) -> str:
  """What stands before the names of the network to be used."""
  found = [name.removesuffix(_MARK) for name in names if name.endswith(_MARK)]
  if not found:
    raise ValueError(
      f'no transformer of Wan among {", ".join(sorted(names)[:_SHOWN])}; '
      f'wanted names like {_MARK} and blocks.0.self_attn.q.weight, or '
      'blocks.0.attn1.to_q.weight'
    )
  if net is None:
    students = [x for x in _STUDENTS if _below(x, found)]
    chosen = _below(students[0], found) if students else found
  else:
    chosen = _below(net, found)
  if len(chosen) != 1:
    wanted = 'several' if net is None else f'net={net!r}'
    names = ', '.join(repr(x.rstrip('.')) for x in found)
    raise ValueError(f'{wanted}: there are networks {names}; name one as net')
  return chosen[0]


def _below(net: str, prefixes: list[str]) -> list[str]:
  return [x for x in prefixes if x.startswith(f'{net}.')]


def export(
  folder: str | os.PathLike,
  params: Any,
  config: WanConfig,
  *,
  dtype: str = 'float32',
  shard_bytes: int = _SHARD_BYTES,
) -> None:
  """Writes parameters as diffusers' `WanTransformer3DModel` reads them.

  Args:
    folder: a new one, or empty.
    params: of the network, arrays on the host or on devices.
    config: its shape.
    dtype: that numbers are rounded to, 'float32' or 'bfloat16'.
    shard_bytes: the most of one file.

  Raises:
    ValueError: parameters of another network, or nothing can be written there.
  """
  weight_folder.write(
    folder,
    parts(params, config, Naming.DIFFUSERS),
    dtype=DTYPES[dtype],
    shard_bytes=shard_bytes,
    about=to_card(config),
  )


def parts(params: Any, config: WanConfig, naming: Naming) -> Iterator[Part]:
  """Parameters under others' names, each made when it is asked for.

  Args:
    params: of the network.
    config: its shape.
    naming: whose names.

  Raises:
    ValueError: parameters of another network.
  """
  ours = flatten(params)
  wanted = {name: x.shape for name, x in param_shapes(config).items()}
  given = {name: tuple(x.shape) for name, x in ours.items()}
  if given != wanted:
    name, _ = min(given.items() ^ wanted.items())
    raise ValueError(
      f'{name} is {_sides(given.get(name))}, wanted '
      f'{_sides(wanted.get(name))}; give the config of these parameters'
    )

  def part(name: str, entry: Entry, x: Any, at: Any) -> Part:
    def make() -> np.ndarray:
      return to_theirs(np.asarray(jax.device_get(x[at])), entry)

    return Part(name, entry.shape, make)

  for entry in global_entries(config):
    yield part(entry.named(naming), entry, ours[entry.ours], ...)
  for i in range(config.num_layers):
    for entry in layer_entries(config):
      layers = ours[_LAYERS + entry.ours]
      yield part(layer_name(entry, i, naming), entry, layers, i)


@functools.cache
def param_shapes(config: WanConfig) -> dict[str, jax.ShapeDtypeStruct]:
  """Names, shapes and dtypes of our parameters; nothing is computed."""
  model = WanTransformer(config)
  boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
  return flatten(unbox(boxed))


def _sizes(arrays: Mapping[str, Any], found: Match) -> str:
  """What a file's names and shapes say of its network."""
  mark = tuple(arrays[found.mapped[_MARK]].shape)
  layers = {
    int(place[1])
    for name in arrays
    if (place := re.search(r'(?:^|\.)blocks\.(\d+)\.', name))
  }
  return (
    f'width={mark[0]}, num_layers={max(layers, default=-1) + 1}, '
    f'latent_width={mark[1] if len(mark) > 1 else "?"}'
  )


def _sides(shape: tuple[int, ...] | None) -> str:
  return 'missing' if shape is None else '×'.join(map(str, shape)) or 'a number'
