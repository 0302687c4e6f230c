"""The kinds of sources there are, by their names.

A new one is a file with a `SourceKind`, and an entry here.
"""

from __future__ import annotations

from videoar_jax.data import array_record, features, folder, synthetic
from videoar_jax.data.config import DataConfig
from videoar_jax.data.source import SourceKind

SOURCES = {
  kind.name: kind
  for kind in (
    synthetic.SYNTHETIC,
    folder.FOLDER,
    folder.IMAGES,
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
  *forms, last = (kind.form for kind in SOURCES.values())
  raise ValueError(
    f'source={source!r}: {fault}; use {", ".join(forms)} or {last}'
  )


def of_files() -> str:
  """The kinds whose files are still to be decoded, for a message."""
  return ' and '.join(x.form for x in SOURCES.values() if x.list_files)


def check_source(config: DataConfig) -> None:
  """Raises ValueError for a choice that the config's source cannot serve."""
  kind, _ = parse_source(config.source)
  if config.split_file and kind.list_files is None:
    raise ValueError(
      f'split_file={config.split_file!r}: only {of_files()} read one, and '
      f'source={config.source!r}; give it to data.prepare, or leave it empty'
    )
  kind.check(config)
