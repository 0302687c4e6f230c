"""What a user chooses, and the program that samples by it."""

import dataclasses
import functools

import jax
import numpy as np

from videoar_jax.core import fields
from videoar_jax.plan.kinds import make_plan
from videoar_jax.plan.unit import UnitPlan
from videoar_jax.sample.bits import Temperature, TopP, sample_keys
from videoar_jax.sample.guidance import parse_guidance
from videoar_jax.sample.rollout import Rollout, rollout
from videoar_jax.tokenizer.autoencoder import (
  Autoencoder,
  make_tokenizer,
  to_uint8,
)
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import VideoAR, make_transformer


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
  """What a user chooses at sampling time.

  Attributes:
    num_frames: pixel frames of a video, 1 + 4k at paper scale.
    guidance: see `parse_guidance`.
    temperature: of the bits.
    top_p: see `draw_bits`.
    seed: with a sample's index it decides that sample.
    batch_size: samples at a time; has no influence on what a sample is.
    window: latent frames that a frame sees before its own; None: all. With a
      window neither memory nor time of a frame grows with the video.
    size: height and width in pixels; None: the tokenizer's main resolution.
  """

  num_frames: fields.Count
  guidance: str = 'ucf'
  temperature: Temperature = 1.0
  top_p: TopP = 1.0
  seed: fields.Seed = 0
  batch_size: fields.Size = 8
  window: fields.Count | None = None
  size: tuple[fields.Size, fields.Size] | None = None

  def __post_init__(self):
    fields.check(self)
    parse_guidance(self.guidance, num_frames=1, num_scales=1)


@dataclasses.dataclass(frozen=True)
class Rules:
  """What the rollout of a video follows.

  Attributes:
    model: the transformer.
    autoencoder: the tokenizer's networks.
    plan: of the latent frames that are kept at a time.
    temperature: of the bits.
    top_p: of the bits.
    guided: whether any strength needs the unconditional pass.
    gamma_ts: strength of guidance of all latent frames and their scales. It is
      an argument of what is compiled: rules are equal whatever it is.
  """

  model: VideoAR
  autoencoder: Autoencoder
  plan: UnitPlan
  temperature: float
  top_p: float
  guided: bool
  gamma_ts: np.ndarray = dataclasses.field(compare=False)

  @property
  def drawing(self) -> dict[str, float]:
    """How bits are drawn; see `draw_bits`."""
    return {'temperature': self.temperature, 'top_p': self.top_p}

  def roll(
    self, nets, condition_bx, index_b, seed, gamma_ts, given=None
  ) -> Rollout:
    """Bits and features of whole videos; see `make_sample_program`."""
    return rollout(
      self.model,
      nets['transformer'],
      plan=self.plan,
      condition_bx=condition_bx,
      key_b=sample_keys(seed, index_b),
      gamma_ts=gamma_ts,
      guided=self.guided,
      given=given,
      **self.drawing,
    )

  def decode(self, nets, f_bthwd: jax.Array) -> jax.Array:
    """The videos that features stand for: uint8 bTHWc."""
    params = {'params': nets['autoencoder']}
    return to_uint8(self.autoencoder.apply(params, f_bthwd, method='decode'))


def make_rules(
  tokenizer: TokenizerConfig,
  transformer: TransformerConfig,
  sampling: SamplingConfig,
) -> Rules:
  """Works out what was chosen for the networks there are.

  Raises:
    ValueError: frames off the tokenizer's grid, a malformed guidance or
      temperature.
  """
  frames = tokenizer.latent_frames(sampling.num_frames)
  scales = tokenizer.scales
  if sampling.size is not None:
    scales = tokenizer.scales_for(*sampling.size)
  gamma_ts = parse_guidance(
    sampling.guidance, num_frames=frames, num_scales=len(scales)
  )
  return Rules(
    model=make_transformer(
      transformer,
      num_bits=tokenizer.latent_width,
      num_scales=tokenizer.num_scales,
    ),
    autoencoder=make_tokenizer(tokenizer),
    plan=_kept_plan(transformer, frames, scales, window=sampling.window),
    temperature=sampling.temperature,
    top_p=sampling.top_p,
    guided=bool((gamma_ts != 1.0).any()),
    gamma_ts=gamma_ts,
  )


def _kept_plan(
  transformer: TransformerConfig, frames: int, scales, *, window: int | None
) -> UnitPlan:
  """The plan of the latent frames that are kept at a time."""
  plan = make_plan(transformer.plan, frames, scales)
  transformer.check_reach(plan)
  if window is None or window + 1 >= frames:
    return plan
  if plan.block_frames > 1:
    raise ValueError(
      f'window={window}: this generator makes all {frames} latent frames '
      f'together (plan {plan.name}); leave window out'
    )
  return make_plan(transformer.plan, window + 1, scales)


@functools.lru_cache(maxsize=8)
def sample_program(rules: Rules):
  """One compiled program from keys to pixels; equal rules have the same.

  Returns:
    program(nets, condition_bx, index_b, seed, gamma_ts, given=None), jitted;
    see `make_sample_program`.
  """

  @jax.jit
  def program(
    nets, condition_bx, index_b, seed, gamma_ts, given=None
  ) -> tuple[jax.Array, Rollout]:
    sampled = rules.roll(nets, condition_bx, index_b, seed, gamma_ts, given)
    return rules.decode(nets, sampled.f_bthwd), sampled

  return program


def make_sample_program(
  tokenizer: TokenizerConfig,
  transformer: TransformerConfig,
  sampling: SamplingConfig,
):
  """What samples a batch, compiled when it is first called.

  Another seed or strength of guidance compiles nothing anew; the first that is
  not 1 does.

  Args:
    tokenizer: the tokenizer's shape.
    transformer: the transformer's shape.
    sampling: frames, guidance, temperature, window.

  Returns:
    program(nets, condition_bx, index_b, seed, given=None) -> (video_bTHWc
    uint8, Rollout), with nets {'autoencoder': …, 'transformer': …}, one index
    per sample, and `given` the bits of the first latent frames, if any.

  Raises:
    ValueError: see `make_rules`.
  """
  rules = make_rules(tokenizer, transformer, sampling)
  compiled = sample_program(rules)

  def program(nets, condition_bx, index_b, seed, given=None):
    return compiled(nets, condition_bx, index_b, seed, rules.gamma_ts, given)

  return program
