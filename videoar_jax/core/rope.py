"""Rotary position embedding over several axes from one frequency table."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def frequencies(head_width: int, *, base: float = 10_000.0) -> np.ndarray:
  """Inverse frequencies base^(-2p/k) of the pairs p = 0 … k/2 - 1, float32."""
  if head_width % 2:
    raise ValueError(
      f'head_width={head_width}: rotary embedding turns pairs; use an even one'
    )
  pairs = np.arange(head_width // 2, dtype=np.float64)
  return (base ** (-2.0 * pairs / head_width)).astype(np.float32)


def angles(
  position_xa: jax.Array, head_width: int, *, base: float = 10_000.0
) -> jax.Array:
  """Angles of each pair when pair p belongs to axis p mod A.

  Interleaving gives every axis fast and slow frequencies, and a token at
  (n, n, n) is exactly a text token n under ordinary rotary embedding.
  Source: VideoAR (arXiv:2601.05966) §4.2; the split is this project's choice
  (docs/paper.md, Positions).

  Args:
    position_xa: positions on A axes, (..., A), integer or float.
    head_width: width k of one head, even.
    base: base of the frequency table.

  Returns:
    Angles (..., k/2) in radians, float32.
  """
  table = jnp.asarray(frequencies(head_width, base=base))
  axis = np.arange(head_width // 2) % position_xa.shape[-1]
  return position_xa.astype(jnp.float32)[..., axis] * table


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
