"""Weights of the Wan VAE, by the names of Wan's own files and of diffusers.

Either is read as safetensors; launch/torch_to_safetensors.py makes one of
Wan's `Wan2.1_VAE.pth`. What is written has diffusers' names and config, so that
its AutoencoderKLWan opens it. Source: the names in both projects' files.
"""

import enum
import json
import math
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from videoar_jax.core import files, foreign, structure, weight_file
from videoar_jax.core.digest import flatten, nest
from videoar_jax.core.fit import check_fits
from videoar_jax.core.foreign import Foreign, ImportReport
from videoar_jax.core.tensor_files import TensorFiles
from videoar_jax.tokenizer.wan_config import WanVaeConfig
from videoar_jax.tokenizer.wan_vae import param_shapes

CONFIG, WEIGHTS = 'config.json', 'diffusion_pytorch_model.safetensors'
# diffusers' words -> ours.
_KEYS = {
  'base_dim': 'base_width',
  'z_dim': 'latent_width',
  'dim_mult': 'multipliers',
  'num_res_blocks': 'num_res_blocks',
  'temperal_downsample': 'halves_time',
  'latents_mean': 'latent_mean',
  'latents_std': 'latent_std',
}
# What diffusers' class can also be, which is another network.
_FIXED = {
  '_class_name': 'AutoencoderKLWan',
  'attn_scales': [],
  'decoder_base_dim': None,
  'in_channels': 3,
  'is_residual': False,
  'out_channels': 3,
  'patch_size': None,
}


class Names(enum.Enum):
  """Whose names: of Wan's own files, or of diffusers."""

  ORIGINAL = 'original'
  DIFFUSERS = 'diffusers'


def load_wan_vae(
  path: Any, config: WanVaeConfig | None = None, *, initial: Any = None
) -> tuple[WanVaeConfig, Any, ImportReport]:
  """Reads the weights of a VAE.

  Args:
    path: a safetensors file with names of either kind, or a folder of
      diffusers, of which `config.json` is read.
    config: of the network; None: the folder's, or Wan 2.1's.
    initial: parameters that stay where the file has none; without, a file that
      lacks one is refused.

  Returns:
    The config, the parameters, float32 NumPy, and what became of each array.

  Raises:
    ValueError: no such file, damaged, of another network (the shapes that
      differ are shown), incomplete, or with NaN or infinity.
  """
  path = pathlib.Path(path)
  if config is None:
    beside = path / CONFIG
    config = read_config(beside) if beside.is_file() else WanVaeConfig()
  found = TensorFiles(path)
  where = str(path)
  namings = [naming(config, names) for names in Names]
  way = foreign.choose(namings, list(found.shapes), where=where)
  report = foreign.compare(way, found.shapes, where=where)
  if initial is None:
    foreign.check_whole(report, where=where)
  wanted = flatten(param_shapes(config))
  taken = foreign.take(
    way, report, found.read, {name: x.shape for name, x in wanted.items()}
  )
  arrays = {} if initial is None else flatten(initial)
  arrays = {
    name: np.ascontiguousarray(x, np.float32)
    for name, x in {**arrays, **taken}.items()
  }
  check_fits(arrays, wanted, where=where, fix='get the file again')
  return config, nest(arrays), report


