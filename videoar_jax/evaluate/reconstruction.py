"""PSNR, SSIM and LPIPS between videos and their reconstructions.

Frame by frame, averaged over the frames of each video. The first two are
dm-pix's on RGB values in 0..1. PSNR is 10 log10(1 / MSE) with the squared error
averaged over a frame's pixels and channels. SSIM is Wang et al. (2004) with an
11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), only where the window
fits, averaged over channels: the definition of `tf.image.ssim`. LPIPS is
version 0.1 with AlexNet, not spatial.
"""

import functools

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from videoar_jax.core.compiler import jit
from videoar_jax.core.precision import HIGHEST
from videoar_jax.core.pretrained import MissingWeightsError
from videoar_jax.tokenizer import perceptual

_WINDOW = 11
_NETWORK = perceptual.Network.ALEXNET
MIN_SIDE = _WINDOW


def psnr(real_nTHWc: np.ndarray, other_nTHWc: np.ndarray) -> np.ndarray:
  """Peak signal-to-noise ratio of each video, the mean over its frames.

  Args:
    real_nTHWc: uint8 0..255, or float 0..1.
    other_nTHWc: its reconstruction, of the same shape; uint8 or float.
  Returns:
    float32 (n,), decibels; infinite where a frame is reproduced exactly.
  Raises:
    ValueError: the shapes differ, or a dtype is neither.
  """
  return _per_video(_frame_psnr, real_nTHWc, other_nTHWc)


def ssim(real_nTHWc: np.ndarray, other_nTHWc: np.ndarray) -> np.ndarray:
  """Structural similarity of each video, the mean over its frames.

  Args:
    real_nTHWc: uint8 0..255, or float 0..1; at least 11 pixels a side.
    other_nTHWc: its reconstruction, of the same shape; uint8 or float.
  Returns:
    float32 (n,), at most 1, which is reached where the videos are equal.
  Raises:
    ValueError: the shapes differ, a dtype is neither, or the frames are
      smaller than the window.
  """
  if min(real_nTHWc.shape[2:4]) < _WINDOW:
    raise ValueError(
      f'frames of {real_nTHWc.shape[2:4]}: SSIM needs at least {_WINDOW} '
      'pixels a side'
    )
  return _per_video(_frame_ssim, real_nTHWc, other_nTHWc)


def lpips_or_none(
  real_nTHWc: np.ndarray, other_nTHWc: np.ndarray
) -> np.ndarray | None:
  """LPIPS with AlexNet of each video, the mean over its frames.

  Args:
    real_nTHWc: uint8 0..255, or float 0..1.
    other_nTHWc: its reconstruction, of the same shape; uint8 or float.
  Returns:
    float32 (n,), 0 where the videos are equal; None where the frames are too
    small for AlexNet or its weights are not installed.
  Raises:
    ValueError: the shapes differ, or a dtype is neither.
  """
  if min(real_nTHWc.shape[2:4]) < perceptual.MIN_SIDE[_NETWORK]:
    return None
  params = _lpips_params()
  if params is None:
    return None

  def metric(real_THWc, other_THWc):
    return _frame_lpips(params, real_THWc, other_THWc)

  return _per_video(metric, real_nTHWc, other_nTHWc)


def identical_frames(
  real_nTHWc: np.ndarray, other_nTHWc: np.ndarray
) -> np.ndarray:
  """Frames of each video reproduced exactly, whose PSNR is infinite; (n,)."""
  found = [
    (_to_float(a) == _to_float(b)).all(axis=(1, 2, 3)).sum()
    for a, b in zip(real_nTHWc, other_nTHWc)
  ]
  return np.asarray(found, np.int64)


def _per_video(metric, real: np.ndarray, other: np.ndarray) -> np.ndarray:
  if real.shape != other.shape or real.ndim != 5:
    raise ValueError(
      f'videos of shapes {real.shape} and {other.shape}: wanted equal shapes '
      '(n, T, H, W, c)'
    )
  scores = [
    metric(_to_float(a), _to_float(b)).mean() for a, b in zip(real, other)
  ]
  return np.asarray(jax.device_get(scores), np.float32)


def _to_float(video_THWc: np.ndarray) -> np.ndarray:
  if video_THWc.dtype == np.uint8:
    return video_THWc.astype(np.float32) / 255
  if video_THWc.dtype.kind != 'f':
    raise ValueError(
      f'videos of dtype {video_THWc.dtype}: wanted uint8 0..255 or float 0..1'
    )
  return video_THWc.astype(np.float32)


_frame_psnr = jit(dm_pix.psnr)


@functools.cache
def _lpips_params() -> perceptual.Params | None:
  """Read once in a process: a stream is compared piece by piece."""
  try:
    return perceptual.load_lpips(_NETWORK)
  except MissingWeightsError as error:
    logging.warning('no LPIPS: %s', error)
    return None


@jit
def _frame_lpips(params, a_THWc: jax.Array, b_THWc: jax.Array) -> jax.Array:
  return perceptual.lpips(
    params, 2 * a_THWc - 1, 2 * b_THWc - 1, network=_NETWORK
  )


@jit
def _frame_ssim(a_THWc: jax.Array, b_THWc: jax.Array) -> jax.Array:
  blur = functools.partial(
    _blur,
    rows=_window_matrix(a_THWc.shape[1]),
    columns=_window_matrix(a_THWc.shape[2]),
  )
  return dm_pix.ssim(a_THWc, b_THWc, filter_size=_WINDOW, filter_fn=blur)


def _blur(x_THWc: jax.Array, *, rows, columns) -> jax.Array:
  """dm-pix's Gaussian filter as two matrix products, which CPUs do faster."""
  return jnp.einsum(
    'yh,thwc,xw->tyxc', rows, x_THWc, columns, precision=HIGHEST
  )


def _window_matrix(size: int) -> np.ndarray:
  """(size - 10, size): the Gaussian window at every place where it fits."""
  offsets = np.arange(_WINDOW) - _WINDOW // 2
  window = np.exp(-0.5 * (offsets / 1.5) ** 2)
  matrix = np.zeros((size - _WINDOW + 1, size))
  for row in range(len(matrix)):
    matrix[row, row : row + _WINDOW] = window / window.sum()
  return matrix.astype(np.float32)
