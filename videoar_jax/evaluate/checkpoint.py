"""A checkpoint to one dictionary of metrics.

A tokenizer is measured by its reconstructions of real clips (rFVD, PSNR,
SSIM), a generator by its samples (gFVD); on the built-in moving shapes both
also by the motion that the videos show. Averaged weights are measured.
"""

import pathlib

import jax
import numpy as np

from videoar_jax import media
from videoar_jax.core import files
from videoar_jax.core.pretrained import MissingWeightsError
from videoar_jax.evaluate import (
  baselines,
  compare,
  facts,
  h264,
  i3d,
  kinetics,
  motion,
  protocols,
)
from videoar_jax.evaluate.request import (
  Request,
  Task,
  check_measurable,
  resolve,
)
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.windows import Windows, draw_windows
from videoar_jax.sample import sampler as sampler_lib
from videoar_jax.tokenizer.features import make_reconstructor

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
    check_measurable(request, task)
    model = _load_i3d(request, task)
  real = _draw(task, stages, seed=request.seed, name='real clips')
  labels_n, counts = real.labels_n, None
  if task.paired:
    videos, counts = _reconstruct(task, real, stages)
  else:
    labels_n, conditions_nx = _wanted(task, real)
    videos = _sample(task, conditions_nx, stages)
  shown = {'reconstructed' if task.paired else 'generated': videos}
  if request.h264:
    shown['h264'], h264_bits = _code_h264(task, real, stages)
  if save is not None:
    with stages.timed('save'):
      _save(pathlib.Path(save), real, shown, labels_n)
  result = _named(task, dict.fromkeys(_DISTANCES))
  if model is not None:
    measure = _Measure(request, task, model, real, stages)
    own = measure.features('generated', videos, paired=task.paired)
    result = _named(task, measure.distances(own))
    result['i3d_classes'] = measure.classes_named(own.rows_nd, labels_n)
    result['i3d_classes_real'] = measure.classes_named(measure.real_nd)
    if request.baselines:
      result['baselines'] = {
        name: measure.beside(own, other)
        for name, other in _baselines(
          request, task, real, counts, measure, stages
        ).items()
      }
    if request.h264:
      result['h264'] = measure.beside(
        own, measure.features('H.264', shown['h264'], paired=True)
      )
  if task.paired:
    with stages.timed('pairs'):
      result |= compare.compare_pairs(real.videos_nTHWc, videos)
    result |= facts.code_facts(task, counts)
  if request.h264:
    with stages.timed('pairs: H.264'):
      pairs = compare.compare_pairs(real.videos_nTHWc, shown['h264'])
    figures = {**pairs, 'bits_per_clip': h264_bits}
    result['h264'] = result.get('h264', {}) | figures
  if task.synthetic and videos.shape[1] >= motion.MIN_FRAMES:
    with stages.timed('class accuracy'):
      result |= motion.class_accuracy(videos, labels_n)
      result |= motion.class_accuracy(
        real.videos_nTHWc, real.labels_n, suffix='_real'
      )
  result |= facts.all_facts(request, task, model, real)
  return {**result, 'seconds': stages.seconds}


def _load_i3d(request: Request, task: Task) -> i3d.I3D | None:
  if not request.fvd:
    return None
  try:
    return i3d.load_i3d(task.rules.i3d, path=request.i3d_weights)
  except MissingWeightsError as error:
    raise ValueError(f'{error}; or pass --nofvd') from error


def _draw(task: Task, stages: Stages, *, seed: int, name: str) -> Windows:
  with stages.counted(name, task.num_videos) as progress:
    return draw_windows(
      task.data,
      num_videos=task.num_videos,
      train=task.train,
      seed=seed,
      progress=progress,
      prompts=task.generator and task.generator.prompts,
    )


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
  task: Task, conditions_nx: np.ndarray, stages: Stages
) -> np.ndarray:
  """One sample for each condition, uint8 nTHWc."""
  program = task.generator.program(task.sampling)
  videos_nTHWc = _empty(task)
  with stages.counted('sampling', len(conditions_nx)) as progress:
    stream = sampler_lib.sample_videos(
      program, task.generator.nets, conditions_nx, sampling=task.sampling
    )
    for i, video in enumerate(stream):
      videos_nTHWc[i] = video
      progress.add(1)
  return videos_nTHWc


def _reconstruct(
  task: Task, real: Windows, stages: Stages
) -> tuple[np.ndarray, baselines.BitCounts]:
  """Real clips through the tokenizer, uint8 nTHWc, and their bits counted."""
  reconstruct = make_reconstructor(task.tokenizer)
  params = jax.device_put(task.autoencoder)
  size = min(task.data.batch_size, task.num_videos)
  videos_nTHWc, counts = _empty(task), baselines.BitCounts()
  with stages.counted('reconstruction', task.num_videos) as progress:
    for start in range(0, task.num_videos, size):
      batch = real.videos_nTHWc[start : start + size]
      count = len(batch)
      # The last batch is filled up, so that one program serves all.
      batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, 0)])
      video, bits = jax.device_get(reconstruct(params, batch))
      videos_nTHWc[start : start + count] = video[:count]
      counts.add([scale[:count] for scale in bits])
      progress.add(count)
  return videos_nTHWc, counts


