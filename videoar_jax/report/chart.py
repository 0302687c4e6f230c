"""Line charts as inline SVG, and those of a run.

Colours are the CSS variables --a to --f of the page around.
"""

import dataclasses
import html
import math
import re
from collections.abc import Sequence

import numpy as np

MAX_SERIES = 6
LOG_SPAN = 5
# Of a chart, in units of its drawing.
_LEFT, _TOP, _WIDE, _HIGH = 62, 30, 290, 180
_COLUMNS, _COLUMN = 2, 150  # of the legend
_DOCUMENT_STYLE = (
  'svg { --a: #2563a8; --b: #c2570c; --c: #2f7d4f; --d: #8a3ea8; '
  '--e: #a8872b; --f: #3d8f97; font: 12px system-ui, sans-serif; } '
  'polyline { fill: none; stroke-width: 1.8; } text { fill: #666b73; } '
  '.title { fill: #1c1e21; font-weight: 600; } path { stroke-width: 3; } '
  '.axis { stroke: #d9dce1; stroke-width: 1; }'
)
# Metric -> whether its axis is logarithmic.
_CURVES = {
  'loss': True,
  'psnr': False,
  'perceptual': False,
  'bit_accuracy': False,
}
# Metrics that each scale has, and what their charts are called.
_BY_SCALE = {
  'bit_accuracy': 'bit accuracy by scale, train',
  'bit_nats': 'nats a bit by scale, train',
  'bit_entropy': 'entropy of a bit by scale, train',
  'residual_energy': 'latents left over after each scale, train',
}
_KINDS = (('train', 'train'), ('held out', 'heldout'))


@dataclasses.dataclass(frozen=True)
class Series:
  """A line of a chart.

  Attributes:
    name: for the legend.
    points: (step, value) in the order of steps, at least one, all finite.
  """

  name: str
  points: Sequence[tuple[float, float]]


def line_chart(
  series: Sequence[Series],
  *,
  title: str,
  y_label: str,
  x_label: str = 'step',
  log: bool = False,
) -> str:
  """Draws lines as inline SVG.

  Args:
    series: at least one line, at most `MAX_SERIES`.
    title: above the chart.
    y_label: of the vertical axis.
    x_label: of the horizontal axis, which begins with 0.
    log: a logarithmic vertical axis, if the values are positive and span a
      factor of `LOG_SPAN`.
  """
  points = [point for line in series for point in line.points]
  values = [y for _, y in points]
  log = log and 0 < LOG_SPAN * min(values) <= max(values)
  scale = math.log10 if log else float
  x_ticks = _ticks(0, max(x for x, _ in points))
  y_ticks = (_log_ticks if log else _ticks)(min(values), max(values))
  low, high = scale(y_ticks[0]), scale(y_ticks[-1])

  def at(x: float, y: float) -> tuple[float, float]:
    up = (scale(y) - low) / (high - low)
    return _LEFT + x / x_ticks[-1] * _WIDE, _TOP + (1 - up) * _HIGH

  parts = [_label(title, _LEFT, 16, anchor='start', kind='title')]
  for y in y_ticks:
    y0 = at(0, y)[1]
    parts.append(f'<path class="axis" d="M{_LEFT} {y0:.1f}h{_WIDE}"/>')
    parts.append(_label(f'{y:.6g}', _LEFT - 6, y0 + 4, anchor='end'))
  for x in x_ticks:
    parts.append(_label(f'{x:.6g}', at(x, y_ticks[0])[0], _TOP + _HIGH + 18))
  parts.append(_label(x_label, _LEFT + _WIDE / 2, _TOP + _HIGH + 36))
  turned = f'transform="rotate(-90 14 {_TOP + _HIGH / 2})"'
  y_label += ' (log)' if log else ''
  parts.append(_label(y_label, 14, _TOP + _HIGH / 2, more=turned))
  for i, line in enumerate(series):
    ink = f'var(--{"abcdef"[i]})'
    path = ' '.join(
      f'{x:.1f},{y:.1f}' for x, y in (at(*p) for p in line.points)
    )
    x0, y0 = (
      _LEFT + _COLUMN * (i % _COLUMNS),
      _TOP + _HIGH + 58 + 18 * (i // _COLUMNS),
    )
    # Round ends make a single point visible.
    parts.append(f'<polyline points="{path}" style="stroke: {ink}"/>')
    parts.append(f'<path d="M{x0} {y0 - 4}h18" style="stroke: {ink}"/>')
    text = f'{line.name} {line.points[-1][1]:.4g}'
    parts.append(_label(text, x0 + 24, y0, anchor='start'))
  tall = _TOP + _HIGH + 66 + 18 * ((len(series) - 1) // _COLUMNS)
  return (
    f'<svg viewBox="0 0 {_LEFT + _WIDE + 20} {tall}" role="img" '
    f'aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
  )


def document(charts: Sequence[str], *, columns: int = 1) -> str:
  """Charts in a grid as an SVG file, which brings its own colours."""
  zoom = 2 / columns
  width, height = zoom * (_LEFT + _WIDE + 20), zoom * (_TOP + _HIGH + 102)
  placed = [
    drawn.replace(
      '<svg ',
      f'<svg x="{i % columns * width:g}" y="{i // columns * height:g}" '
      f'width="{width:g}" height="{height:g}" ',
      1,
    )
    for i, drawn in enumerate(charts)
  ]
  rows = math.ceil(len(charts) / columns)
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * width:g}" '
    f'height="{rows * height:g}"><style>{_DOCUMENT_STYLE}</style>'
    f'<rect width="100%" height="100%" fill="#fff"/>{"".join(placed)}</svg>\n'
  )


