"""Sampling: compile, first and steady time, bytes and operations; streams."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videoar_jax.benchmark import ceilings, process
from videoar_jax.core.compiler import jit
from videoar_jax.core.config import from_section
from videoar_jax.families.kinds import make_family
from videoar_jax.sample.program import Chosen, choose, sample_program
from videoar_jax.sample.sampler import Generator
from videoar_jax.sample.streaming import VideoStream
from videoar_jax.tokenizer import autoencoder
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.prefix import blank_condition

CLASSES = 101  # UCF-101's, where a config leaves it to the data
_POINTS = 100  # of the course of a stream


def measure_program(
  config: Any, tokenizer: Any, batch_size: int, cast: bool
) -> dict:
  """Times the program that samples whole videos, with made-up weights.

  Args:
    config: of a generator's run.
    tokenizer: section `tokenizer` of a tokenizer's run.
    batch_size: videos at a time.
    cast: whether the transformer's weights are brought to the dtype that they
      are used in beforehand, as commands do, or stay float32.

  Returns:
    `compile_s`; `first_s` and `steady_s` of a batch, the fastest of three;
    `rollout_s` and `decoder_s`, the same of its two parts alone;
    `videos_per_s`; `weight_bytes` of the transformer and `units`, how often
    they are read; `floor_s`, what that takes at the device's copy bandwidth;
    `flops` by the compiler, which counts what is inside a loop once, and the
    ceilings.
  """
  generator = made_up(config, tokenizer, cast=cast)
  sampling = generator.sampling(batch_size=batch_size)
  chosen = choose(generator.family, sampling)
  arguments = (
    generator.nets,
    blank_condition(generator.family.transformer, batch_size),
    np.arange(batch_size, dtype=np.uint32),
    np.uint32(0),
    chosen.drawing,
  )
  started = time.perf_counter()
  compiled = sample_program(chosen).lower(*arguments).compile()
  compile_s = time.perf_counter() - started
  started = time.perf_counter()
  _, sampled = jax.block_until_ready(compiled(*arguments))
  first_s = time.perf_counter() - started
  steady_s = ceilings.best_time(compiled, *arguments, repeats=3)
  most = ceilings.measure_ceilings(generator.family.transformer.dtype)
  weights = sum(
    x.nbytes for x in jax.tree.leaves(generator.nets[generator.family.net])
  )
  units = len(chosen.plan.units)
  cost = compiled.cost_analysis() or {}
  return {
    'batch_size': batch_size,
    'cast': cast,
    'compile_s': compile_s,
    'first_s': first_s,
    'steady_s': steady_s,
    **_parts(chosen, arguments, sampled.f_bthwd),
    'videos_per_s': batch_size / steady_s,
    'weight_bytes': weights,
    'units': units,
    'floor_s': units * weights / most['copy_bytes_per_s'],
    'flops': cost.get('flops'),
    **most,
    'peak_host_bytes': process.peak_host_bytes(),
    'peak_device_bytes': process.peak_device_bytes(),
  }


def _parts(chosen: Chosen, arguments: tuple, f_bthwd: jax.Array) -> dict:
  """Times of the rollout and of the decoder, each compiled alone."""

  roll = jit(lambda *arguments: chosen.roll(*arguments).bits)
  decode = jit(chosen.decode)
  return {
    'rollout_s': ceilings.best_time(roll, *arguments, repeats=3),
    'decoder_s': ceilings.best_time(decode, arguments[0], f_bthwd, repeats=3),
  }


def measure_stream(
  config: Any, tokenizer: Any, num_frames: int, window: int
) -> dict:
  """Times a stream of one long video, with made-up weights.

  Args:
    config: of a generator's run.
    tokenizer: section `tokenizer` of a tokenizer's run.
    num_frames: of the video.
    window: latent frames that a frame sees before its own.

  Returns:
    `first_s` until the first frame, with compilation; `course`, at about a
    hundred places [frame, milliseconds a frame since the place before, bytes
    of host memory held].
  """
  generator = made_up(config, tokenizer)
  sampling = generator.sampling(num_frames=num_frames, window=window)
  stream, started = VideoStream(generator, sampling), time.perf_counter()
  frames, course, since = 0, [], None
  first_s, every = None, max(1, num_frames // _POINTS)
  for video in stream.video(blank_condition(generator.family.transformer, 1)):
    frames += video.shape[1]
    now = time.perf_counter()
    if first_s is None:
      first_s = now - started
    if since is None or frames - since[0] >= every:
      # The first two pieces compile.
      if since is not None and since[0] > 1:
        spent = 1000 * (now - since[1]) / (frames - since[0])
        course.append([frames, spent, process.held_host_bytes()])
      since = (frames, now)
  return {
    'frames': num_frames,
    'window': window,
    'first_s': first_s,
    'course': course,
    'peak_host_bytes': process.peak_host_bytes(),
    'peak_device_bytes': process.peak_device_bytes(),
  }


def made_up(config: Any, tokenizer: Any, *, cast: bool = True) -> Generator:
  """A generator of a config's shapes whose weights are all alike.

  Args:
    config: of a generator's run.
    tokenizer: section `tokenizer` of a tokenizer's run.
    cast: see `measure_program`.
  """
  shape = from_section(TokenizerConfig, tokenizer)
  family = make_family(config, shape).without_remat.of_classes(CLASSES)
  shapes = {
    'autoencoder': autoencoder.param_shapes(shape),
    family.net: family.shapes(),
  }
  nets = jax.tree.map(lambda x: jnp.full(x.shape, 0.01, x.dtype), shapes)
  if cast:
    nets[family.net] = family.inference_params(nets[family.net])
  count = family.transformer.num_classes
  classes = tuple(f'class {i}' for i in range(count))
  return Generator(config, family, classes, nets)
