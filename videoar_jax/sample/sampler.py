"""A checkpoint as a function from labels and indices to videos."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from videoar_jax.core import fields, structure
from videoar_jax.core.config import from_saved
from videoar_jax.core.export import Loaded
from videoar_jax.core.placement import place_net, replicate, to_host
from videoar_jax.core.spread import on_mesh, put_batch, rounded
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
    mesh: of this process, over which the nets lie and videos are spread; None:
      the first device.
  """

  config: Any
  family: Family
  classes: tuple[str, ...]
  nets: dict[str, Any]
  prompts: PromptEncoder | None = None
  mesh: Mesh | None = None

  @classmethod
  def of(cls, loaded: Loaded, mesh: Mesh | None = None) -> 'Generator':
    """Takes apart what `load_weights` returned for a generator.

    Args:
      loaded: the weights, on the host; each goes straight to where it belongs.
      mesh: see the class.
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
      nets=_placed(nets, family, mesh),
      prompts=make_prompt_encoder(loaded.config, family.transformer),
      mesh=mesh,
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


def _placed(nets: dict[str, Any], family: Family, mesh: Mesh | None) -> Any:
  """Host arrays of both networks on the first device, or spread over a mesh.

  Each device holds the tokenizer whole: it is small beside the transformer,
  and a stream would gather it for every frame.
  """
  if mesh is None:
    return jax.device_put(nets)
  shapes = family.inference_shapes()
  return {
    'autoencoder': replicate(nets['autoencoder'], mesh),
    family.net: place_net(nets[family.net], shapes, mesh),
  }


def sample_videos(
  program: Any,
  nets: dict[str, Any],
  conditions_nx: np.ndarray,
  *,
  sampling: SamplingConfig,
  index_n: np.ndarray | None = None,
  given: Bits | None = None,
  mesh: Mesh | None = None,
) -> Iterator[np.ndarray]:
  """Yields one video per condition, in order, sampled batch by batch.

  The last batch is filled up, so that one program serves all.

  Args:
    program: from `make_sample_program`.
    nets: parameters of both networks.
    conditions_nx: class or prompt of each sample.
    sampling: seed and batch size, which is rounded up to what the mesh splits.
    index_n: index of each sample; None: counted from 0.
    given: bits of the first latent frames of every video, of a batch of one.
    mesh: that the nets lie on and the videos are spread over, of this process;
      None: as the nets lie.

  Yields:
    uint8 THWc.
  """
  conditions_nx = np.asarray(conditions_nx, np.int32)
  count = len(conditions_nx)
  index_n = np.arange(count) if index_n is None else np.asarray(index_n)
  size = rounded(min(sampling.batch_size, max(count, 1)), mesh)
  if given is not None:
    given = put_batch(repeat_bits(given, size), mesh)
  program, seed = on_mesh(program, mesh), np.uint32(sampling.seed)
  for start in range(0, count, size):
    rows = np.minimum(np.arange(start, start + size), count - 1)
    batch = conditions_nx[rows], index_n[rows].astype(np.uint32)
    video, _ = program(nets, *put_batch(batch, mesh), seed, given)
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
