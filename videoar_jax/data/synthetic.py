"""Moving shapes rendered on the fly; the class of a clip is its motion.

A clip shows one shape before a plain or softly graded background. Lengths are
shares of the frame's shorter side and times are shares of the clip, so the
whole motion is seen at any resolution and any number of frames (from three
on: an orbit needs three points).
"""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np

from videoar_jax.data.config import DataConfig
from videoar_jax.data.source import SourceKind

CLASSES = (
  'left',
  'right',
  'up',
  'down',
  'orbit_clockwise',
  'orbit_anticlockwise',
  'grow',
  'shrink',
)
SHAPES = ('circle', 'square', 'diamond', 'triangle', 'hexagon', 'ring')

TRAIN_CLIPS = 10_000
HELD_OUT_CLIPS = 1_000
_TRAIN_STREAM, _HELD_OUT_STREAM = 0, 1

# Unit outward normals and distances of the sides of a polygon of radius 1.
_SIDES = {
  'square': (4, 0.0, 0.85),
  'diamond': (4, np.pi / 4, 0.85),
  'triangle': (3, np.pi / 2, 0.65),
  'hexagon': (6, np.pi / 6, 0.9),
}


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
  """Virtual data set of moving shapes; clip i is a function of i alone.

  Attributes:
    num_frames: T.
    height: pixels.
    width: pixels.
    train: the training stream, or the held-out one (another seed).
  """

  num_frames: int
  height: int
  width: int
  train: bool = True

  classes = CLASSES

  def __len__(self) -> int:
    return TRAIN_CLIPS if self.train else HELD_OUT_CLIPS

  def name(self, index: int) -> str:
    return f'synthetic clip {index}'

  def load(self, index: int, rng: np.random.Generator) -> dict:
    """Renders a clip; nothing is random but the index."""
    del rng
    video_THWc, label = render(
      _TRAIN_STREAM if self.train else _HELD_OUT_STREAM,
      index,
      num_frames=self.num_frames,
      height=self.height,
      width=self.width,
    )
    return {'video': video_THWc, 'label': label}

  def explain(self, index: int) -> str:
    return 'rendered clips cannot fail'


def open_source(
  path: str, config: DataConfig, *, train: bool
) -> SyntheticSource:
  """Opens a split; there is no path."""
  del path
  return SyntheticSource(
    config.num_frames, config.height, config.width, train=train
  )


def _check(config: DataConfig) -> None:
  if config.flip:
    raise ValueError(
      'flip=True: mirroring a synthetic clip changes its class (left becomes '
      'right); use flip=False'
    )
  if config.frame_stride != 1:
    raise ValueError(
      f'frame_stride={config.frame_stride}: a synthetic clip always spans its '
      'whole motion; use frame_stride=1'
    )


SYNTHETIC = SourceKind(
  name='synthetic',
  open=open_source,
  check=_check,
  identify=lambda path, config: 'moving shapes',
  rendered=True,
)


def render(
  seed: int, index: int, *, num_frames: int, height: int, width: int
) -> tuple[np.ndarray, int]:
  """Renders clip `index` of stream `seed`.

  Returns:
    The clip, uint8 (T, H, W, 3), and its label, `index % len(CLASSES)`.
  """
  label = index % len(CLASSES)
  rng = np.random.default_rng((seed, index))
  short = min(height, width)
  shape = SHAPES[rng.integers(len(SHAPES))]
  foreground_c, background_HWc = _colours(rng, height, width)
  u_T = np.linspace(0, 1, num_frames) if num_frames > 1 else np.full(1, 0.5)
  extent = np.array([width / short, height / short])
  centre_T2, radius_T = _motion(rng, CLASSES[label], u_T, extent)

  y_H, x_W = ((np.arange(n) + 0.5) / short for n in (height, width))
  dx_T1W = (x_W - centre_T2[:, :1]).astype(np.float32)[:, None]
  dy_TH1 = (y_H - centre_T2[:, 1:]).astype(np.float32)[:, :, None]
  radius_T11 = radius_T.astype(np.float32)[:, None, None]
  outside_THW = _signed_distance(shape, dx_T1W, dy_TH1, radius_T11)
  # A pixel's coverage falls linearly over one pixel across the edge.
  cover_THW1 = np.clip(0.5 - outside_THW * short, 0, 1)[..., None]
  video_THWc = background_HWc + cover_THW1 * (foreground_c - background_HWc)
  return np.round(video_THWc * 255).astype(np.uint8), label


