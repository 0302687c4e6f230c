"""How far one set of videos is from another, in Python."""

from typing import Any

import numpy as np

from videoar_jax.api import arguments
from videoar_jax.api.arguments import Path
from videoar_jax.data import clips
from videoar_jax.evaluate import compare, protocols, video_sets


def fvd(
  real: Path | np.ndarray,
  generated: Path | np.ndarray,
  *,
  protocol: str | None = None,
  paired: bool = False,
  seed: int = 0,
) -> dict[str, Any]:
  """Measures how far generated videos are from real ones.

  Args:
    real: (N, T, H, W, 3), uint8 or float 0..1; or the path of a folder of
      videos, or of an .npz file with an array `videos`.
    generated: the same, of as many frames of the same size.
    protocol: named rules that both sets must meet; None takes the sets as they
      are.
    paired: video i of one set reconstructs video i of the other.
    seed: of what is drawn for `fvd_inf`.
  Returns:
    Plain values, as `python -m videoar_jax.evaluate` writes: `fvd`, `fvd_inf`
    (None below 256 videos), `kvd`, `kvd_stderr`; `psnr`, `ssim` and `lpips`
    where paired; what they were computed from and with.
  Raises:
    ValueError: the sets do not fit each other or the protocol, there is no
      such protocol, or the weights of I3D are not installed.
  """
  rules = protocols.get_protocol(protocol) if protocol else None
  sets = [
    video_sets.load_videos(videos)
    if clips.is_path(videos)
    else video_sets.check_videos(np.asarray(videos), name=f'{name} videos')
    for name, videos in (('real', real), ('generated', generated))
  ]
  return compare.compare_sets(
    *sets, protocol=rules, paired=paired, seed=arguments.whole('seed', seed)
  )
