"""How a generator goes on from the first frames of held-out real clips.

The first frames of disjoint windows of the held-out split are given, coded by
the tokenizer, and the generator adds the rest. Beside it stands the last given
frame, repeated: what lies above that is motion. A generator may well go on in
another way than the person did, so PSNR falls with time for the best of them;
the class, by the probe, should not.
"""

from collections.abc import Sequence

import numpy as np
from etils import epath

from videoar_jax import media
from videoar_jax.core import processes, spread
from videoar_jax.evaluate import i3d, provenance
from videoar_jax.evaluate.clips import ClipWindows
from videoar_jax.evaluate.makers import coded_batches
from videoar_jax.evaluate.measure import load_i3d
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.splits import Splits
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.task import Task, resolve
from videoar_jax.evaluate.windows import check_splits
from videoar_jax.sample import sampler as sampler_lib

_SHOWN = 8  # clips in a picture


def measure_checkpoint(
  request: Request, *, given_frames: Sequence[int]
) -> dict:
  """Measures a generator's checkpoint.

  Args:
    request: checkpoint, data, sampling, seed, train_windows, i3d_weights; with
      fvd=False there is no probe, and with `save` there are pictures.
    given_frames: numbers of frames to go on from, each on the tokenizer's grid
      and below the frames of a clip.
  Returns:
    Plain values, for JSON: under `given`, by number of frames, the figures of
    `figures`; `real_heldout` and the facts of the probe (see `Splits`); then
    what they were computed from and with.
  Raises:
    ValueError: not a generator, or one that makes all frames together; frames
      off the grid; see `checkpoint.evaluate_checkpoint`.
  """
  stages = Stages()
  with stages.timed('load'):
    task = resolve(request)
    _check(request, task, given_frames)
    model = load_i3d(request, task)
  splits = Splits(task.data, model, stages, most=request.train_windows)
  windows, result = splits.heldout, {}
  if model is not None:
    result = {
      **splits.probe_facts(),
      'real_heldout': splits.named(splits.heldout_nd),
    }
  coded, bits = _code(task, windows.videos_nTHWc, stages)
  result['given'] = {}
  for given in given_frames:
    made = _continue(task, windows, bits, given, stages)
    still = repeat_from(windows.videos_nTHWc, given)
    found = figures(windows.videos_nTHWc, made, coded, given=given)
    if model is not None:
      found['probe'] = {
        name: splits.named(splits.logits(f'{name}, {given} given', videos))
        for name, videos in (('continued', made), ('repeated', still))
      }
    result['given'][str(given)] = found
    if request.save and processes.is_first():
      _show(epath.Path(request.save), windows, made, given)
  return {**result, **_facts(request, task, windows, model, stages)}


def repeat_from(videos_nTHWc: np.ndarray, given: int) -> np.ndarray:
  """The first `given` frames of each clip, and the last of them repeated."""
  frames = np.minimum(np.arange(videos_nTHWc.shape[1]), given - 1)
  return videos_nTHWc[:, frames]


def figures(
  real_nTHWc: np.ndarray,
  made_nTHWc: np.ndarray,
  coded_nTHWc: np.ndarray,
  *,
  given: int,
) -> dict:
  """PSNR of each frame that was not given, from its error over all clips.

  Args:
    real_nTHWc: the clips, uint8.
    made_nTHWc: what the generator made of their first frames.
    coded_nTHWc: the clips through the tokenizer, the best that can be reached.
    given: how many frames it was given.
  Returns:
    `psnr` of the generator, `psnr_repeated` of the last given frame, and
    `psnr_coded`; decibels by frame, the first being the one after the given
    ones, infinite where all clips are met exactly.
  """
  still = repeat_from(real_nTHWc, given)
  sets = ('psnr', made_nTHWc), ('psnr_repeated', still)
  return {
    name: _psnr(real_nTHWc[:, given:], other[:, given:]).tolist()
    for name, other in (*sets, ('psnr_coded', coded_nTHWc))
  }


def _psnr(real_nTHWc: np.ndarray, other_nTHWc: np.ndarray) -> np.ndarray:
  """Of each frame, over all clips; (T,)."""
  error = sum(
    np.square(real.astype(np.float64) - other).mean(axis=(1, 2, 3))
    for real, other in zip(real_nTHWc, other_nTHWc)
  ) / len(real_nTHWc)
  with np.errstate(divide='ignore'):
    return 10 * np.log10(255**2 / error)


