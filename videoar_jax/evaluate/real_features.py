"""I3D's features of real clips in a file, for gFVD without the clips.

The features of a protocol's real clips are less than a megabyte. With them a
generator is measured on a machine without the data: samples are drawn there,
and no file of a video is needed.
"""

import dataclasses
import io
import json
from typing import Any

import jax
import numpy as np

from videoar_jax.core import files, spread, structure
from videoar_jax.core.archive import Archive
from videoar_jax.core.export import load_weights
from videoar_jax.evaluate import (
  baselines,
  i3d,
  kept,
  protocols,
  provenance,
)
from videoar_jax.evaluate.measure import draw
from videoar_jax.evaluate.request import Request, resolve
from videoar_jax.evaluate.stages import Stages
from videoar_jax.sample import sampler as sampler_lib

_FIX = 'make it again with `python -m videoar_jax.evaluate features`'
_ABOUT = {
  'classes': [str],
  'protocol': (str, type(None)),
  'frames': structure.at_least(i3d.MIN_FRAMES),
  'resolution': [structure.at_least(1)],
  'weights_sha256': str,
}


@dataclasses.dataclass(frozen=True)
class RealFeatures:
  """What is kept of the real clips.

  Attributes:
    rows_nd: I3D's logits, float32.
    labels_n: class of each clip, indices into `about['classes']`.
    about: plain values: classes, protocol (a name or None), frames,
      resolution, weights_sha256 of I3D, and where the clips are from.
  """

  rows_nd: np.ndarray
  labels_n: np.ndarray
  about: dict[str, Any]

  @property
  def rules(self) -> protocols.Protocol:
    """The protocol, or the default one for its feature rules."""
    return protocols.get_protocol(self.about['protocol'] or protocols.DEFAULT)


def measure_real(request: Request) -> RealFeatures:
  """Draws the clips that an evaluation of a checkpoint would, for I3D.

  Raises:
    ValueError: see `checkpoint.evaluate_checkpoint`.
  """
  task, stages = resolve(request), Stages()
  model = i3d.load_i3d(task.rules.i3d, path=request.i3d_weights, mesh=task.mesh)
  real = draw(task, stages, seed=request.seed, name='real clips')
  with stages.timed('I3D: real clips'):
    rows_nd = kept.shared_logits(
      model, real.videos_nTHWc, task.num_videos, request.parts
    )
  about = {
    'classes': list(real.classes),
    'protocol': request.protocol,
    'frames': task.data.num_frames,
    'resolution': [task.data.height, task.data.width],
    'weights_sha256': model.sha256,
    'source': task.data.source,
    'split': task.split,
    'seed': request.seed,
    'videos_substituted': real.substituted,
    'versions': provenance.versions(),
  }
  return RealFeatures(rows_nd, real.labels_n, about)


def write(path: Any, real: RealFeatures) -> None:
  """Writes features as an .npz file, whole or not at all."""
  data = io.BytesIO()
  about = np.asarray(json.dumps(real.about))
  np.savez(data, rows=real.rows_nd, labels=real.labels_n, about=about)
  with files.replacing(path) as partial:
    partial.write_bytes(data.getvalue())


def read(path: Any) -> RealFeatures:
  """Reads what `write` wrote.

  Raises:
    ValueError: missing, damaged, or not such a file.
  """
  with Archive(path, fix=_FIX) as archive:
    rows, labels, about = map(archive.read_array, ('rows', 'labels', 'about'))
  about = files.parse_json(str(about), _ABOUT, where=str(path), fix=_FIX)
  count = len(about['classes'])
  if (
    rows.shape != (len(labels), i3d.NUM_CLASSES)
    or labels.dtype.kind != 'i'
    or not np.isfinite(rows).all()
    or not ((labels >= 0) & (labels < count)).all()
  ):
    raise ValueError(f'{path}: not features and labels of clips; {_FIX}')
  return RealFeatures(rows, labels, about)


def measure_samples(request: Request, real: RealFeatures) -> dict:
  """gFVD of a generator: one sample for each real clip, of its class.

  Args:
    request: checkpoint, guidance, temperature, top_p, seed, batch_size and
      i3d_weights are read.
    real: of the real clips.

  Returns:
    Plain values, for JSON: the distances of `baselines.distances`, `gfvd`, and
    what they were computed from and with.

  Raises:
    ValueError: no generator, one that reads prompts, of other classes or
      another size; other weights of I3D.
  """
  stages = Stages()
  loaded = load_weights(request.checkpoint, expect='generator')
  mesh = spread.own_mesh(
    request.mesh, count=len(spread.own(len(real.labels_n)))
  )
  generator = sampler_lib.Generator.of(loaded, mesh)
  sampling = generator.sampling(
    num_frames=real.about['frames'],
    guidance=request.guidance,
    temperature=request.temperature,
    top_p=request.top_p,
    seed=request.seed,
    batch_size=request.batch_size,
  )
  _check_fit(request, generator, sampling, real)
  model = i3d.load_i3d(real.rules.i3d, path=request.i3d_weights, mesh=mesh)
  if model.sha256 != real.about['weights_sha256']:
    raise ValueError(
      f'features by I3D {real.about["weights_sha256"]}, here is '
      f'{model.sha256}; use the same weights for both'
    )
  conditions_nx = generator.of_classes(real.labels_n)
  videos_nTHWc = kept.samples(
    generator,
    sampling,
    conditions_nx,
    stages,
    digest=loaded.digest,
    folder=request.parts,
  )
  with stages.timed('I3D: samples'):
    rows_nd = kept.shared_logits(
      model, videos_nTHWc, len(conditions_nx), request.parts
    )
  distances = baselines.distances(
    real.rows_nd,
    baselines.Features(rows_nd, paired=False),
    covariance=real.rules.covariance,
    seed=request.seed,
  )
  return {
    **distances,
    'gfvd': distances['fvd'],
    'num_videos': len(rows_nd),
    'real': real.about,
    'checkpoint': str(request.checkpoint),
    'step': loaded.step,
    'digest': loaded.digest,
    'tokenizer_digest': loaded.tokenizer.digests['autoencoder'],
    'guidance': sampling.guidance,
    'temperature': sampling.temperature,
    'top_p': sampling.top_p,
    'seed': request.seed,
    'device': jax.devices()[0].device_kind,
    'versions': provenance.versions(),
    'seconds': stages.seconds,
  }


def _check_fit(request: Request, generator, sampling, real: RealFeatures):
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
