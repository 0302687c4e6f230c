"""VideoAR's family: the bits of scale pyramids (arXiv:2601.05966)."""

import dataclasses
import functools
from typing import Any, NamedTuple

import einops
import flax.struct
import jax
import jax.numpy as jnp

from videoar_jax.core.mesh import unbox
from videoar_jax.objectives.bitwise import make_transformer_objective
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.plan.kinds import make_plan
from videoar_jax.plan.place import Loop, Place, loops
from videoar_jax.plan.pyramid import Pyramid
from videoar_jax.plan.unit import Unit
from videoar_jax.rollout import walk
from videoar_jax.rollout.bits import draw_bits, draw_uniform
from videoar_jax.tokenizer.autoencoder import Autoencoder, make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.quantizer import accumulate
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.inputs import unit_inputs
from videoar_jax.transformer.model import VideoAR, make_transformer
from videoar_jax.transformer.params import (
  NET,
  inference_params,
  inference_shapes,
  init_params,
)
from videoar_jax.transformer.prefix import prefix_lengths, unconditional

# Per scale (b, t, h_k, w_k, q), {0, 1}, float32.
Bits = tuple[jax.Array, ...]


@flax.struct.dataclass
class Rollout:
  """What was sampled.

  Attributes:
    bits: per scale (b, t, h_k, w_k, q), {0, 1}, float32.
    f_bthwd: the features they stand for, float32.
  """

  bits: Bits
  f_bthwd: jax.Array


class Canvas(NamedTuple):
  """What the next unit needs of those before it.

  Attributes:
    before_bhwd: features of the frame before the block; zeros at the start.
    total_bthwd: sum of the block's scales so far.
  """

  before_bhwd: jax.Array
  total_bthwd: jax.Array


