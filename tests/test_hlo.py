"""What a compiled program moves, counted from its text."""

import jax
import jax.numpy as jnp
import pytest

from videoar_jax.benchmark.hlo import read_traffic
from videoar_jax.benchmark.program import Array, parse

_MODULE = 'HloModule test, is_scheduled=true\n\n'
_SLICED = """%sliced (p: f32[5,7,11], i: s32[]) -> f32[7,11] {
  %p = f32[5,7,11]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  %one = f32[1,7,11]{2,1,0} dynamic-slice(%p, %i, %zero, %zero), sizes={1,7,11}
  ROOT %flat = f32[7,11]{1,0} bitcast(%one)
}
"""
_UPDATED = """%updated (p: f32[5,7], q: f32[7], i: s32[]) -> f32[5,7] {
  %p = f32[5,7]{1,0} parameter(0)
  %q = f32[7]{0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,7]{1,0} bitcast(%q)
  ROOT %new = f32[5,7]{1,0} dynamic-update-slice(%p, %row, %i, %zero)
}
"""
_LOOP = """%body (t: (s32[], f32[7], f32[3,7])) -> (s32[], f32[7], f32[3,7]) {
  %t = (s32[], f32[7]{0}, f32[3,7]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%t), index=0
  %x = f32[7]{0} get-tuple-element(%t), index=1
  %w = f32[3,7]{1,0} get-tuple-element(%t), index=2
  %by = s32[] constant(1)
  %m = s32[] add(%n, %by)
  %y = f32[7]{0} multiply(%x, %x), metadata={op_name="f/square"}
  ROOT %u = (s32[], f32[7]{0}, f32[3,7]{1,0}) tuple(%m, %y, %w)
}

%condition (t: (s32[], f32[7], f32[3,7])) -> pred[] {
  %t.1 = (s32[], f32[7]{0}, f32[3,7]{1,0}) parameter(0)
  %n.1 = s32[] get-tuple-element(%t.1), index=0
  %limit = s32[] constant(LIMIT)
  ROOT %less = pred[] compare(%n.1, %limit), direction=DIRECTION
}

ENTRY %main (x: f32[7], w: f32[3,7]) -> f32[7] {
  %x.1 = f32[7]{0} parameter(0)
  %w.1 = f32[3,7]{1,0} parameter(1)
  %start = s32[] constant(2)
  %t.2 = (s32[], f32[7]{0}, f32[3,7]{1,0}) tuple(%start, %x.1, %w.1)
  %loop = (s32[], f32[7]{0}, f32[3,7]{1,0}) while(%t.2), WHAT
  ROOT %y.1 = f32[7]{0} get-tuple-element(%loop), index=1
}
"""


def _entry(*lines, given='x: f32[7]', result='f32[7]'):
  body = ''.join(f'  {line}\n' for line in lines)
  return f'ENTRY %main ({given}) -> {result} {{\n{body}}}\n'


def _moved(text, **options):
  found = read_traffic(_MODULE + text, **options)
  assert not found.unknown_loops
  return found.num_bytes


def _loop(limit='13', direction='LT', told=''):
  text = _LOOP.replace('LIMIT', limit).replace('DIRECTION', direction)
  what = f'condition=%condition, body=%body{told}'
  return _MODULE + text.replace('WHAT', what)


@pytest.mark.parametrize(
  ('text', 'size'),
  [
    ('f32[]', 4),
    ('pred[3,5]{1,0}', 15),
    ('bf16[3,5]{0,1}', 30),
    ('s4[3,5]{1,0}', 8),
    ('c64[3]{0}', 24),
    ('token[]', 0),
    # Whole tiles: 13 rows of a minor dimension of 5 are 16 of 128.
    ('f32[5,13]{0,1:T(8,128)}', 16 * 128 * 4),
    ('bf16[2,651,12,128]{3,1,2,0:T(8,128)(2,1)}', 2 * 12 * 656 * 128 * 2),
    ('f32[7]{0:T(128)S(1)}', 512),
    ('s32[]{:T(128)}', 4),
  ],
)
def test_an_array_takes_its_whole_tiles(text, size):
  assert Array(text).num_bytes == size
  assert Array(text).hbm_bytes == (0 if 'S(1)' in text else size)


