"""Do videos show their class? A linear probe on I3D's logits names it.

The probe is fitted to windows of the real training clips of a data set, so that
it fits whatever classes there are. What it says of held-out real clips is the
measure for samples; first frames repeated show how much of a class is seen
without motion.

Logits are standardised, and a class is a target of 1 among 0s. Least is the
squared error plus `ridge` times the number of windows times the squared
weights. The ridge is the one of `RIDGES` with the least error on training
windows of groups that the probe is not fitted to (see `clips`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from videoar_jax.evaluate import intervals

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Probe:
  """A fitted probe.

  Attributes:
    mean_d: of the training features.
    scale_d: their standard deviations.
    weight_dc: of the standardised features.
    offset_c: of each class.
    ridge: what it was fitted with.
    fold_accuracy: of the training windows, fitted without their group; None
      where the ridge was given.
  """

  mean_d: np.ndarray
  scale_d: np.ndarray
  weight_dc: np.ndarray
  offset_c: np.ndarray
  ridge: float
  fold_accuracy: float | None = None

  def scores(self, rows_nd: np.ndarray) -> np.ndarray:
    """How much each video looks like each class, about 0 to 1, (n, c)."""
    x_nd = (np.asarray(rows_nd, np.float64) - self.mean_d) / self.scale_d
    return x_nd @ self.weight_dc + self.offset_c

  def named(self, rows_nd: np.ndarray) -> np.ndarray:
    """The class of each video, (n,)."""
    return np.argmax(self.scores(rows_nd), axis=1)


def fit(
  rows_nd: np.ndarray,
  labels_n: np.ndarray,
  *,
  num_classes: int,
  ridge: float,
) -> Probe:
  """Fits a probe.

  Args:
    rows_nd: I3D's logits of the training windows.
    labels_n: class of each.
    num_classes: how many there are.
    ridge: weight of the penalty, above 0.
  Raises:
    ValueError: the windows show fewer than two classes.
  """
  if len(np.unique(labels_n)) < 2:
    raise ValueError(
      f'windows of {len(np.unique(labels_n))} class: a probe needs at least 2'
    )
  x_nd = np.asarray(rows_nd, np.float64)
  mean_d, scale_d = x_nd.mean(axis=0), x_nd.std(axis=0)
  scale_d = np.where(scale_d > 0, scale_d, 1.0)
  x_nd = (x_nd - mean_d) / scale_d
  target_nc = np.eye(num_classes)[labels_n]
  offset_c = target_nc.mean(axis=0)
  gram_dd = x_nd.T @ x_nd / len(x_nd) + ridge * np.eye(x_nd.shape[1])
  moment_dc = x_nd.T @ (target_nc - offset_c) / len(x_nd)
  weight_dc = np.linalg.solve(gram_dd, moment_dc)
  return Probe(mean_d, scale_d, weight_dc, offset_c, ridge)


def fit_best(
  rows_nd: np.ndarray,
  labels_n: np.ndarray,
  groups_n: np.ndarray,
  *,
  num_classes: int,
) -> Probe:
  """Fits a probe, with the ridge that is best on groups it was not fitted to.

  Args:
    rows_nd: as for `fit`.
    labels_n: as for `fit`.
    groups_n: group of each window; there are at least two.
    num_classes: how many there are.
  Raises:
    ValueError: as `fit`; or all windows are of one group.
  """
  order = np.unique(groups_n)
  if len(order) < 2:
    raise ValueError('windows of one group: a probe needs at least 2')
  fold_n = np.searchsorted(order, groups_n) % min(_FOLDS, len(order))
  target_nc = np.eye(num_classes)[labels_n]
  errors, right = np.zeros(len(RIDGES)), np.zeros(len(RIDGES))
  for fold in np.unique(fold_n):
    seen_n = fold_n != fold
    for i, ridge in enumerate(RIDGES):
      probe = fit(
        rows_nd[seen_n], labels_n[seen_n], num_classes=num_classes, ridge=ridge
      )
      scores_nc = probe.scores(rows_nd[~seen_n])
      errors[i] += np.square(scores_nc - target_nc[~seen_n]).sum()
      right[i] += (np.argmax(scores_nc, axis=1) == labels_n[~seen_n]).sum()
  best = int(np.argmin(errors))
  return dataclasses.replace(
    fit(rows_nd, labels_n, num_classes=num_classes, ridge=RIDGES[best]),
    fold_accuracy=float(right[best] / len(labels_n)),
  )


def accuracy(
  probe: Probe,
  rows_nd: np.ndarray,
  labels_n: np.ndarray,
  classes: Sequence[str],
  *,
  units_n: np.ndarray | None = None,
) -> dict:
  """How often a probe names the class that a video is of.

  Args:
    probe: from `fit_best`.
    rows_nd: I3D's logits.
    labels_n: class of each video.
    classes: names.
    units_n: unit of each video (see `clips`); None: each is its own, as
      samples are.
  Returns:
    `accuracy`, 0..1, with its 95% interval `low` and `high`: Wilson's, or by a
    bootstrap over units; `windows`, `units` where they were given; `by_class`,
    of the classes that there are.
  """
  right_n = probe.named(rows_nd) == labels_n
  if units_n is None:
    interval, counts = intervals.wilson(right_n.sum(), len(right_n)), {}
  else:
    interval = intervals.by_unit(right_n, units_n)
    counts = {'units': len(np.unique(units_n))}
  return {
    'accuracy': float(right_n.mean()),
    **interval._asdict(),
    'windows': len(right_n),
    **counts,
    'by_class': {
      name: float(right_n[labels_n == label].mean())
      for label, name in enumerate(classes)
      if (labels_n == label).any()
    },
  }
