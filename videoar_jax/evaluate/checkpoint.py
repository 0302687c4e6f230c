"""A checkpoint to one dictionary of metrics.

A tokenizer is measured by its reconstructions of real clips (rFVD, PSNR,
SSIM), a generator by its samples (gFVD); on the built-in moving shapes both
also by the motion that the videos show. Averaged weights are measured.
"""

import dataclasses

import numpy as np
from etils import epath

from videoar_jax import media
from videoar_jax.core import files, processes, spread
from videoar_jax.evaluate import (
  baselines,
  compare,
  facts,
  further,
  h264,
  kept,
  motion,
  protocols,
)
from videoar_jax.evaluate.measure import (
  Measure,
  draw,
  empty_videos,
  find_baselines,
  load_i3d,
  reconstruct,
)
from videoar_jax.evaluate.request import (
  Request,
  Task,
  resolve,
)
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.windows import Windows, check_splits

_DISTANCES = ('fvd', 'fvd_inf', 'kvd', 'kvd_stderr', 'paired', 'halves')
_SHEET_VIDEOS = 16  # more rows do not fit a picture


def evaluate_checkpoint(request: Request) -> dict:
  """Measures a checkpoint.

  Returns:
    Plain values, for JSON. `fvd`, `fvd_inf`, `kvd`, `kvd_stderr`, `halves`
    (see `baselines.distances`; all null without I3D), the first also as
    `rfvd` or `gfvd`. Of a tokenizer: `psnr`, `ssim`, `identical_frames`,
    `bits_per_clip`, `bits_per_pixel`, `bit_entropy` and `bit_entropy_least` by
    scale. Of moving shapes: `class_accuracy` and `class_accuracy_real`, each
    also by class. `baselines` by name, and `h264` (see `Request`); then what
    they were computed from and with.
  Raises:
    ValueError: no such checkpoint; protocol, frames, data and checkpoint do
      not fit; the split is too small; the weights of I3D are missing.
  """
  stages = Stages()
  with stages.timed('load'):
    save = request.save and files.output_folder(request.save)
    task = resolve(request)
    _check_measurable(request, task)
    model = load_i3d(request, task)
  real = draw(task, stages, seed=request.seed, name='real clips')
  labels_n, counts = real.labels_n, None
  if task.paired:
    videos, counts = reconstruct(task, real.videos_nTHWc, stages)
    counts = counts.of_all()
  else:
    labels_n, conditions_nx = _wanted(task, real)
    videos = _sample(request, task, conditions_nx, stages)
  shown = {'reconstructed' if task.paired else 'generated': videos}
  if request.h264:
    shown['h264'], h264_bits = _code_h264(task, real, stages)
  if save is not None:
    with stages.timed('save'):
      _save(save, real, shown, labels_n)
  result = _named(task, dict.fromkeys(_DISTANCES))
  if model is not None:
    measure = Measure(request, task, model, real, stages)
    result = _by_features(
      request, task, measure, real, shown, labels_n, counts, stages
    )
  if task.paired:
    with stages.timed('pairs'):
      result |= _pairs(task, real, videos)
    result |= facts.code_facts(task, counts)
  if request.h264:
    with stages.timed('pairs: H.264'):
      pairs = _pairs(task, real, shown['h264'])
    figures = {**pairs, 'bits_per_clip': h264_bits}
    result['h264'] = result.get('h264', {}) | figures
  if task.data.kind.rendered and videos.shape[1] >= motion.MIN_FRAMES:
    with stages.timed('class accuracy'):
      result |= motion.class_accuracy(videos, labels_n)
      result |= motion.class_accuracy(
        real.videos_nTHWc, real.labels_n, suffix='_real'
      )
  result |= facts.all_facts(request, task, model, real)
  return {**result, 'seconds': stages.seconds}


def _check_measurable(request: Request, task: Task) -> None:
  """Raises ValueError where no figure could be computed."""
  if request.i3d_weights is not None and not request.fvd:
    raise ValueError(
      f'i3d_weights={request.i3d_weights} with fvd=False: nothing reads them; '
      'leave out one'
    )
  if request.memorisation and task.paired:
    raise ValueError(
      f'memorisation=True: {request.checkpoint} is a tokenizer, which samples '
      'nothing; leave memorisation out, or give a generator'
    )
  if request.probe or request.memorisation:
    check_splits(task.data, several_classes=request.probe)
  if request.fvd or task.paired:
    return
  if not task.data.kind.rendered:
    raise ValueError(
      f'fvd=False: nothing is left to measure of a generator on '
      f'{task.data.source}; leave out --nofvd, or use videoar_jax.sample'
    )
  if task.data.num_frames < motion.MIN_FRAMES:
    raise ValueError(
      f'num_frames={task.data.num_frames} with fvd=False: nothing is left to '
      f'measure, as motion takes {motion.MIN_FRAMES} frames; use more'
    )