def test_operands_and_results_are_moved_and_tuples_are_free():
  assert _moved(
    _entry(
      '%x = f32[7]{0} parameter(0)',
      '%y = f32[11,7]{1,0} broadcast(%x), dimensions={1}',
      '%t = (f32[7]{0}, /*index=1*/f32[11,7]{1,0}) tuple(%x, %y)',
      '%z = f32[11,7]{1,0} get-tuple-element(%t), index=1',
      '%b = f32[77]{0} bitcast(%z)',
      'ROOT %c = f32[7]{0} custom-call(%b), custom_call_target="kernel"',
    )
  ) == 4 * (7 + 77 + 77 + 7)


def test_a_buffer_that_is_only_made_room_for_is_free():
  assert not _moved(
    _entry(
      'ROOT %c = f32[7]{0} custom-call(), custom_call_target="AllocateBuffer"'
    )
  )


def test_of_an_array_that_is_only_sliced_the_slices_are_read():
  assert _moved(
    _SLICED
    + _entry(
      '%x = f32[5,7,11]{2,1,0} parameter(0)',
      '%n = s32[] parameter(1)',
      'ROOT %y = f32[7,11]{1,0} fusion(%x, %n), kind=kLoop, calls=%sliced',
    )
  ) == 4 * (77 + 1 + 77)


def test_a_sliced_array_that_is_read_otherwise_too_is_read_whole():
  other = '  %all = f32[5,7,11]{2,1,0} negate(%p)\n  ROOT'
  assert _moved(
    _SLICED.replace('  ROOT', other)
    + _entry(
      '%x = f32[5,7,11]{2,1,0} parameter(0)',
      '%n = s32[] parameter(1)',
      'ROOT %y = f32[7,11]{1,0} fusion(%x, %n), kind=kLoop, calls=%sliced',
    )
  ) == 4 * (5 * 77 + 1 + 77)


def test_slices_inside_of_a_fusion_in_a_fusion_are_found():
  outer = """%outer (p: f32[5,7,11], i: s32[]) -> f32[7,11] {
  %p.1 = f32[5,7,11]{2,1,0} parameter(0)
  %i.1 = s32[] parameter(1)
  %in = f32[7,11]{1,0} fusion(%p.1, %i.1), kind=kLoop, calls=%sliced
  ROOT %out = f32[7,11]{1,0} negate(%in)
}
"""
  assert _moved(
    _SLICED
    + outer
    + _entry(
      '%x = f32[5,7,11]{2,1,0} parameter(0)',
      '%n = s32[] parameter(1)',
      'ROOT %y = f32[7,11]{1,0} fusion(%x, %n), kind=kLoop, calls=%outer',
    )
  ) == 4 * (77 + 1 + 77)


@pytest.mark.parametrize(
  ('memory', 'size'),
  # The update alone; or the target has to be brought to another memory.
  [('', 4 * (7 + 1 + 7)), ('S(1)', 4 * (5 * 7 + 7 + 1))],
)
def test_an_update_in_place_moves_the_update_alone(memory, size):
  assert (
    _moved(
      _UPDATED
      + _entry(
        '%x = f32[5,7]{1,0} parameter(0)',
        '%r = f32[7]{0} parameter(1)',
        '%n = s32[] parameter(2)',
        f'ROOT %y = f32[5,7]{{1,0:{memory}}} fusion(%x, %r, %n), '
        'kind=kLoop, calls=%updated',
      )
    )
    == size
  )


def test_an_update_outside_of_a_fusion_is_in_place_too():
  assert _moved(
    _entry(
      '%x = f32[5,7]{1,0} parameter(0)',
      '%r = f32[1,7]{1,0} parameter(1)',
      '%n = s32[] parameter(2)',
      'ROOT %y = f32[5,7]{1,0} dynamic-update-slice(%x, %r, %n, %n)',
    )
  ) == 4 * (7 + 1 + 1 + 7)


def test_what_lies_beside_the_cores_costs_the_copies_there():
  assert _moved(
    _entry(
      '%x = f32[5,7]{1,0} parameter(0)',
      '%s = (f32[5,7]{1,0:S(1)}, f32[5,7]{1,0}, u32[]{:S(2)}) copy-start(%x)',
      '%d = f32[5,7]{1,0:S(1)} copy-done(%s)',
      '%n = f32[5,7]{1,0:S(1)} negate(%d)',
      '%p = ((f32[5,7]{1,0}), f32[2,7]{1,0:S(1)}, s32[]{:S(2)}) '
      'slice-start(%x), slice={[0:2], [0:7]}',
      '%q = f32[2,7]{1,0:S(1)} slice-done(%p)',
      'ROOT %m = f32[2,7]{1,0} negate(%q)',
    )
  ) == 4 * (35 + 14 + 14)


