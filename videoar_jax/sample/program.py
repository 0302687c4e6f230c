"""What a user chooses, and the program that samples by it."""

import dataclasses
import functools

import flax.struct
import jax
import numpy as np

from videoar_jax.core import fields
from videoar_jax.core.compiler import jit
from videoar_jax.families.bits import Rollout
from videoar_jax.families.family import Family
from videoar_jax.plan.pyramid import Pyramid
from videoar_jax.rollout.bits import Temperature, TopP, sample_keys
from videoar_jax.rollout.guidance import parse_guidance
from videoar_jax.tokenizer.autoencoder import to_uint8


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


@flax.struct.dataclass
class Drawing:
  """How units are drawn; arguments of a program, which serves any.

  Attributes:
    gamma_ts: strength of guidance of the latent frames and their scales.
    temperature: see `draw_bits`, float32.
    top_p: likewise.
  """

  gamma_ts: jax.Array | np.ndarray
  temperature: jax.Array | np.ndarray
  top_p: jax.Array | np.ndarray

  def of(self, frames: slice) -> 'Drawing':
    """The same for some of the latent frames."""
    return self.replace(gamma_ts=self.gamma_ts[frames])

  @property
  def arguments(self) -> dict[str, jax.Array | np.ndarray]:
    """By name."""
    return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Chosen:
  """What was chosen, worked out for the networks there are.

  Attributes:
    family: of the generator.
    plan: of the latent frames that are kept at a time.
    guided: whether any strength needs the unconditional pass.
    drawing: how units are drawn. Passed to the compiled program as an argument,
      so left out when two are compared.
  """

  family: Family
  plan: Pyramid
  guided: bool
  drawing: Drawing = dataclasses.field(compare=False)

  def roll(
    self, nets, condition_bx, index_b, seed, drawing: Drawing, given=None
  ) -> Rollout:
    """Bits and features of whole videos; see `make_sample_program`."""
    return self.family.roll(
      nets[self.family.net],
      plan=self.plan,
      condition_bx=condition_bx,
      key_b=sample_keys(seed, index_b),
      guided=self.guided,
      given=given,
      **drawing.arguments,
    )

  def decode(self, nets, f_bthwd: jax.Array) -> jax.Array:
    """The videos that features stand for: uint8 bTHWc."""
    params = {'params': nets['autoencoder']}
    return to_uint8(
      self.family.autoencoder.apply(params, f_bthwd, method='decode')
    )


def choose(family: Family, sampling: SamplingConfig) -> Chosen:
  """Works out what was chosen for the networks there are.

  Raises:
    ValueError: frames off the tokenizer's grid, a malformed guidance or
      temperature.
  """
  frames = family.tokenizer.latent_frames(sampling.num_frames)
  height, width = sampling.size or family.tokenizer.resolution
  plan = family.plan(frames, height, width)
  gamma_ts = parse_guidance(
    sampling.guidance, num_frames=frames, num_scales=len(plan.scales)
  )
  kept = frames if sampling.window is None else sampling.window + 1
  if kept < frames:
    if not family.is_causal:
      raise ValueError(
        f'window={sampling.window}: this generator makes all {frames} latent '
        f'frames together (plan {plan.name}); leave window out'
      )
    plan = family.plan(kept, height, width)
  return Chosen(
    family=family,
    plan=plan,
    guided=bool((gamma_ts != 1.0).any()),
    drawing=Drawing(
      gamma_ts,
      temperature=np.float32(sampling.temperature),
      top_p=np.float32(sampling.top_p),
    ),
  )


@functools.lru_cache(maxsize=8)
def sample_program(chosen: Chosen):
  """One compiled program from keys to pixels; equal choices have the same.

  Returns:
    program(nets, condition_bx, index_b, seed, drawing, given=None), jitted;
    see `make_sample_program`.
  """

  @jit
  def program(
    nets, condition_bx, index_b, seed, drawing, given=None
  ) -> tuple[jax.Array, Rollout]:
    sampled = chosen.roll(nets, condition_bx, index_b, seed, drawing, given)
    return chosen.decode(nets, sampled.f_bthwd), sampled

  return program


def make_sample_program(family: Family, sampling: SamplingConfig):
  """What samples a batch, compiled when it is first called.

  Another seed, strength of guidance, temperature or top_p compiles nothing
  anew; the first strength that is not 1 does.

  Args:
    family: of the generator.
    sampling: frames, guidance, temperature, window.

  Returns:
    program(nets, condition_bx, index_b, seed, given=None) -> (video_bTHWc
    uint8, Rollout), with nets {'autoencoder': …, 'transformer': …}, one index
    per sample, and `given` the bits of the first latent frames, if any.

  Raises:
    ValueError: see `choose`.
  """
  chosen = choose(family, sampling)
  compiled = sample_program(chosen)

  def program(nets, condition_bx, index_b, seed, given=None):
    return compiled(nets, condition_bx, index_b, seed, chosen.drawing, given)

  return program
