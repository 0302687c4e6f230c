"""The `config.json` that lies beside Wan's weights elsewhere."""

import pathlib
from typing import Any

from videoar_jax.core import files
from videoar_jax.core.config import from_section, section
from videoar_jax.transformer.wan_config import WanConfig

_DIFFUSERS = 'WanTransformer3DModel'
_OUTPUTS = ('out_channels', 'out_dim')
_ORIGINAL = ('WanModel', 'CausalWanModel')
# Whose keys -> ours.
_SIZES = {
  'diffusers': {
    'num_layers': 'num_layers',
    'num_attention_heads': 'num_heads',
    'attention_head_dim': 'width',
    'ffn_dim': 'hidden',
    'freq_dim': 'time_width',
    'in_channels': 'latent_width',
    'patch_size': 'patch',
    'text_dim': 'text_width',
  },
  'original': {
    'num_layers': 'num_layers',
    'dim': 'width',
    'num_heads': 'num_heads',
    'ffn_dim': 'hidden',
    'freq_dim': 'time_width',
    'in_dim': 'latent_width',
    'patch_size': 'patch',
    'text_len': 'text_length',
    'text_dim': 'text_width',
  },
}
# What the network here cannot do otherwise -> what it does.
_FIXED = {
  'model_type': ('t2v',),
  'eps': (1e-6,),
  'cross_attn_norm': (True,),
  'qk_norm': (True, 'rms_norm_across_heads'),
  'window_size': ([-1, -1],),
  'image_dim': (None,),
  'added_kv_proj_dim': (None,),
  'pos_embed_seq_len': (None,),
}
# What may be missing, as it is the same of all.
_COMMON = frozenset({'patch', 'time_width', 'text_length', 'text_width'})
# Checked apart; or what changes no number: how long tables are, what a mask
# lets tokens see.
_FREE = frozenset(
  {*_OUTPUTS, 'rope_max_seq_len', 'local_attn_size', 'sink_size'}
)


def read_card(folder: pathlib.Path, *, default: WanConfig) -> WanConfig:
  """The config that lies in a folder of weights, see `from_card`.

  Args:
    folder: of the weights; without a `config.json`, `default` comes back.
    default: what the file leaves open.

  Raises:
    ValueError: it is of another network.
  """
  path = folder / 'config.json'
  if not path.exists():
    return default
  values = files.read_json(path, dict)
  return from_card(values, default=default, where=str(path))


def from_card(
  values: dict[str, Any], *, default: WanConfig, where: str
) -> WanConfig:
  """Our config of theirs.

  Args:
    values: of `config.json`.
    default: what it leaves open.
    where: what to call it.

  Raises:
    ValueError: it is of another network, or of a variant of Wan that is none
      from text to video.
  """
  kind = values.get('_class_name')
  if kind != _DIFFUSERS and kind not in _ORIGINAL:
    raise ValueError(
      f'{where}: of {kind!r}; wanted Wan2.1 from text to video, '
      f'{_DIFFUSERS} or {" or ".join(_ORIGINAL)}'
    )
  keys = _SIZES['diffusers' if kind == _DIFFUSERS else 'original']
  for key, value in values.items():
    known = key in keys or key in _FREE or key.startswith('_')
    if not known and value not in _FIXED.get(key, (None,)):
      raise ValueError(
        f'{where}: {key}={value!r} of {kind}, which the network here has not; '
        'wanted Wan2.1 from text to video'
      )
  for key, ours in keys.items():
    if key not in values and ours not in _COMMON:
      raise ValueError(f'{where}: {key} is missing')
  sizes = {ours: values[key] for key, ours in keys.items() if key in values}
  try:
    return _sized(sizes, values, default)
  except ValueError as error:
    raise ValueError(f'{where}: {error}') from None


def _sized(
  sizes: dict[str, Any], values: dict[str, Any], default: WanConfig
) -> WanConfig:
  if values['_class_name'] == _DIFFUSERS:
    sizes['width'] *= sizes['num_heads']  # of one head
  config = from_section(WanConfig, {**section(default), **sizes}, where='')
  for key in _OUTPUTS:
    if values.get(key) not in (None, config.latent_width):
      raise ValueError(
        f'{key}={values[key]}: it reads {config.latent_width} channels, so it '
        'is no network from text to video'
      )
  return config


def to_card(config: WanConfig) -> dict[str, Any]:
  """What `config.json` of diffusers says of a network."""
  sizes = {
    key: getattr(config, ours) for key, ours in _SIZES['diffusers'].items()
  }
  return {
    '_class_name': _DIFFUSERS,
    **sizes,
    'patch_size': list(config.patch),
    'attention_head_dim': config.head_width,
    'out_channels': config.latent_width,
    'cross_attn_norm': True,
    'qk_norm': 'rms_norm_across_heads',
    'eps': 1e-6,
    'image_dim': None,
    'added_kv_proj_dim': None,
    'rope_max_seq_len': 1024,
  }
