"""Classes that a probe names, and how near samples come to training clips.

Parts of a result that `videoar_jax.evaluate` adds where it is asked to.
"""

import pathlib
from typing import Any

from videoar_jax.report import markup

PROBE = 'How often a linear probe on I3D names the right class'
INTERVALS = 'In small print: 95% intervals.'
_PICTURES = {'nearest.webp': 'image/webp', 'nearest.png': 'image/png'}
# Kinds of videos, as a result names them -> as the page does, in its order.
_KINDS = {
  'samples': 'samples',
  'real_heldout': 'real held-out clips',
  'heldout': 'real held-out clips',
  'reconstructions': 'reconstructions',
  'first_frame': 'first frames, repeated',
  'train': 'training clips, to those of other groups',
}


def show(result: dict, *, folder: pathlib.Path) -> list[str]:
  """HTML of what there is of both, and of the nearest pairs."""
  parts = []
  if found := _object(result.get('probe')):
    parts += _probe(found)
  if found := _object(result.get('memorisation')):
    parts += _memorisation(found, folder)
  return parts


def picture_paths(folder: pathlib.Path) -> list[pathlib.Path]:
  """Where the pairs' picture may lie."""
  return [folder / name for name in _PICTURES]


def _probe(found: dict) -> list[str]:
  rows = [
    (name, share(x, 'accuracy'), _or_dash(x.get('windows')))
    for name, x in _sets(found)
    if x.get('accuracy') is not None
  ]
  if not rows:
    return []
  about = PROBE
  if found.get('chance') is not None:
    about += f'; chance is {markup.short(found["chance"])}'
  if found.get('train_windows') is not None:
    about += f'. Fitted to {markup.short(found["train_windows"])} windows'
    about += ' of training clips'
  return [
    '<h4>Is the class to be seen?</h4>',
    markup.table(rows, head=('', 'accuracy', 'videos')),
    markup.note(f'{about}. {INTERVALS}'),
  ]


def _memorisation(found: dict, folder: pathlib.Path) -> list[str]:
  sets = [(name, x) for name, x in _sets(found) if x.get('quantiles')]
  if not sets:
    return []
  marks = list(
    dict.fromkeys(k for _, x in sets for k in _object(x.get('quantiles')))
  )
  rows = [
    (
      name,
      *(_or_dash(_object(x.get('quantiles')).get(mark)) for mark in marks),
    )
    for name, x in sets
  ]
  parts = [
    '<h4>Are samples copies of training clips?</h4>',
    markup.table(rows, head=('', *map(_percent, marks))),
    markup.note(
      'Distance to the nearest training window in I3D features, by quantile. '
      'Copies would lie as near as reconstructions do; blurred videos lie far '
      'from all, so that the pairs are to be looked at.'
    ),
  ]
  shares = [
    (f'nearer than {name}', share(x, 'share'))
    for name, x in _object(found.get('nearer')).items()
    if isinstance(x, dict)
  ]
  if shares:
    parts.append(markup.table(shares, head=('', 'share of samples')))
  return parts + _pairs(folder)


def _pairs(folder: pathlib.Path) -> list[str]:
  for path in picture_paths(folder):
    if path.is_file():
      caption = (
        'Samples, each with the training window nearest to it on its right.'
      )
      kind = _PICTURES[path.name]
      return [markup.picture(path.read_bytes(), kind, caption)]
  return []


def _sets(found: dict) -> list[tuple[str, dict]]:
  return [
    (words, found[name])
    for name, words in _KINDS.items()
    if isinstance(found.get(name), dict)
  ]


def share(figures: dict, name: str) -> str:
  """A figure, and its interval in small print."""
  ends = [figures.get('low'), figures.get('high')]
  shown = _or_dash(figures.get(name))
  return shown if None in ends else f'{shown}\n{markup.between(*ends)}'


def _percent(mark: str) -> str:
  try:
    return f'{float(mark):.0%}'
  except ValueError:
    return mark


def _or_dash(value: Any) -> str:
  return '–' if value is None else markup.short(value)


def _object(value: Any) -> dict:
  return value if isinstance(value, dict) else {}
