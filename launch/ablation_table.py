"""Writes the table of launch/ablation.sh: means and spread over seeds.

python launch/ablation_table.py runs/ablation
"""

import json
import pathlib
import re
import statistics
import sys

from videoar_jax.evaluate.comparable import check_comparable

_RESULT = re.compile(r'(?P<row>.+)_(?P<seed>\d+)(?P<kind>\.exposure)?\.json')
_COLUMNS = {
  'seeds': None,
  'nats a bit': lambda found: statistics.mean(found['clean']),
  'harm of errors, nats': lambda found: found['harm'][0],
  'FVD': lambda found: found['fvd'],
  'KVD': lambda found: found['kvd'],
  'class named': lambda found: found['i3d_classes']['among'],
}


def main(folder: pathlib.Path) -> None:
  rows: dict[str, dict[str, dict]] = {}
  for path in sorted(folder.glob('*.json')):
    match = _RESULT.fullmatch(path.name)
    if match:
      result = json.loads(path.read_text())
      seeds = rows.setdefault(match['row'], {})
      seeds.setdefault(match['seed'], {}).update(result)
  if not rows:
    sys.exit(f'error: {folder}: no result <row>_<seed>.json in it')
  try:
    check_comparable(
      {
        f'{row}_{seed}': found
        for row, seeds in rows.items()
        for seed, found in seeds.items()
        if found.get('fvd') is not None
      }
    )
  except ValueError as error:
    sys.exit(f'error: {folder}: {error}')
  lines = [_line('', _COLUMNS), _line('---', ['---'] * len(_COLUMNS))]
  for row, seeds in sorted(rows.items(), key=lambda item: item[0] != 'full'):
    cells = [str(len(seeds))]
    for read in list(_COLUMNS.values())[1:]:
      cells.append(_cell([_value(read, found) for found in seeds.values()]))
    lines.append(_line(row.replace('_', ' '), cells))
  table = '\n'.join(lines) + '\n'
  (folder / 'table.md').write_text(table)


def _value(read, found: dict) -> float | None:
  try:
    return read(found)
  except (KeyError, TypeError):
    return None


def _cell(values: list[float | None]) -> str:
  """Mean and standard deviation of a row's seeds; '-' where none is known."""
  known = [value for value in values if value is not None]
  if not known:
    return '-'
  shown = f'{statistics.mean(known):.4g}'
  if len(known) > 1:
    shown += f' ± {statistics.stdev(known):.2g}'
  return shown


def _line(first: str, cells) -> str:
  return '| ' + ' | '.join([first, *cells]) + ' |'


if __name__ == '__main__':
  if len(sys.argv) != 2:
    sys.exit(__doc__)
  main(pathlib.Path(sys.argv[1]))
