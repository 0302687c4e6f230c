"""The Wan VAE: whole clips, chunks, and agreement with diffusers.

Goldens: tests/goldens/wan_goldens.py.
"""

import dataclasses
import functools
import pathlib

import golden_inputs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import compile_cache  # noqa: F401

from videoar_jax.core import foreign
from videoar_jax.core.digest import flatten, nest
from videoar_jax.tokenizer.wan_config import WanVaeConfig
from videoar_jax.tokenizer.wan_vae import make_wan_vae, param_shapes
from videoar_jax.tokenizer.wan_weights import Names, naming

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
TINY = golden_inputs.WAN_VAE
CONFIG = WanVaeConfig(
  base_width=TINY['base_dim'],
  multipliers=tuple(TINY['dim_mult']),
  halves_time=tuple(TINY['temperal_downsample']),
  num_res_blocks=TINY['num_res_blocks'],
  latent_width=TINY['z_dim'],
  latent_mean=tuple(TINY['latents_mean']),
  latent_std=tuple(TINY['latents_std']),
  decoder_dtype='float32',
)
MODEL = make_wan_vae(CONFIG)


@pytest.fixture(scope='module')
def params():
  """The weights of the goldens, by their names in diffusers."""
  way = naming(CONFIG, Names.DIFFUSERS)
  shapes = {x.name: x.shape for x in way.values()}
  report = foreign.compare(way, shapes, where='drawn')
  ours = {k: x.shape for k, x in flatten(param_shapes(CONFIG)).items()}
  taken = foreign.take(
    way, report, lambda name: golden_inputs.drawn(name, shapes[name]), ours
  )
  return nest({name: np.array(x) for name, x in taken.items()})


@functools.partial(jax.jit, static_argnames=('model', 'method'))
def run(params, *inputs, method, model=MODEL):
  return model.apply({'params': params}, *inputs, method=method)


def streamed(params, x, sizes, *, method, model=MODEL):
  """What chunks of some sizes give, joined."""
  parts, state, begin = [], None, 0
  for size in sizes:
    piece = x[:, begin : begin + size]
    part, state = run(params, piece, state, method=method, model=model)
    parts.append(part)
    begin += size
  return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)


@pytest.mark.parametrize('which', list(golden_inputs.WAN_CLIPS))
def test_latents_are_those_of_diffusers(params, which):
  with np.load(GOLDENS / 'wan_vae.npz') as golden:
    wanted = golden[f'moments_{which}']
  video = golden_inputs.wan_clip(which)
  for frames in range(1, video.shape[1] + 1, 4):
    found = run(params, video[:, :frames], method='encode')
    t = CONFIG.latent_frames(frames)
    np.testing.assert_allclose(
      np.concatenate(found, axis=-1), wanted[:, :t], atol=1e-5
    )
  sizes = [1] + [4] * (video.shape[1] // 4)
  found = streamed(params, video, sizes, method='encode_chunk')
  np.testing.assert_allclose(np.concatenate(found, -1), wanted, atol=1e-5)


@pytest.mark.parametrize('which', list(golden_inputs.WAN_LATENTS))
def test_videos_are_those_of_diffusers(params, which):
  with np.load(GOLDENS / 'wan_vae.npz') as golden:
    wanted = golden[f'video_{which}']
  f = golden_inputs.wan_latents(which)
  whole = run(params, f, method='decode')
  np.testing.assert_allclose(jnp.clip(whole, -1, 1), wanted, atol=1e-5)
  found = streamed(params, f, [1] * f.shape[1], method='decode_chunk')
  np.testing.assert_allclose(np.clip(found, -1, 1), wanted, atol=1e-5)