def _code_h264(
  task: Task, real: Windows, stages: Stages
) -> tuple[np.ndarray, float]:
  """Real clips through H.264 at the tokenizer's bits; the mean it took."""
  wanted, bits = facts.bits_per_clip(task), 0
  videos_nTHWc = _empty(task)
  with stages.counted('H.264', task.num_videos) as progress:
    for i, clip_THWc in enumerate(real.videos_nTHWc):
      videos_nTHWc[i], count = h264.code_at(clip_THWc, wanted)
      bits += count
      progress.add(1)
  return videos_nTHWc, bits / task.num_videos


def _empty(task: Task) -> np.ndarray:
  data = task.data
  shape = (task.num_videos, data.num_frames, data.height, data.width, 3)
  return np.empty(shape, np.uint8)


def _named(task: Task, distances: dict) -> dict:
  """The main figures, FVD under its own name as well."""
  name = 'rfvd' if task.paired else 'gfvd'
  return {**distances, 'paired': task.paired, name: distances['fvd']}


class _Measure:
  """Distances from the real clips, which I3D sees once.

  Attributes:
    real_nd: features of the real clips.
  """

  def __init__(
    self, request: Request, task: Task, model, real: Windows, stages: Stages
  ):
    self._request, self._task, self._stages = request, task, stages
    self._model, self._real = model, real
    self.real_nd = self._logits('real clips', real.videos_nTHWc)

  def features(
    self, name: str, videos_nTHWc: np.ndarray, *, paired: bool
  ) -> baselines.Features:
    """I3D's features of another set, once it is known to fit."""
    compare.check_sets(
      self._real.videos_nTHWc,
      videos_nTHWc,
      protocol=self._task.protocol,
      paired=paired,
    )
    return baselines.Features(self._logits(name, videos_nTHWc), paired)

  def distances(self, other: baselines.Features) -> dict:
    return baselines.distances(
      self.real_nd,
      other,
      covariance=self._task.rules.covariance,
      seed=self._request.seed,
    )

  def beside(self, own: baselines.Features, other: baselines.Features) -> dict:
    """Distances of another set, and how much farther than one's own it lies."""
    gap = baselines.farther(self.real_nd, own, other)
    figures = {**self.distances(other), 'farther': gap}
    if other.paired:
      figures['i3d_classes'] = self.classes_named(other.rows_nd)
    return figures

  def classes_named(self, rows_nd, labels_n=None) -> dict | None:
    """See `kinetics`; of the real clips' labels if none are given."""
    labels_n = self._real.labels_n if labels_n is None else labels_n
    return kinetics.class_accuracy(rows_nd, labels_n, self._real.classes)

  def _logits(self, name: str, videos_nTHWc: np.ndarray) -> np.ndarray:
    with self._stages.timed(f'I3D: {name}'):
      return i3d.logits(self._model, videos_nTHWc)


def _baselines(
  request: Request, task: Task, real: Windows, counts, measure, stages: Stages
) -> dict[str, baselines.Features]:
  """Features of each baseline, by its name."""
  names = baselines
  second = _draw(
    task, stages, seed=request.seed + 1, name='second draw of real clips'
  )
  still = baselines.repeat_first_frame(real.videos_nTHWc)
  found = {
    names.REAL: measure.features(names.REAL, second.videos_nTHWc, paired=False),
    names.FIRST_FRAME: measure.features(names.FIRST_FRAME, still, paired=True),
  }
  if counts is None:
    videos, counts = _reconstruct(task, real, stages)
    found[names.RECONSTRUCTIONS] = measure.features(
      names.RECONSTRUCTIONS, videos, paired=True
    )
  videos = _random_bits(request, task, counts, stages)
  found[names.RANDOM_BITS] = measure.features(
    names.RANDOM_BITS, videos, paired=False
  )
  return found


def _random_bits(
  request: Request, task: Task, counts: baselines.BitCounts, stages: Stages
) -> np.ndarray:
  """Decoded random bits with the frequencies of the real clips' bits."""
  latent_frames = task.tokenizer.latent_frames(task.data.num_frames)
  decode = baselines.make_random_decoder(
    task.tokenizer, latent_frames=latent_frames, scales=task.scales
  )
  videos_nTHWc, done = _empty(task), 0
  with stages.counted('decoding random bits', task.num_videos) as progress:
    for batch in baselines.random_bits(
      decode,
      jax.device_put(task.autoencoder),
      counts.marginals(),
      num_videos=task.num_videos,
      batch_size=min(task.data.batch_size, task.num_videos),
      seed=request.seed,
    ):
      videos_nTHWc[done : done + len(batch)] = batch
      done += len(batch)
      progress.add(len(batch))
  return videos_nTHWc


def _save(
  folder: pathlib.Path, real: Windows, shown: dict[str, np.ndarray], labels_n
) -> None:
  """Writes videos.npz and contact_sheet.png; originals only beside copies."""
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
