"""Writes the rows of launch/pods.sh into the table of docs/pods.md.

python launch/pods_table.py docs/pods docs/pods.md
"""

import json
import pathlib
import sys

_BEGIN, _END = '<!-- table -->\n', '<!-- end of table -->\n'
_GIB, _GB = 2**30, 1e9
_HEAD = (
  '| row | TPUs | chips | mesh | batch | state, GiB | peak / has, GiB '
  '| gathered | scattered | exchanged | added up | waits | least step, ms '
  '| MFU ≤ | bound by | compile, CPU-s | commit |\n'
)


def main(folder: pathlib.Path, page: pathlib.Path) -> None:
  rows = [_row(path) for path in sorted(folder.glob('*.json'))]
  if not rows:
    sys.exit(f'error: {folder}: no result NAME.json in it')
  text = page.read_text()
  if _BEGIN not in text or _END not in text:
    sys.exit(f'error: {page}: wanted the lines {_BEGIN.strip()} {_END.strip()}')
  before, _, rest = text.partition(_BEGIN)
  after = rest.partition(_END)[2]
  table = _HEAD + '|---' * (_HEAD.count('|') - 1) + '|\n' + ''.join(rows)
  page.write_text(f'{before}{_BEGIN}{table}{_END}{after}')


def _row(path: pathlib.Path) -> str:
  found = json.loads(path.read_text())
  sizes = found['mesh'].items()
  mesh = ' × '.join(f'{name} {size}' for name, size in sizes if size > 1)
  parts = ('parameter_bytes', 'average_bytes', 'optimizer_bytes')
  state = sum(found[name] for name in parts) / _GIB
  peak = found['peak_bytes']
  memory = '—' if peak is None else f'{peak / _GIB:.2f}'
  if not found['fits']:
    knob = found.get('knob')
    memory = f'**{memory}** ({knob["flags"] if knob else "no knob fits it"})'
  slices = f'{found["slices"]} × ' if found['slices'] > 1 else ''
  cells = [
    f'`{path.stem}`',
    f'{slices}{found["topology"]}',
    found['chips'],
    mesh,
    found['batch_size'],
    f'{state:.2f}',
    f'{memory} / {found["hbm_bytes"] / _GIB:.1f}',
    *_network(found),
    found['compile_cpu_s'] and f'{found["compile_cpu_s"]:.0f}',
    (found['commit'] or 'unknown')[:7],
  ]
  return '| ' + ' | '.join(str(cell) for cell in cells) + ' |\n'


def _network(found: dict) -> list[str]:
  """GB by kind, what is waited for, and the bound; blank without a program."""
  if 'collectives' not in found:
    return [''] * 8
  kinds = {
    kind: sum(
      one['moved_bytes'] for one in found['collectives'] if one['kind'] in names
    )
    for kind, names in {
      'gathered': ('all-gather',),
      'scattered': ('reduce-scatter',),
      'exchanged': ('all-to-all', 'collective-permute'),
      'added': ('all-reduce',),
    }.items()
  }
  return [
    *(f'{moved / _GB:.2f}' for moved in kinds.values()),
    f'{1e3 * found["waiting_s"]:.1f}',
    f'{1e3 * found["least_s"]:.0f}',
    f'{found["most_mfu"]:.0%}',
    found['bound_by'],
  ]


if __name__ == '__main__':
  main(*map(pathlib.Path, sys.argv[1:3]))
