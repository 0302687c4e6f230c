"""What was found of a step, for readers."""

from collections.abc import Iterator, Mapping
from typing import Any

from videoar_jax.core import console

_GIB = 2**30
_UNITS = ('', 'k', 'M', 'G', 'T', 'P', 'E')


def lines(found: Mapping[str, Any]) -> Iterator[str]:
  """One line for each figure of `training.forecast_step`."""
  sizes = ' × '.join(f'{k} {n}' for k, n in found['mesh'].items() if n > 1)
  slices = f'{found["slices"]} slices of ' if found['slices'] > 1 else ''
  yield f'{slices}{found["topology"]}: {found["chips"]} chips, mesh {sizes}'
  yield from (f'  {name:<24}{text}' for name, text in _rows(found))


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  yield 'batch', f'{found["batch_size"]} clips a step'
  yield 'parameters', console.count(found['parameters'])
  yield (
    'state of a device',
    f'{_gib(found["parameter_bytes"])} parameters, '
    f'{_gib(found["average_bytes"])} averages, '
    f'{_gib(found["optimizer_bytes"])} optimiser',
  )
  peak = found['peak_bytes']
  shown = 'more than there is' if peak is None else _gib(peak)
  fits = 'fits' if found['fits'] else 'DOES NOT FIT'
  yield 'peak memory', f'{shown} of {_gib(found["hbm_bytes"])}: {fits}'
  if knob := found.get('knob'):
    yield 'would fit with', f'{knob["flags"]} ({_gib(knob["peak_bytes"])})'
  elif not found['fits'] and 'knob' in found:
    yield 'would fit with', f'none of: {"; ".join(found["knobs_tried"])}'
  yield 'compiled in', f'{found["compile_s"]:.0f} s'
  if 'collectives' not in found:
    return
  yield 'operations of a step', f'{_short(found["flops"])} by the model'
  for one in found['collectives']:
    when = 'beside' if one['hidden'] else 'waited for'
    yield (
      f'{one["kind"]}, {when}',
      f'{one["count"]} in the program, {one["times"]:.0f} a step, '
      f'{one["moved_bytes"] / 1e9:.2f} GB',
    )
  yield (
    'least time of a step',
    f'{1e3 * found["least_s"]:.1f} ms: compute {1e3 * found["compute_s"]:.1f}, '
    f'memory {1e3 * found["memory_s"]:.1f}, network '
    f'{1e3 * found["network_s"]:.1f} of which {1e3 * found["waiting_s"]:.1f} '
    'waited for',
  )
  yield 'MFU at most', f'{found["most_mfu"]:.0%}, bound by {found["bound_by"]}'


def _gib(num_bytes: float) -> str:
  return f'{num_bytes / _GIB:.2f} GiB'


def _short(number: float) -> str:
  """A number with three digits and a unit: 12.3 T."""
  power = 0
  while number >= 1000 and power < len(_UNITS) - 1:
    number, power = number / 1000, power + 1
  return f'{number:.3g} {_UNITS[power]}FLOP'
