"""A checkpoint as a function from labels and indices to videos."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from videoar_jax.core.config import from_saved
from videoar_jax.core.export import Loaded
from videoar_jax.core.mesh import to_host
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.plan.unit import UnitPlan
from videoar_jax.sample.bits import check_temperature, sample_keys
from videoar_jax.sample.guidance import parse_guidance
from videoar_jax.sample.rollout import Bits, Rollout, rollout
from videoar_jax.tokenizer.autoencoder import (
  Autoencoder,
  make_tokenizer,
  to_uint8,
)
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import tokenizer_config
from videoar_jax.transformer.config import TransformerConfig
from videoar_jax.transformer.model import (
  VideoAR,
  inference_params,
  make_transformer,
)


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
  """What a user chooses at sampling time.

  Attributes:
    num_frames: pixel frames of a video, 1 + 4k at paper scale.
    guidance: see `parse_guidance`.
    temperature: of the bits.
    seed: with a sample's index it decides that sample.
    batch_size: samples at a time; has no influence on what a sample is.
    window: latent frames that a frame sees before its own; None: all. With a
      window neither memory nor time of a frame grows with the video.
  """

  num_frames: int
  guidance: str = 'ucf'
  temperature: float = 1.0
  seed: int = 0
  batch_size: int = 8
  window: int | None = None

  def __post_init__(self):
    check_temperature(self.temperature)
    if self.batch_size < 1:
      raise ValueError(f'batch_size={self.batch_size}: wanted at least 1')
    if self.window is not None and self.window < 1:
      raise ValueError(
        f'window={self.window}: wanted at least the 1 latent frame before, or '
        'None for all'
      )
    if not 0 <= self.seed < 2**32:
      raise ValueError(f'seed={self.seed}: wanted 0 to 2**32 - 1')


@dataclasses.dataclass(frozen=True)
class Generator:
  """A generator's checkpoint, ready to sample.

  Attributes:
    config: the run's config.
    tokenizer: shape of its tokenizer.
    transformer: shape of its transformer.
    classes: names of the labels.
    nets: {'autoencoder': …, 'transformer': …}.
  """

  config: Any
  tokenizer: TokenizerConfig
  transformer: TransformerConfig
  classes: tuple[str, ...]
  nets: dict[str, Any]

  @classmethod
  def of(cls, loaded: Loaded) -> 'Generator':
    """Takes apart what `load_weights` returned for a generator.

    Raises:
      ValueError: its tokenizer does not lie beside it.
    """
    if loaded.tokenizer is None:
      raise ValueError(
        "the generator's folder has no tokenizer/; give the whole workdir, "
        'or export it again'
      )
    transformer = from_saved(TransformerConfig, loaded.config.transformer)
    nets = {
      'autoencoder': loaded.tokenizer.nets['autoencoder'],
      'transformer': inference_params(loaded.nets['transformer'], transformer),
    }
    return cls(
      config=loaded.config,
      tokenizer=tokenizer_config(loaded.tokenizer),
      transformer=transformer,
      classes=tuple(loaded.config.classes),
      nets=jax.device_put(nets),
    )

  def sampling(
    self,
    *,
    num_frames: int | None = None,
    guidance: str | None = None,
    temperature: float | None = None,
    seed: int = 0,
    batch_size: int = 8,
    window: int | None = None,
  ) -> SamplingConfig:
    """What was chosen; None takes what the generator was trained with."""
    preview = self.config.sampling
    return SamplingConfig(
      num_frames=self.config.data.num_frames
      if num_frames is None
      else num_frames,
      guidance=preview.guidance if guidance is None else guidance,
      temperature=preview.temperature if temperature is None else temperature,
      seed=seed,
      batch_size=batch_size,
      window=window,
    )

  def program(self, sampling: SamplingConfig):
    """See `make_sample_program`."""
    return make_sample_program(self.tokenizer, self.transformer, sampling)


@dataclasses.dataclass(frozen=True)
class Rules:
  """What the rollout of a video follows.

  Attributes:
    model: the transformer.
    autoencoder: the tokenizer's networks.
    plan: of the latent frames that are kept at a time.
    gamma_ts: strength of guidance of all latent frames and their scales.
    temperature: of the bits.
  """

  model: VideoAR
  autoencoder: Autoencoder
  plan: UnitPlan
  gamma_ts: np.ndarray
  temperature: float

  @property
  def guided(self) -> bool:
    """Whether any strength needs the unconditional pass."""
    return bool((self.gamma_ts != 1.0).any())


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
  frames, kept = tokenizer.latent_frames(sampling.num_frames), sampling.window
  kept = frames if kept is None else min(frames, kept + 1)
  num_scales = len(tokenizer.scales)
  return Rules(
    model=make_transformer(
      transformer, num_bits=tokenizer.latent_width, num_scales=num_scales
    ),
    autoencoder=make_tokenizer(tokenizer),
    plan=next_scale_plan(kept, tokenizer.scales),
    gamma_ts=parse_guidance(
      sampling.guidance, num_frames=frames, num_scales=num_scales
    ),
    temperature=sampling.temperature,
  )


def make_sample_program(
  tokenizer: TokenizerConfig,
  transformer: TransformerConfig,
  sampling: SamplingConfig,
):
  """One compiled program from keys to pixels.

  Args:
    tokenizer: the tokenizer's shape.
    transformer: the transformer's shape.
    sampling: frames, guidance, temperature, window.

  Returns:
    program(nets, label_b, index_b, seed, given=None) -> (video_bTHWc uint8,
    Rollout), with nets {'autoencoder': …, 'transformer': …}, one index per
    sample, and `given` the bits of the first latent frames, if any.

  Raises:
    ValueError: see `make_rules`.
  """
  rules = make_rules(tokenizer, transformer, sampling)

  @jax.jit
  def program(
    nets, label_b, index_b, seed, given=None
  ) -> tuple[jax.Array, Rollout]:
    sampled = rollout(
      rules.model,
      nets['transformer'],
      plan=rules.plan,
      label_b=label_b,
      key_b=sample_keys(seed, index_b),
      gamma_ts=rules.gamma_ts,
      guided=rules.guided,
      temperature=rules.temperature,
      given=given,
    )
    video = rules.autoencoder.apply(
      {'params': nets['autoencoder']}, sampled.f_bthwd, method='decode'
    )
    return to_uint8(video), sampled

  return program


def sample_videos(
  program: Any,
  nets: dict[str, Any],
  labels: Sequence[int],
  *,
  sampling: SamplingConfig,
  first_index: int = 0,
  given: Bits | None = None,
) -> Iterator[np.ndarray]:
  """Yields one video per label, in order, sampled batch by batch.

  The last batch is filled up, so that one program serves all.

  Args:
    program: from `make_sample_program`.
    nets: parameters of both networks.
    labels: class of each sample.
    sampling: seed and batch size.
    first_index: index of the first sample.
    given: bits of the first latent frames of every video, of a batch of one.

  Yields:
    uint8 THWc.
  """
  labels = np.asarray(labels, np.int32)
  size = min(sampling.batch_size, max(len(labels), 1))
  if given is not None:
    given = repeat_bits(given, size)
  for start in range(0, len(labels), size):
    rows = np.arange(start, start + size)
    label_b = labels[np.minimum(rows, len(labels) - 1)]
    index_b = (rows + first_index).astype(np.uint32)
    seed = np.uint32(sampling.seed)
    video, _ = program(nets, label_b, index_b, seed, given)
    yield from to_host(video)[: len(labels) - start]


def repeat_bits(bits: Bits, batch: int) -> Bits:
  """Bits of one video for each of a batch, float32."""
  return tuple(np.repeat(np.float32(scale), batch, axis=0) for scale in bits)


def label_of(name: str, classes: Sequence[str]) -> int:
  """Index of a class by its name.

  Raises:
    ValueError: no such class; names the nearest.
  """
  if name in classes:
    return list(classes).index(name)
  near = difflib.get_close_matches(name, classes, n=3, cutoff=0.4)
  hint = f'; did you mean {" or ".join(near)}?' if near else ''
  shown = ', '.join(classes[:20]) + (', …' if len(classes) > 20 else '')
  raise ValueError(f'class {name!r} does not exist{hint}; there are: {shown}')
