"""The kinds of sources there are, by their names.

A new one is a file with a `SourceKind`, and an entry here.
"""

from __future__ import annotations

from collections.abc import Iterable

from videoar_jax.data import (
  array_record,
  features,
  folder,
  synthetic,
  tfds,
  ucf101,
)
from videoar_jax.data.config import DataConfig
from videoar_jax.data.source import SourceKind

SOURCES = {
  kind.name: kind
  for kind in (
    synthetic.SYNTHETIC,
    folder.FOLDER,
    folder.IMAGES,
    ucf101.UCF101,
    tfds.TFDS,
    array_record.ARRAY_RECORD,
    features.FEATURES,
  )
}


def parse_source(source: str) -> tuple[SourceKind, str]:
  """Splits `NAME:PATH` into its kind and the path, '' where all is rendered.

  Raises:
    ValueError: the kind is unknown, or its path is missing or superfluous.
  """
  name, _, path = source.partition(':')
  kind = SOURCES.get(name)
  if kind is None:
    fault = f'unknown kind {name!r}'
  elif kind.rendered and path:
    fault = f'{name} takes no path'
  elif not kind.rendered and not path:
    fault = f'{name} needs a path after the colon'
  else:
    return kind, path
  raise ValueError(
    f'source={source!r}: {fault}; use {_listed(SOURCES.values(), "or")}'
  )


def undecoded() -> str:
  """The kinds whose videos are still to be decoded, for a message."""
  return _listed((x for x in SOURCES.values() if x.catalogue), 'and')


def _listed(some: Iterable[SourceKind], last: str) -> str:
  *forms, end = (kind.form for kind in some)
  return f'{", ".join(forms)} {last} {end}' if forms else end


def check_source(config: DataConfig) -> None:
  """Raises ValueError for a choice that the config's source cannot serve."""
  kind, _ = parse_source(config.source)
  check_split_file(kind, config.source, config.split_file)
  kind.check(config)


def check_split_file(kind: SourceKind, source: str, split_file: str) -> None:
  """Raises a ValueError for a list of training videos that nothing reads."""
  if split_file and not kind.split_lists:
    able = _listed((x for x in SOURCES.values() if x.split_lists), 'and')
    raise ValueError(
      f'split_file={split_file!r}: only {able} read one, and '
      f'source={source!r}; give it to data.prepare, or leave it empty'
    )
