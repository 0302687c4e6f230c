"""How a generator goes on from real clips, as `evaluate continuation` found."""

import math
import pathlib

from videoar_jax.core.structure import Each
from videoar_jax.report import copies, facts, markup
from videoar_jax.report.chart import Series, line_chart

FILE = 'continuation.json'
FOLDER = pathlib.Path('continued')  # of its pictures
_NUMBER = (int, float, type(None))
_NAMED = {'accuracy': _NUMBER}
_GIVEN = {
  'psnr': [_NUMBER],
  'psnr_repeated': [_NUMBER],
  'psnr_coded': [_NUMBER],
  'probe?': {'continued': _NAMED, 'repeated': _NAMED},
}
_SHAPE = {'given': Each(_GIVEN), 'windows?': int, 'real_heldout?': _NAMED}
# What is drawn -> what the chart calls it.
_LINES = {
  'psnr': 'going on',
  'psnr_repeated': 'last repeated',
  'psnr_coded': 'the clip, coded',
}


def picture_paths(run: pathlib.Path) -> list[pathlib.Path]:
  """Its pictures, as far as they are there, fewest given frames first."""
  found = [
    (int(path.stem.removeprefix('continued_')), path)
    for path in (run / FOLDER).glob('continued_*.webp')
    if path.stem.removeprefix('continued_').isdecimal()
  ]
  return [path for _, path in sorted(found)]


def show(run: pathlib.Path) -> str:
  """HTML of a run's continuation.json and its pictures; '' without one.

  Raises:
    ValueError: the file is damaged.
  """
  result = facts.read_json(run / FILE, _SHAPE)
  if result is None:
    return ''
  charts = [_chart(given, found) for given, found in result['given'].items()]
  parts = [_named(result), f'<div class="charts">{"".join(charts)}</div>']
  parts += [
    markup.picture(
      path.read_bytes(),
      'image/webp',
      'Clips of the held-out split, each with what the generator makes of its '
      f'first {path.stem.removeprefix("continued_")} on its right.',
    )
    for path in picture_paths(run)
  ]
  return '\n'.join(parts)


def _named(result: dict) -> str:
  """How often the probe names the right class."""
  rows = []
  if real := result.get('real_heldout'):
    rows.append(('the clips themselves', copies.share(real, 'accuracy')))
  for given, found in result['given'].items():
    for name, words in (
      ('continued', 'gone on from'),
      ('repeated', 'repeated after'),
    ):
      if probe := found.get('probe'):
        share = copies.share(probe[name], 'accuracy')
        rows.append((f'{words} {_frames(given)}', share))
  if not rows:
    return ''
  about = copies.PROBE
  if 'windows' in result:
    about += f', of {result["windows"]} windows'
  return markup.table(rows, head=('', 'accuracy')) + markup.note(
    f'{about}. {copies.INTERVALS}'
  )


def _chart(given: str, found: dict) -> str:
  """PSNR of each frame that was not given."""
  series = []
  for name, words in _LINES.items():
    first = int(given) + 1 if given.isdecimal() else 1
    points = [
      (first + i, value)
      for i, value in enumerate(found[name])
      if value is not None and math.isfinite(value)
    ]
    if points:
      series.append(Series(words, points))
  if not series:
    return ''
  return line_chart(
    series,
    title=f'PSNR by frame, {_frames(given)} given',
    x_label='frame',
    y_label='dB',
  )


def _frames(given: str) -> str:
  return f'{given} frame' + ('' if given == '1' else 's')