def test_a_copy_back_is_counted_once():
  assert (
    _moved(
      _entry(
        '%x = f32[5,7]{1,0:S(1)} parameter(0)',
        '%s = (f32[5,7]{1,0}, f32[5,7]{1,0:S(1)}, u32[]{:S(2)}) copy-start(%x)',
        'ROOT %d = f32[5,7]{1,0} copy-done(%s)',
      )
    )
    == 4 * 35
  )


@pytest.mark.parametrize(
  ('options', 'trips'),
  [
    ({}, 11),
    ({'direction': 'GT'}, None),
    ({'direction': 'NE'}, None),
    ({'limit': '2'}, 0),
    ({'told': ', backend_config={"known_trip_count":{"n":"5"}}'}, 5),
  ],
)
def test_a_loop_is_counted_as_often_as_it_runs(options, trips):
  found = read_traffic(_loop(**options))
  square = sum(p.num_bytes for p in found.parts if p.op_name == 'f/square')
  assert square == 4 * (7 + 7 + 7) * (1 if trips is None else trips)
  assert found.unknown_loops == (('loop',) if trips is None else ())


def test_a_loop_that_counts_by_two_is_unknown():
  text = _loop().replace('%by = s32[] constant(1)', '%by = s32[] constant(2)')
  assert read_traffic(text).unknown_loops == ('loop',)


def test_branches_count_by_their_mean_or_one_alone():
  branch = """%NAME (p: f32[N]) -> f32[7] {
  %p.NAME = f32[N]{0} parameter(0)
  ROOT %r.NAME = f32[7]{0} slice(%p.NAME), slice={[0:7]}
}
"""
  small, large = (
    branch.replace('NAME', name).replace('N', n)
    for name, n in (('small', '7'), ('large', '70'))
  )
  text = (
    small
    + large.replace('slice(', 'reduce(')
    + _entry(
      '%n = s32[] parameter(0)',
      '%x = f32[7]{0} parameter(1)',
      '%y = f32[70]{0} parameter(2)',
      'ROOT %z = f32[7]{0} conditional(%n, %x, %y), '
      'branch_computations={%small, %large}',
    )
  )
  assert _moved(text) == 4 * (14 + 77) / 2
  assert _moved(text, branch=0) == 4 * 14
  assert _moved(text, branch=1) == 4 * 77


def test_kinds_are_followed_through_loops_and_copies():
  text = _loop().replace('multiply(%x, %x)', 'multiply(%x, %v)')
  text = text.replace(
    '%by =',
    '%c = f32[3,7]{1,0} copy(%w)\n  %v = f32[21]{0} bitcast(%c)\n  %by =',
  )
  found = read_traffic(text, weights='w', cache=frozenset())
  assert found.by_kind['weights'] == 11 * 4 * (21 + 21 + 21)
  found = read_traffic(text, weights='w', cache=frozenset([7]))
  assert found.by_kind['cache'] == 11 * 4 * (7 + 7)


def test_a_scan_of_this_machine_reads_each_layer_once():
  def layers(x_d, w_sdd):
    return jax.lax.scan(lambda x_d, w_dd: (w_dd @ x_d, None), x_d, w_sdd)[0]

  shapes = jnp.zeros(1031), jnp.zeros((5, 1031, 1031))
  text = jax.jit(layers).lower(*shapes).compile().as_text()
  found = read_traffic(text, weights='w_sdd')
  assert not found.unknown_loops
  weights = 4 * 5 * 1031**2
  # Read once; where the layer is taken out first, also written and read.
  assert found.by_kind['weights'] / weights in (
    pytest.approx(1, abs=0.01),
    pytest.approx(3, abs=0.01),
  )
  assert found.num_bytes == sum(part.num_bytes for part in found.parts)


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('', 'no ENTRY'),
    ('ENTRY %main (x: f32[]) -> f32[] {\n  what\n}\n', "the line 'what'"),
  ],
)
def test_what_is_no_program_is_refused(text, words):
  with pytest.raises(ValueError, match=words):
    parse(text)