def stream_course(course: Sequence[Sequence[float]]) -> str:
  """The course of a stream, SVG.

  Args:
    course: of each frame its number, milliseconds and bytes of memory.
  """
  charts = [
    line_chart(
      [Series(name, [(row[0], row[k] / unit) for row in course])],
      title=title,
      y_label=name,
      x_label='frame',
    )
    for k, unit, name, title in (
      (1, 1, 'milliseconds', 'time of a frame'),
      (2, 2**20, 'MiB', 'memory held by the process'),
    )
  ]
  return document(charts)


def _label(
  text: str, x: float, y: float, *, anchor='middle', kind='', more=''
) -> str:
  return (
    f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
    f'{more}>{html.escape(text)}</text>'
  )


def _ticks(low: float, high: float) -> list[float]:
  """Four to seven round numbers of which the ends enclose low and high."""
  if low == high:
    low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
  raw = (high - low) / 4
  unit = 10 ** math.floor(math.log10(raw))
  step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  """1, 2 and 5 times powers of ten (powers alone over a wide range)."""
  decades = range(
    math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2
  )
  factors = (1, 2, 5) if high / low < 1000 else (1,)
  marks = [m * 10.0**d for d in decades for m in factors]
  first = max(i for i, mark in enumerate(marks) if mark <= low)
  last = min(i for i, mark in enumerate(marks) if mark > high)
  return marks[first : last + 1]


def training_charts(lines: list[dict]) -> list[str]:
  """Charts of the lines of a metrics.jsonl."""
  charts = [
    line_chart(
      series, title=_words(name), y_label=_words(name), log=logarithmic
    )
    for name, logarithmic in _CURVES.items()
    if (series := _series(lines, name))
  ]
  return charts + [
    line_chart(series, title=title, y_label=_words(name))
    for name, title in _BY_SCALE.items()
    if (series := _by_scale(lines, name))
  ]


def training_curves(lines: list[dict]) -> str | None:
  """The same for a page; None where they hold nothing."""
  charts = training_charts(lines)
  if not charts:
    return None
  speed = [value for _, value in _points(lines, 'train', 'step_s')]
  note = f'{max(line["step"] for line in lines)} steps'
  if speed:
    note += f', {float(np.median(speed)):.3g} s each (median)'
  return (
    f'<p class="soft">{note}.</p><div class="charts">{"".join(charts)}</div>'
  )


def _series(lines: list[dict], name: str) -> list[Series]:
  """Train and held out; where several networks train, each of them."""
  found = []
  for net in _nets(lines):
    for label, kind in _KINDS:
      points = _points(lines, kind, f'{net}{name}')
      if points:
        found.append(Series(f'{label} {net.rstrip("/")}'.strip(), points))
  return found[:MAX_SERIES]


def _by_scale(lines: list[dict], name: str) -> list[Series]:
  """A line for each scale; of many scales a few, coarsest to finest."""
  for net in _nets(lines):
    start = f'{net}{name}/scale'
    names = {k for line in lines for k in line if k.startswith(start)}
    if names:
      break
  scales = [name.removeprefix(start) for name in names]
  scales = sorted(int(k) for k in scales if re.fullmatch('[0-9]{1,4}', k))
  if len(scales) > MAX_SERIES:
    chosen = np.linspace(0, len(scales) - 1, MAX_SERIES).round().astype(int)
    scales = [scales[i] for i in chosen]
  found = {k: _points(lines, 'train', f'{start}{k}') for k in scales}
  return [Series(f'scale {k}', points) for k, points in found.items() if points]


def _nets(lines: list[dict]) -> list[str]:
  """What metrics begin with: '' and, where several nets train, 'net/'."""
  names = {k for line in lines for k in line if k.endswith('/loss')}
  return ['', *sorted(name.removesuffix('loss') for name in names)]


def _points(lines: list[dict], kind: str, name: str) -> list[tuple]:
  """(step, value) of one metric; values that no axis shows are left out."""
  found = [(x['step'], x.get(name)) for x in lines if x.get('kind') == kind]
  return [
    (x, y)
    for x, y in found
    if y is not None and (y == 0 or 1e-300 < abs(y) < 1e300)
  ]


def _words(name: str) -> str:
  return name.replace('_', ' ')
