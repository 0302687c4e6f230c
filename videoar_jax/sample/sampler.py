"""A checkpoint as a function from labels and indices to videos."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from videoar_jax.core import fields, structure
from videoar_jax.core.config import from_saved
from videoar_jax.core.export import Loaded
from videoar_jax.core.placement import to_host
from videoar_jax.data.config import DataConfig
from videoar_jax.data.prompts import PromptConfig, PromptEncoder, shortened
from videoar_jax.families.bits import Bits
from videoar_jax.families.family import Family
from videoar_jax.families.kinds import load_family
from videoar_jax.rollout.bits import Temperature, TopP
from videoar_jax.rollout.guidance import parse_guidance
from videoar_jax.sample.program import SamplingConfig, make_sample_program
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.config import Condition, TransformerConfig


@dataclasses.dataclass(frozen=True)
class PreviewConfig:
  """How a generator samples where nothing else is chosen.

  Attributes:
    guidance: see `parse_guidance`.
    temperature: of the bits.
    top_p: see `draw_bits`.
  """

  guidance: str = 'ucf'
  temperature: Temperature = 1.0
  top_p: TopP = 1.0

  def __post_init__(self):
    fields.check(self)
    parse_guidance(self.guidance, num_frames=1, num_scales=1)


@dataclasses.dataclass(frozen=True)
class Generator:
  """A generator's checkpoint, ready to sample.

  Attributes:
    config: the run's config.
    family: what is predicted and drawn.
    classes: names of the labels.
    nets: {'autoencoder': …, 'transformer': …}.
    prompts: what reads prompts; None where classes condition it.
  """

  config: Any
  family: Family
  classes: tuple[str, ...]
  nets: dict[str, Any]
  prompts: PromptEncoder | None = None

  @classmethod
  def of(cls, loaded: Loaded) -> 'Generator':
    """Takes apart what `load_weights` returned for a generator.

    Raises:
      ValueError: no tokenizer beside it, or config and weights do not fit.
    """
    if loaded.tokenizer is None:
      raise ValueError(
        "the generator's folder has no tokenizer/; give the whole workdir, "
        'or export it again'
      )
    sections = {'data': dict, 'sampling': dict, 'classes': [str]}
    structure.check(loaded.config.to_dict(), sections, where=loaded.path)
    family = load_family(loaded)
    nets = {
      'autoencoder': loaded.tokenizer.nets['autoencoder'],
      family.net: family.inference_params(loaded.nets[family.net]),
    }
    return cls(
      config=loaded.config,
      family=family,
      classes=tuple(loaded.config.classes),
      nets=jax.device_put(nets),
      prompts=make_prompt_encoder(loaded.config, family.transformer),
    )

  @property
  def tokenizer(self) -> TokenizerConfig:
    """Shape of its tokenizer."""
    return self.family.tokenizer

  def of_classes(self, labels: Sequence[int]) -> np.ndarray:
    """What videos of these classes are conditioned on, a row for each."""
    labels = np.asarray(labels, np.int32)
    if self.prompts is None:
      return labels
    return self.prompts.encode_classes(self.classes)[labels]

  def of_prompts(self, texts: Sequence[str]) -> np.ndarray:
    """What videos of these prompts are conditioned on.

    Raises:
      ValueError: a prompt is empty or too long, or none is read.
    """
    if self.prompts is None:
      raise ValueError(
        f'prompt {shortened(texts[0])!r}: this generator knows classes alone; '
        f'use --class with one of {_listed(self.classes)}'
      )
    return np.stack([self.prompts.encode(text) for text in texts])

  def sampling(
    self,
    *,
    num_frames: int | None = None,
    guidance: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    size: tuple[int, int] | None = None,
    **others,
  ) -> SamplingConfig:
    """What was chosen; None takes what the generator was trained with."""
    data = from_saved(DataConfig, self.config, 'data')
    preview = from_saved(PreviewConfig, self.config, 'sampling')

    def chosen(value, default):
      return default if value is None else value

    return SamplingConfig(
      num_frames=chosen(num_frames, data.num_frames),
      guidance=chosen(guidance, preview.guidance),
      temperature=chosen(temperature, preview.temperature),
      top_p=chosen(top_p, preview.top_p),
      size=chosen(size, (data.height, data.width)),
      **others,
    )

  def program(self, sampling: SamplingConfig):
    """See `make_sample_program`."""
    return make_sample_program(self.family, sampling)


def sample_videos(
  program: Any,
  nets: dict[str, Any],
  conditions_nx: np.ndarray,
  *,
  sampling: SamplingConfig,
  first_index: int = 0,
  given: Bits | None = None,
) -> Iterator[np.ndarray]:
  """Yields one video per condition, in order, sampled batch by batch.

  The last batch is filled up, so that one program serves all.

  Args:
    program: from `make_sample_program`.
    nets: parameters of both networks.
    conditions_nx: class or prompt of each sample.
    sampling: seed and batch size.
    first_index: index of the first sample.
    given: bits of the first latent frames of every video, of a batch of one.

  Yields:
    uint8 THWc.
  """
  conditions_nx = np.asarray(conditions_nx, np.int32)
  count = len(conditions_nx)
  size = min(sampling.batch_size, max(count, 1))
  if given is not None:
    given = repeat_bits(given, size)
  for start in range(0, count, size):
    rows = np.arange(start, start + size)
    condition_bx = conditions_nx[np.minimum(rows, count - 1)]
    index_b = (rows + first_index).astype(np.uint32)
    seed = np.uint32(sampling.seed)
    video, _ = program(nets, condition_bx, index_b, seed, given)
    yield from to_host(video)[: count - start]


def check_continues(family: Family) -> None:
  """Raises ValueError where a video cannot go on from frames it is given."""
  if not family.is_causal:
    raise ValueError(
      f'plan={family.transformer.plan}: this generator makes all frames '
      'together and cannot go on from given ones; leave out --image, --video '
      'and --shots'
    )


def make_prompt_encoder(
  config: Any, transformer: TransformerConfig
) -> PromptEncoder | None:
  """What reads prompts for a generator; None where classes condition it.

  Args:
    config: a generator's resolved config.
    transformer: its transformer's shape.
  """
  if transformer.condition != Condition.TEXT:
    return None
  prompts = from_saved(PromptConfig, config, 'prompts')
  return PromptEncoder(prompts, transformer.prefix_length)


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
  raise ValueError(
    f'class {name!r} does not exist{hint}; there are: {_listed(classes)}'
  )


def _listed(classes: Sequence[str]) -> str:
  return ', '.join(classes[:20]) + (', …' if len(classes) > 20 else '')
