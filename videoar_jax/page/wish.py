"""What a visitor asks for."""

import dataclasses
import os
import shlex
from typing import Any

from videoar_jax.data import pictures

# The page holds all frames of a video, and sends each of them.
MOST_FRAMES = 1001
_LINE = 38  # characters of a line of the command, as a phone shows it


@dataclasses.dataclass(frozen=True)
class Wish:
  """The fields of the page, as they were filled in; None: left empty.

  Attributes:
    condition: a class, or a prompt where prompts are read.
    seed: decides the video.
    num_frames: of the video; None: as it was trained.
    guidance: see `rollout.guidance.parse_guidance`; None: likewise.
    temperature: of the bits; None: likewise.
    path: of a picture or a video to go on from.
    given_frames: last frames of that video to take, as text; none: all.
  """

  condition: str | None
  seed: float | None
  num_frames: float | None = None
  guidance: str | None = None
  temperature: float | None = None
  path: str | None = None
  given_frames: str | None = None

  def arguments(self) -> dict[str, Any]:
    """What `Model.stream` takes, the condition aside.

    Raises:
      ValueError: a number that is not whole where it must be, no seed, or more
        frames than a page shows.
    """
    if self.seed is None:
      raise ValueError('seed: it is empty; give a whole number from 0 upwards')
    frames = whole('num_frames', self.num_frames)
    if frames is not None and frames > MOST_FRAMES:
      raise ValueError(
        f'num_frames={frames}: the page shows at most {MOST_FRAMES}; the '
        'command below makes more with --stream'
      )
    given = whole('given_frames', self.given_frames or None)
    if given is not None and not self._has_video():
      raise ValueError(
        'given_frames goes with a video; add one, or leave it empty'
      )
    return {
      'seed': whole('seed', self.seed),
      'num_frames': frames,
      'guidance': self.guidance or None,
      'temperature': self.temperature,
      'video': self.path,
      'given_frames': given,
    }

  def command(self, checkpoint: str, *, is_prompt: bool) -> str:
    """The command line that samples the same video.

    Args:
      checkpoint: as `--checkpoint` takes it.
      is_prompt: whether the condition is no class.
    """
    options = {
      'checkpoint': checkpoint,
      'prompt' if is_prompt else 'class': self.condition,
      'seed': self.seed,
      'num_frames': self.num_frames,
      'guidance': self.guidance,
      'temperature': self.temperature,
      'video' if self._has_video() else 'image': self.path
      and os.path.basename(self.path),
      'given_frames': self.given_frames,
      'out': 'samples',
    }
    lines = ['python -m videoar_jax.sample']
    for name, value in options.items():
      if value in (None, ''):
        continue
      word = shlex.quote(f'--{name}={_shown(value)}')
      if name != 'checkpoint' and len(lines[-1]) + len(word) < _LINE - 1:
        lines[-1] += f' {word}'
      else:
        lines.append(f'  {word}')
    return ' \\\n'.join(lines)

  def _has_video(self) -> bool:
    return bool(self.path) and not pictures.is_picture(self.path)


def whole(name: str, value: float | str | None) -> int | None:
  """A number of a field that takes whole ones alone; None stays None.

  Raises:
    ValueError: it is none.
  """
  if value is None:
    return None
  try:
    number = int(value)
    if number == float(value):
      return number
  except (ValueError, OverflowError):
    pass
  raise ValueError(f'{name}={value}: wanted a whole number')


def _shown(value: Any) -> str:
  if isinstance(value, float) and value.is_integer():
    return str(int(value))
  return str(value)
