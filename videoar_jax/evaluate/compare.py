"""Two sets of videos to one dictionary of metrics."""

import json
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from videoar_jax.core import files
from videoar_jax.core.spread import gather, own_rows
from videoar_jax.evaluate import (
  frechet,
  i3d,
  protocols,
  provenance,
  reconstruction,
)

Covariance = frechet.Covariance


def compare_sets(
  real_nTHWc: np.ndarray,
  generated_mTHWc: np.ndarray,
  *,
  protocol: protocols.Protocol | None = None,
  paired: bool = False,
  model: i3d.I3D | None = None,
  batch_size: int | None = None,
  seed: int = 0,
) -> dict:
  """Measures how far generated videos are from real ones.

  Args:
    real_nTHWc: uint8 0..255, or float 0..1; at least nine frames.
    generated_mTHWc: of the same frames, height and width; uint8 or float.
    protocol: rules both sets must meet; None applies the default protocol's
      feature rules to the sets as they are.
    paired: video i of one set is a reconstruction of video i of the other.
      Adds PSNR, SSIM and LPIPS; `fvd_inf` and `kvd` allow for the pairs.
    model: I3D loaded with the protocol's rules; None loads it.
    batch_size: videos I3D takes at once; None picks by the platform.
    seed: of the sub-samples of `fvd_inf`.
  Returns:
    Plain values, for JSON: `fvd`, `fvd_inf` (None below 256 videos), `kvd`,
    `kvd_stderr`; `psnr`, `ssim`, `lpips` and `identical_frames` where paired;
    then what they were computed from and with.
  Raises:
    ValueError: the sets do not fit each other, or not the protocol.
  """
  shapes = real_nTHWc.shape, generated_mTHWc.shape
  check_sets(*shapes, protocol=protocol, paired=paired)
  rules = protocol or protocols.get_protocol(protocols.DEFAULT)
  model = model or i3d.load_i3d(rules.i3d)
  if model.config != rules.i3d:
    raise ValueError(f'model of {model.config}: wanted {rules.i3d}')
  features = [
    gather(
      i3d.logits(model, own_rows(videos), batch_size=batch_size), len(videos)
    )
    for videos in (real_nTHWc, generated_mTHWc)
  ]
  result = compare_features(
    *features, covariance=rules.covariance, paired=paired, seed=seed
  )
  if paired:
    result |= compare_pairs(real_nTHWc, generated_mTHWc)
  frames, height, width = real_nTHWc.shape[1:4]
  result |= {
    'protocol': protocol.name if protocol else _no_protocol(rules),
    'rules': protocols.describe(protocol) if protocol else _own(rules),
    'paired': paired,
    'num_real': len(real_nTHWc),
    'num_generated': len(generated_mTHWc),
    'frames': frames,
    'resolution': [height, width],
    'weights_sha256': model.sha256,
    'seeds': {'fvd_inf': seed},
    'versions': provenance.versions(),
  }
  return result


def compare_features(
  real_nd: np.ndarray,
  generated_md: np.ndarray,
  *,
  covariance: Covariance = Covariance.UNBIASED,
  paired: bool = False,
  seed: int = 0,
) -> dict:
  """The distances between two sets of I3D logits.

  Returns:
    `fvd`, `fvd_inf` (None below 256 videos), `kvd` and `kvd_stderr` (see
    `frechet`).
  Raises:
    ValueError: see `frechet.frechet_distance`.
  """
  kernel = frechet.kvd(real_nd, generated_md, paired=paired)
  return {
    'fvd': frechet.fvd(real_nd, generated_md, covariance=covariance),
    'fvd_inf': frechet.fvd_inf(
      real_nd, generated_md, covariance=covariance, paired=paired, seed=seed
    ),
    'kvd': kernel.value,
    'kvd_stderr': kernel.stderr,
  }


def compare_pairs(real_nTHWc: np.ndarray, other_nTHWc: np.ndarray) -> dict:
  """PSNR, SSIM and LPIPS of reconstructions, averaged over videos.

  Args:
    real_nTHWc: uint8 or float.
    other_nTHWc: their reconstructions.
  Returns:
    See `pair_figures`.
  Raises:
    ValueError: the shapes differ.
  """
  return pair_figures(pair_rows(real_nTHWc, other_nTHWc))


