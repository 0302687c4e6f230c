"""Single pictures as clips of one frame, read without trusting the file."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps

from videoar_jax.data.failures import BadRecordError

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def is_picture(path: str) -> bool:
  """Whether a file's suffix is that of a picture."""
  return path.lower().endswith(SUFFIXES)


def read_picture(path: str) -> np.ndarray:
  """Decodes a picture, turned upright as its EXIF data says.

  What is transparent is shown on white; grey, palette and CMYK pictures become
  RGB. Of an animation the first frame is taken.

  Returns:
    uint8 (H, W, 3), RGB.
  Raises:
    BadRecordError: the file is missing, empty, damaged, truncated, no picture,
      or so large that Pillow takes it for an attack.
  """
  try:
    if not os.path.getsize(path):
      raise BadRecordError('empty file')
    with Image.open(path) as image:
      image = ImageOps.exif_transpose(image)
      if image.has_transparency_data:
        return on_white(np.asarray(image.convert('RGBA')))
      return np.asarray(image.convert('RGB'))
  except BadRecordError:
    raise
  # Pillow's plugins raise all of these for damaged files.
  except (
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
  ) as error:
    raise BadRecordError(f'unreadable: {error}') from error


def on_white(image_HWc: np.ndarray) -> np.ndarray:
  """What a picture with transparency shows before white.

  Args:
    image_HWc: uint8 (H, W, 4), RGB and alpha, the colours not multiplied by it.
  Returns:
    uint8 (H, W, 3).
  """
  image = Image.fromarray(image_HWc, 'RGBA')
  white = Image.new('RGBA', image.size, (255, 255, 255, 255))
  return np.asarray(Image.alpha_composite(white, image).convert('RGB'))
