"""Goldens of Wan's VAE and text encoder, by diffusers and transformers.

Both run in float64 on weights that `golden_inputs.drawn` gives each name. The
names and shapes of the full networks are written down, too.
"""

import html
import json
import re

import ftfy
import golden_inputs
import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders import single_file_utils
from transformers import UMT5Config, UMT5EncoderModel
from transformers.models.umt5.modeling_umt5 import UMT5Attention

_RESIDUAL = {'0.gamma': 'norm1.gamma', '3.gamma': 'norm2.gamma'}
_RESIDUAL |= {f'2.{x}': f'conv1.{x}' for x in ('weight', 'bias')}
_RESIDUAL |= {f'6.{x}': f'conv2.{x}' for x in ('weight', 'bias')}

UMT5_XXL = {
  'vocab_size': 256384,
  'd_model': 4096,
  'd_kv': 64,
  'd_ff': 10240,
  'num_layers': 24,
  'num_heads': 64,
  'feed_forward_proj': 'gated-gelu',
}


def _text(value) -> np.ndarray:
  return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _draw(model: torch.nn.Module) -> torch.nn.Module:
  """The model with drawn weights, float64."""
  state = {
    # umT5's embedding is there twice.
    name: torch.from_numpy(
      golden_inputs.drawn(
        name.replace('encoder.embed_tokens', 'shared'), tuple(x.shape)
      )
    )
    for name, x in model.state_dict().items()
  }
  model.load_state_dict(state)
  return model.double().eval()


def wan_vae() -> dict[str, np.ndarray]:
  """Moments and videos of a small VAE; names and shapes of the full one."""
  model = _draw(AutoencoderKLWan(**golden_inputs.VAE))
  found = {'names': _text(_vae_names())}
  with torch.no_grad():
    for which in golden_inputs.VAE_CLIPS:
      video = _channels_first(golden_inputs.vae_clip(which))
      latents = _channels_first(golden_inputs.vae_latents(which))
      moments, out = model._encode(video), model.decode(latents).sample
      _check_prefixes(model, video, moments)
      share = (out.abs() == 1).double().mean()
      assert 0 < share < 0.5, share  # some are clamped, and most are not
      found[f'moments_{which}'] = _channels_last(moments)
      found[f'video_{which}'] = _channels_last(out)
  return found


def _check_prefixes(model, video, moments) -> None:
  """Shorter clips give the beginning of what the longest gives."""
  for frames in range(1, video.shape[2], 4):
    part = model._encode(video[:, :, :frames])
    gap = (part - moments[:, :, : part.shape[2]]).abs().max()
    assert gap < 1e-12, gap


def _channels_first(x_bthwc: np.ndarray) -> torch.Tensor:
  return torch.from_numpy(x_bthwc).double().permute(0, 4, 1, 2, 3)


def _channels_last(x: torch.Tensor) -> np.ndarray:
  return x.permute(0, 2, 3, 4, 1).float().numpy()


def _vae_names() -> list[list]:
  """The full network's names in diffusers, in Wan's files, and shapes."""
  with torch.device('meta'):
    shapes = {k: v.shape for k, v in AutoencoderKLWan().state_dict().items()}
  pairs = {}
  for original in _original_names():
    (name,) = single_file_utils.convert_wan_vae_to_diffusers({original: 0})
    pairs[name] = original
  assert pairs.keys() == shapes.keys(), pairs.keys() ^ shapes.keys()
  return [[k, pairs[k], list(shape)] for k, shape in shapes.items()]


def _original_names() -> list[str]:
  """Names in Wan's own files."""
  ends = ('weight', 'bias')
  attention = [
    'norm.gamma',
    *(f'{x}.{e}' for x in ('to_qkv', 'proj') for e in ends),
  ]
  found = [f'conv{i}.{e}' for i in (1, 2) for e in ends]
  stages = {
    'encoder.downsamples': (11, (3, 6), (2, 5, 8), (5, 8)),
    'decoder.upsamples': (15, (4,), (3, 7, 11), (3, 7)),
  }
  for net, (count, shortcuts, resamples, in_time) in stages.items():
    side = net.split('.')[0]
    found += [f'{side}.conv1.{e}' for e in ends]
    found += [
      f'{side}.middle.{i}.residual.{x}' for i in (0, 2) for x in _RESIDUAL
    ]
    found += [f'{side}.middle.1.{x}' for x in attention]
    found += [f'{side}.head.0.gamma', *(f'{side}.head.2.{e}' for e in ends)]
    for i in range(count):
      if i in resamples:
        found += [f'{net}.{i}.resample.1.{e}' for e in ends]
      else:
        found += [f'{net}.{i}.residual.{x}' for x in _RESIDUAL]
      if i in in_time:
        found += [f'{net}.{i}.time_conv.{e}' for e in ends]
      if i in shortcuts:
        found += [f'{net}.{i}.shortcut.{e}' for e in ends]
  return found


def umt5() -> dict[str, np.ndarray]:
  """States of a small text encoder, buckets of positions, cleaned texts."""
  model = _draw(UMT5EncoderModel(UMT5Config(**golden_inputs.UMT5)))
  tokens = torch.from_numpy(golden_inputs.umt5_tokens()).long()
  lengths = torch.tensor(golden_inputs.UMT5_LENGTHS)
  mask = torch.arange(tokens.shape[1]) < lengths[:, None]
  with torch.no_grad():
    states = model(input_ids=tokens, attention_mask=mask.long())
  states = states.last_hidden_state * mask[..., None]
  attention = UMT5Attention(UMT5Config(), has_relative_attention_bias=True)
  buckets = attention._relative_position_bucket(torch.arange(-511, 512))
  with torch.device('meta'):
    full = UMT5EncoderModel(UMT5Config(**UMT5_XXL))
  names = [[k, list(v.shape)] for k, v in full.state_dict().items()]
  return {
    'names': _text(names),
    'states_bld': states.float().numpy(),
    'buckets': buckets.numpy().astype(np.int8),
    'texts': _text([_cleaned(x) for x in golden_inputs.RAW_TEXTS]),
  }


def _cleaned(text: str) -> str:
  text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
  return re.sub(r'\s+', ' ', text).strip()
