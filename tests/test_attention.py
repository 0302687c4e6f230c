"""Attention kernels against each other, without a model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core import attention, splash
from videoar_jax.core.attention import AttentionKernel, Keys
from videoar_jax.core.mask import GroupMask, UnitMask

LENGTHS = (3, 40, 90, 11, 50, 70, 30, 60)
COUNT = len(LENGTHS)


def unit_mask(kind, lengths=LENGTHS):
  """A mask of units; the first is a prefix that all see."""
  count = len(lengths)
  sees = np.tri(count, dtype=bool)
  if kind == 'holes':
    sees[5, 1:4] = sees[7, 2] = sees[3, 1] = False
  cuts = (0, 2, 3, 6, count)
  return UnitMask(lengths, tuple(map(tuple, sees.tolist())), cuts)


def qkv(length, batch=2, heads=3, width=16, dtype='float32'):
  keys = jax.random.split(jax.random.key(length), 3)
  shape = (batch, length, heads, width)
  return [jax.random.normal(key, shape, dtype) for key in keys]


def expected(q, k, v, allowed):
  """Attention as the textbook has it, in float64, query by query."""
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  out = np.zeros_like(v)
  allowed = np.broadcast_to(allowed, (len(q), *allowed.shape[-2:]))
  for b, i, n in np.ndindex(q.shape[:3]):
    seen = allowed[b, i]
    scores = k[b, seen, n] @ q[b, i, n] / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max())
    out[b, i, n] = weights @ v[b, seen, n] / weights.sum()
  return out


def groups_of(mask, window):
  group_l = np.repeat([-1, 0, 0, 0, 1, 1, 2, 2], mask.lengths)
  kept = jnp.asarray([[True, False, True], [False, True, False]])
  return GroupMask(kept, group_l, window)


def hidden(mask, groups):
  """What an example's groups allow, token by token."""
  kept, group = np.asarray(groups.kept_bg), groups.group_l
  found = np.ones((len(kept), len(group), len(group)), bool)
  for b, q, k in np.ndindex(found.shape):
    if 0 <= group[k] < group[q]:
      near = not groups.window or group[k] >= group[q] - groups.window
      found[b, q, k] = near and kept[b, group[k]]
  return found & mask.dense()


KERNELS = ['xla', 'prefix', 'splash']


@pytest.mark.parametrize('kind', ['causal', 'holes'])
@pytest.mark.parametrize('kernel', KERNELS)
def test_a_kernel_computes_masked_attention_and_its_gradient(kernel, kind):
  mask = unit_mask(kind)
  q, k, v = qkv(sum(LENGTHS))
  seen = np.ones((2, len(q[0])), bool)
  seen[1, 1:3] = False

  def loss(x, kernel):
    out = attention.self_attention(
      *x, mask=mask, seen_bl=jnp.asarray(seen), kernel=AttentionKernel(kernel)
    )
    # Queries of the prefix that nobody reads may hold anything.
    return jnp.sum(jnp.sin(out[:, 3:])), out

  gradient = jax.grad(loss, has_aux=True)
  grads, out = gradient((q, k, v), kernel)
  wanted = expected(q, k, v, mask.dense() & seen[:, None])
  np.testing.assert_allclose(out[:, 3:], wanted[:, 3:], atol=3e-6)
  for one, other in zip(grads, gradient((q, k, v), 'xla')[0]):
    assert jnp.abs(other).max() > 0.1
    np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize('window', [0, 1])
@pytest.mark.parametrize('kernel', KERNELS)
def test_groups_are_hidden_from_later_ones_by_example(kernel, window):
  mask = unit_mask('causal')
  groups = groups_of(mask, window)
  q, k, v = qkv(sum(LENGTHS))
  out = attention.self_attention(
    q, k, v, mask=mask, groups=groups, kernel=AttentionKernel(kernel)
  )
  wanted = expected(q, k, v, hidden(mask, groups))
  assert np.abs(wanted - expected(q, k, v, mask.dense())).max() > 0.1
  np.testing.assert_allclose(out, wanted, atol=3e-6)


