"""A trained generator in Python."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from videoar_jax.api import arguments
from videoar_jax.api.arguments import Condition, Path, Size
from videoar_jax.api.tokenizer import Tokenizer
from videoar_jax.api.videos import Videos
from videoar_jax.core import cache
from videoar_jax.core.export import load_weights
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.sample.given import read_given
from videoar_jax.sample.memory import check_memory
from videoar_jax.sample.program import SamplingConfig
from videoar_jax.sample.streaming import VideoStream
from videoar_jax.sample.wanted import Wanted, by_condition
from videoar_jax.tokenizer import stream as stream_lib
from videoar_jax.tokenizer.stream import Bits


def load(
  checkpoint: Path, *, ema: bool = True, mesh: str | None = None
) -> 'Model':
  """Loads a generator.

  Programs that are compiled for it are kept for later, as the commands do (see
  `core.cache`).

  Args:
    checkpoint: anything that `--checkpoint` takes: a run's folder, its
      checkpoints, one step of them, an export, or zoo:NAME.
    ema: averaged weights, or the last ones.
    mesh: sizes of the mesh of devices that the weights and videos are spread
      over, as `data=4,fsdp=2`; -1 takes the devices left over. None: the first
      device alone.
  Raises:
    ValueError: nothing to be trusted there, or no generator; a mesh that does
      not fit the devices.
  """
  cache.keep_programs()
  devices = arguments.mesh(mesh)
  loaded = load_weights(
    arguments.path('checkpoint', checkpoint), expect='generator', ema=ema
  )
  return Model(sampler_lib.Generator.of(loaded, devices), str(checkpoint))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
  """A trained generator.

  What a method does not set is as the generator was trained. The sampling
  arguments are those of `python -m videoar_jax.sample`:

    seed: decides each video, with its index.
    num_frames: of a video, 1 + 4k where time is coded in fours.
    guidance: a number, 'ucf', 'text', or 'start:end:within'.
    temperature: of the bits; 0 takes the likeliest.
    top_p: a bit with a value at least so likely takes it; 0.5 to 1.
    size: (height, width), where it was trained on several.

  Attributes:
    generator: the networks and their config.
    name: what it was loaded from.
  """

  generator: sampler_lib.Generator
  name: str = ''

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of the classes, in the order of their labels."""
    return self.generator.classes

  @property
  def reads_text(self) -> bool:
    """Whether prompts condition it; else classes alone."""
    return self.generator.prompts is not None

  @property
  def num_frames(self) -> int:
    """Frames of the clips that it was trained on."""
    return self.generator.sampling().num_frames

  @property
  def size(self) -> Size:
    """Height and width of these clips in pixels."""
    return self.generator.sampling().size

  @property
  def tokenizer(self) -> Tokenizer:
    """Its tokenizer."""
    return Tokenizer(self._tokenizer(), self.name)

  def __repr__(self) -> str:
    height, width = self.size
    reads = 'prompts' if self.reads_text else f'{len(self.classes)} classes'
    return f'<{self.name}: {reads}, {self.num_frames} frames {height}×{width}>'

  def sample(
    self,
    condition: Condition = None,
    *,
    num_videos: int | None = None,
    seed: int = 0,
    num_frames: int | None = None,
    guidance: float | str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    size: Size | None = None,
  ) -> Videos:
    """Samples videos.

    Args:
      condition: name of a class, its label, a prompt where prompts are read,
        or a sequence of these, which take turns; None: all classes.
      num_videos: in all; None: one of each.
      seed: see the class, as of the others.
    Returns:
      uint8 (num_videos, T, H, W, 3), with `labels`.
    Raises:
      ValueError: no such class; an argument out of its range; frames, a size
        or a prompt that the generator cannot do; or more than memory holds.
    """
    sampling = self._sampling(
      seed=seed,
      num_frames=num_frames,
      guidance=guidance,
      temperature=temperature,
      top_p=top_p,
      size=size,
    )
    return self._sample(self._wanted(condition, num_videos), sampling)

  def extend(
    self,
    video: Path | np.ndarray,
    condition: Condition = None,
    *,
    given_frames: int | None = None,
    num_videos: int | None = None,
    seed: int = 0,
    num_frames: int | None = None,
    guidance: float | str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    size: Size | None = None,
  ) -> Videos:
    """Goes on from the end of a video, or from a picture.

    Args:
      video: path of a picture or a video; or uint8 (T, H, W, 3). It is cropped
        and scaled as training clips are.
      condition: as for `sample`; each of them goes on in its own way.
      given_frames: last frames of the video to keep, 1 + 4k where time is
        coded in fours; None: all.
      num_videos: as for `sample`.
      seed: see the class, as of the others.
    Returns:
      uint8 (num_videos, T, H, W, 3): the kept frames, as the tokenizer codes
      them, and what follows; `num_frames` together.
    Raises:
      ValueError: as for `sample`; or the video cannot be read, or does not
        fit.
    """
    sampling = self._sampling(
      seed=seed,
      num_frames=num_frames,
      guidance=guidance,
      temperature=temperature,
      top_p=top_p,
      size=size,
    )
    wanted = self._wanted(condition, num_videos)
    given = self._given(video, given_frames, sampling)
    return self._sample(wanted, sampling, given)

  def stream(
    self,
    condition: Condition = None,
    *,
    video: Path | np.ndarray | None = None,
    given_frames: int | None = None,
    window: int | None = None,
    seed: int = 0,
    num_frames: int | None = None,
    guidance: float | str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    size: Size | None = None,
  ) -> Iterator[np.ndarray]:
    """Samples one video whose frames come while it is made.

    They are made as they are asked for. Once the iterator is closed, or
    dropped, what it held in memory is free.

    Args:
      condition: as for `sample`; None: the first class.
      video: to begin with, as for `extend`.
      given_frames: as for `extend`.
      window: latent frames that a frame sees before its own; None: all. With
        a window neither memory nor time of a frame grows.
      seed: see the class, as of the others.
    Returns:
      An iterator of uint8 (H, W, 3).
    Raises:
      ValueError: as for `extend`, before the first frame is asked for.
    """
    sampling = self._sampling(
      seed=seed,
      num_frames=num_frames,
      guidance=guidance,
      temperature=temperature,
      top_p=top_p,
      size=size,
      window=arguments.whole('window', window),
    )
    wanted = self._wanted(condition, 1)
    check_memory(self.generator, sampling, count=1, streamed=True)
    given = None
    if video is not None:
      given = self._given(video, given_frames, sampling)
    stream = VideoStream(self.generator, sampling)
    return _frames(stream.video(wanted.conditions_nx, given=given))

  def _wanted(self, condition: Condition, num_videos: int | None) -> Wanted:
    count = arguments.whole('num_videos', num_videos)
    return by_condition(self.generator, condition, count)

  def _sampling(self, **chosen: Any) -> SamplingConfig:
    """What was chosen, each of the kind that it must be."""
    for name in ('seed', 'num_frames'):
      chosen[name] = arguments.whole(name, chosen[name])
    for name in ('temperature', 'top_p'):
      chosen[name] = arguments.number(name, chosen[name])
    if chosen['guidance'] is not None:
      chosen['guidance'] = str(chosen['guidance'])
    chosen['size'] = arguments.size(chosen['size'])
    return self.generator.sampling(**chosen)

  def _sample(
    self,
    wanted: Wanted,
    sampling: SamplingConfig,
    given: Bits | None = None,
  ) -> Videos:
    count = len(wanted)
    check_memory(self.generator, sampling, count=count, streamed=False)
    videos = sampler_lib.sample_videos(
      self.generator.program(sampling),
      self.generator.nets,
      wanted.conditions_nx,
      sampling=sampling,
      given=given,
      mesh=self.generator.mesh,
    )
    return Videos(np.stack(list(videos)), wanted.names)

  def _given(
    self,
    video: Path | np.ndarray,
    count: int | None,
    sampling: SamplingConfig,
  ) -> Bits:
    """The bits of the frames that a video begins with."""
    sampler_lib.check_continues(self.generator.family)
    video_1THWc = read_given(
      video,
      self.generator.tokenizer,
      size=sampling.size,
      num_frames=sampling.num_frames,
      count=arguments.whole('given_frames', count),
    )
    return tuple(self._tokenizer().encode(video_1THWc))

  def _tokenizer(self) -> stream_lib.Codec:
    nets = self.generator.nets
    return stream_lib.Codec(self.generator.tokenizer, nets['autoencoder'])


def _frames(pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
  """The frames of a stream of one video, one by one."""
  for video_1THWc in pieces:
    yield from video_1THWc[0]
