"""What an evaluation was computed from and with, for its result file."""

import jax

from videoar_jax.evaluate import (
  baselines,
  draws,
  i3d,
  protocols,
  provenance,
)
from videoar_jax.evaluate.request import SAVED, Request
from videoar_jax.evaluate.task import Task


def bit_counts(task: Task, drawn: draws.Drawn) -> baselines.BitCounts:
  """How often the bits of a draw's real clips are ones."""
  return baselines.BitCounts.of(
    drawn.rows[draws.ONES],
    scales=task.scales,
    latent_frames=task.tokenizer.latent_frames(task.data.num_frames),
  )


def code_facts(task: Task, counts: baselines.BitCounts) -> dict:
  """Numbers of bits, and the entropy of these."""
  data, bits = task.data, task.bits_per_clip
  entropies = counts.entropies()
  return {
    'bits_per_clip': bits,
    'bits_per_pixel': bits / (data.num_frames * data.height * data.width),
    'bit_entropy': [float(entropy_q.mean()) for entropy_q in entropies],
    'bit_entropy_least': [float(entropy_q.min()) for entropy_q in entropies],
    'scales': [list(scale) for scale in task.scales],
  }


def all_facts(
  request: Request, task: Task, model: i3d.I3D | None, first: draws.Drawn
) -> dict:
  """What the figures were computed from and with."""
  loaded, protocol = task.loaded, task.protocol
  rules = protocols.describe(task.rules)
  own = {key: rules[key] for key in ('i3d', 'covariance')}
  tokenizer = loaded if task.paired else loaded.tokenizer
  seed = request.seed
  seeds = {'real': seed, 'fvd_inf': seed}
  if not task.paired:
    seeds['samples'] = seed
  if request.baselines:
    seeds['second real draw'] = seed + task.repeats
    seeds[baselines.RANDOM_BITS] = seed
  return {
    'fvd_skipped': model is None,
    'protocol': protocol.name
    if protocol
    else f'none: feature rules of {task.rules.name}',
    'rules': rules if protocol else own,
    'num_real': task.num_videos,
    'num_generated': task.num_videos,
    'frames': task.frames,
    'frames_coded': task.data.num_frames,
    'resolution': [task.data.height, task.data.width],
    'source': task.data.source,
    'split_file': task.data.split_file or None,
    'split': task.split.value,
    'videos_in_split': first.draw.videos_in_split,
    'videos_repeated': first.draw.videos_repeated,
    'videos_substituted': first.real.substituted,
    'videos_saved': min(SAVED, task.num_videos) if request.save else None,
    'checkpoint': str(request.checkpoint),
    'recipe': loaded.config.recipe,
    'step': loaded.step,
    'digest': loaded.digest,
    'tokenizer_digest': tokenizer.digests['autoencoder'],
    'guidance': task.sampling and task.sampling.guidance,
    'temperature': task.sampling and task.sampling.temperature,
    'top_p': task.sampling and task.sampling.top_p,
    'captions': task.data.captions or None,
    'batch_size': task.data.batch_size,
    'weights_sha256': model and model.sha256,
    'seeds': seeds,
    'device': jax.devices()[0].device_kind,
    'num_devices': task.mesh.size * jax.process_count(),
    'versions': provenance.versions(),
  }
