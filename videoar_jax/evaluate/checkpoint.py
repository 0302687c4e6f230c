"""A checkpoint to one dictionary of metrics.

A tokenizer is measured by its reconstructions of real clips (rFVD, PSNR,
SSIM), a generator by its samples (gFVD); on the built-in moving shapes both
also by the motion that the videos show. Averaged weights are measured.
"""

import numpy as np

from videoar_jax.core import files, processes
from videoar_jax.core.export import Loaded
from videoar_jax.data.work import Progress
from videoar_jax.evaluate import (
  baselines,
  draws,
  facts,
  further,
  i3d,
  motion,
  pictures,
  repeats,
)
from videoar_jax.evaluate.draws import Asked, Drawn, Pass
from videoar_jax.evaluate.measure import (
  Measure,
  find_baselines,
  load_i3d,
  random_bits,
)
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.task import Task, resolve
from videoar_jax.evaluate.windows import check_splits

_DISTANCES = ('fvd', 'fvd_inf', 'kvd', 'kvd_stderr', 'paired', 'halves')


def evaluate_checkpoint(request: Request, loaded: Loaded | None = None) -> dict:
  """Measures a checkpoint.

  Args:
    request: what is measured.
    loaded: its checkpoint, where it was read already.
  Returns:
    Plain values, for JSON. `fvd`, `fvd_inf`, `kvd`, `kvd_stderr`, `halves`
    (see `baselines.distances`; all null without I3D), the first also as
    `rfvd` or `gfvd`. Of a tokenizer: `psnr`, `ssim`, `identical_frames`,
    `bits_per_clip`, `bits_per_pixel`, `bit_entropy` and `bit_entropy_least` by
    scale. Of moving shapes: `class_accuracy` and `class_accuracy_real`, each
    also by class. `baselines` by name, and `h264` (see `Request`). `repeats`,
    the figures of each draw, of which those above are means (see `repeats`);
    then what they were computed from and with.
  Raises:
    ValueError: no such checkpoint; protocol, frames, data and checkpoint do
      not fit; the split is too small; the weights of I3D are missing.
  """
  stages = Stages()
  with stages.timed('load'):
    save = request.save and files.output_folder(request.save)
    task = resolve(request, loaded)
    _check_measurable(request, task)
    model = load_i3d(request, task)
  work = _Work(request, task, model, stages)
  with stages.counted('videos', work.total) as progress:
    first, found = work.draws(progress)
    beside = work.beside(first, progress)
  if save is not None and processes.is_first():
    with stages.timed('save'):
      pictures.save_videos(save, task, first)
  result = dict(found[0])
  if model is not None:
    measure = Measure(request, task, model, first, stages)
    result |= _by_features(request, task, measure, beside, stages)
  if task.paired:
    result |= facts.code_facts(task, facts.bit_counts(task, first))
  if request.h264:
    result['h264'] = result.get('h264', {}) | {
      **first.pairs(draws.H264),
      'bits_per_clip': int(first.rows[draws.BITS].sum()) / task.num_videos,
    }
  result |= facts.all_facts(request, task, model, first)
  result = repeats.combined(result, found)
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
  if not draws.has_motion(task):
    raise ValueError(
      f'num_frames={task.frames} with fvd=False: nothing is left to '
      f'measure, as motion takes {motion.MIN_FRAMES} frames; use more'
    )


class _Work:
  """The videos of an evaluation, draw by draw."""

  def __init__(
    self,
    request: Request,
    task: Task,
    model: i3d.I3D | None,
    stages: Stages,
  ):
    self._request, self._task = request, task
    self._model, self._stages = model, stages

  @property
  def total(self) -> int:
    """Videos, or pairs of them, that this process works through."""
    others = 2 if self._request.baselines else 0
    return self._task.work.count * (self._task.repeats + others)

  def draws(self, progress: Progress) -> tuple[Drawn, list[dict]]:
    """The first draw, and the figures of all of them."""
    first, found = None, []
    for number in range(self._task.repeats):
      asked = Asked() if number else Asked.by(self._request)
      drawn = self._draw(number, asked, progress)
      with self._stages.spent('distances'):
        found.append(self._figures(drawn))
      first = first or drawn
    return first, found

  def beside(
    self, first: Drawn, progress: Progress
  ) -> tuple[Drawn, np.ndarray] | None:
    """What baselines need: a draw more, and features of random bits."""
    if not self._request.baselines:
      return None
    second = self._draw(self._task.repeats, Asked(own=False), progress)
    bits_nd = random_bits(
      self._request,
      self._task,
      self._model,
      facts.bit_counts(self._task, first),
      self._stages,
      progress,
    )
    return second, bits_nd

  def _draw(self, number: int, asked: Asked, progress: Progress) -> Drawn:
    seed = self._request.seed + number
    work = Pass(
      self._request,
      self._task,
      self._model,
      self._stages,
      seed=seed,
      asked=asked,
    )
    return work.run(progress)

  def _figures(self, drawn: Drawn) -> dict:
    """The figures that each draw has, and those only the first one tells."""
    task, found = self._task, dict.fromkeys(_DISTANCES)
    if self._model is not None:
      found = baselines.distances(
        drawn.real.rows_nd,
        baselines.Features(drawn.rows[draws.OWN], paired=task.paired),
        covariance=task.rules.covariance,
        seed=drawn.draw.seed,
      )
    name = 'rfvd' if task.paired else 'gfvd'
    found |= {
      'seed': drawn.draw.seed,
      'paired': task.paired,
      'videos_substituted': drawn.real.substituted,
      name: found['fvd'],
    }
    if task.paired:
      found |= drawn.pairs(draws.OWN)
    if draws.has_motion(task):
      found |= motion.class_accuracy(drawn.motion(draws.OWN), drawn.wanted_n)
      found |= motion.class_accuracy(
        drawn.motion(draws.REAL), drawn.real.labels_n, suffix='_real'
      )
    return found


def _by_features(
  request: Request,
  task: Task,
  measure: Measure,
  beside: tuple[Drawn, np.ndarray] | None,
  stages: Stages,
) -> dict:
  """The figures of the first draw that I3D's features give."""
  first = measure.first
  own = measure.features(draws.OWN, paired=task.paired)
  result = {
    'i3d_classes': measure.classes_named(own.rows_nd, first.wanted_n),
    'i3d_classes_real': measure.classes_named(measure.real_nd),
  }
  if request.intervals:
    result['intervals'] = measure.intervals(own)
  if beside is not None:
    others = find_baselines(request, task, measure, *beside)
    with stages.timed('baselines'):
      result['baselines'] = {
        name: measure.beside(own, other) for name, other in others.items()
      }
  if request.h264:
    coded = measure.features(draws.H264, paired=True)
    result['h264'] = measure.beside(own, coded)
  if request.probe:
    result['probe'] = further.probe_figures(
      task, measure, stages, rows_nd=own.rows_nd, labels_n=first.wanted_n
    )
  if request.memorisation:
    result['memorisation'] = further.memorisation_figures(
      request, task, measure, stages
    )
  if request.intervals:
    result['between_groups'] = measure.between_groups()
  return result
