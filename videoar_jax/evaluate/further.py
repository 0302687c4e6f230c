"""What is asked of a checkpoint besides distances: classes and copies."""

import numpy as np
from etils import epath

from videoar_jax.core import processes, spread
from videoar_jax.evaluate import draws, memorisation, probe
from videoar_jax.evaluate.makers import reconstruct
from videoar_jax.evaluate.measure import Measure
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.rules import Split
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.task import Task
from videoar_jax.evaluate.windows import draw_windows

NUM_COPIES = 64  # reconstructions that stand for copies


def probe_figures(
  task: Task,
  measure: Measure,
  stages: Stages,
  *,
  rows_nd: np.ndarray,
  labels_n: np.ndarray,
) -> dict:
  """The accuracy of a probe (see `probe`) on all kinds of videos.

  Args:
    task: what is measured.
    measure: whose features there are.
    stages: are told what takes how long.
    rows_nd: logits of the samples; of a tokenizer nothing reads them.
    labels_n: class that each sample was asked for.
  Returns:
    What the probe was fitted to (see `Splits.probe_facts`), and the figures of
    `probe.accuracy` of the held-out windows as they are (`real_heldout`),
    through the tokenizer (`reconstructions`) and as their first frames
    (`first_frame`); of a generator those of its `samples`.
  """
  splits = measure.splits
  windows = splits.heldout
  count = len(windows.labels_n)
  own_nTHWc = spread.own_rows(windows.videos_nTHWc)
  with stages.timed('reconstruction of held-out windows'):
    videos, _ = reconstruct(task, own_nTHWc)
  result = {
    **splits.probe_facts(),
    'real_heldout': splits.named(splits.heldout_nd),
    'reconstructions': splits.named(
      measure.logits('held-out reconstructions', videos, count)
    ),
    'first_frame': splits.named(splits.still_nd),
  }
  if not task.paired:
    result['samples'] = probe.accuracy(
      splits.probe, rows_nd, labels_n, windows.classes
    )
  return result


def memorisation_figures(
  request: Request,
  task: Task,
  measure: Measure,
  stages: Stages,
) -> dict:
  """Are samples copies? See `memorisation.measure`; writes the nearest pairs.

  Args:
    request: names the folder of the pictures, if any.
    task: what is measured, a generator.
    measure: of the draw whose samples these are.
    stages: are told what takes how long.
  """
  splits = measure.splits
  count = min(NUM_COPIES, len(splits.train.labels_n))
  with stages.counted('training clips', len(spread.own(count))) as progress:
    again = draw_windows(
      splits.data,
      num_videos=count,
      split=Split.TRAIN,
      seed=request.seed,
      progress=progress,
      shared=True,
    )
  with stages.timed('reconstruction of training clips'):
    copies, _ = reconstruct(task, again.videos_nTHWc)
  train, drawn = splits.training_set, measure.first
  rows_nd = drawn.rows[draws.OWN]
  result = memorisation.measure(
    train,
    samples_nd=rows_nd,
    heldout_nd=splits.heldout_nd,
    reconstructions_nd=measure.logits(
      'training reconstructions', copies, count
    ),
  )
  folder = request.save or request.pictures
  if folder is not None:
    folder = epath.Path(folder)
    if processes.is_first():
      folder.mkdir(parents=True, exist_ok=True)
      with stages.timed('nearest samples'):
        shown = memorisation.shown(train, rows_nd)
        again = draws.sample_again(task, drawn, np.asarray(shown))
      samples = dict(zip(shown, again))
      memorisation.write_pairs(folder, train, rows_nd, samples)
    result['picture'] = str(folder / 'nearest.webp')
  return result