def read_config(path: Any) -> WanVaeConfig:
  """Reads the config.json of diffusers' AutoencoderKLWan.

  Raises:
    ValueError: no such file, damaged, or of another network.
  """
  shape = {
    **{f'{key}?': structure.one_of(x) for key, x in _FIXED.items()},
    'dim_mult?': [int],
    'temperal_downsample?': [bool],
    'latents_mean?': [float],
    'latents_std?': [float],
    **{
      f'{key}?': structure.at_least(1)
      for key in ('base_dim', 'z_dim', 'num_res_blocks')
    },
  }
  found = files.read_json(path, shape, fix='wanted that of Wan 2.1')
  values = {ours: found[key] for key, ours in _KEYS.items() if key in found}
  try:
    return WanVaeConfig(
      **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def write_wan_vae(
  folder: Any, config: WanVaeConfig, params: Any, *, dtype: str = 'float32'
) -> None:
  """Writes weights and config as diffusers' AutoencoderKLWan reads them.

  Args:
    folder: made where it does not exist; the two files there are replaced.
    config: of the network.
    params: jax or NumPy arrays.
    dtype: that numbers are rounded to, 'float32' or 'bfloat16'.
  """
  folder = files.output_folder(folder, local=True)
  folder.mkdir(parents=True, exist_ok=True)
  way = naming(config, Names.DIFFUSERS)
  arrays = {
    way[name].name: way[name].given(np.asarray(jax.device_get(x)))
    for name, x in flatten(params).items()
  }
  about = {key: getattr(config, ours) for key, ours in _KEYS.items()}
  with files.replacing(folder / WEIGHTS) as partial:
    safetensors.numpy.save_file(
      weight_file.rounded(arrays, dtype),
      partial,
      metadata={'format': 'pt'},  # or diffusers refuses the file
    )
  with files.replacing(folder / CONFIG) as partial:
    partial.write_text(json.dumps({**_FIXED, **about}, indent=2) + '\n')


def naming(config: WanVaeConfig, names: Names) -> dict[str, Foreign]:
  """What each of our arrays is called there, and how it lies."""
  return {
    name: _foreign(name, x.shape, config, names)
    for name, x in flatten(param_shapes(config)).items()
  }


def _foreign(name: str, shape: tuple, config: WanVaeConfig, names: Names):
  net, *path, kind = name.split('/')
  there = (_original if names == Names.ORIGINAL else _diffusers)(
    net, path, config
  )
  if path[-1].startswith('norm'):
    ones = (1, 1) if 'attention' in path[0] else (1, 1, 1)
    return Foreign(f'{there}.gamma', (0,), (*shape, *ones))
  if path[0] == 'middle_attention':
    part = 'to_qkv' if kind.startswith('qkv') else 'proj'
    if kind.endswith('bias'):
      axes = tuple(range(len(shape)))
      return Foreign(f'{there}.{part}.bias', axes, (math.prod(shape),))
    axes = (*range(1, len(shape)), 0)
    shape = (math.prod(shape[1:]), shape[0], 1, 1)
    return Foreign(f'{there}.{part}.weight', axes, shape)
  if kind == 'bias':
    return Foreign(f'{there}.bias', (0,), shape)
  turned = (*shape[:2:-1], *shape[:3])
  # Convolutions within frames are 2D there.
  if path[-1] == 'space':
    turned = (*turned[:2], *turned[3:])
  return Foreign(f'{there}.weight', (4, 3, 0, 1, 2), turned)


_ENDS = {
  ('encoder', 'moments'): ('conv1', 'quant_conv'),
  ('decoder', 'latents'): ('conv2', 'post_quant_conv'),
}
_PARTS = {
  'norm1': 'residual.0',
  'conv1': 'residual.2',
  'norm2': 'residual.3',
  'conv2': 'residual.6',
  'shortcut': 'shortcut',
  'space': 'resample.1',
  'time': 'time_conv',
}
_HEADS = {'conv_in': 'conv1', 'norm_out': 'head.0', 'conv_out': 'head.2'}


def _original(net: str, path: list[str], config: WanVaeConfig) -> str:
  """The name in Wan's files of a module, given as `level1_block0`, `conv1`."""
  first, *rest = path
  if (net, first) in _ENDS:
    return _ENDS[net, first][0]
  if first in _HEADS:
    return f'{net}.{_HEADS[first]}'
  if first.startswith('middle'):
    if first == 'middle_attention':
      return '.'.join([f'{net}.middle.1', *rest])
    return f'{net}.middle.{2 * int(first[-1])}.{_PARTS[rest[0]]}'
  stage, index, size = _place(net, first, config)
  side = 'downsamples' if net == 'encoder' else 'upsamples'
  return f'{net}.{side}.{stage * size + index}.{_PARTS[rest[0]]}'


def _diffusers(net: str, path: list[str], config: WanVaeConfig) -> str:
  """The name in diffusers of a module."""
  first, *rest = path
  if (net, first) in _ENDS:
    return _ENDS[net, first][1]
  if first in _HEADS:
    return f'{net}.{first}'
  part = {'shortcut': 'conv_shortcut', 'space': 'resample.1'} | {
    'time': 'time_conv'
  }
  rest = [part.get(x, x) for x in rest]
  if first == 'middle_attention':
    return '.'.join([f'{net}.mid_block.attentions.0', *rest])
  if first.startswith('middle'):
    return f'{net}.mid_block.resnets.{first[-1]}.{rest[0]}'
  stage, index, size = _place(net, first, config)
  if net == 'encoder':
    return f'encoder.down_blocks.{stage * size + index}.{rest[0]}'
  last = index == size - 1
  block = 'upsamplers.0' if last else f'resnets.{index}'
  return f'decoder.up_blocks.{stage}.{block}.{rest[0]}'


def _place(net: str, module: str, config: WanVaeConfig) -> tuple[int, int, int]:
  """Stage of `level1_block0`, its index there, and how many a stage has."""
  level, part = module.removeprefix('level').split('_')
  blocks = config.num_res_blocks + (net == 'decoder')
  stage = int(level)
  if net == 'decoder':
    stage = len(config.multipliers) - 1 - stage
  index = int(part.removeprefix('block')) if part[0] == 'b' else blocks
  return stage, index, blocks + 1
