"""Tables of what evaluation measured, beside recorded figures."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from videoar_jax.evaluate import comparable
from videoar_jax.report import copies, markup
from videoar_jax.report.published import VIDEOAR
from videoar_jax.report.recorded import (
  DOCUMENT,
  Recorded,
  find_published,
  find_recorded,
)

# Metric -> what the page says of it, in the page's order.
FIGURES = {
  'class_accuracy': 'videos whose motion is that of their class, 0..1',
  'class_accuracy_real': 'the same of real clips: what can be reached',
  'psnr': 'peak signal-to-noise ratio of reconstructions, dB',
  'ssim': 'structural similarity of reconstructions, up to 1',
  'lpips': 'perceptual distance of reconstructions, from 0',
  'bits_per_pixel': 'bits the tokenizer spends on a pixel',
  'fvd': 'Fréchet video distance; compares only at one number of videos',
  'fvd_inf': 'the same, extrapolated to infinitely many videos',
  'kvd': 'kernel video distance, unbiased, ± its standard error',
}
# Rows of one evaluation beside the checkpoint's own.
_NO_PROTOCOL = 'none: '
_DISTANCES = ('fvd', 'fvd_inf', 'kvd')
_ERRORS = {'kvd': 'kvd_stderr'}


def show_result(
  path: pathlib.Path, result: dict, *, folder: pathlib.Path
) -> str:
  """A result of `videoar_jax.evaluate`: tables, and the whole to unfold.

  Args:
    path: of the result.
    result: what it holds.
    folder: where pictures of it lie.
  """
  parts = [
    markup.note(_measured(result)),
    *_beside_recorded(result),
    *_published(result),
    *_baselines(result),
    *_by_class(result),
    *copies.show(result, folder=folder),
    markup.unfold(f'All of {path.name}', json.dumps(result, indent=2)),
  ]
  return '\n'.join(parts)


def _measured(result: dict) -> str:
  """What the figures were measured on, as far as the result says."""
  words = []
  for name, shape in (
    ('num_generated', '{} videos'),
    ('frames', '{} frames each'),
    ('resolution', '{} pixels'),
    ('source', 'against {}'),
    ('split', 'split {}'),
    ('protocol', 'protocol {}'),
    ('step', 'checkpoint of step {}'),
  ):
    value = result.get(name)
    if value is not None and not str(value).startswith(_NO_PROTOCOL):
      words.append(shape.format(markup.short(value)))
  return f'Measured: {", ".join(words) or "not stated on what"}.'


def _beside_recorded(result: dict) -> list[str]:
  """The main table; no distances of a recorded run that do not compare."""
  run = find_recorded(result)
  differ = {} if run is None else _differences(result, run)
  names = [name for name in FIGURES if result.get(name) is not None]
  rows = []
  for name in names:
    row = [f'{name}\n{FIGURES[name]}', _with_interval(result, name)]
    if run is not None:
      left_out = differ and name in _DISTANCES
      row.append('–' if left_out else _figure(run.figures, name))
    rows.append(row)
  if not rows:
    return []
  if run is None:
    return [markup.table(rows, head=('', 'this run'))]
  note = (
    f'Recorded, another run: {run.name}, {run.num_videos} videos, commit '
    f'{run.commit}, {run.hardware} ({DOCUMENT}).'
  )
  if differ:
    note += f' {_told(differ)}: its distances do not compare and are left out.'
  return [
    markup.table(rows, head=('', 'this run', 'recorded')),
    markup.note(note),
  ]


def _differences(result: dict, run: Recorded) -> dict[str, list]:
  """What moves a distance and is not alike here and there."""
  recorded = {**run.measured, 'num_generated': run.num_videos}
  return comparable.differences({'this run': result, 'recorded': recorded})


def _told(differ: dict[str, list]) -> str:
  words = [
    f'{key.replace("_", " ")} '
    + ', '.join(f'{markup.short(value)} ({name})' for name, value in said)
    for key, said in differ.items()
  ]
  return f'Measured otherwise, {"; ".join(words)}'


def _with_interval(result: dict, name: str) -> str:
  shown = _figure(result, name)
  interval = (result.get('intervals') or {}).get(name)
  if isinstance(interval, dict) and {'low', 'high'} <= interval.keys():
    shown += f'\n{markup.between(interval["low"], interval["high"])}'
  return shown


def _figure(figures: Mapping[str, Any], name: str) -> str:
  """A figure, ± its standard error where that is known."""
  value, error = figures.get(name), figures.get(_ERRORS.get(name, ''))
  if value is None:
    return '–'
  shown = markup.short(value)
  return shown if error is None else f'{shown} ± {markup.short(error)}'


def _published(result: dict) -> list[str]:
  rows = [(name, markup.short(value)) for name, value in find_published(result)]
  if not rows:
    return []
  note = (
    f'Published, not measured here: {VIDEOAR}, which gives no FVD code, so '
    'that its protocol is not known in full.'
  )
  return [markup.table(rows, head=('', 'published')), markup.note(note)]


def _baselines(result: dict) -> list[str]:
  """Distances of other sets, measured by the same evaluation."""
  found = dict(result.get('baselines') or {})
  if result.get('h264'):
    found['H.264 at as many bits'] = result['h264']
  rows = [('this checkpoint', result)]
  rows += [(name, x) for name, x in found.items() if isinstance(x, dict)]
  shown = [k for k in _DISTANCES if any(x.get(k) is not None for _, x in rows)]
  if len(rows) < 2 or not shown:
    return []
  cells = [[name, *(_figure(x, k) for k in shown)] for name, x in rows]
  return [
    '<h4>Beside other videos, by the same evaluation</h4>',
    markup.table(cells, head=('', *shown)),
  ]


def _by_class(result: dict) -> list[str]:
  shares = result.get('class_accuracy_by_class')
  if not shares:
    return []
  words = ', '.join(f'{k} {markup.short(v)}' for k, v in shares.items())
  return [markup.note(f'Class accuracy by class: {words}.')]
