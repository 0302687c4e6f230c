"""What was found, for readers."""

from collections.abc import Iterator, Mapping
from typing import Any

from videoar_jax.core import console

_GIB = 2**30
_UNITS = ('', 'k', 'M', 'G', 'T', 'P', 'E')

Found = Mapping[str, Any]


def of_step(found: Found) -> Iterator[str]:
  """Lines of what `training.forecast_step` gives."""
  yield _head(found)
  yield _line('batch', f'{found["batch_size"]} clips a step')
  yield _line('parameters', console.count(found['parameters']))
  yield _line(
    'state of a device',
    f'{_gib(found["parameter_bytes"])} parameters, '
    f'{_gib(found["average_bytes"])} averages, '
    f'{_gib(found["optimizer_bytes"])} optimiser',
  )
  yield from _memory(found)
  if 'collectives' in found:
    yield from _bounds(found, 'step')


def of_sampling(found: Found) -> Iterator[str]:
  """Lines of what `sampling.forecast_sampling` gives."""
  yield _head(found)
  yield _line('batch', f'{found["batch_size"]} videos at a time')
  yield _line(
    'on a device',
    f'{_gib(found["weight_bytes"])} weights, read for each of '
    f'{found["units"]} units; {_gib(found["cache_bytes"])} cache',
  )
  yield from _memory(found)
  if 'collectives' in found:
    yield from _bounds(found, 'batch')
    yield _line('videos a second at most', f'{found["videos_per_s"]:.3g}')


def _head(found: Found) -> str:
  sizes = ' × '.join(f'{k} {n}' for k, n in found['mesh'].items() if n > 1)
  slices = f'{found["slices"]} slices of ' if found['slices'] > 1 else ''
  mesh = f'mesh {sizes}' if sizes else 'one device'
  return f'{slices}{found["topology"]}: {found["chips"]} chips, {mesh}'


def _line(name: str, text: str) -> str:
  return f'  {name:<28}{text}'


def _memory(found: Found) -> Iterator[str]:
  peak = found['peak_bytes']
  shown = 'more than there is' if peak is None else _gib(peak)
  fits = 'fits' if found['fits'] else 'DOES NOT FIT'
  yield _line('peak memory', f'{shown} of {_gib(found["hbm_bytes"])}: {fits}')
  if knob := found.get('knob'):
    yield _line(
      'would fit with', f'{knob["flags"]} ({_gib(knob["peak_bytes"])})'
    )
  elif not found['fits'] and 'knob' in found:
    tried = '; '.join(found['knobs_tried'])
    yield _line('would fit with', f'none of: {tried}')
  yield _line('compiled in', f'{found["compile_s"]:.0f} s')


def _bounds(found: Found, what: str) -> Iterator[str]:
  """Collectives, and the least time."""
  yield _line(f'operations of a {what}', f'{_short(found["flops"])}FLOP')
  for one in found['collectives']:
    when = 'beside' if one['hidden'] else 'waited for'
    yield _line(
      f'{one["kind"]}, {when}',
      f'{one["count"]} in the program, {one["times"]:.0f} a {what}, '
      f'{one["moved_bytes"] / 1e9:.2f} GB',
    )
  yield _line(
    f'least time of a {what}',
    f'{1e3 * found["least_s"]:.1f} ms: compute {1e3 * found["compute_s"]:.1f}, '
    f'memory {1e3 * found["memory_s"]:.1f}, network '
    f'{1e3 * found["network_s"]:.1f} of which {1e3 * found["waiting_s"]:.1f} '
    'waited for',
  )
  if loops := found['unknown_loops']:
    yield _line('counted once', f'{len(loops)} loops of unknown length')
  yield _line(
    'MFU at most', f'{found["most_mfu"]:.0%}, bound by {found["bound_by"]}'
  )


def _gib(num_bytes: float) -> str:
  return f'{num_bytes / _GIB:.2f} GiB'


def _short(number: float) -> str:
  """A number with three digits and a unit: 12.3 T."""
  power = 0
  while number >= 1000 and power < len(_UNITS) - 1:
    number, power = number / 1000, power + 1
  return f'{number:.3g} {_UNITS[power]}'
