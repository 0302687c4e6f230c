"""Attention kernels against each other, without a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videoar_jax.core import attention
from videoar_jax.core.attention import AttentionKernel
from videoar_jax.core.mask import UnitMask

_SEES = np.tri(5, dtype=bool)
_MASK = UnitMask((1, 2, 2, 1, 1), tuple(map(tuple, _SEES)), (0, 1, 2, 5))


@pytest.mark.parametrize('length', [6, 7])
@pytest.mark.parametrize('batch', [(), (3,)])
def test_the_fused_product_equals_the_plain_one_for_any_length(length, batch):
  keys = jax.random.split(jax.random.key(length), 4)
  q, k, v = (jax.random.normal(x, (3, length, 2, 5)) for x in keys[:3])
  mask = jnp.asarray(_MASK.dense()[:length, :length])
  if batch:
    mask = mask & jax.random.bernoulli(keys[3], 0.7, (*batch, length, length))
    mask = mask | jnp.eye(length, dtype=bool)
  fused = attention.fused_attention(
    q, k, v, mask_bll=mask, implementation='xla'
  )
  plain = attention.attend(q, k, v, mask_blm=mask)
  np.testing.assert_allclose(fused, plain, atol=2e-6)


def test_cudnn_is_refused_in_a_line_where_there_is_no_gpu():
  q = jnp.zeros((1, 7, 2, 8), jnp.bfloat16)
  with pytest.raises(ValueError, match="attention='cudnn': bfloat16 on cpu"):
    attention.block_attention(q, q, q, mask=_MASK, kernel=AttentionKernel.CUDNN)