@dataclasses.dataclass(frozen=True)
class BitsFamily:
  """Predicts a tokenizer's bits, unit by unit of a scale pyramid.

  Attributes:
    transformer: shape of the network.
    tokenizer: shape of the tokenizer.
  """

  transformer: TransformerConfig
  tokenizer: TokenizerConfig

  net = NET

  @functools.cached_property
  def model(self) -> VideoAR:
    """The network.

    Raises:
      ValueError: of how many classes is not known yet.
    """
    return make_transformer(
      self.transformer,
      num_bits=self.tokenizer.latent_width,
      num_scales=self.tokenizer.num_scales,
    )

  @functools.cached_property
  def autoencoder(self) -> Autoencoder:
    """The tokenizer's networks."""
    return make_tokenizer(self.tokenizer)

  @property
  def is_causal(self) -> bool:
    """Whether frames follow one another, so that a video can go on."""
    return make_plan(self.transformer.plan, 2, ((1, 1),)).block_frames == 1

  def plan(self, frames: int, height: int, width: int) -> Pyramid:
    """The order of prediction of a clip.

    Args:
      frames: latent frames.
      height: of the clip, pixels.
      width: of the clip, pixels.

    Raises:
      ValueError: no schedule of scales fits, or a learned position is missing.
    """
    scales = self.tokenizer.scales_for(height, width)
    plan = make_plan(self.transformer.plan, frames, scales)
    self.transformer.check_reach(plan)
    return plan

  def of_classes(self, number: int) -> 'BitsFamily':
    """The same for so many classes, if its config leaves that to the data."""
    return dataclasses.replace(
      self, transformer=self.transformer.of_classes(number)
    )

  @property
  def without_remat(self) -> 'BitsFamily':
    """The same, computing nothing again in a backward pass."""
    transformer = dataclasses.replace(self.transformer, remat='none')
    return dataclasses.replace(self, transformer=transformer)

  def plan_of(self, grid: tuple[int, int, int]) -> Pyramid:
    """The order of prediction of features of a shape (t, h, w)."""
    scales = self.tokenizer.scales_of(grid[1:])
    return make_plan(self.transformer.plan, grid[0], scales)

  def init(self, key: jax.Array) -> Any:
    """Initial parameters with their logical axes."""
    return init_params(self.model, key)

  def shapes(self) -> Any:
    """Shapes and dtypes of the parameters; nothing is computed."""
    return _shapes(self)

  def inference_params(self, params: Any) -> Any:
    """Parameters as a rollout reads them fastest, see `params`."""
    return inference_params(params, self.transformer)

  def inference_shapes(self) -> Any:
    """Their shapes and dtypes with logical axes; nothing is computed."""
    return inference_shapes(self.model)

  def objective(
    self,
    corruption: CorruptionConfig,
    frame_mask: FrameMaskConfig,
    *,
    dropout: float | None = None,
  ):
    """See `bitwise.make_transformer_objective`."""
    return make_transformer_objective(
      self.model,
      plan_of=self.plan_of,
      corruption=corruption,
      frame_mask=frame_mask,
      dropout=dropout,
    )

  def forward(
    self, params, inputs_blq, condition_bx, *, plan: Pyramid
  ) -> jax.Array:
    """Logits of a whole plan, see `VideoAR.forward`."""
    return self.model.apply(
      {'params': params}, inputs_blq, condition_bx, plan=plan, method='forward'
    )

  def prefill(self, params, condition_bx, *, plan: Pyramid):
    """See `walk.Family`."""
    cache = self.model.apply(
      {'params': params}, condition_bx, plan=plan, method='prefill'
    )
    return cache, prefix_lengths(self.transformer, condition_bx)

  def unconditional(self, condition_bx):
    """See `walk.Family`."""
    return unconditional(self.transformer, condition_bx)

  def decode(self, params, inputs_blx, cache, *, place: Place, length_b):
    """See `walk.Family`; the prediction is logits_blq2."""
    return self.model.apply(
      {'params': params},
      inputs_blx,
      cache,
      place=place,
      length_b=length_b,
      method='decode',
    )

  def blank(self, plan: Pyramid, batch: int) -> Canvas:
    """See `walk.Family`."""
    h, w = plan.scales[-1]
    before = jnp.zeros((batch, h, w, self.model.num_bits), jnp.float32)
    return Canvas(before, _of_block(before, plan))

  def sources(self, key_b, block, *, plan: Pyramid, loop: Loop):
    """See `walk.Family`: numbers in [0, 1) for the bits of each unit."""
    del loop
    ends = plan.offsets[1 : len(plan.block) + 1]
    # One draw for all scales: each one costs the compiler time.
    uniform = draw_uniform(key_b, block, (ends[-1], self.model.num_bits))
    return tuple(jnp.split(uniform, ends[:-1], axis=1))

  def draw(
    self,
    predict: walk.Predict,
    canvas: Canvas,
    source: jax.Array | None,
    *,
    plan: Pyramid,
    unit: Unit,
    given: jax.Array | None,
    temperature: jax.Array | float,
    top_p: jax.Array | float = 1.0,
  ):
    """See `walk.Family`; draws bits (b, t, h_k, w_k, q), see `draw_bits`."""
    before = _of_block(canvas.before_bhwd, plan)
    total = canvas.total_bthwd if unit.scale else jnp.zeros_like(before)
    inputs = unit_inputs(
      total if unit.scale else before, before, unit.shape[1:], plan
    )
    logits, own = predict(einops.rearrange(inputs, 'b t h w q -> b (t h w) q'))
    bits = given
    if given is None:
      bits = draw_bits(logits, source, temperature=temperature, top_p=top_p)
      bits = bits.reshape(bits.shape[0], *unit.shape, -1)
    total = accumulate(total, bits)
    before = canvas.before_bhwd
    if unit.scale == len(plan.scales) - 1:
      before = total[:, -1]
    return bits, own, Canvas(before, total)

  def made(self, canvas: Canvas) -> jax.Array:
    """See `walk.Family`: features (b, t, h, w, q)."""
    return canvas.total_bthwd

  def begin(self, params, **video) -> walk.State:
    """See `walk.begin`."""
    return walk.begin(self, params, **video)

  def advance(
    self,
    params,
    state: walk.State,
    *,
    plan: Pyramid,
    gamma_ts: jax.Array,
    given: Bits | None = None,
    **drawing,
  ) -> tuple[walk.State, Rollout]:
    """Samples the next frames, whole blocks of the plan; see `walk.advance`.

    Args:
      gamma_ts: strength of guidance of these frames and their scales.
      given: bits of the frames, which are then read instead of drawn.
      **drawing: key_b, temperature and top_p.
    """
    (loop,) = loops(plan)
    state, drawn = walk.advance(
      self,
      params,
      state,
      plan=plan,
      loop=loop,
      gamma_nts=_to_blocks(gamma_ts, plan),
      given=_given_blocks(given, plan),
      **drawing,
    )
    return state, _joined([drawn])

  def roll(
    self,
    params,
    *,
    plan: Pyramid,
    gamma_ts: jax.Array,
    given: Bits | None = None,
    **video,
  ) -> Rollout:
    """Samples a whole video; see `walk.walk`.

    Args:
      gamma_ts: for all frames of the video, the given ones included.
      given: bits of the first frames, which come back as they are.
      **video: condition_bx, guided, key_b, temperature and top_p.
    """
    pieces = walk.walk(
      self,
      params,
      plan=plan,
      gamma_nts=_to_blocks(gamma_ts, plan),
      given=_given_blocks(given, plan),
      **video,
    )
    return _joined(list(pieces))


@functools.cache
def _shapes(family: BitsFamily) -> Any:
  return unbox(jax.eval_shape(lambda: family.init(jax.random.key(0))))


def _of_block(before_bhwd: jax.Array, plan: Pyramid) -> jax.Array:
  """The frame before a block, for each of its frames."""
  return jnp.repeat(before_bhwd[:, None], plan.block_frames, axis=1)


def _to_blocks(gamma_ts: jax.Array, plan: Pyramid) -> jax.Array:
  step = plan.block_frames
  return einops.rearrange(jnp.asarray(gamma_ts), '(n t) s -> n t s', t=step)


def _given_blocks(given: Bits | None, plan: Pyramid) -> Bits | None:
  if given is None:
    return None
  return tuple(
    einops.rearrange(scale, 'b (n t) ... -> n b t ...', t=plan.block_frames)
    for scale in given
  )


def _joined(pieces: list) -> Rollout:
  """What was drawn block by block as one video."""
  bits, f_bthwd = jax.tree.map(
    lambda *parts: einops.rearrange(
      jnp.concatenate(parts), 'n b t ... -> b (n t) ...'
    ),
    *pieces,
  )
  return Rollout(bits=bits, f_bthwd=f_bthwd)
