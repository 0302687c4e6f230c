"""Writes how long UCF-101 takes at least, of the rows of launch/pods.sh.

  python launch/hours_table.py docs/pods docs/reproduce.md
  python launch/hours_table.py docs/pods --dollars=v5e:1.0,H100:2.0

A bound, not a measurement: as many clips as the config says, each step as fast
as products, memory and links allow at their makers' rates. Of one H100 it is
the products alone, and whether the step fits is not worked out. Without a page
the table is printed. --dollars adds a column, of dollars for a chip and hour.
"""

import json
import pathlib
import re
import runpy
import sys

from videoar_jax.core.chips import CHIPS

BEGIN, END = '<!-- hours -->\n', '<!-- end of hours -->\n'
_ROOT = pathlib.Path(__file__).parents[1]
_CONFIGS = {
  'tokenizer': 'tokenizer_ucf101.py',
  'L': 'videoar_ucf101.py:L',
  'XL': 'videoar_ucf101.py:XL',
  '4B': 'videoar_ucf101.py:4B',
}
_ROW = re.compile(r'(?P<part>tokenizer|L|XL|4B)_(?P<chip>v5e|v5p|v6e)_[0-9x]+')
_GPU = 'H100'
_HOUR = 3600
_HEAD = ('part', 'chips', 'clips a step', 'steps', 'hours ≥', 'chip-hours ≥')
_HEAD += ('bound by', 'row')
_UNKNOWN = 'not worked out'


def rows(folder: pathlib.Path, dollars: dict[str, float]) -> list[list[str]]:
  """The rows of the table, those of a part together.

  Raises:
    ValueError: a price is of a chip that stands in no row.
  """
  found = [_ROW.fullmatch(path.stem) for path in sorted(folder.glob('*.json'))]
  kinds = {x['chip'] for x in found if x} | {_GPU}
  if unknown := dollars.keys() - kinds:
    raise ValueError(
      f'--dollars: no row is of {", ".join(sorted(unknown))}; wanted some of '
      f'{", ".join(sorted(kinds))}'
    )
  table = []
  for part, config in _CONFIGS.items():
    plans = {
      match[0]: (match['chip'], json.loads(_read(folder, match[0])))
      for match in found
      if match and match['part'] == part
    }
    if not plans:
      table.append([part, _UNKNOWN])
      continue
    clips, batch = _clips(config)
    for name, (chip, plan) in sorted(plans.items(), key=_by_chips):
      hours = clips / plan['batch_size'] * plan['least_s'] / _HOUR
      cells = [part, f'{plan["chips"]} × {chip}', plan['batch_size']]
      cells += _time(hours, plan['chips'], clips // plan['batch_size'])
      cells += [plan['bound_by'], f'`{name}`']
      table.append(cells + _cost(hours * plan['chips'], dollars.get(chip)))
    per_clip = plan['flops'] / plan['batch_size'] / CHIPS[_GPU].flops_per_s
    hours = clips * per_clip / _HOUR
    cells = [part, f'1 × {_GPU}', batch, *_time(hours, 1, clips // batch)]
    cells += ['compute', 'products alone']
    table.append(cells + _cost(hours, dollars.get(_GPU)))
  return table


def markdown(table: list[list[str]], *, priced: bool) -> str:
  head = [*_HEAD, 'dollars ≥'] if priced else [*_HEAD]
  lines = [head, ['---'] * len(head)]
  lines += [[*cells, *[''] * (len(head) - len(cells))] for cells in table]
  return ''.join(f'| {" | ".join(map(str, x))} |\n' for x in lines)


def _read(folder: pathlib.Path, name: str) -> str:
  return (folder / f'{name}.json').read_text()


def _by_chips(item) -> tuple[str, int]:
  _, (chip, plan) = item
  return chip, plan['chips']


def _clips(config: str) -> tuple[int, int]:
  """Clips of a whole training, and those of a step."""
  name, _, variant = config.partition(':')
  made = runpy.run_path(str(_ROOT / 'configs' / name))['get_config'](variant)
  batch = made.data.batch_size
  return made.train.num_steps * batch, batch


def _time(hours: float, chips: int, steps: int) -> list[str]:
  return [f'{steps:,}', f'{hours:.1f}', f'{hours * chips:,.0f}']


def _cost(chip_hours: float, price: float | None) -> list[str]:
  return [] if price is None else [f'{chip_hours * price:,.0f}']


def main(words: list[str]) -> int:
  prices = [x.removeprefix('--dollars=') for x in words if x[:2] == '--']
  places = [pathlib.Path(x) for x in words if x[:2] != '--']
  try:
    dollars = {
      chip: float(price)
      for text in prices
      for chip, _, price in (item.partition(':') for item in text.split(','))
    }
    if not 1 <= len(places) <= 2 or len(prices) > 1 or not places[0].is_dir():
      raise ValueError('wanted a folder of rows, perhaps a page, --dollars')
    table = markdown(rows(places[0], dollars), priced=bool(dollars))
    if len(places) == 1:
      print(table, end='')
      return 0
    text = places[1].read_text()
    if BEGIN not in text or END not in text:
      raise ValueError(f'{places[1]}: wanted the lines {BEGIN}{END}')
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    places[1].write_text(f'{before}{BEGIN}{table}{END}{after}')
  except (ValueError, OSError) as error:
    print(f'error: {error}\n{__doc__}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
