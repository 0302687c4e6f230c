"""Weights of Infinity's public image tokenizer, layer by layer.

The blocks are the same (docs/paper.md, Tokenizer), so every layer has its
counterpart by name. A 2D kernel becomes the last time slice of the 3D one and
the other slices stay zero, so that a single frame gives what it gives there.
The latent width may differ (the public ones have 16, 24, 32 or 64 bits, VideoAR
48): then the two convolutions beside the latent keep their initial values.
Source: VideoAR (arXiv:2601.05966) App. A; names of FoundationVision/Infinity's
`bsq_vae`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from videoar_jax.core.digest import flatten, nest
from videoar_jax.core.foreign import ImportReport
from videoar_jax.tokenizer.config import TokenizerConfig

_DECODER_IN = 'decoder/conv_in/kernel'


def import_weights(
  arrays: Mapping[str, np.ndarray], params: Any, config: TokenizerConfig
) -> tuple[Any, ImportReport]:
  """Puts Infinity's weights in the place of initial ones.

  Args:
    arrays: its state dict; convolutions (out, in, h, w), or (out, in, t, h, w)
      of its 3D variant.
    params: initial parameters of our autoencoder.
    config: its shape.
  Returns:
    The parameters, float32 NumPy, and what became of each array.
  Raises:
    ValueError: not one array has a counterpart.
  """
  ours = {
    name: np.asarray(x, np.float32) for name, x in flatten(params).items()
  }
  mapped, missing, skipped = {}, {}, {}
  for name, initial in ours.items():
    theirs = infinity_name(name)
    if theirs not in arrays:
      missing[name] = f'there is no {theirs}'
      continue
    value, reason = _fitted(np.asarray(arrays[theirs]), initial)
    if value is None:
      missing[name] = skipped[theirs] = reason
      continue
    if name == _DECODER_IN:
      # Our decoder multiplies what it reads by √d.
      value = value / np.float32(config.latent_width) ** 0.5
    ours[name], mapped[name] = value, theirs
  if not mapped:
    raise ValueError(
      'no array of an Infinity tokenizer among '
      f'{", ".join(sorted(arrays)[:5]) or "nothing"}; wanted names like '
      'encoder.down.0.block.0.conv1.conv.weight'
    )
  for name in sorted(arrays.keys() - set(mapped.values()) - skipped.keys()):
    skipped[name] = 'no counterpart'
  return nest(ours), ImportReport(mapped, skipped, missing)


def infinity_name(name: str) -> str:
  """Infinity's name of one of our arrays, as `encoder/level0_down/bias`."""
  net, *path, kind = name.split('/')
  parts = [net, *(_module_name(net, module) for module in path)]
  is_norm = path[-1].startswith('norm')
  parts += ['norm' if is_norm else 'conv']
  parts += ['bias' if kind == 'bias' else 'weight']
  return '.'.join(parts)


def _module_name(net: str, module: str) -> str:
  side = 'down' if net == 'encoder' else 'up'
  if module == 'shortcut':
    return 'nin_shortcut'
  if module.startswith('middle_block'):
    return f'mid.block_{int(module.removeprefix("middle_block")) + 1}'
  if module.startswith('level'):
    level, part = module.removeprefix('level').split('_')
    if part.startswith('block'):
      return f'{side}.{level}.block.{part.removeprefix("block")}'
    return f'{side}.{level}.{part}sample.conv'
  return module


def _fitted(theirs: np.ndarray, initial: np.ndarray):
  """Their array in our shape, or None and the reason why not."""
  if theirs.ndim == 1:
    value = theirs
  elif theirs.ndim == 4:
    value = np.zeros(
      (initial.shape[0], *theirs.shape[2:], *theirs.shape[1::-1])
    )
    value[-1] = theirs.transpose(2, 3, 1, 0)
  elif theirs.ndim == 5:
    value = theirs.transpose(2, 3, 4, 1, 0)
  else:
    return None, f'it has {theirs.ndim} dimensions'
  if value.shape != initial.shape:
    return None, f'{theirs.shape} there does not fit {initial.shape} here'
  return value.astype(np.float32), ''