def _check(request: Request, task: Task, given_frames: Sequence[int]) -> None:
  """Raises ValueError for what can be told before clips are read."""
  if task.generator is None:
    raise ValueError(
      f'{request.checkpoint} is a tokenizer, which does not go on; give a '
      'generator'
    )
  sampler_lib.check_continues(task.generator.family)
  for given in given_frames:
    task.tokenizer.latent_frames(given)
    if given >= task.data.num_frames:
      raise ValueError(
        f'given_frames={given}: the clips have {task.data.num_frames} frames; '
        'give fewer'
      )
  check_splits(task.data, several_classes=request.fvd)


def _code(
  task: Task, videos_nTHWc: np.ndarray, stages: Stages
) -> tuple[np.ndarray, list[np.ndarray]]:
  """Clips through the tokenizer, and their bits per scale."""
  made, found = [], []
  with stages.counted('reconstruction', len(videos_nTHWc)) as progress:
    for video, bits in coded_batches(task, videos_nTHWc):
      made.append(video)
      found.append(bits)
      progress.add(len(video))
  return np.concatenate(made), [np.concatenate(scale) for scale in zip(*found)]


def _continue(
  task: Task,
  windows: ClipWindows,
  bits: list[np.ndarray],
  given: int,
  stages: Stages,
) -> np.ndarray:
  """What the generator makes of the first frames of each window.

  The tokenizer is causal: the bits of a clip begin with those of its first
  frames.
  """
  generator = task.generator
  mesh = task.mesh
  program = spread.on_mesh(generator.program(task.sampling), mesh)
  latent_frames = generator.tokenizer.latent_frames(given)
  conditions_nx = windows.labels_n
  if generator.prompts is not None:
    of_class = generator.prompts.encode_classes(windows.classes)
    conditions_nx = of_class[windows.labels_n]
  count = len(windows.labels_n)
  made_nTHWc = np.empty_like(windows.videos_nTHWc)
  size = spread.rounded(min(task.sampling.batch_size, count), mesh)
  with stages.counted(f'going on from {given}', count) as progress:
    for start in range(0, count, size):
      index_b = np.arange(start, start + size)
      rows = np.minimum(index_b, count - 1)  # one program serves all
      given_bits = [np.float32(scale[rows, :latent_frames]) for scale in bits]
      condition_bx, index_b, given_bits = spread.put_batch(
        (conditions_nx[rows], index_b.astype(np.uint32), tuple(given_bits)),
        mesh,
      )
      seed = np.uint32(task.sampling.seed)
      video, _ = program(
        generator.nets, condition_bx, index_b, seed, given_bits
      )
      left = min(size, count - start)
      made_nTHWc[start : start + left] = np.asarray(video)[:left]
      progress.add(left)
  return made_nTHWc


def _show(
  folder: epath.Path, windows: ClipWindows, made_nTHWc, given: int
) -> None:
  """Writes continued_<given>.webp and .png: the real clip, then the other.

  They hold real clips: for the report of one's own run, not to be passed on.
  """
  count = len(made_nTHWc)
  chosen = np.unique(np.linspace(0, count - 1, min(_SHOWN, count)).astype(int))
  videos, labels = [], []
  for i in chosen:
    name = windows.classes[windows.labels_n[i]]
    videos += [windows.videos_nTHWc[i], made_nTHWc[i]]
    labels += [name, f'from {given}']
  folder.mkdir(parents=True, exist_ok=True)
  grid_THWc = media.labelled_grid(videos, labels, columns=8)
  media.write_webp(folder / f'continued_{given}.webp', grid_THWc)
  media.write_contact_sheet(
    folder / f'continued_{given}.png', videos, labels=labels
  )


def _facts(
  request: Request,
  task: Task,
  windows: ClipWindows,
  model: i3d.I3D | None,
  stages: Stages,
) -> dict:
  return {
    'windows': len(windows.labels_n),
    'clips': windows.num_clips,
    'windows_cut': windows.cut,
    'frames': task.data.num_frames,
    'resolution': [task.data.height, task.data.width],
    'source': task.data.source,
    'split': 'validation',
    'checkpoint': str(request.checkpoint),
    'step': task.loaded.step,
    'digest': task.loaded.digest,
    'guidance': task.sampling.guidance,
    'temperature': task.sampling.temperature,
    'top_p': task.sampling.top_p,
    'seed': request.seed,
    'weights_sha256': model and model.sha256,
    'versions': provenance.versions(),
    'seconds': stages.seconds,
  }
