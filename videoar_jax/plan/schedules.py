"""Schedules of scales by aspect ratio and number of pixels.

The sizes are Infinity's (arXiv:2412.04431, its public table), in latent cells
of 16×16 pixels: for each ratio of the longer to the shorter side one list from
coarse to fine, of which a number of pixels takes the first so many.
"""

# Longer over shorter side -> (longer, shorter), coarse to fine.
_SIZES = {
  1.0: (
    *((1, 1), (2, 2), (4, 4), (6, 6), (8, 8), (12, 12), (16, 16), (20, 20)),
    *((24, 24), (32, 32), (40, 40), (48, 48), (64, 64)),
  ),
  1.25: (
    *((1, 1), (2, 2), (3, 3), (5, 4), (10, 8), (15, 12), (20, 16), (25, 20)),
    *((30, 24), (35, 28), (45, 36), (55, 44), (70, 56)),
  ),
  1.333: (
    *((1, 1), (2, 2), (4, 3), (8, 6), (12, 9), (16, 12), (20, 15), (24, 18)),
    *((28, 21), (36, 27), (48, 36), (60, 45), (72, 54)),
  ),
  1.5: (
    *((1, 1), (2, 2), (3, 2), (6, 4), (9, 6), (15, 10), (21, 14), (27, 18)),
    *((33, 22), (39, 26), (48, 32), (63, 42), (78, 52)),
  ),
  1.75: (
    *((1, 1), (2, 2), (3, 3), (7, 4), (11, 6), (14, 8), (21, 12), (28, 16)),
    *((35, 20), (42, 24), (56, 32), (70, 40), (84, 48)),
  ),
  2.0: (
    *((1, 1), (2, 2), (4, 2), (6, 3), (10, 5), (16, 8), (22, 11), (30, 15)),
    *((38, 19), (46, 23), (60, 30), (74, 37), (90, 45)),
  ),
  2.5: (
    *((1, 1), (2, 2), (5, 2), (10, 4), (15, 6), (20, 8), (25, 10), (30, 12)),
    *((40, 16), (50, 20), (65, 26), (80, 32), (100, 40)),
  ),
  3.0: (
    *((1, 1), (2, 2), (6, 2), (9, 3), (15, 5), (21, 7), (27, 9), (36, 12)),
    *((45, 15), (54, 18), (72, 24), (90, 30), (111, 37)),
  ),
}
# Millions of pixels, roughly -> scales.
_LENGTHS = {'0.06M': 7, '0.25M': 10, '0.60M': 12, '1M': 13}

Scales = tuple[tuple[int, int], ...]


def schedule(pixels: str, ratio: float, *, upright: bool = False) -> Scales:
  """The scales of one bucket.

  Args:
    pixels: '0.06M', '0.25M', '0.60M' or '1M'.
    ratio: of the longer to the shorter side, one of the table's.
    upright: whether height is the longer side.

  Returns:
    ((h, w), …), coarse to fine.

  Raises:
    ValueError: no such bucket.
  """
  if pixels not in _LENGTHS or ratio not in _SIZES:
    raise ValueError(
      f'pixels={pixels!r}, ratio={ratio}: use one of {", ".join(_LENGTHS)}, '
      f'and one of {", ".join(map(str, _SIZES))}'
    )
  sizes = _SIZES[ratio][: _LENGTHS[pixels]]
  return tuple(
    (long, short) if upright else (short, long) for long, short in sizes
  )


def nearest(pixels: str, *, height: int, width: int) -> Scales:
  """The scales of the bucket nearest in shape to a picture.

  Args:
    pixels: as for `schedule`.
    height: of the picture, in any unit.
    width: in the same.
  """
  long, short = max(height, width), min(height, width)
  ratio = min(_SIZES, key=lambda known: abs(known - long / short))
  return schedule(pixels, ratio, upright=height > width)


def all_ratios(pixels: str) -> tuple[Scales, ...]:
  """The scales of every shape with so many pixels, square first."""
  found = [schedule(pixels, ratio) for ratio in _SIZES]
  found += [
    schedule(pixels, ratio, upright=True) for ratio in _SIZES if ratio > 1
  ]
  return tuple(found)
