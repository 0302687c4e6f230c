"""Strength of classifier-free guidance by frame and scale.

logits = γ · conditional + (1 - γ) · unconditional. Source: VideoAR
(arXiv:2601.05966) App. A; see docs/paper.md, Guidance.
"""

import numpy as np

NAMED = {'ucf': (1.0, 5.0, 10.0)}
_TEXT = (5.0, 3.0)


def parse_guidance(text: str, *, num_frames: int, num_scales: int):
  """Reads `--guidance` into a strength for each frame and scale.

  Args:
    text: a number (the same everywhere); 'ucf' (1 → 5 over frames, then up
      to 10 within each frame); 'text' (5 → 3 along all units); or
      'start:end:within' (start → end over frames, then up to `within` at the
      last scale of each frame).
    num_frames: latent frames. With one frame a ramp is its end value.
    num_scales: scales. With one scale likewise.

  Returns:
    gamma_ts, float32 (num_frames, num_scales).

  Raises:
    ValueError: anything else, or a strength that is not above 0, or infinite.
  """
  if text == 'text':
    units = num_frames * num_scales
    return _ramp(*_TEXT, units).reshape(num_frames, num_scales)
  parts = NAMED.get(text) or _numbers(text)
  if len(parts) == 1:
    return np.full((num_frames, num_scales), parts[0], np.float32)
  start, end, within = parts
  first_t = _ramp(start, end, num_frames)[:, None]
  share_s = _ramp(0.0, 1.0, num_scales)[None, :]
  return (first_t + (within - first_t) * share_s).astype(np.float32)


def _ramp(start: float, end: float, steps: int) -> np.ndarray:
  if steps == 1:
    return np.asarray([end], np.float32)
  return np.linspace(start, end, steps, dtype=np.float32)


def _numbers(text: str) -> tuple[float, ...]:
  try:
    parts = tuple(float(part) for part in str(text).split(':'))
  except ValueError:
    parts = ()
  good = all(np.isfinite(part) and part > 0.0 for part in parts)
  if len(parts) not in (1, 3) or not good:
    raise ValueError(
      f'guidance={text!r}: use a number above 0 (1 is no guidance, 0 would '
      "not follow the condition), 'ucf', 'text', or 'start:end:within' such as "
      '1:5:10'
    )
  return parts
