"""Real clips made worse by degrees: a distance that means anything must rise.

`noise`    Gaussian noise; the degree is its standard deviation, of 0..1
`blur`     a Gaussian over each frame; its standard deviation, of the height
`shuffle`  frames in another order; the share of frames that take part
`freeze`   the last frames are the one before them; their share

The first two spoil frames and leave the motion, the last two the other way.
Degree 0 changes nothing. Fréchet and kernel distances of such sets were looked
at by the authors of FVD (Unterthiner et al., arXiv:1812.01717, section 4).
"""

import numpy as np
from scipy import ndimage

NOISE, BLUR, SHUFFLE, FREEZE = KINDS = ('noise', 'blur', 'shuffle', 'freeze')
DEGREES = {
  NOISE: (0.02, 0.05, 0.1, 0.2),
  BLUR: (0.005, 0.01, 0.02, 0.04),
  SHUFFLE: (0.25, 0.5, 0.75, 1.0),
  FREEZE: (0.25, 0.5, 0.75, 1.0),
}


def distort(
  videos_nTHWc: np.ndarray, kind: str, degree: float, *, seed: int = 0
) -> np.ndarray:
  """Clips made worse; each by its own random numbers, whatever is beside it.

  Args:
    videos_nTHWc: uint8.
    kind: one of `KINDS`.
    degree: at least 0; of frames at most 1. The first frame never freezes, so
      that at 1 it is repeated.
    seed: of noise and of orders; of one seed, a higher degree adds to a lower.
  Returns:
    uint8, of the same shape; noise that leaves 0..255 is clipped.
  Raises:
    ValueError: another kind, or a degree out of range.
  """
  if kind not in KINDS:
    raise ValueError(f'kind={kind!r}: wanted one of {", ".join(KINDS)}')
  most = 1.0 if kind in (SHUFFLE, FREEZE) else np.inf
  if not 0 <= degree <= most:
    raise ValueError(f'degree={degree}: {kind} takes 0 to {most:g}')
  if degree == 0:
    return videos_nTHWc.copy()
  if kind == FREEZE:
    frames = videos_nTHWc.shape[1]
    last = max(frames - 1 - round(degree * frames), 0)
    return videos_nTHWc[:, np.minimum(np.arange(frames), last)]
  if kind == BLUR:
    sigma = degree * videos_nTHWc.shape[2]
    smooth = ndimage.gaussian_filter(
      videos_nTHWc.astype(np.float32), (0, 0, sigma, sigma, 0), mode='nearest'
    )
    return _rounded(smooth)
  worse = np.empty_like(videos_nTHWc)
  for index, video_THWc in enumerate(videos_nTHWc):
    rng = np.random.default_rng((seed, index))
    if kind == NOISE:
      noise = rng.standard_normal(video_THWc.shape, np.float32)
      worse[index] = _rounded(video_THWc + 255 * degree * noise)
    else:
      worse[index] = video_THWc[_order(len(video_THWc), degree, rng)]
  return worse


def _order(frames: int, share: float, rng: np.random.Generator) -> np.ndarray:
  """Frames in their order, but for a share of them, two or more, mixed."""
  order_T = np.arange(frames)
  mixed = np.sort(rng.permutation(frames)[: max(round(share * frames), 2)])
  order_T[mixed] = rng.permutation(mixed)
  return order_T


def _rounded(videos: np.ndarray) -> np.ndarray:
  return np.clip(np.rint(videos), 0, 255).astype(np.uint8)
