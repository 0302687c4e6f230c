"""What came back from slices, as tables for docs/results.md."""

from collections.abc import Callable, Iterable
from typing import Any

from videoar_jax.lease.running import is_good

Column = tuple[str, Callable[[dict], Any]]
_GIB = 2**30


def _memory(figures: dict) -> float:
  # A CPU's memory is the host's.
  most = figures['peak_device_bytes'] or figures['peak_host_bytes']
  return most / _GIB


def _value(name: str) -> Column:
  return name, lambda figures: figures[name]


# Part of a result -> its columns.
_TABLES: dict[str, tuple[Column, ...]] = {
  'sample': (
    ('videos at a time', lambda x: x['batch_size']),
    ('compile s', lambda x: x['compile_s']),
    ('first s', lambda x: x['first_s']),
    ('steady s', lambda x: x['steady_s']),
    ('transformer s', lambda x: x['rollout_s']),
    ('decoder s', lambda x: x['decoder_s']),
    ('reading the weights s', lambda x: x['floor_s']),
    ('transformer / reading', lambda x: x['rollout_s'] / x['floor_s']),
    ('GiB', _memory),
  ),
  'train': (
    ('clips', lambda x: x['batch_size']),
    ('attention', lambda x: x['attention']),
    ('computed again', lambda x: x['remat']),
    ('step s', lambda x: x['step_s']),
    ('clips/s', lambda x: x['clips_per_s']),
    ('MFU', lambda x: x['mfu']),
    ('GiB', _memory),
  ),
  'tokenizer': (
    _value('frames'),
    ('first s', lambda x: x['first_s']),
    ('ms a frame', lambda x: x['steady_ms_per_frame']),
    ('GiB', _memory),
  ),
  'fvd': (
    ('videos', lambda x: x['num_videos']),
    ('videos/s', lambda x: x['i3d_videos_per_s']),
    ('distance s', lambda x: x['distance_s']),
  ),
  'training': tuple(
    map(_value, ('step', 'loss', 'clips_per_s', 'data_wait_s'))
  ),
  'heldout': tuple(map(_value, ('step', 'loss'))),
  'evaluate': tuple(
    map(_value, ('fvd', 'fvd_inf', 'kvd', 'kvd_stderr', 'psnr', 'ssim'))
  ),
}


def tables(rows: Iterable[dict]) -> str:
  """Markdown: hardware and commit, a table of each kind of figures, commands.

  Args:
    rows: of one slice or several; what was not done is told below.
  """
  rows = list(rows)
  parts = [_origin(rows)]
  for part, columns in _TABLES.items():
    lines = [(row, figures) for row in rows for figures in _figures(row, part)]
    if lines:
      parts.append(_table(part, columns, lines))
  good = [row['command'] for row in rows if is_good(row)]
  if good:
    parts.append('\n'.join(f'    {command}' for command in good))
  parts += [
    f'{row["name"]}: {row["status"]} {row["why"]}'.rstrip()
    for row in rows
    if not is_good(row)
  ]
  return '\n\n'.join(parts) + '\n'


def _origin(rows: list[dict]) -> str:
  devices = sorted({row['device'] for row in rows})
  commits = sorted({str(row['commit']) for row in rows})
  return f'{", ".join(devices)}, commit {", ".join(commits)}.'


def _figures(row: dict, part: str) -> list[dict]:
  """The measurements of a kind in a row."""
  found = row['result'].get(part)
  if isinstance(found, dict):
    found = [found]
  if not isinstance(found, list):
    return []
  return [{**x, 'name': row['name']} for x in found if isinstance(x, dict)]


def _table(part: str, columns: tuple[Column, ...], lines: list) -> str:
  head = ['row', *(name for name, _ in columns)]
  text = [_line(head), _line(['---'] * len(head))]
  for row, figures in lines:
    cells = [_cell(read, figures) for _, read in columns]
    text.append(_line([row['name'], *cells]))
  return '\n'.join(text)


def _line(cells: list[str]) -> str:
  return '| ' + ' | '.join(cells) + ' |'


def _cell(read: Callable[[dict], Any], figures: dict) -> str:
  try:
    value = read(figures)
  except (KeyError, TypeError, ZeroDivisionError):
    return '-'
  if isinstance(value, float):
    return f'{value:.4g}'
  return '-' if value is None else str(value)
