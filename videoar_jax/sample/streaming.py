"""Videos whose frames arrive while they are made, of any length.

A block of the plan at a time, which in VideoAR's is a latent frame: the rollout
goes on from its state, and the decoder from its own. With a window, neither
state grows.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from videoar_jax.core.compiler import jit
from videoar_jax.core.spread import on_mesh, put_batch, rounded
from videoar_jax.families.bits import Bits
from videoar_jax.rollout.bits import sample_keys
from videoar_jax.sample.program import Chosen, SamplingConfig, choose
from videoar_jax.sample.sampler import Generator, check_continues
from videoar_jax.tokenizer.autoencoder import to_uint8
from videoar_jax.tokenizer.stream import Codec


class VideoStream:
  """Samples videos a block at a time.

  Attributes:
    generator: networks and config.
    sampling: frames, guidance, temperature, seed and window of a video.
  """

  def __init__(self, generator: Generator, sampling: SamplingConfig):
    self.generator, self.sampling = generator, sampling
    self._chosen = choose(generator.family, sampling)
    self._begin, self._step = (
      on_mesh(program, generator.mesh) for program in _programs(self._chosen)
    )

  def video(
    self,
    condition_bx: np.ndarray,
    *,
    index_b: np.ndarray | None = None,
    given: Bits | None = None,
    shot: int = 0,
  ) -> Iterator[np.ndarray]:
    """Yields the frames of a batch of videos as soon as they are decoded.

    The bits are those of `sampler.sample_videos`, up to how sums are rounded.

    On a mesh the batch is filled up to what it splits.

    Args:
      condition_bx: class or prompt of each video.
      index_b: index of each video; None: counted from 0.
      given: bits of the first latent frames of every video; of a batch of one,
        or of all.
      shot: added to the seed, which begins at 0 again after 2**32 - 1.

    Yields:
      uint8 bTHWc; one frame for the first latent frame, then τ for each.
    """
    condition_bx = np.asarray(condition_bx, np.int32)
    nets, mesh = self.generator.nets, self.generator.mesh
    count = len(condition_bx)
    index_b = np.arange(count) if index_b is None else np.asarray(index_b)
    rows = np.minimum(np.arange(rounded(count, mesh)), count - 1)
    if given is not None:
      given = tuple(np.float32(x[rows % len(x)]) for x in given)
    num_given = given[0].shape[1] if given else 0
    condition_bx, index_b = put_batch(
      (condition_bx[rows], index_b[rows].astype(np.uint32)), mesh
    )
    seed = np.uint32((self.sampling.seed + shot) % 2**32)
    key_b = on_mesh(sample_keys, mesh)(seed, index_b)
    state, conv = self._begin(nets, condition_bx), None
    step, drawing = self._chosen.plan.block_frames, self._chosen.drawing
    for t in range(0, len(drawing.gamma_ts), step):
      own, block = None, slice(t, t + step)
      if t < num_given:
        own = put_batch(tuple(scale[:, block] for scale in given), mesh)
      state, conv, video = self._step(
        nets, state, conv, key_b, drawing.of(block), own
      )
      yield np.asarray(video)[:count]

  def shots(
    self,
    condition_bx: np.ndarray,
    *,
    num_shots: int,
    overlap: int,
    index_b: np.ndarray | None = None,
    given: Bits | None = None,
  ) -> Iterator[np.ndarray]:
    """Yields the frames of several shots, each going on from the one before.

    The last frames of a shot are encoded anew and are the first of the next
    one, where they are not shown again. Shot s draws with the seed plus s.

    Args:
      condition_bx: class or prompt of each video.
      num_shots: at least 1.
      overlap: pixel frames that two shots share, on the tokenizer's grid.
      index_b: index of each video; None: counted from 0.
      given: bits of the first shot's first latent frames.

    Yields:
      As `video`.

    Raises:
      ValueError: num_shots below 1, or an overlap off the grid or as long as
        a shot.
    """
    check_shots(self.generator, self.sampling, num_shots, overlap)
    tokenizer = Codec(
      self.generator.tokenizer, self.generator.nets['autoencoder']
    )
    for shot in range(num_shots):
      hidden, tail, is_last = (
        overlap if shot else 0,
        None,
        shot + 1 == num_shots,
      )
      for video in self.video(
        condition_bx, index_b=index_b, given=given, shot=shot
      ):
        if not is_last:
          seen = (
            video if tail is None else np.concatenate([tail, video], axis=1)
          )
          tail = seen[:, -overlap:]
        shown = video[:, hidden:]
        hidden -= video.shape[1] - shown.shape[1]
        if shown.shape[1]:
          yield shown
      if not is_last:
        given = tuple(tokenizer.encode(tail))


def check_shots(
  generator: Generator, sampling: SamplingConfig, num_shots: int, overlap: int
) -> None:
  """Raises the ValueErrors of `VideoStream.shots`."""
  if num_shots < 1:
    raise ValueError(f'num_shots={num_shots}: wanted at least 1')
  if num_shots > 1:
    check_continues(generator.family)
    generator.tokenizer.latent_frames(overlap)
    if overlap >= sampling.num_frames:
      raise ValueError(
        f'overlap={overlap}: a shot of {sampling.num_frames} frames would add '
        'none; share fewer'
      )


@functools.lru_cache(maxsize=8)
def _programs(chosen: Chosen) -> tuple[Callable, Callable]:
  """Compiled begin(nets, condition_bx), and a step of one block.

  Equal choices have the same.
  """

  family = chosen.family

  @jit
  def begin(nets, condition_bx):
    return family.begin(
      nets[family.net],
      plan=chosen.plan,
      condition_bx=condition_bx,
      guided=chosen.guided,
    )

  @jit(donate_argnums=(1, 2))
  def step(nets, state, conv, key_b, drawing, given):
    state, sampled = family.advance(
      nets[family.net],
      state,
      plan=chosen.plan,
      key_b=key_b,
      given=given,
      **drawing.arguments,
    )
    video, conv = family.autoencoder.apply(
      {'params': nets['autoencoder']},
      sampled.f_bthwd,
      conv,
      method='decode_chunk',
    )
    return state, conv, to_uint8(video)

  return begin, step
