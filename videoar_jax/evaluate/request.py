"""What of a checkpoint is to be measured, resolved and checked beforehand."""

import dataclasses
import functools
import os
from typing import Annotated, Any

from etils import epath
from jax.sharding import Mesh

from videoar_jax.core import archive, fields, spread
from videoar_jax.core.config import from_saved
from videoar_jax.core.export import Loaded, load_weights
from videoar_jax.core.mesh import MeshConfig
from videoar_jax.core.placement import replicate
from videoar_jax.data.config import DataConfig
from videoar_jax.data.kinds import parse_source
from videoar_jax.evaluate import i3d, protocols
from videoar_jax.evaluate.windows import open_split
from videoar_jax.rollout.bits import Temperature, TopP
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.sample.program import SamplingConfig, choose
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.features import tokenizer_config

SPLITS = ('train', 'validation')
NUM_VIDEOS = 256
TRAIN_WINDOWS = 512
_LAST_SEED = 2**32 - 2  # the second draw of real clips takes the next


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What is to be measured, and how.

  Attributes:
    checkpoint: whatever `--checkpoint` takes, of a tokenizer or a generator.
    data: source of the real clips as in `DataConfig`, no `features:`; None
      takes the checkpoint's own.
    split_file: official list of training videos of a folder; '' takes the
      checkpoint's own where the source is its own.
    protocol: name of the rules; None takes the default protocol's feature
      rules, and the counts below.
    num_videos: N, of each set; None for 256. A protocol brings its own.
    num_frames: frames of a video; None takes the protocol's or the config's.
    split: 'train' or 'validation'; None takes the protocol's, or train.
    seed: of windows, samples and sub-samples; 0 <= seed < 2**32 - 1.
    guidance: of a generator; None takes its config's.
    temperature: of a generator; None takes its config's.
    top_p: of a generator; None takes its config's.
    captions: of a generator that reads prompts: their file, '' for prompts of
      the classes; None takes the checkpoint's own.
    batch_size: videos at a time; has no influence on what a video is.
    fvd: False leaves out I3D, and so every distance between sets.
    baselines: adds the distances of `baselines`.
    h264: of a tokenizer; adds the same clips as H.264 at the same number of
      bits (see `h264`).
    probe: adds how often a linear probe on I3D's features names the class (see
      `probe`).
    memorisation: of a generator; adds how near its samples come to training
      clips (see `memorisation`).
    intervals: adds 95% intervals by a bootstrap over clips, and real against
      real where both are of other groups of clips.
    train_windows: disjoint windows of training clips that the last three take,
      in all.
    i3d_weights: an I3D weight file instead of the package's.
    save: folder for the videos and a contact sheet of them; None saves none.
    pictures: folder for the picture of `memorisation` where `save` is None.
    mesh: sizes of the mesh of each process's devices; None: see
      `spread.own_mesh`.
    parts: folder that keeps samples and features until the result is written,
      for an evaluation that is cut short; None keeps none.
  """

  checkpoint: str
  data: str | None = None
  split_file: str = ''
  protocol: str | None = None
  num_videos: fields.Count | None = None
  num_frames: fields.Size | None = None
  split: Annotated[str, fields.Choice(SPLITS)] | None = None
  seed: Annotated[int, fields.Range(least=0, most=_LAST_SEED)] = 0
  guidance: str | None = None
  temperature: Temperature | None = None
  top_p: TopP | None = None
  captions: str | None = None
  batch_size: fields.Size = 8
  fvd: bool = True
  baselines: bool = False
  h264: bool = False
  probe: bool = False
  memorisation: bool = False
  intervals: bool = False
  train_windows: Annotated[int, fields.Range(least=8)] = TRAIN_WINDOWS
  i3d_weights: str | None = None
  save: str | os.PathLike | None = None
  pictures: str | os.PathLike | None = None
  mesh: MeshConfig | None = None
  parts: epath.Path | None = None

  def __post_init__(self):
    fields.check(self)
    if self.protocol is not None and self.num_videos is not None:
      raise ValueError(
        f'num_videos={self.num_videos} with protocol={self.protocol}: figures '
        'of different N do not compare, so the protocol decides; leave out one'
      )
    for name in ('baselines', 'probe', 'memorisation', 'intervals'):
      if getattr(self, name) and not self.fvd:
        raise ValueError(
          f'{name}=True with fvd=False: {name} takes features of I3D; leave '
          'out one'
        )


@dataclasses.dataclass(frozen=True)
class Task:
  """A request, resolved against its checkpoint and checked.

  Attributes:
    loaded: the checkpoint.
    tokenizer: shape of its tokenizer, a generator's own.
    protocol: the named rules, or None.
    rules: the protocol, or the default one for its feature rules.
    data: source and size of the real clips.
    num_videos: N.
    split: one of `SPLITS`.
    mesh: of this process's devices, over which videos are spread.
    generator: for a generator's checkpoint.
    sampling: the same.
  """

  loaded: Loaded
  tokenizer: TokenizerConfig
  protocol: protocols.Protocol | None
  rules: protocols.Protocol
  data: DataConfig
  num_videos: int
  split: str
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
  def train(self) -> bool:
    return self.split == 'train'


def resolve(request: Request) -> Task:
  """Loads the checkpoint and works out what is compared with what.

  Raises:
    ValueError: no such checkpoint, or its tokenizer, the data, the protocol
      and the request do not fit each other.
  """
  protocol = (
    protocols.get_protocol(request.protocol) if request.protocol else None
  )
  loaded = load_weights(request.checkpoint)
  recipe = loaded.config.get('recipe')
  if recipe not in ('tokenizer', 'generator'):
    raise ValueError(
      f'{request.checkpoint} is a checkpoint of recipe {recipe!r}; wanted a '
      'tokenizer or a generator'
    )
  count = len(spread.own(_num_videos(request, protocol)))
  mesh = spread.own_mesh(request.mesh, count=count)
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
  _check_memory(request, protocol, own, frames)
  sampling = None
  if generator is not None:
    sampling = generator.sampling(
      num_frames=frames,
      guidance=request.guidance,
      temperature=request.temperature,
      top_p=request.top_p,
      seed=request.seed,
      batch_size=request.batch_size,
    )
    choose(generator.family, sampling)
  task = Task(
    loaded=loaded,
    tokenizer=tokenizer,
    protocol=protocol,
    rules=protocol or protocols.get_protocol(protocols.DEFAULT),
    data=_data(request, own, tokenizer, protocol, sampling, frames=frames),
    num_videos=_num_videos(request, protocol),
    split=_split(request, protocol),
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


def _check_memory(request: Request, protocol, own: DataConfig, frames) -> None:
  """Raises ValueError where two sets of videos take more than there is."""
  num_videos, free = _num_videos(request, protocol), archive.free_memory()
  wanted = 2 * len(spread.own(num_videos)) * frames * own.height * own.width * 3
  if wanted > free:
    raise ValueError(
      f'num_videos={num_videos} of {frames} frames: real and generated ones '
      f'take {wanted / 1e9:.0f} GB of memory, {free / 1e9:.0f} are free; ask '
      'for less'
    )


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
  frames, of = request.num_frames, ''
  if protocol is not None:
    if frames not in (None, protocol.num_frames):
      raise ValueError(
        f'num_frames={frames}: protocol {protocol.name} wants '
        f'{protocol.num_frames}; leave one out'
      )
    frames, of = protocol.num_frames, f'protocol {protocol.name}: '
  if frames is None:
    frames = own.num_frames
  try:
    tokenizer.latent_frames(frames)
  except ValueError as error:
    raise ValueError(f'{of}{error}') from None
  if request.fvd and frames < i3d.MIN_FRAMES:
    raise ValueError(
      f'num_frames={frames}: I3D, and so FVD, needs at least '
      f'{i3d.MIN_FRAMES}; use more, or --nofvd'
    )
  return frames


def _split(request: Request, protocol) -> str:
  if protocol is None:
    return request.split or SPLITS[0]
  own = protocol.split.value
  if own not in SPLITS:
    raise ValueError(
      f'protocol {protocol.name} draws from {own}, here one '
      'split is drawn; write both sets yourself and compare them with --real '
      'and --generated'
    )
  if request.split not in (None, own):
    raise ValueError(
      f'split={request.split!r}: protocol {protocol.name} draws from {own}; '
      'leave one out'
    )
  return own


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
    if protocol.window is not protocols.Window.RANDOM:
      raise ValueError(
        f'protocol {protocol.name} takes {protocol.window.value} windows, here '
        'random ones are drawn; write both sets yourself and compare them '
        'with --real and --generated'
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
  """The split is large enough, and a generator knows its classes."""
  generator, protocol = task.generator, task.protocol
  source = open_split(
    task.data,
    num_videos=task.num_videos,
    train=task.train,
    prompts=generator and generator.prompts,
  )
  classes = tuple(source.classes)
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
