"""Muon: the momentum of every inner matrix, made orthogonal.

Source: Jordan et al. (2024), "Muon"; the size of an update after Liu et al.
(arXiv:2502.16982, §2.2).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

# Muon's updates have this root mean square, which is about AdamW's, so that
# the same learning rates serve.
_UPDATE_RMS = 0.2
_MOMENTUM = 0.95
# Of the quintic a·s + b·s³ + c·s⁵, which brings singular values near 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_TINY = 1e-8

Axes = tuple[str | None, ...]


class Matrix(NamedTuple):
  """How an array is a matrix, or several, whose other axes count them.

  Attributes:
    summed: the axes that it sums over.
    made: the axes that it makes.
  """

  summed: tuple[int, ...]
  made: tuple[int, ...]


def matrix_of(names: Axes) -> Matrix | None:
  """How a parameter is an inner matrix.

  Convolutions sum over taps and inputs; attention and SwiGLU map the model's
  width to heads or hidden units, or back.

  Args:
    names: the parameter's logical axes.
  Returns:
    None where AdamW serves: vectors, embeddings, the first and last layer of
    the transformer.
  """
  if 'conv_out' in names and len(names) > 1:
    out = names.index('conv_out')
    others = (i for i in range(len(names)) if i != out)
    return Matrix(tuple(others), (out,))
  inner = next((x for x in ('heads', 'mlp') if x in names), None)
  if inner is None or 'embed' not in names:
    return None
  first = names.index(inner)
  # A head's channels follow the heads, without a name.
  many = tuple(
    i for i in (first, first + 1) if names[i : i + 1] in ((inner,), (None,))
  )
  model = (names.index('embed'),)
  return Matrix(model, many) if model < many else Matrix(many, model)


def muon(
  *,
  learning_rate: optax.ScalarOrSchedule,
  weight_decay: float,
  matrices: Any,
  others: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Muon for matrices, and another rule for the rest.

  Args:
    learning_rate: of the matrices.
    weight_decay: of the matrices, decoupled.
    matrices: tree of `Matrix`, None where `others` serves.
    others: the other rule.
  """

  def each(function, *trees):
    def is_leaf(x):
      return x is None or isinstance(x, Matrix)

    return jax.tree.map(function, matrices, *trees, is_leaf=is_leaf)

  def orthogonal(matrix, x):
    return x if matrix is None else scaled(x, matrix)

  def update(updates, state, params=None):
    del params
    return each(orthogonal, updates), state

  # The size of momentum does not matter: only its directions are kept.
  rule = optax.chain(
    optax.trace(_MOMENTUM, nesterov=True),
    optax.GradientTransformation(optax.init_empty_state, update),
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_learning_rate(learning_rate),
  )
  labels = each(lambda matrix: 'others' if matrix is None else 'muon')
  return optax.partition({'muon': rule, 'others': others}, labels)


def scaled(x: jax.Array, matrix: Matrix) -> jax.Array:
  """`orthogonalize` of an array's matrices, as large as AdamW's updates."""
  summed, made = (
    math.prod(x.shape[i] for i in axes) for axes in (matrix.summed, matrix.made)
  )
  order = [i for i in range(x.ndim) if i not in (*matrix.summed, *matrix.made)]
  order += [*matrix.summed, *matrix.made]
  turned = x.transpose(order)
  flat = orthogonalize(turned.reshape(-1, summed, made))
  back = flat.reshape(turned.shape).transpose(
    [order.index(i) for i in range(x.ndim)]
  )
  return back * (_UPDATE_RMS * max(summed, made) ** 0.5)


def orthogonalize(x_bmn: jax.Array) -> jax.Array:
  """Brings all singular values of each matrix near 1, by Newton–Schulz.

  Each step is X ← (a + b·A + c·A²)·X with A = X·Xᵀ. A follows from the A
  before it, so that the steps multiply small squares alone, and the long
  matrices of convolutions (27·width × width) are met twice, not ten times.

  Deviation: Jordan et al. multiply in bfloat16, which their form bears: it
  makes A anew from X. Here A's rounding would stay: with factors in bfloat16
  and singular values down to 1e-4, some end at 11 in place of 1.2.
  """
  if x_bmn.shape[1] > x_bmn.shape[2]:
    return orthogonalize(x_bmn.swapaxes(1, 2)).swapaxes(1, 2)
  dtype, x = x_bmn.dtype, x_bmn.astype(jnp.float32)
  x = x / (jnp.linalg.norm(x, axis=(1, 2), keepdims=True) + _TINY)
  with jax.default_matmul_precision('highest'):
    a, b, c = _QUINTIC
    square = x @ x.swapaxes(1, 2)
    unit = jnp.eye(x.shape[1])
    product = unit
    for _ in range(_STEPS):
      step = a * unit + b * square + c * square @ square
      product = step @ product
      square = step @ square @ step
    return (product @ x).astype(dtype)
