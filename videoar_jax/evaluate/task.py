"""A request, resolved against its checkpoint and checked beforehand."""

import dataclasses
import functools
import math
from typing import Any

from jax.sharding import Mesh

from videoar_jax.core import archive, files, spread
from videoar_jax.core.config import from_saved
from videoar_jax.core.digest import text_digest
from videoar_jax.core.export import Loaded, load_weights
from videoar_jax.core.placement import replicate
from videoar_jax.data.config import DataConfig
from videoar_jax.data.kinds import parse_source
from videoar_jax.data.source import Source
from videoar_jax.evaluate import i3d, protocols
from videoar_jax.evaluate.request import NUM_VIDEOS, SAVED, SPLITS, Request
from videoar_jax.evaluate.rules import Split, Window
from videoar_jax.evaluate.windows import Draw, open_split
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.sample.program import SamplingConfig, choose
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import tokenizer_config

# Sets of a block that are in memory together: real clips, what is made of
# them, and copies on their way.
_SETS = 4


@dataclasses.dataclass(frozen=True)
class Work:
  """How many videos of a process are worked on together.

  Attributes:
    count: of this process's videos.
    batch: that are made by one call of a program, the last ones filled up.
    block: that are in memory: batches, as many as I3D takes at once.
  """

  count: int
  batch: int
  block: int

  @classmethod
  def of(cls, count: int, batch_size: int, mesh: Mesh) -> 'Work':
    batch = spread.rounded(min(batch_size, max(count, 1)), mesh)
    return cls(count, batch, -(-i3d.at_once(mesh) // batch) * batch)


@dataclasses.dataclass(frozen=True)
class Task:
  """A request, resolved against its checkpoint and checked.

  Attributes:
    loaded: the checkpoint.
    tokenizer: shape of its tokenizer, a generator's own.
    protocol: the named rules, or None.
    rules: the protocol, or the default one for its feature rules.
    data: source and size of the real clips, as they are coded.
    frames: that are measured of each video, the first ones.
    source: the real clips, see `open_split`.
    num_videos: N.
    repeats: draws.
    split: that real clips are of.
    mesh: of this process's devices, over which videos are spread.
    generator: for a generator's checkpoint.
    sampling: the same.
  """

  loaded: Loaded
  tokenizer: TokenizerConfig
  protocol: protocols.Protocol | None
  rules: protocols.Protocol
  data: DataConfig
  frames: int
  source: Source
  num_videos: int
  repeats: int
  split: Split
  mesh: Mesh
  generator: sampler_lib.Generator | None = None
  sampling: SamplingConfig | None = None

  @property
  def paired(self) -> bool:
    """Videos are reconstructions of the real clips, one of each."""
    return self.generator is None

  @functools.cached_property
  def autoencoder(self) -> Any:
    """Parameters of the tokenizer, a generator's own, on each device."""
    if self.generator is not None:
      return self.generator.nets['autoencoder']
    return replicate(self.loaded.nets['autoencoder'], self.mesh)

  @property
  def scales(self) -> tuple[tuple[int, int], ...]:
    """Sizes of a latent frame of the clips."""
    return self.tokenizer.scales_for(self.data.height, self.data.width)

  @property
  def bits_per_clip(self) -> int:
    """Bits that the tokenizer makes of a clip."""
    config = self.tokenizer
    tokens = sum(h * w for h, w in self.scales)
    latent_frames = config.latent_frames(self.data.num_frames)
    return latent_frames * tokens * config.latent_width

  @property
  def work(self) -> Work:
    """How this process's videos are worked off."""
    own = len(spread.own(self.num_videos))
    return Work.of(own, self.data.batch_size, self.mesh)

  def draw(self, seed: int) -> Draw:
    """The real clips that a seed draws."""
    share = self.data.max_bad_share
    return Draw(self.source, self.num_videos, seed, self.split, share)

  @functools.cached_property
  def identity(self) -> tuple | None:
    """All that decides the real clips but the seed, if that can be told."""
    data = self.data
    records = data.kind.identify(data.path, data)
    if records is None:
      return None
    captions = '' if self.generator is None else self._captions()
    return (
      *(data.kind.name, records, captions, self.split, self.rules.window),
      *(self.num_videos, data.num_frames, self.frames, data.frame_stride),
      *(data.height, data.width),
    )

  def _captions(self) -> str:
    """What of prompts may decide which clips serve."""
    if self.generator.prompts is None or not self.data.captions:
      return ''
    text = files.read_text(self.data.captions)
    return text_digest([text, repr(self.generator.prompts.config)])


def resolve(request: Request, loaded: Loaded | None = None) -> Task:
  """Loads the checkpoint and works out what is compared with what.

  Args:
    request: what is measured.
    loaded: its checkpoint, where it was read already.
  Raises:
    ValueError: no such checkpoint, or its tokenizer, the data, the protocol
      and the request do not fit each other.
  """
  protocol = (
    protocols.get_protocol(request.protocol) if request.protocol else None
  )
  loaded = loaded or load_weights(request.checkpoint)
  recipe = loaded.config.get('recipe')
  if recipe not in ('tokenizer', 'generator'):
    raise ValueError(
      f'{request.checkpoint} is a checkpoint of recipe {recipe!r}; wanted a '
      'tokenizer or a generator'
    )
  num_videos = _num_videos(request, protocol)
  mesh = spread.own_mesh(request.mesh, count=len(spread.own(num_videos)))
  generator = None
  if recipe == 'generator':
    generator = sampler_lib.Generator.of(loaded, mesh)
    tokenizer = generator.tokenizer
    _check_no_code(request)
  else:
    tokenizer = tokenizer_config(loaded)
    _check_no_sampling(request)
  own = from_saved(DataConfig, loaded.config, 'data')
  frames = _frames(request, own, tokenizer, protocol)
  coded = coded_frames(tokenizer, frames)
  _check_memory(request, mesh, num_videos, (coded, own.height, own.width))
  sampling = None
  if generator is not None:
    sampling = choose_sampling(request, generator, coded)
    choose(generator.family, sampling)
  rules = protocol or protocols.get_protocol(protocols.DEFAULT)
  data = _data(request, own, tokenizer, protocol, sampling, frames=coded)
  split = _split(request, protocol)
  task = Task(
    loaded=loaded,
    tokenizer=tokenizer,
    protocol=protocol,
    rules=rules,
    data=data,
    frames=frames,
    source=open_split(
      data,
      num_videos=num_videos,
      split=split,
      window=protocol.window if protocol else Window.RANDOM,
      prompts=generator and generator.prompts,
    ),
    num_videos=num_videos,
    repeats=_repeats(request, protocol),
    split=split,
    mesh=mesh,
    generator=generator,
    sampling=sampling,
  )
  _check_classes(task)
  return task


def _num_videos(request: Request, protocol) -> int:
  if protocol is not None:
    return protocol.num_videos
  return NUM_VIDEOS if request.num_videos is None else request.num_videos


def _repeats(request: Request, protocol) -> int:
  repeats = protocol.repeats if protocol is not None else request.repeats or 1
  if request.seed + repeats >= 2**32:
    raise ValueError(
      f'seed={request.seed}, repeats={repeats}: each repeat takes the next '
      'seed, and the last must be below 2**32; use a smaller seed'
    )
  return repeats


def _check_memory(
  request: Request, mesh: Mesh, num_videos: int, size: tuple[int, int, int]
) -> None:
  """Raises ValueError where a block of videos takes more than there is."""
  count = len(spread.own(num_videos))
  block = Work.of(count, request.batch_size, mesh).block
  held = min(block, count)
  if request.save is not None:
    held += min(SAVED, num_videos)
  shown = '×'.join(map(str, size))
  archive.check_memory(
    _SETS * held * math.prod((*size, 3)),
    f'videos of {shown}, {block} at a time; ask for fewer frames or a smaller '
    'batch_size',
  )


def choose_sampling(
  request: Request, generator: sampler_lib.Generator, frames: int
) -> SamplingConfig:
  """How a generator samples videos of so many frames."""
  return generator.sampling(
    num_frames=frames,
    guidance=request.guidance,
    temperature=request.temperature,
    top_p=request.top_p,
    seed=request.seed,
    batch_size=request.batch_size,
  )


def coded_frames(tokenizer: TokenizerConfig, frames: int) -> int:
  """The least frames that a tokenizer codes and that are at least so many."""
  factor = tokenizer.time_factor
  return 1 + -(-(frames - 1) // factor) * factor


def _check_no_code(request: Request) -> None:
  if request.h264:
    raise ValueError(
      f'h264=True: {request.checkpoint} is a generator, whose videos take no '
      'bits; leave h264 out, or give a tokenizer'
    )


def _check_no_sampling(request: Request) -> None:
  for name in ('guidance', 'temperature', 'top_p', 'captions'):
    value = getattr(request, name)
    if value is not None:
      raise ValueError(
        f'{name}={value}: {request.checkpoint} is a tokenizer, which samples '
        f'nothing; leave {name} out, or give a generator'
      )


def _frames(request: Request, own: DataConfig, tokenizer, protocol) -> int:
  """Frames of a video, checked against tokenizer, protocol and I3D."""
  frames = request.num_frames
  if protocol is not None:
    if frames not in (None, protocol.num_frames):
      raise ValueError(
        f'num_frames={frames}: protocol {protocol.name} wants '
        f'{protocol.num_frames}; leave one out'
      )
    return protocol.num_frames
  if frames is None:
    frames = own.num_frames
  tokenizer.latent_frames(frames)
  if request.fvd and frames < i3d.MIN_FRAMES:
    raise ValueError(
      f'num_frames={frames}: I3D, and so FVD, needs at least '
      f'{i3d.MIN_FRAMES}; use more, or --nofvd'
    )
  return frames


def _split(request: Request, protocol) -> Split:
  if protocol is None:
    return Split(request.split or SPLITS[0])
  if request.split not in (None, protocol.split.value):
    raise ValueError(
      f'split={request.split!r}: protocol {protocol.name} draws from '
      f'{protocol.split.value}; leave one out'
    )
  return protocol.split


def _data(
  request: Request,
  own: DataConfig,
  tokenizer,
  protocol,
  sampling,
  *,
  frames: int,
) -> DataConfig:
  """Source and size of the real clips; clips are never mirrored."""
  source = own.source if request.data is None else request.data
  kind, _ = parse_source(source)
  if kind.features:
    raise ValueError(
      f'data={source!r} holds features, not videos; pass --data=folder:PATH '
      'or --data=array_record:PATH with the videos they were made of'
    )
  side = sampling.size if sampling else tokenizer.resolution
  stride = 1 if kind.rendered else own.frame_stride
  if protocol is not None:
    if (protocol.resolution,) * 2 != side:
      raise ValueError(
        f'protocol {protocol.name} wants {protocol.resolution}×'
        f'{protocol.resolution} pixels, the checkpoint makes '
        f'{side[0]}×{side[1]}; take another protocol, or none'
      )
    stride = protocol.frame_stride
  return DataConfig(
    source=source,
    split_file=request.split_file
    or (own.split_file if source == own.source else ''),
    batch_size=request.batch_size,
    num_frames=frames,
    height=side[0],
    width=side[1],
    frame_stride=stride,
    max_bad_share=own.max_bad_share,
    captions=own.captions if request.captions is None else request.captions,
  )


def _check_classes(task: Task) -> None:
  """Raises ValueError where a generator does not know the classes."""
  generator, protocol = task.generator, task.protocol
  classes = tuple(task.source.classes)
  if generator is None or classes == generator.classes:
    return
  uniform = protocol and protocol.labels is protocols.Labels.UNIFORM
  if generator.prompts is not None and not uniform:
    return  # prompts come with the clips
  raise ValueError(
    f'{task.data.source} has the classes {_some(classes)}; the generator was '
    f'trained on {_some(task.generator.classes)}; pass --data with those'
  )


def _some(names: tuple[str, ...]) -> str:
  more = f', … ({len(names)} in all)' if len(names) > 8 else ''
  return ', '.join(names[:8]) + more