def pair_rows(
  real_nTHWc: np.ndarray, other_nTHWc: np.ndarray
) -> dict[str, np.ndarray]:
  """The figures of each pair of videos; those that cannot be are left out.

  Raises:
    ValueError: the shapes differ.
  """
  both = real_nTHWc, other_nTHWc
  rows = {
    'psnr': reconstruction.psnr(*both),
    'identical_frames': reconstruction.identical_frames(*both),
  }
  if min(real_nTHWc.shape[2:4]) >= reconstruction.MIN_SIDE:
    rows['ssim'] = reconstruction.ssim(*both)
  lpips_n = reconstruction.lpips_or_none(*both)
  return rows if lpips_n is None else {**rows, 'lpips': lpips_n}


def pair_figures(rows: Mapping[str, np.ndarray]) -> dict:
  """The figures of all pairs.

  Args:
    rows: of `pair_rows`.
  Returns:
    `psnr` (infinite where any frame is reproduced exactly), `ssim` (None for
    frames below 11 pixels a side, smaller than its window), `lpips` (AlexNet;
    None for frames below 31, or without its weights), and `identical_frames`,
    the number of frames reproduced exactly.
  """
  return {
    **{
      name: float(rows[name].mean()) if name in rows else None
      for name in ('psnr', 'ssim', 'lpips')
    },
    'identical_frames': int(rows['identical_frames'].sum()),
  }


def check_sets(
  real: Sequence[int],
  generated: Sequence[int],
  *,
  protocol: protocols.Protocol | None,
  paired: bool,
) -> None:
  """Raises a ValueError where two sets cannot be compared.

  Args:
    real: their shape, (n, T, H, W, 3).
    generated: their shape, (m, T, H, W, 3).
    protocol: rules both sets must meet, or None.
    paired: the sets must have equal numbers.
  """
  for name, videos in (('real', real), ('generated', generated)):
    if len(videos) != 5 or videos[-1] != 3:
      raise ValueError(
        f'{name} videos of shape {videos}: wanted (N, T, H, W, 3)'
      )
  if real[1] != generated[1]:
    raise ValueError(
      f'{real[1]} frames in the real videos, {generated[1]} in the '
      'generated ones: wanted equal; keep the first n with num_frames'
    )
  if real[2:4] != generated[2:4]:
    raise ValueError(
      f'real videos of {real[2:4]}, generated ones of '
      f'{generated[2:4]}: wanted one height and width; resize the real '
      'ones as the training data was'
    )
  if paired and real[0] != generated[0]:
    raise ValueError(
      f'paired sets of {real[0]} and {generated[0]} videos: wanted equal '
      'numbers'
    )
  if min(real[0], generated[0]) < 2:
    raise ValueError(
      f'sets of {real[0]} and {generated[0]} videos: a distance between '
      'sets needs at least 2 in each'
    )
  if real[1] < i3d.MIN_FRAMES:
    raise ValueError(
      f'videos of {real[1]} frames: FVD needs at least {i3d.MIN_FRAMES}'
    )
  if protocol is not None:
    _check_protocol(real, generated, protocol)


def write_json(path: str | os.PathLike, result: dict) -> None:
  """Writes a result as strict JSON: what is not finite becomes null."""
  text = json.dumps(_finite(result), indent=2, allow_nan=False)
  with files.replacing(path) as partial:
    partial.write_text(text + '\n')


def _check_protocol(real, generated, protocol: protocols.Protocol) -> None:
  side = protocol.resolution
  wanted = (protocol.num_videos, protocol.num_frames, side, side)
  for name, videos in (('real', real), ('generated', generated)):
    if videos[:4] != wanted:
      raise ValueError(
        f'{name} videos of shape {videos}: protocol {protocol.name} '
        f'wants {(*wanted, 3)}; without a protocol the sets are taken as they '
        'are'
      )


def _own(rules: protocols.Protocol) -> dict:
  """The part of the default rules that applies to sets as they are."""
  whole = protocols.describe(rules)
  return {key: whole[key] for key in ('i3d', 'covariance')}


def _no_protocol(rules: protocols.Protocol) -> str:
  return f'none: sets as given, feature rules of {rules.name}'


def _finite(value):
  if isinstance(value, dict):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