def _by_features(
  request: Request,
  task: Task,
  measure: Measure,
  real: Windows,
  shown: dict[str, np.ndarray],
  labels_n: np.ndarray,
  counts: baselines.BitCounts | None,
  stages: Stages,
) -> dict:
  """The figures that I3D's features give."""
  videos, *_ = shown.values()
  own = measure.features('generated', videos, paired=task.paired)
  result = _named(task, measure.distances(own))
  result['i3d_classes'] = measure.classes_named(own.rows_nd, labels_n)
  result['i3d_classes_real'] = measure.classes_named(measure.real_nd)
  if request.baselines:
    others = find_baselines(request, task, real, counts, measure, stages)
    result['baselines'] = {
      name: measure.beside(own, other) for name, other in others.items()
    }
  if request.h264:
    coded = measure.features('H.264', shown['h264'], paired=True)
    result['h264'] = measure.beside(own, coded)
  if request.probe:
    result['probe'] = further.probe_figures(
      task, measure, stages, rows_nd=own.rows_nd, labels_n=labels_n
    )
  if request.memorisation:
    result['memorisation'] = further.memorisation_figures(
      request,
      task,
      measure,
      stages,
      rows_nd=own.rows_nd,
      videos_nTHWc=videos,
    )
  if request.intervals:
    result['between_groups'] = measure.between_groups()
  return result


def _wanted(task: Task, real: Windows) -> tuple[np.ndarray, np.ndarray]:
  """Class and condition of each sample; uniform: classes take turns."""
  generator = task.generator
  if task.protocol and task.protocol.labels is protocols.Labels.UNIFORM:
    labels_n = np.arange(task.num_videos) % len(generator.classes)
    return labels_n.astype(np.int32), generator.of_classes(labels_n)
  if real.prompts_nx is not None:
    return real.labels_n, real.prompts_nx
  return real.labels_n, generator.of_classes(real.labels_n)


def _sample(
  request: Request, task: Task, conditions_nx: np.ndarray, stages: Stages
) -> np.ndarray:
  """This process's share of the samples, one for each condition."""
  return kept.samples(
    task.generator,
    task.sampling,
    conditions_nx,
    stages,
    digest=f'{task.loaded.digest} {task.loaded.tokenizer.digest}',
    folder=request.parts,
  )


def _pairs(task: Task, real: Windows, other_nTHWc: np.ndarray) -> dict:
  """See `compare.compare_pairs`; of all processes' videos."""
  return compare.compare_pairs(
    real.videos_nTHWc, other_nTHWc, count=task.num_videos
  )


def _code_h264(
  task: Task, real: Windows, stages: Stages
) -> tuple[np.ndarray, float]:
  """Real clips through H.264 at the tokenizer's bits; the mean it took."""
  wanted, bits = facts.bits_per_clip(task), 0
  videos_nTHWc = empty_videos(task)
  with stages.counted('H.264', len(videos_nTHWc)) as progress:
    for i, clip_THWc in enumerate(real.videos_nTHWc):
      videos_nTHWc[i], count = h264.code_at(clip_THWc, wanted)
      bits += count
      progress.add(1)
  return videos_nTHWc, int(spread.total(bits)) / task.num_videos


def _named(task: Task, distances: dict) -> dict:
  """The main figures, FVD under its own name as well."""
  name = 'rfvd' if task.paired else 'gfvd'
  return {**distances, 'paired': task.paired, name: distances['fvd']}


def _save(
  folder: epath.Path, real: Windows, shown: dict[str, np.ndarray], labels_n
) -> None:
  """Writes videos.npz and contact_sheet.png; originals only beside copies.

  All processes' videos come together, and the first one writes them.
  """
  count = len(labels_n)
  real = dataclasses.replace(
    real, videos_nTHWc=spread.gather(real.videos_nTHWc, count)
  )
  shown = {name: spread.gather(x, count) for name, x in shown.items()}
  if not processes.is_first():
    return
  folder.mkdir(parents=True, exist_ok=True)
  with files.replacing(folder / 'videos.npz') as partial:
    np.savez(
      partial,
      real=real.videos_nTHWc,
      labels=labels_n,
      real_labels=real.labels_n,
      classes=np.asarray(real.classes),
      **shown,
    )
  if 'generated' not in shown:
    shown = {'original': real.videos_nTHWc, **shown}
  rows = [
    (videos_nTHWc[i], f'{real.classes[labels_n[i]]}, {name}')
    for i in range(min(len(labels_n), _SHEET_VIDEOS))
    for name, videos_nTHWc in shown.items()
  ]
  videos, labels = zip(*rows)
  media.write_contact_sheet(folder / 'contact_sheet.png', videos, labels=labels)
