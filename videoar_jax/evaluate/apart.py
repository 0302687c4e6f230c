"""Real clips measured on one machine, a generator's samples on another.

What goes from one to the other is a file of features (see `real_features`):
samples are drawn without the data, and no file of a video is needed.
"""

import dataclasses

import jax
import numpy as np

from videoar_jax.core import spread
from videoar_jax.core.export import load_weights
from videoar_jax.data.work import Progress
from videoar_jax.evaluate import (
  baselines,
  i3d,
  kept,
  provenance,
  repeats,
)
from videoar_jax.evaluate.draws import Asked, Pass
from videoar_jax.evaluate.makers import Samples
from videoar_jax.evaluate.measure import load_i3d
from videoar_jax.evaluate.real_features import RealFeatures
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.rules import Labels
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.task import (
  Work,
  choose_sampling,
  coded_frames,
  resolve,
)
from videoar_jax.sample import sampler as sampler_lib


def measure_real(request: Request) -> list[RealFeatures]:
  """Draws the clips that an evaluation of a checkpoint would, for I3D.

  Returns:
    The features of each draw.
  Raises:
    ValueError: see `checkpoint.evaluate_checkpoint`.
  """
  task, stages = resolve(request), Stages()
  model = load_i3d(request, task)
  found = []
  total = task.work.count * task.repeats
  with stages.counted('real clips', total) as progress:
    for number in range(task.repeats):
      work = Pass(
        request,
        task,
        model,
        stages,
        seed=request.seed + number,
        asked=Asked(own=False),
      )
      found.append(work.run(progress).real)
  return found


def measure_samples(request: Request, real: list[RealFeatures]) -> dict:
  """gFVD of a generator: one sample for each real clip.

  Args:
    request: checkpoint, guidance, temperature, top_p, seed, batch_size and
      i3d_weights are read.
    real: of the real clips of each draw.

  Returns:
    Plain values, for JSON: the distances of `baselines.distances` and `gfvd`,
    means over the draws (see `repeats`), and what they were computed from and
    with.

  Raises:
    ValueError: no generator, one that reads prompts, of other classes or
      another size; other weights of I3D.
  """
  stages, first = Stages(), real[0]
  loaded = load_weights(request.checkpoint, expect='generator')
  count = len(spread.own(len(first.labels_n)))
  mesh = spread.own_mesh(request.mesh, count=count)
  generator = sampler_lib.Generator.of(loaded, mesh)
  coded = coded_frames(generator.tokenizer, first.about['frames'])
  chosen = choose_sampling(request, generator, coded)
  _check_fit(request, generator, chosen, first)
  model = i3d.load_i3d(first.rules.i3d, path=request.i3d_weights, mesh=mesh)
  if model.sha256 != first.about['weights_sha256']:
    raise ValueError(
      f'features by I3D {first.about["weights_sha256"]}, here is '
      f'{model.sha256}; use the same weights for both'
    )
  work, figures = Work.of(count, request.batch_size, mesh), []
  with stages.counted('videos', count * len(real)) as progress:
    for number, draw in enumerate(real):
      seed = request.seed + number
      sampling = dataclasses.replace(chosen, seed=seed)
      samples = Samples(generator, sampling, work)
      key = f'{loaded.digest} {loaded.tokenizer.digest}'
      rows_nd = _features(
        request, samples, draw, model, stages, progress, key=key
      )
      distances = baselines.distances(
        draw.rows_nd,
        baselines.Features(rows_nd, paired=False),
        covariance=draw.rules.covariance,
        seed=seed,
      )
      figures.append({**distances, 'seed': seed, 'gfvd': distances['fvd']})
  return {
    **repeats.combined(figures[0], figures),
    'num_videos': len(first.labels_n),
    'real': first.about,
    'checkpoint': str(request.checkpoint),
    'step': loaded.step,
    'digest': loaded.digest,
    'tokenizer_digest': loaded.tokenizer.digests['autoencoder'],
    'guidance': chosen.guidance,
    'temperature': chosen.temperature,
    'top_p': chosen.top_p,
    'seed': request.seed,
    'device': jax.devices()[0].device_kind,
    'num_devices': mesh.size * jax.process_count(),
    'versions': provenance.versions(),
    'seconds': stages.seconds,
  }


def _features(
  request: Request,
  samples: Samples,
  real: RealFeatures,
  model: i3d.I3D,
  stages: Stages,
  progress: Progress,
  *,
  key: str,
) -> np.ndarray:
  """I3D's features of the samples of a draw, of all processes."""
  count, block = len(real.labels_n), samples.work.block
  own_n, frames = spread.own(count), real.about['frames']
  labels_n = real.labels_n
  if real.rules.labels is Labels.UNIFORM:
    labels_n = np.arange(count) % len(real.about['classes'])

  def chunks(start: int):
    for begin in range(start, len(own_n), block):
      index_n = own_n[begin : begin + block]
      conditions_nx = samples.generator.of_classes(labels_n[index_n])
      with stages.spent('sampling'):
        videos = samples.make(index_n, conditions_nx)[:, :frames]
      with stages.spent('I3D: samples'):
        yield len(index_n), {'rows': i3d.logits(model, videos)}

  rows = kept.collect(
    chunks,
    count=len(own_n),
    folder=request.parts,
    key=kept.key_of(
      (provenance.versions(), kept.device_facts(), key),
      (jax.process_index(), jax.process_count(), frames),
      (samples.sampling, model.sha256, real.rules.i3d),
      labels_n,
    ),
    needed=('rows',),
    progress=progress,
  )
  return spread.gather(rows['rows'], count)


def _check_fit(
  request: Request, generator, sampling, real: RealFeatures
) -> None:
  """Raises a ValueError where a generator cannot be held against features."""
  if generator.prompts is not None:
    raise ValueError(
      f'{request.checkpoint} reads prompts, which features do not hold; '
      'measure it with the clips: evaluate --checkpoint --data'
    )
  classes = tuple(real.about['classes'])
  if generator.classes != classes:
    raise ValueError(
      f'{request.checkpoint} was trained on the classes '
      f'{", ".join(generator.classes[:8])}; the features are of '
      f'{", ".join(classes[:8])}; make them of its data'
    )
  if list(sampling.size) != real.about['resolution']:
    raise ValueError(
      f'{request.checkpoint} makes {sampling.size[0]}×{sampling.size[1]} '
      f'pixels, the features are of {real.about["resolution"]}; make them '
      'for this checkpoint'
    )
