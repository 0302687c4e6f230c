"""Models that come with the package, named `zoo:NAME` where a checkpoint is.

Each is an export (see `core.export`) in a folder of its name, at most 10 MB,
beside a card, `card.md`: what it was trained on and how, under which terms,
what it reaches, and what it cannot do.
"""

import os
import pathlib

ROOT = pathlib.Path(__file__).parent
PREFIX = 'zoo:'
CARD = 'card.md'


def names() -> tuple[str, ...]:
  """The models that there are, by name."""
  return tuple(sorted(path.parent.name for path in ROOT.glob('*/config.json')))


def is_name(checkpoint: str | os.PathLike) -> bool:
  """Whether a checkpoint is given by the name of a model that comes along."""
  return str(checkpoint).startswith(PREFIX)


def locate(checkpoint: str) -> pathlib.Path:
  """The folder of zoo:NAME.

  Raises:
    ValueError: there is no such model.
  """
  name = str(checkpoint).removeprefix(PREFIX)
  if name not in names():
    known = ', '.join(f'{PREFIX}{name}' for name in names())
    raise ValueError(
      f'{checkpoint}: no such model; there '
      + (f'are {known}' if known else 'are none in this installation')
    )
  return ROOT / name


def card(checkpoint: str) -> str:
  """The card of zoo:NAME, Markdown.

  Raises:
    ValueError: there is no such model.
  """
  return (locate(checkpoint) / CARD).read_text(encoding='utf-8')
