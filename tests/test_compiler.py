"""How programs are compiled: options by platform, of those XLA knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core import compiler

_YNN = 'xla_cpu_experimental_ynn_fusion_type'


@pytest.fixture(autouse=True)
def fresh():
  compiler.compiler_options.cache_clear()
  yield
  compiler.compiler_options.cache_clear()


def _convolve(x, kernel):
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def _clip():
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (2, 16, 16, 24))
  return x, jax.random.normal(keys[1], (3, 3, 24, 24))


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
  options = {'xla_cpu_enable_fast_math': False, 'xla_cpu_no_such_thing': 1}
  monkeypatch.setitem(compiler._OPTIONS, 'cpu', options)
  known = compiler.compiler_options('cpu')
  assert known == {'xla_cpu_enable_fast_math': False}
  assert compiler.compiler_options('gpu') == {}
  double = compiler.jit(lambda x: 2 * x)
  assert double(3.0) == 6.0


def test_ahead_of_time_all_options_are_taken(monkeypatch):
  monkeypatch.setitem(compiler._OPTIONS, 'tpu', {'xla_no_such_thing': 1})
  assert compiler.compiler_options('tpu') == {'xla_no_such_thing': 1}


def test_a_chip_has_options_of_its_own(monkeypatch):
  monkeypatch.setattr(compiler, 'platform', lambda: 'tpu')
  options = {}
  for kind in ('TPU v5 lite', 'TPU v6 lite'):
    monkeypatch.setattr(compiler, 'device_kind', lambda kind=kind: kind)
    options[kind] = compiler.options_here()
  v5e, v6e = options.values()
  assert v5e == compiler.compiler_options('tpu')
  assert v6e == {**v5e, **compiler._CHIP_OPTIONS['v6e']} != v5e


def test_convolutions_are_not_ynnpacks_where_it_can_be_told():
  if _YNN not in compiler.compiler_options('cpu'):
    pytest.skip('this XLA has no such option')
  plain, chosen = (f(_convolve) for f in (jax.jit, compiler.jit))
  texts = [x.lower(*_clip()).compile().as_text() for x in (plain, chosen)]
  assert ['__ynn_fusion' in text for text in texts] == [True, False]
  np.testing.assert_allclose(plain(*_clip()), chosen(*_clip()), atol=1e-3)


def test_within_another_program_it_is_a_part_of_that():
  inner = compiler.jit(lambda x, times: x * times, static_argnames='times')
  outer = jax.jit(lambda x: inner(x, times=3) + 1)
  assert outer(jnp.float32(2)) == 7
  assert inner(2.0, times=4) == 8 and inner._cache_size() == 1
  assert jax.grad(lambda x: inner(x, times=5))(1.0) == 5


def test_as_a_decorator_it_keeps_the_name():
  @compiler.jit(donate_argnums=0)
  def doubled(x):
    """Twice x."""
    return 2 * x

  assert doubled.__name__ == 'doubled' and doubled.__doc__ == 'Twice x.'
  assert doubled(jnp.ones(3)).sum() == 6
  with pytest.raises(AttributeError):
    doubled.__no_such_thing__  # noqa: B018
