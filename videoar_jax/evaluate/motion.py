"""Measures the class of a moving-shape clip from its pixels, by arithmetic.

The background is a colour plane fitted to most pixels, the shape is what lies
far from it. Its centre and size over time are explained three ways (a straight
path, an arc, a change of size); the best explanation names the class.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from videoar_jax.data import synthetic

NO_MOTION = -1
MIN_FRAMES = 3  # fewer show no motion

# Least motion that counts: about a third of the least that is rendered. Of an
# orbit it is half a turn (at least 234° are rendered): less is a bent path.
_LEAST_TRAVEL = 0.12  # shares of the shorter side
_LEAST_TURN = np.pi
_LEAST_GROWTH = 1.35  # ratio of last to first size
_LEAST_CONTRAST = 0.12  # distance in RGB, each channel 0..1
_MOST_UNEXPLAINED = 0.35  # share of the variation; with more, no motion


def classify(video_THWc: np.ndarray) -> int:
  """Names the motion of the one shape in a clip.

  Args:
    video_THWc: uint8, or floats in 0..1; T >= 3, RGB.
  Returns:
    The index into `data.synthetic.CLASSES`, or -1 (`NO_MOTION`) where no shape
    stands out or it does not clearly move: -1 equals no label, so it counts
    as a wrong clip.
  Raises:
    ValueError: another shape, or floats far outside 0..1.
  """
  video_THWc = _as_unit_floats(video_THWc)
  track = _track(video_THWc)
  if track is None:
    return NO_MOTION
  u_T, centre_T2, size_T = track
  name = _best_explanation(u_T, centre_T2, size_T)
  return synthetic.CLASSES.index(name) if name else NO_MOTION


def accuracy(videos_nTHWc: np.ndarray, labels_n: np.ndarray) -> float:
  """Share of clips, 0..1, whose measured class is the label.

  Args:
    videos_nTHWc: clips as `classify` takes them.
    labels_n: indices into `data.synthetic.CLASSES`.
  """
  if len(videos_nTHWc) != len(labels_n) or not len(labels_n):
    raise ValueError(
      f'{len(videos_nTHWc)} videos and {len(labels_n)} labels: there must be '
      'as many of one as of the other, and at least one'
    )
  right = [
    classify(video) == label for video, label in zip(videos_nTHWc, labels_n)
  ]
  return float(np.mean(right))


def class_accuracy(
  found_n: np.ndarray, labels_n: np.ndarray, *, suffix: str = ''
) -> dict:
  """Share of moving-shape videos that show the motion of their label.

  Args:
    found_n: what `classify` says of each.
    labels_n: indices into `synthetic.CLASSES`.
    suffix: of the names.
  Returns:
    `class_accuracy`, 0..1, and `class_accuracy_by_class`: name -> share, None
    where no video has that label.
  """
  right_n = found_n == labels_n
  shares = {}
  for label, name in enumerate(synthetic.CLASSES):
    own = right_n[labels_n == label]
    shares[name] = float(own.mean()) if len(own) else None
  return {
    f'class_accuracy{suffix}': float(right_n.mean()),
    f'class_accuracy{suffix}_by_class': shares,
  }


def _as_unit_floats(video_THWc: np.ndarray) -> np.ndarray:
  video_THWc = np.asarray(video_THWc)
  shape = video_THWc.shape
  if len(shape) != 4 or shape[-1] != 3 or shape[0] < MIN_FRAMES:
    raise ValueError(
      f'video has shape {shape}: wanted (T, H, W, 3), T >= {MIN_FRAMES}'
    )
  if video_THWc.dtype == np.uint8:
    return video_THWc.astype(np.float32) / 255
  if video_THWc.min() < -0.1 or video_THWc.max() > 1.1:
    raise ValueError(
      f'video spans {video_THWc.min():.2f}..{video_THWc.max():.2f}: wanted '
      'uint8, or floats in 0..1; map -1..1 with (x + 1) / 2'
    )
  return video_THWc.astype(np.float32)


def _background(video_THWc: np.ndarray) -> np.ndarray:
  """Fits a colour plane over (y, x) to the nearer part of all pixels."""
  _, height, width, _ = video_THWc.shape
  step = max(1, min(height, width) // 24)
  thin_THWc = video_THWc[:: max(1, len(video_THWc) // 8), ::step, ::step]
  y_H, x_W = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
  plane_HW3 = np.stack(
    np.broadcast_arrays(1.0, y_H[:, None], x_W[None]), -1
  ).astype(np.float32)
  thin_HW3 = plane_HW3[::step, ::step]
  basis_l3 = np.broadcast_to(thin_HW3, thin_THWc.shape).reshape(-1, 3)
  colour_l3 = thin_THWc.reshape(-1, 3)
  # Least trimmed squares: the shape covers a minority of the pixels, so the
  # nearest 60% end up being background whatever the shape does.
  fit_33 = np.zeros((3, 3), np.float32)
  fit_33[0] = np.median(colour_l3, 0)
  for _ in range(8):
    distance_l = np.square(colour_l3 - basis_l3 @ fit_33).sum(-1)
    near_l = distance_l <= np.quantile(distance_l, 0.6)
    fit_33 = np.linalg.lstsq(basis_l3[near_l], colour_l3[near_l], rcond=None)[0]
  return plane_HW3 @ fit_33


def _track(video_THWc: np.ndarray):
  """Times (0..1), centres (x, y) and sizes of the shape; None if unseen."""
  frames, height, width, _ = video_THWc.shape
  short = min(height, width)
  smooth_THWc = ndimage.gaussian_filter(
    video_THWc, (0, 0.02 * short, 0.02 * short, 0)
  )
  distance_THW = np.linalg.norm(smooth_THWc - _background(smooth_THWc), axis=-1)
  # The middle of each frame's largest distances is the shape's contrast.
  top = max(1, int(0.01 * height * width))
  flat_Tl = distance_THW.reshape(frames, -1)
  peak_T = np.partition(flat_Tl, -top, axis=-1)[:, -top:].mean(-1)
  contrast = np.median(peak_T)
  if contrast < _LEAST_CONTRAST:
    return None
  times, centres, sizes = [], [], []
  y_H, x_W = ((np.arange(n) + 0.5) / short for n in (height, width))
  for t in range(frames):
    weight_HW = _largest_part(distance_THW[t] / contrast)
    total = weight_HW.sum()
    if total < 0.004 * short**2:
      continue  # the shape is out of this frame
    times.append(t / (frames - 1))
    x = (weight_HW.sum(0) * x_W).sum() / total
    y = (weight_HW.sum(1) * y_H).sum() / total
    centres.append((x, y))
    sizes.append(np.sqrt(total / np.pi) / short)
  if len(times) < max(3, frames // 2):
    return None
  return np.array(times), np.array(centres), np.array(sizes)


def _largest_part(relative_HW: np.ndarray) -> np.ndarray:
  """Soft mask, 0..1, of the largest connected region over half contrast."""
  weight_HW = np.clip((relative_HW - 0.3) / 0.4, 0, 1)
  parts_HW, count = ndimage.label(weight_HW > 0.1)
  if count > 1:
    sums = ndimage.sum_labels(weight_HW, parts_HW, np.arange(1, count + 1))
    weight_HW = weight_HW * (parts_HW == 1 + np.argmax(sums))
  return weight_HW


def _best_explanation(u_T, centre_T2, size_T) -> str:
  """The class whose curve leaves the least unexplained; '' if none moves."""
  line_T2, travel_2 = _fit_line(u_T, centre_T2)
  grown_T1, growth = _fit_line(u_T, size_T[:, None])
  arc_T2, turn = _fit_arc(u_T, centre_T2)
  still_T2, same_T1 = centre_T2.mean(0), size_T.mean()

  found = {}
  if np.abs(travel_2).max() >= _LEAST_TRAVEL:
    axis = int(np.argmax(np.abs(travel_2)))
    forward = int(travel_2[axis] > 0)
    name = (('left', 'right'), ('up', 'down'))[axis][forward]
    found[name] = _unexplained(centre_T2 - line_T2, size_T[:, None] - same_T1)
  if arc_T2 is not None and abs(turn) >= _LEAST_TURN:
    name = 'orbit_clockwise' if turn > 0 else 'orbit_anticlockwise'
    found[name] = _unexplained(centre_T2 - arc_T2, size_T[:, None] - same_T1)
  first, last = (max(x, 1e-3) for x in (grown_T1[0, 0], grown_T1[-1, 0]))
  if max(first / last, last / first) >= _LEAST_GROWTH:
    name = 'grow' if growth[0] > 0 else 'shrink'
    found[name] = _unexplained(centre_T2 - still_T2, size_T[:, None] - grown_T1)
  total = _unexplained(centre_T2 - still_T2, size_T[:, None] - same_T1)
  best = min(found, key=found.get, default='')
  return best if best and found[best] <= _MOST_UNEXPLAINED * total else ''


def _unexplained(centre_error_T2, size_error_T1) -> float:
  return float(
    np.square(centre_error_T2).sum() + np.square(size_error_T1).sum()
  )


def _fit_line(u_T, value_Td) -> tuple[np.ndarray, np.ndarray]:
  """Straight fit over time, (T, d), and its change over the clip, (d,)."""
  basis_T2 = np.stack([np.ones_like(u_T), u_T], -1)
  fit_2d = np.linalg.lstsq(basis_T2, value_Td, rcond=None)[0]
  return basis_T2 @ fit_2d, fit_2d[1]


def _fit_arc(u_T, centre_T2):
  """A steady path along the fitted circle (T, 2), and its turn in radians.

  Least squares of x² + y² = 2ax + 2by + c (Kåsa 1976). A radius over one side
  is a straight line, one under the wobble of a still shape is noise: None.
  """
  basis_T3 = np.concatenate([2 * centre_T2, np.ones((len(centre_T2), 1))], -1)
  square_T = np.square(centre_T2).sum(-1)
  a, b, c = np.linalg.lstsq(basis_T3, square_T, rcond=None)[0]
  radius = np.sqrt(max(c + a * a + b * b, 0))
  if not 0.06 < radius < 1:
    return None, 0.0
  arm_T2 = centre_T2 - (a, b)
  angle_T = np.unwrap(np.arctan2(arm_T2[:, 1], arm_T2[:, 0]))
  steady_T1, turn = _fit_line(u_T, angle_T[:, None])
  on_T2 = np.concatenate([np.cos(steady_T1), np.sin(steady_T1)], -1)
  return (a, b) + radius * on_T2, turn[0]