@pytest.mark.parametrize('window', [0, 1])
def test_even_groups_are_worked_out_within_the_kernel(window):
  lengths = (3, 40, 90, 40, 90, 40, 90)
  mask = unit_mask('causal', lengths)
  group_l = np.repeat([-1, 0, 0, 1, 1, 2, 2], lengths)
  groups = dataclasses.replace(groups_of(unit_mask('causal'), window))
  groups = dataclasses.replace(groups, group_l=group_l)
  lazy = splash._keys_twice(mask, groups, 512)
  assert isinstance(lazy, splash._Worked)
  general = splash._part_twice(
    mask, groups, 512, np.arange(393), np.arange(1024)
  )
  np.testing.assert_array_equal(lazy[:393, :], general)
  q, k, v = qkv(393)
  out = splash.splash_attention(q, k, v, mask=mask, groups=groups)
  wanted = expected(q, k, v, hidden(mask, groups))
  np.testing.assert_allclose(out, wanted, atol=3e-6)


def test_in_bfloat16_kernels_differ_by_rounding_alone():
  mask = unit_mask('causal')
  q, k, v = qkv(sum(LENGTHS), dtype='bfloat16')
  wanted = expected(q, k, v, mask.dense())
  for kernel in KERNELS:
    out = attention.self_attention(
      q, k, v, mask=mask, kernel=AttentionKernel(kernel)
    )
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(out), wanted, atol=0.02)


@pytest.mark.parametrize('kernel', KERNELS)
def test_no_program_holds_an_array_of_tokens_by_tokens(kernel):
  lengths = (3, 40, 90, 40, 90, 40, 90)
  mask, length = unit_mask('causal', lengths), sum(lengths)
  group_l = np.repeat([-1, 0, 0, 1, 1, 2, 2], lengths)
  groups = GroupMask(jnp.ones((2, 3), bool), group_l, 1)
  q, k, v = qkv(length)

  def run(q, k, v):
    return attention.self_attention(
      q, k, v, mask=mask, groups=groups, kernel=AttentionKernel(kernel)
    )

  constants = jax.make_jaxpr(run)(q, k, v).consts
  assert max(map(np.size, constants)) < 10 * length < length**2 / 10
  if kernel != 'splash':  # interpreted, blocks of it are worked out beforehand
    text = jax.jit(run).lower(q, k, v).compile().as_text()
    assert max(map(len, text.splitlines())) < 100 * length


@pytest.mark.parametrize('length', [6, 7])
@pytest.mark.parametrize('batch', [None, 1, 3])
def test_the_fused_product_equals_the_plain_one_for_any_length(length, batch):
  q, k, v = qkv(length, batch=3, heads=2, width=5)
  allowed = None
  if batch:
    shape = (batch, length, length)
    allowed = jax.random.bernoulli(jax.random.key(1), 0.7, shape)
    allowed = allowed | jnp.eye(length, dtype=bool)
  parts = [Keys(k.swapaxes(1, 2), v.swapaxes(1, 2), allowed)]
  fused = attention.fused_attention(q, parts, implementation='xla')
  np.testing.assert_allclose(fused, attention.attend(q, parts), atol=2e-6)


def test_several_arrays_of_keys_are_as_one():
  q, k, v = qkv(9)
  k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
  allowed = jax.random.bernoulli(jax.random.key(2), 0.5, (2, 9, 4))
  apart = [
    Keys(k[:, :, :4], v[:, :, :4], allowed),
    Keys(k[:, :, 4:], v[:, :, 4:]),
  ]
  whole = jnp.pad(allowed, ((0, 0), (0, 0), (0, 5)), constant_values=True)
  np.testing.assert_allclose(
    attention.attend(q, apart),
    attention.attend(q, [Keys(k, v, whole)]),
    atol=2e-6,
  )


def test_cudnn_is_refused_in_a_line_where_there_is_no_gpu():
  q = jnp.zeros((1, sum(LENGTHS), 2, 8), jnp.bfloat16)
  with pytest.raises(ValueError, match="attention='cudnn': bfloat16 on cpu"):
    attention.self_attention(
      q, q, q, mask=unit_mask('causal'), kernel=AttentionKernel.CUDNN
    )
