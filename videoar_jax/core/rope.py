"""Rotary position embedding over several axes."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def frequencies(
  head_width: int, *, base: float = 10_000.0, dtype=np.float32
) -> np.ndarray:
  """Inverse frequencies base^(-2p/k) of the pairs p = 0 … k/2 - 1."""
  if head_width % 2:
    raise ValueError(
      f'head_width={head_width}: rotary embedding turns pairs; use an even one'
    )
  pairs = np.arange(head_width // 2, dtype=np.float64)
  return (base ** (-2.0 * pairs / head_width)).astype(dtype)


class Pairs(NamedTuple):
  """What turns each pair of a head, and how fast.

  Attributes:
    axis_p: the axis of the positions that it belongs to.
    frequency_p: radians for each step along this axis.
  """

  axis_p: np.ndarray
  frequency_p: np.ndarray


def interleaved(
  head_width: int, num_axes: int, *, base: float = 10_000.0
) -> Pairs:
  """Pairs of one frequency table, of which pair p belongs to axis p mod A.

  Interleaving gives every axis fast and slow frequencies, and a token at
  (n, n, n) is exactly a text token n under ordinary rotary embedding.
  Source: VideoAR (arXiv:2601.05966) §4.2; the split is this project's choice
  (docs/paper.md, Positions).

  Args:
    head_width: width k of one head, even.
    num_axes: A.
    base: base of the frequency table.
  """
  table = frequencies(head_width, base=base)
  return Pairs(np.arange(len(table)) % num_axes, table)


def contiguous(counts: Sequence[int], *, base: float = 10_000.0) -> Pairs:
  """Neighbouring pairs for each axis, with a frequency table of its own.

  Source: Wan (arXiv:2503.20314; docs/paper.md, Wan).

  Args:
    counts: pairs of each axis.
    base: base of the tables.
  """
  tables = [frequencies(2 * n, base=base, dtype=np.float64) for n in counts]
  return Pairs(np.repeat(np.arange(len(counts)), counts), np.hstack(tables))


def angles(position_xa: jax.Array, pairs: Pairs) -> jax.Array:
  """Angles of each pair at some places.

  Args:
    position_xa: positions on A axes, (..., A), integer or float.
    pairs: of a head.

  Returns:
    Angles (..., k/2) in radians, float32.
  """
  table = jnp.asarray(pairs.frequency_p, jnp.float32)
  return position_xa.astype(jnp.float32)[..., pairs.axis_p] * table


class Turn(NamedTuple):
  """Cosines and sines of rotary angles, float32, worked out once.

  Attributes:
    cos_lp: (l, k/2), or (b, l, k/2).
    sin_lp: likewise.
  """

  cos_lp: jax.Array
  sin_lp: jax.Array


def turn(angles_lp: jax.Array) -> Turn:
  """What `rotate` needs of angles; all layers share it."""
  # Held, or the compiler works it out anew for each array that it turns.
  cos, sin = jax.lax.optimization_barrier(
    (jnp.cos(angles_lp), jnp.sin(angles_lp))
  )
  return Turn(cos, sin)


def turn_at(position_xa: jax.Array | np.ndarray, pairs: Pairs) -> Turn:
  """What `rotate` needs of some places.

  Of NumPy's positions, which a program knows beforehand, it is exact: worked
  out in float64 for the few places there are on each axis, and looked up. Of
  others the angles are float32, which is 1e-4 radians off at 1,000 steps.

  Args:
    position_xa: see `angles`.
    pairs: of a head.
  """
  if not isinstance(position_xa, np.ndarray):
    return turn(angles(position_xa, pairs))
  parts = []
  for axis in range(position_xa.shape[-1]):
    places, which = np.unique(position_xa[..., axis], return_inverse=True)
    table = pairs.frequency_p[pairs.axis_p == axis]
    angle = places.astype(np.float64)[:, None] * table
    # Held, or the compiler would make the whole array one of its constants.
    which = jax.lax.optimization_barrier(
      jnp.asarray(which.reshape(position_xa.shape[:-1]), jnp.int32)
    )
    parts.append(
      [
        jnp.take(jnp.asarray(x, jnp.float32), which, axis=0)
        for x in (np.cos(angle), np.sin(angle))
      ]
    )
  # Axis by axis; back to the order of the pairs.
  order = np.argsort(np.argsort(pairs.axis_p, kind='stable'))
  cos, sin = (jnp.concatenate(x, axis=-1)[..., order] for x in zip(*parts))
  return Turn(*jax.lax.optimization_barrier((cos, sin)))


def rotate(x_blnk: jax.Array, turn: Turn) -> jax.Array:
  """Turns pair p (elements p and p + k/2) of each head by its angle.

  Args:
    x_blnk: queries or keys.
    turn: of their places.

  Returns:
    The rotated array in the dtype of x_blnk; computed in float32.
  """
  cos, sin = (x[..., None, :] for x in turn)
  first, second = jnp.split(x_blnk.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate(
    [first * cos - second * sin, first * sin + second * cos], axis=-1
  )
  return turned.astype(x_blnk.dtype)