def _motion(rng, name: str, u_T, extent) -> tuple[np.ndarray, np.ndarray]:
  """Centres (T, 2) as (x, y) and radii (T,), in shorter sides."""
  if name in ('grow', 'shrink'):
    small, large = rng.uniform(0.1, 0.14), rng.uniform(0.27, 0.38)
    begin, end = (small, large) if name == 'grow' else (large, small)
    centre = rng.uniform(large, extent - large)
    return np.tile(centre, (len(u_T), 1)), begin + (end - begin) * u_T
  if name.startswith('orbit'):
    radius, reach = rng.uniform(0.15, 0.2), rng.uniform(0.22, 0.28)
    # y points down, so a growing angle turns clockwise on the screen. Orbits
    # begin in the upper quarter: where a shape begins is hard to generate, the
    # first frame's tokens being drawn apart from each other.
    turns = rng.uniform(0.65, 0.95) * (1 if name == 'orbit_clockwise' else -1)
    angle_T = 2 * np.pi * (rng.uniform(-0.375, -0.125) + turns * u_T)
    middle = rng.uniform(radius + reach, extent - radius - reach)
    circle_T2 = np.stack([np.cos(angle_T), np.sin(angle_T)], -1)
    return middle + reach * circle_T2, np.full(len(u_T), radius)
  axis = 0 if name in ('left', 'right') else 1
  sign = -1 if name in ('left', 'up') else 1
  radius = rng.uniform(0.15, 0.22)
  travel = np.zeros(2)
  travel[axis] = sign * rng.uniform(0.4, 0.55) * extent[axis]
  low = radius + np.maximum(-travel, 0)
  start = rng.uniform(low, extent - radius - np.maximum(travel, 0))
  return start + u_T[:, None] * travel, np.full(len(u_T), radius)


def _signed_distance(shape: str, dx_T1W, dy_TH1, radius_T11) -> np.ndarray:
  """Distance to the edge, (T, H, W), negative inside, in shorter sides."""
  if shape == 'circle':
    return np.hypot(dx_T1W, dy_TH1) - radius_T11
  if shape == 'ring':
    middle, half = 0.72 * radius_T11, 0.28 * radius_T11
    return np.abs(np.hypot(dx_T1W, dy_TH1) - middle) - half
  sides, first, inner = _SIDES[shape]
  angles = first + 2 * np.pi * np.arange(sides) / sides
  distance_THW = None
  for cos, sin in zip(np.cos(angles), np.sin(angles)):
    side_THW = dx_T1W * np.float32(cos) + dy_TH1 * np.float32(sin)
    distance_THW = (
      side_THW
      if distance_THW is None
      else np.maximum(distance_THW, side_THW, out=distance_THW)
    )
  return distance_THW - np.float32(inner) * radius_T11


def _colours(rng, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """A shape colour (3,) and a background (H, W, 3) far from it, in 0..1.

  The shape is strong (one channel at least 0.85, one at most 0.3), the ground
  dark (no channel over 0.3) or pale (none under 0.7): at every pixel some
  channel differs by at least 0.4.
  """
  hue = rng.uniform()
  shape_c = colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.85, 1))
  dark = rng.uniform() < 0.5
  ground_hue = rng.uniform()

  def ground() -> np.ndarray:
    near_hue = (ground_hue + rng.uniform(-0.08, 0.08)) % 1
    if dark:
      colour = (near_hue, rng.uniform(0.2, 0.7), rng.uniform(0.05, 0.3))
    else:
      colour = (near_hue, rng.uniform(0.03, 0.18), rng.uniform(0.86, 1))
    return np.array(colorsys.hsv_to_rgb(*colour), np.float32)

  begin_c, end_c = ground(), ground()
  if rng.uniform() < 0.4:
    end_c = begin_c
  angle = rng.uniform(0, 2 * np.pi)
  y_H1 = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height - 0.5
  x_1W = (np.arange(width, dtype=np.float32)[None] + 0.5) / width - 0.5
  ramp_HW = x_1W * np.cos(angle) + y_H1 * np.sin(angle)
  ramp_HW1 = (ramp_HW / np.sqrt(2) + 0.5).astype(np.float32)[..., None]
  background_HWc = begin_c + ramp_HW1 * (end_c - begin_c)
  return np.array(shape_c, np.float32), background_HWc
