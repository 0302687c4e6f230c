"""Wan's transformer: the velocity of a flow from noise to latents.

Source: Wan (arXiv:2503.20314) §4.2; what was settled beside it is in
docs/paper.md, Wan. Tokens come in any order: each has its place and its time,
and a mask says what it sees.
"""

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.core import rope
from videoar_jax.core.attention import AttentionKernel, self_attention
from videoar_jax.core.kv_cache import KVCache
from videoar_jax.core.layers import Affine, layer_norm, logical
from videoar_jax.core.mask import UnitMask
from videoar_jax.core.mesh import constrain
from videoar_jax.transformer.block import Attend
from videoar_jax.transformer.stack import stack
from videoar_jax.transformer.wan_block import Times, WanBlock
from videoar_jax.transformer.wan_config import WanConfig

_TIME_BASE = 10_000.0


class WanTransformer(nn.Module):
  """Predicts the velocity noise - latents from latents on their way.

  Attributes:
    config: its shape.
  """

  config: WanConfig

  @nn.compact
  def __call__(
    self,
    patches_blc: jax.Array,
    text_bmd: jax.Array,
    *,
    time_bu: jax.Array,
    unit_l: jax.Array | np.ndarray | None = None,
    position_l3: jax.Array | np.ndarray,
    attend: Attend,
  ):
    """All layers over some tokens; what they see is up to `attend`.

    Args:
      patches_blc: see `patchify`.
      text_bmd: rows of the text encoder, `text_length` of them.
      time_bu: flow times, 0 (latents) to 1000 (noise).
      unit_l: which of them each token has; None: time_bu has one, of all.
      position_l3: (t, h, w) of each token on the grid of patches, or (b, l, 3);
        any real numbers. Those of NumPy are turned more exactly, see
        `rope.turn_at`.
      attend: how queries, keys and values meet, see `Block`.

    Returns:
      Velocities blc, float32, see `unpatchify`; and the keys (rotated) and
      values that `attend` kept, or None.

    Raises:
      ValueError: of other sizes than the config's, or times are missing.
    """
    config = self.config
    _check_sizes(config, patches_blc, text_bmd, time_bu, unit_l)
    if unit_l is not None:
      unit_l = jnp.asarray(unit_l, jnp.int32)
    embedding_bud, shifts = self._embed_time(time_bu)
    times = Times(shifts, unit_l)
    text = self._embed_text(text_bmd)
    x = Affine((config.width,), (None, 'embed'), name='patch')(patches_blc)
    x = constrain(x.astype(config.stream_dtype), 'batch', 'length', 'channels')
    turn = rope.turn_at(position_l3, config.pairs)
    layers = stack(
      WanBlock, remat=config.remat, length=config.num_layers, shared=3
    )
    layers = layers(config, attend, name='layers')
    x, own = layers(x, times, text, turn, jnp.arange(config.num_layers))
    return self._velocity(x, times, embedding_bud), own and KVCache(*own)

  def forward(
    self,
    patches_blc: jax.Array,
    text_bmd: jax.Array,
    *,
    mask: UnitMask | None = None,
    **tokens,
  ) -> jax.Array:
    """Velocities of tokens that see one another.

    Args:
      patches_blc: see `patchify`.
      text_bmd: rows of the text encoder.
      mask: which token sees which; None: all see all.
      **tokens: time_bu, unit_l and position_l3, see `__call__`.

    Returns:
      Velocities blc, float32, see `unpatchify`.
    """
    length = patches_blc.shape[1]
    mask = mask or UnitMask((length,), ((True,),), (0, 1))
    kernel = AttentionKernel(self.config.attention)

    def attend(q, k, v, layer):
      del layer
      return self_attention(q, k, v, mask=mask, kernel=kernel), None

    return self(patches_blc, text_bmd, attend=attend, **tokens)[0]

  def clip(
    self, latents_bthwc: jax.Array, text_bmd: jax.Array, *, time_b: jax.Array
  ) -> jax.Array:
    """Velocities of a whole clip, whose tokens all see one another.

    Args:
      latents_bthwc: on their way to noise.
      text_bmd: rows of the text encoder.
      time_b: flow time of each clip, 0 to 1000.

    Returns:
      Velocities bthwc, float32.
    """
    patch = self.config.patch
    patches = patchify(latents_bthwc, patch)
    grid = patches.shape[1:4]
    velocities = self.forward(
      patches.reshape(patches.shape[0], -1, patches.shape[-1]),
      text_bmd,
      time_bu=time_b[:, None],
      position_l3=np.indices(grid).reshape(3, -1).T,
    )
    return unpatchify(velocities.reshape(patches.shape), patch)

  def _embed_time(self, time_bu: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Embeddings (b, u, d) of times, and what layers add to their tables.

    float32 all through: bfloat16 has no whole numbers of that size.
    """
    width = self.config.width
    x = sinusoids(time_bu, self.config.time_width)
    x = Affine((width,), (None, 'embed'), name='time_in')(x)
    x = Affine((width,), ('embed', None), name='time_out')(nn.silu(x))
    shifts = Affine((6 * width,), ('embed', None), name='time_shifts')(
      nn.silu(x)
    )
    return x, einops.rearrange(shifts, 'b u (r d) -> b u r d', r=6)

  def _embed_text(self, text_bmd: jax.Array) -> jax.Array:
    """Rows of the text in the model's width; zeros become one vector."""
    width, dtype = self.config.width, jnp.dtype(self.config.dtype)
    x = Affine((width,), (None, 'embed'), dtype=dtype, name='text_in')(text_bmd)
    x = nn.gelu(x, approximate=True)
    x = Affine((width,), ('embed', None), dtype=dtype, name='text_out')(x)
    return constrain(x, 'batch', None, 'channels')

  def _velocity(self, x_bld, times: Times, embedding_bud) -> jax.Array:
    """The last norm, shifted and scaled by the time, and layer, float32."""
    width = self.config.width
    init = logical(nn.initializers.normal(width**-0.5), 'norm', 'embed')
    table_2d = self.param('modulation', init, (2, width))
    shift, scale = (times.per_token(embedding_bud + row) for row in table_2d)
    x = layer_norm(x_bld) * (1 + scale) + shift
    # Zeros at first, as in the original.
    head = Affine(
      (self.config.patch_width,), ('embed', None), gain=0.0, name='head'
    )
    return head(x)


def _check_sizes(config, patches_blc, text_bmd, time_bu, unit_l) -> None:
  if patches_blc.shape[-1] != config.patch_width:
    raise ValueError(
      f'patches of {patches_blc.shape[-1]} numbers; wanted '
      f'{config.patch_width}: {config.latent_width} channels in patches of '
      f'{config.patch}'
    )
  wanted = config.text_length, config.text_width
  if text_bmd.shape[1:] != wanted:
    raise ValueError(
      f'text of shape {text_bmd.shape[1:]}; wanted {wanted}: fill it up with '
      'rows of zeros, which are attended to'
    )
  if unit_l is None and time_bu.shape[1] != 1:
    raise ValueError(
      f'time_bu has {time_bu.shape[1]} times; say by unit_l which token has '
      'which'
    )


def sinusoids(time_bu: jax.Array, width: int) -> jax.Array:
  """Cosines, then sines, of times at falling frequencies: (b, u, width).

  Args:
    time_bu: any real numbers.
    width: even.
  """
  table = _TIME_BASE ** (-2.0 * np.arange(width // 2) / width)
  angles = time_bu.astype(jnp.float32)[..., None] * jnp.float32(table)
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def patchify(
  latents_bthwc: jax.Array, patch: tuple[int, int, int]
) -> jax.Array:
  """Latents as a grid of patches, whose numbers are in the order c, t, h, w.

  Args:
    latents_bthwc: latents.
    patch: frames, rows and columns of a patch.

  Returns:
    (b, t, h, w, c) of the grid of patches.

  Raises:
    ValueError: an axis is not of whole patches.
  """
  sizes = latents_bthwc.shape[1:4]
  if any(size % side for size, side in zip(sizes, patch)):
    raise ValueError(
      f'latents of {"×".join(map(str, sizes))}: not of whole patches of '
      f'{"×".join(map(str, patch))}; use multiples'
    )
  return einops.rearrange(
    latents_bthwc,
    'b (t x) (h y) (w z) c -> b t h w (c x y z)',
    **dict(zip('xyz', patch)),
  )


def unpatchify(
  patches_bthwc: jax.Array, patch: tuple[int, int, int]
) -> jax.Array:
  """Predictions as latents; their order is t, h, w, c, unlike `patchify`'s.

  Args:
    patches_bthwc: predictions on the grid of patches.
    patch: frames, rows and columns of a patch.

  Returns:
    bthwc.
  """
  return einops.rearrange(
    patches_bthwc,
    'b t h w (x y z c) -> b (t x) (h y) (w z) c',
    **dict(zip('xyz', patch)),
  )


def init_params(model: WanTransformer, key: jax.Array):
  """Initial parameters with their logical axes, which depend on no length."""
  config = model.config
  variables = model.init(
    key,
    jnp.zeros((1, 1, config.patch_width)),
    jnp.zeros((1, config.text_length, config.text_width)),
    time_bu=jnp.zeros((1, 1)),
    position_l3=np.zeros((1, 3)),
    method='forward',
  )
  return variables['params']
