"""Goldens of Wan's transformer, by diffusers; see make_goldens.py."""

import functools
import math
import pathlib

import golden_inputs as inputs
import numpy as np
import safetensors.torch
import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor

HERE = pathlib.Path(__file__).parent
WEIGHTS = HERE / 'wan'


class _Masked(WanAttnProcessor):
  """Self-attention under a mask."""

  def __init__(self, allowed_lm: np.ndarray):
    super().__init__()
    self._allowed = torch.from_numpy(allowed_lm)[None, None]

  def __call__(self, attn, hidden, encoded=None, mask=None, rotary_emb=None):
    assert encoded is None and mask is None
    return super().__call__(attn, hidden, None, self._allowed, rotary_emb)


def write_weights() -> None:
  """A tiny network far from where it begins, in several files."""
  model = WanTransformer3DModel(**inputs.WAN)
  rng = np.random.default_rng(41)
  with torch.no_grad():
    for name, x in model.named_parameters():
      if 'norm' in name and name.endswith('weight'):
        value = 1 + 0.3 * rng.standard_normal(x.shape)
      elif name.endswith('weight'):
        value = rng.standard_normal(x.shape) * math.prod(x.shape[1:]) ** -0.5
      else:
        value = 0.4 * rng.standard_normal(x.shape)
      x.copy_(torch.from_numpy(value))
  model.to(torch.bfloat16).save_pretrained(WEIGHTS, max_shard_size='20KB')


@functools.cache
def load() -> WanTransformer3DModel:
  """The network of the files, float32."""
  model, arrays = WanTransformer3DModel(**inputs.WAN), {}
  for path in sorted(WEIGHTS.glob('*.safetensors')):
    arrays |= safetensors.torch.load_file(path)
  model.load_state_dict({name: x.float() for name, x in arrays.items()})
  return model


def clip(index: int, *, of_tokens: bool) -> np.ndarray:
  """Velocities bthwc of a clip; its first tokens may have other times."""
  latents, times = map(torch.from_numpy, inputs.wan_clip(index))
  text = torch.from_numpy(inputs.wan_text(index))
  if of_tokens:
    _, t, h, w, _ = latents.shape
    _, times = inputs.wan_tokens(t * h * w // 4, t * h * w // 4)
    times = torch.from_numpy(times)
  (out,) = load()(
    latents.permute(0, 4, 1, 2, 3), times, text, return_dict=False
  )
  return out.permute(0, 2, 3, 4, 1).numpy()


def tokens(
  position_l3: np.ndarray, unit_l: np.ndarray, allowed_lm: np.ndarray
) -> np.ndarray:
  """Velocities of tokens anywhere, blc; each unit has a time."""
  model, length = load(), len(position_l3)
  patches, times = map(
    torch.from_numpy, inputs.wan_tokens(length, unit_l.max() + 1)
  )
  text = torch.from_numpy(inputs.wan_text(0))
  embedding, shifts, text, _ = model.condition_embedder(
    times[:, torch.from_numpy(unit_l)].flatten(),
    text,
    None,
    timestep_seq_len=length,
  )
  weight = model.patch_embedding.weight.flatten(1)
  x = patches @ weight.T + model.patch_embedding.bias
  k = inputs.WAN['attention_head_dim']
  angles = []
  for axis, width in enumerate((k - 4 * (k // 6), *[2 * (k // 6)] * 2)):
    table = 10000.0 ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    angles.append(position_l3[:, axis, None].astype(np.float64) * table)
  angle = np.repeat(np.concatenate(angles, axis=1), 2, axis=1)
  turn = tuple(
    torch.from_numpy(f(angle).astype(np.float32))[None, :, None]
    for f in (np.cos, np.sin)
  )
  for block in model.blocks:
    block.attn1.set_processor(_Masked(allowed_lm))
    x = block(x, text, shifts.unflatten(2, (6, -1)), turn)
  shift, scale = model.scale_shift_table[0]
  x = model.norm_out(x) * (1 + scale + embedding) + shift + embedding
  return model.proj_out(x).numpy()


def raster() -> np.ndarray:
  """(t, h, w) of the cells of a grid, row by row."""
  return np.indices(inputs.WAN_GRID).reshape(3, -1).T


def cube() -> np.ndarray:
  """Four boxes one after another, in the raster's order: blc."""
  t, _, w = raster().T
  unit_l = 2 * (t >= 2) + (w >= 3)
  return tokens(raster(), unit_l, unit_l <= unit_l[:, None])


def teacher_forcing() -> np.ndarray:
  """Frames as they are known, then as they are predicted: blc."""
  frame = raster()[:, 0]
  count = frame.max() + 1
  unit_l = np.concatenate([frame, count + frame])
  is_noisy, frame = unit_l >= count, np.tile(frame, 2)
  earlier = frame <= frame[:, None]
  own = (frame == frame[:, None]) & (is_noisy == is_noisy[:, None])
  allowed = (
    ~is_noisy & earlier & ~(is_noisy[:, None] & (frame == frame[:, None]))
  )
  return tokens(np.tile(raster(), (2, 1)), unit_l, allowed | own)


def scales() -> np.ndarray:
  """Tokens between the cells, all of which see one another: blc."""
  places = inputs.wan_scales()
  everything = np.ones((len(places),) * 2, bool)
  return tokens(places, np.zeros(len(places), int), everything)


@torch.no_grad()
def make() -> None:
  write_weights()
  found = {
    f'clip{i}': clip(i, of_tokens=False) for i in range(len(inputs.WAN_CLIPS))
  }
  np.savez(
    HERE / 'wan_transformer.npz',
    **found,
    times=clip(1, of_tokens=True),
    scales=scales(),
    cube=cube(),
    teacher_forcing=teacher_forcing(),
  )
