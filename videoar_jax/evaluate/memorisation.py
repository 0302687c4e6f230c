"""Are samples copies of training clips? Distances in I3D's features.

Every sample's distance to the nearest training window, as it is or mirrored,
beside the same distance of
  `heldout`          real clips that nothing was trained on
  `reconstructions`  training clips, windows drawn anew, through the tokenizer:
                     as near as a copy would come
  `train`            training windows, to those of other groups (see `clips`):
                     as near as two real films come

The distance is Euclidean, of the 400 logits. Blurred videos lie farther from
all real ones, so that distances alone clear no generator: `nearest` shows the
nearest pairs, to be looked at.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from etils import epath

from videoar_jax import media
from videoar_jax.evaluate import intervals
from videoar_jax.evaluate.clips import ClipWindows

SETS = ('samples', 'heldout', 'reconstructions', 'train')
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_ROWS = 256  # of a matrix of distances at a time
_PAIRS, _COLUMNS = 16, 8  # in the picture: videos of a row


@dataclasses.dataclass(frozen=True)
class TrainingSet:
  """What samples might be copies of.

  Attributes:
    windows: disjoint windows of the training split.
    rows_nd: their logits.
    mirrored_nd: the logits of their mirror images.
  """

  windows: ClipWindows
  rows_nd: np.ndarray
  mirrored_nd: np.ndarray

  def nearest(self, rows_md: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest window, and its index, plus n if mirrored."""
    both_nd = np.concatenate([self.rows_nd, self.mirrored_nd])
    return _nearest(rows_md, both_nd)

  def apart(self) -> np.ndarray:
    """Distance of each window to the nearest of another group."""
    groups_n = self.windows.groups_n
    both_nd = np.concatenate([self.rows_nd, self.mirrored_nd])
    groups_m = np.concatenate([groups_n, groups_n])
    found = [
      _nearest(self.rows_nd[groups_n == group], both_nd[groups_m != group])[0]
      for group in np.unique(groups_n)
    ]
    return np.concatenate(found)

  def video(self, index: int) -> np.ndarray:
    """The window that `nearest` names."""
    mirrored, index = divmod(int(index), len(self.rows_nd))
    video_THWc = self.windows.videos_nTHWc[index]
    return video_THWc[:, :, ::-1] if mirrored else video_THWc

  def name(self, index: int) -> str:
    """Its video's name and first frame."""
    mirrored, index = divmod(int(index), len(self.rows_nd))
    clip = self.windows.names[self.windows.clips_n[index]]
    about = f'{clip}, frame {self.windows.starts_n[index]}'
    return f'{about}, mirrored' if mirrored else about


def measure(
  train: TrainingSet,
  *,
  samples_nd: np.ndarray,
  heldout_nd: np.ndarray,
  reconstructions_nd: np.ndarray,
) -> dict:
  """Distances to the nearest training windows, set by set.

  Args:
    train: what might be copied.
    samples_nd: logits of the samples.
    heldout_nd: of held-out real clips.
    reconstructions_nd: of training clips through the tokenizer.
  Returns:
    By set, `samples` among them: `videos`, `median` and `quantiles`. `nearer`:
    by set and quantile the share of samples nearer than it, with Wilson's
    interval; of held-out clips that is the quantile itself. `train_windows`,
    `train_windows_cut`; `pairs`, the nearest samples and windows.
  Raises:
    ValueError: all training windows are of one group.
  """
  if len(np.unique(train.windows.groups_n)) < 2:
    raise ValueError(
      'the training windows are of one group: nothing tells how near two '
      'films come; add videos'
    )
  distance_n, index_n = train.nearest(samples_nd)
  found = (
    distance_n,
    train.nearest(heldout_nd)[0],
    train.nearest(reconstructions_nd)[0],
    train.apart(),
  )
  sets = dict(zip(SETS, found))
  limits = {
    'heldout below 5%': np.quantile(sets['heldout'], 0.05),
    'train below 5%': np.quantile(sets['train'], 0.05),
    'reconstructions below 50%': np.quantile(sets['reconstructions'], 0.5),
    'reconstructions below 95%': np.quantile(sets['reconstructions'], 0.95),
  }
  return {
    **{name: _spread(found_n) for name, found_n in sets.items()},
    'nearer': {
      name: _share(distance_n < limit) for name, limit in limits.items()
    },
    'train_windows': len(train.rows_nd),
    'train_windows_cut': train.windows.cut,
    'train_clips': train.windows.num_clips,
    'mirrored': True,
    'pairs': [
      {
        'sample': int(sample),
        'distance': float(distance_n[sample]),
        'window': train.name(index_n[sample]),
      }
      for sample in _order(distance_n)
    ],
  }


def shown(train: TrainingSet, samples_nd: np.ndarray) -> list[int]:
  """The samples that `write_pairs` shows."""
  return _order(train.nearest(samples_nd)[0]).tolist()


def write_pairs(
  folder: epath.Path,
  train: TrainingSet,
  samples_nd: np.ndarray,
  samples: Mapping[int, np.ndarray],
) -> None:
  """Writes nearest.webp and nearest.png: samples beside the windows nearest.

  They hold real clips: for the report of one's own run, not to be passed on.

  Args:
    folder: to write to.
    train: what might be copied.
    samples_nd: logits of the samples.
    samples: those that are shown, THWc, by their index.
  """
  distance_n, index_n = train.nearest(samples_nd)
  videos, labels = [], []
  for sample in _order(distance_n):
    videos += [samples[sample], train.video(index_n[sample])]
    labels += [f'sample {sample}', f'{distance_n[sample]:.1f}']
  grid_THWc = media.labelled_grid(videos, labels, columns=_COLUMNS)
  media.write_webp(folder / 'nearest.webp', grid_THWc)
  pairs = [
    np.concatenate(videos[i : i + 2], axis=1) for i in range(0, len(videos), 2)
  ]
  names = [
    f'sample {sample}: {train.name(index_n[sample])}, distance '
    f'{distance_n[sample]:.1f}'
    for sample in _order(distance_n)
  ]
  media.write_contact_sheet(folder / 'nearest.png', pairs, labels=names)


def _order(distance_n: np.ndarray) -> np.ndarray:
  """The samples of the picture, nearest first."""
  return np.argsort(distance_n, kind='stable')[:_PAIRS]


def _nearest(rows_md: np.ndarray, among_nd: np.ndarray):
  """Least distance of each row, and where it is."""
  x_md, y_nd = (np.asarray(x, np.float64) for x in (rows_md, among_nd))
  square_n = np.square(y_nd).sum(axis=1)
  distances, places = [], []
  for start in range(0, len(x_md), _ROWS):
    block = x_md[start : start + _ROWS]
    place = np.argmin(square_n - 2 * block @ y_nd.T, axis=1)
    distances.append(np.linalg.norm(block - y_nd[place], axis=1))
    places.append(place)
  return np.concatenate(distances), np.concatenate(places)


def _spread(distance_n: np.ndarray) -> dict:
  return {
    'videos': len(distance_n),
    'median': float(np.median(distance_n)),
    'quantiles': {
      str(share): float(np.quantile(distance_n, share)) for share in QUANTILES
    },
  }


def _share(nearer_n: np.ndarray) -> dict:
  interval = intervals.wilson(nearer_n.sum(), len(nearer_n))
  return {'share': float(nearer_n.mean()), **interval._asdict()}
