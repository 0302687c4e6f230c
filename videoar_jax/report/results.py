"""Tables of docs/results.md: published figures and ours, one for each protocol.

No two rows of a table were measured by different rules; results that say of
themselves that they were are refused.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from videoar_jax.evaluate import comparable, protocols
from videoar_jax.report import published, records
from videoar_jax.report.published import GFVD, RFVD, Published

BEGIN, END = '<!-- figures -->\n', '<!-- end of figures -->\n'
NOT_RUN = 'not run'
_TITLES = {
  GFVD: 'gFVD: samples',
  RFVD: 'rFVD: reconstructions',
}
_ROW, _FIGURE, _SOURCE = 'row', 'figure', 'source or command'
_COLUMNS = (
  *(_ROW, _FIGURE, 'N → ∞', 'KVD', 'PSNR, dB', 'SSIM', 'LPIPS'),
  *('steps', 'seconds', _SOURCE, 'commit', 'machine', 'hours of training'),
)
_REPRODUCE = 'bash launch/reproduce_ucf101.sh'


@dataclasses.dataclass(frozen=True)
class Planned:
  """A row of ours, whether it was run or not.

  Attributes:
    kind: `GFVD` or `RFVD`.
    protocol: its name.
    row: the config, as records name their rows.
    command: that makes it.
  """

  kind: str
  protocol: str
  row: str
  command: str


def _planned(
  scale: str, protocol: str, rows: Mapping[str, str]
) -> list[Planned]:
  return [
    Planned(kind, protocol, row, f'{_REPRODUCE} --scale={scale} --data=DATA')
    for row, kind in rows.items()
  ]


PLANNED = (
  *_planned(
    'ucf101',
    protocols.DEFAULT,
    {
      'configs/tokenizer_ucf101.py': RFVD,
      'configs/videoar_ucf101.py:L': GFVD,
    },
  ),
  *_planned(
    'ucf101 --size=XL',
    protocols.DEFAULT,
    {'configs/videoar_ucf101.py:XL': GFVD},
  ),
  *_planned(
    'ucf9',
    'ucf9_train256_17f_64',
    {
      'configs/ucf9_cpu.py:tokenizer': RFVD,
      'configs/ucf9_cpu.py:generator': GFVD,
    },
  ),
)


def tables(found: Mapping[str, Mapping[str, Any]]) -> str:
  """All tables, Markdown.

  Args:
    found: records by the names of their files, see `records.read_all`.
  Raises:
    ValueError: two records of one protocol were measured otherwise.
  """
  groups = {}  # (kind, rules) -> published rows, planned ones, records
  for row in published.PUBLISHED:
    _group(groups, row.kind, row.rules)[0].append(row)
  for row in PLANNED:
    _group(groups, row.kind, row.protocol)[1].append(row)
  for name, record in found.items():
    rules = record['result']['protocol']
    _group(groups, records.kind_of(record), rules)[2][name] = record
  parts = []
  for kind, title in _TITLES.items():
    parts.append(f'### {title}\n')
    parts += [
      _section(kind, rules, *rows)
      for (own, rules), rows in groups.items()
      if own == kind
    ]
  return '\n'.join(parts)


def _group(groups: dict, kind: str, rules: str) -> tuple[list, list, dict]:
  if _is_protocol(rules):
    rules = protocols.get_protocol(rules).name
  return groups.setdefault((kind, rules), ([], [], {}))


def _is_protocol(rules: str) -> bool:
  try:
    protocols.get_protocol(rules)
  except ValueError:
    return False
  return True


def _section(
  kind: str,
  rules: str,
  papers: Sequence[Published],
  planned: Sequence[Planned],
  found: Mapping[str, Mapping[str, Any]],
) -> str:
  """One table under what its rows have in common."""
  comparable.check_comparable(
    {name: record['result'] for name, record in found.items()}
  )
  rows = [_paper(row) for row in papers]
  rows += [_own(record) for record in found.values()]
  done = {record['row'] for record in found.values()}
  rows += [
    {_ROW: f'`{row.row}`', _FIGURE: NOT_RUN, _SOURCE: f'`{row.command}`'}
    for row in planned
    if row.row not in done
  ]
  about = f'Rules: {rules}.'
  if _is_protocol(rules):
    protocol = protocols.get_protocol(rules)
    size = f'{protocol.resolution}×{protocol.resolution}'
    about = (
      f'Protocol `{protocol.name}`: {protocol.num_videos:,} videos of '
      f'{protocol.num_frames} frames of {size}; {protocol.source}.'
    )
  return f'{about}\n\n{_table(rows, figure=f"{kind[0]}{kind[1:].upper()}")}'


def _paper(row: Published) -> dict[str, str]:
  return {
    _ROW: row.row,
    _FIGURE: f'{row.value:g}',
    'steps': _number(row.steps),
    'seconds': _number(row.seconds),
    _SOURCE: row.source,
  }


def _own(record: Mapping[str, Any]) -> dict[str, str]:
  result = record['result']
  commit = result['versions']['commit'] or 'unknown'
  return {
    _ROW: f'`{record["row"]}`',
    _FIGURE: _with_error(result['fvd'], result.get('fvd_sd')),
    'N → ∞': _number(result['fvd_inf']),
    'KVD': _with_error(result['kvd'], result['kvd_stderr']),
    'PSNR, dB': _number(result.get('psnr')),
    'SSIM': _number(result.get('ssim')),
    'LPIPS': _number(result.get('lpips')),
    _SOURCE: f'`{record["command"]}`',
    'commit': commit[:7] + '-modified' * commit.endswith('-modified'),
    'machine': record['machine'],
    'hours of training': _number(records.hours(record) or None),
  }


def _with_error(value: float | None, error: float | None) -> str:
  return _number(value) + (f' ± {_number(error)}' if error is not None else '')


def _number(value: float | None) -> str:
  return '' if value is None else f'{value:.4g}'


def _table(rows: Sequence[Mapping[str, str]], *, figure: str) -> str:
  """The columns of which any row says something."""
  names = [name for name in _COLUMNS if any(row.get(name) for row in rows)]
  head = [figure if name == _FIGURE else name for name in names]
  lines = [head, ['---'] * len(head)]
  lines += [[row.get(name, '') for name in names] for row in rows]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def rewrite(page: str, found: Mapping[str, Mapping[str, Any]]) -> str:
  """A page with its tables made anew, between the lines that mark them.

  Raises:
    ValueError: the page lacks those lines; see also `tables`.
  """
  if BEGIN not in page or END not in page:
    raise ValueError(f'wanted the lines {BEGIN.strip()} and {END.strip()}')
  before, _, rest = page.partition(BEGIN)
  return f'{before}{BEGIN}\n{tables(found)}\n{END}{rest.partition(END)[2]}'
