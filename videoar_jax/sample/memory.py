"""What sampling takes at the least, held against the memory there is."""

import jax
import jax.numpy as jnp

from videoar_jax.core import archive
from videoar_jax.core.mesh import batch_ways
from videoar_jax.core.spread import rounded
from videoar_jax.sample.program import SamplingConfig
from videoar_jax.sample.sampler import Generator

_UNIT_BYTES = 400  # of Python's objects for a unit of the plan
_STRENGTH_BYTES = 16  # of a unit's strength of guidance, and what it is made of


def check_memory(
  generator: Generator,
  sampling: SamplingConfig,
  *,
  count: int,
  streamed: bool,
  kept: int | None = None,
) -> None:
  """Raises where what is asked for cannot fit, before any of it is made.

  Counts what grows with the request: the videos that are kept, the cache of
  keys and values, the units of the plan. What passes may still be too much.

  Args:
    generator: its shape, and the mesh that splits a batch.
    sampling: frames, size, batch and window.
    count: videos of this process.
    streamed: whether frames are written as they are made, and not kept.
    kept: videos that the host keeps at a time, where they are not streamed;
      None: all.
  Raises:
    ValueError: more than is free; frames or a size that the tokenizer has not.
  """
  tokenizer, transformer = generator.tokenizer, generator.family.transformer
  frames = tokenizer.latent_frames(sampling.num_frames)
  height, width = sampling.size or tokenizer.resolution
  scales = tokenizer.scales_for(height, width)
  batch = rounded(min(sampling.batch_size, count), generator.mesh)
  ways = 1 if generator.mesh is None else batch_ways(generator.mesh)
  seen = frames if sampling.window is None else min(frames, sampling.window + 1)
  tokens = seen * sum(h * w for h, w in scales)
  item = 2 * transformer.width * jnp.dtype(transformer.dtype).itemsize
  video = sampling.num_frames * height * width * 3
  device = batch * tokens * transformer.num_layers * item
  host = len(scales) * (seen * _UNIT_BYTES + frames * _STRENGTH_BYTES)
  if not streamed:
    device += batch * video * 4  # decoded, float32
    # One by one, and as one array.
    host += 2 * (count if kept is None else kept) * video
  try:
    _check(host, device, ways)
  except ValueError as error:
    advice = 'ask for fewer frames or videos'
    if not streamed:
      advice += ', or --stream them'
    elif sampling.window is None:
      advice += ', or give --window'
    raise ValueError(
      f'num_frames={sampling.num_frames}, {count} videos of {height}×{width}, '
      f'{batch} at a time: {error}; {advice}'
    ) from None


def _check(host: int, device: int, ways: int) -> None:
  """Holds bytes of the host, and of so many devices, against what is free."""
  stats = jax.local_devices()[0].memory_stats()
  if not stats or 'bytes_limit' not in stats:  # one memory for both
    archive.check_memory(host + device)
    return
  archive.check_memory(host)
  archive.check_memory(device // ways, free=stats['bytes_limit'])
