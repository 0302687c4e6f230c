"""A trained tokenizer's features, cached for generator training.

A record is one video: `windows` random windows of it, then the same windows
mirrored where asked for, each encoded to (t, h, w, d) bfloat16. An epoch visits
each video once and draws one of its variants.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import ml_dtypes
import numpy as np

from videoar_jax.core import structure
from videoar_jax.data import shards
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadRecordError
from videoar_jax.data.source import SourceKind

_COUNT = structure.at_least(1)
# What the settings and the headers of features hold besides.
_SETTINGS = {
  'num_frames': _COUNT,
  'frame_stride': _COUNT,
  'windows': _COUNT,
  'flips': bool,
  'tokenizer_digest': str,
}
HEADER = {'shape': [_COUNT]}


@dataclasses.dataclass(frozen=True)
class FeaturesSource:
  """One variant of a video's features at each access.

  Attributes:
    records: the split's records.
    classes: names of the labels.
    digest: of the tokenizer that encoded them.
    variants: how many of a record's variants to draw from.
  """

  records: shards.ShardReader
  classes: tuple[str, ...]
  digest: str
  variants: int

  def __len__(self) -> int:
    return len(self.records)

  def name(self, index: int) -> str:
    return self.records[index][0]['name']

  def load(self, index: int, rng: np.random.Generator) -> dict:
    variant = int(rng.integers(self.variants))

    def drawn(header: dict, parts: list) -> dict:
      return {
        'features': decode_features(header, parts, self.variants)[variant],
        'label': header['label'],
      }

    return self.records.read(index, drawn)

  def explain(self, index: int) -> str:
    return 'cached features cannot fail'


def open_source(
  path: str, config: DataConfig, *, train: bool
) -> FeaturesSource:
  """Opens a split of cached features.

  Held-out clips are never mirrored.

  Raises:
    ValueError: not such a folder, shards missing, truncated or altered, or
      cached for other clips than the config's.
  """
  manifest = shards.read_manifest(path, 'features', _SETTINGS)
  settings = manifest['plan']
  for key in ('num_frames', 'height', 'width', 'frame_stride'):
    if settings[key] != getattr(config, key):
      raise ValueError(
        f'{key}={getattr(config, key)}: the features in {path} are of clips '
        f'with {key}={settings[key]}; use that, or run data.prepare --features'
      )
  if config.flip and not settings['flips']:
    raise ValueError(
      f'flip=True: the features in {path} hold no mirrored clips; use '
      'flip=False, or run data.prepare --features --flips'
    )
  split = shards.SPLITS[0 if train else 1]
  return FeaturesSource(
    shards.ShardReader(path, manifest, split, HEADER),
    tuple(manifest['classes']),
    settings['tokenizer_digest'],
    settings['windows'] * (2 if config.flip and train else 1),
  )


def check_digest(path: str, digest: str) -> None:
  """Checks that a folder's features come from this very tokenizer.

  Raises:
    ValueError: they come from another, or the folder holds no features.
  """
  manifest = shards.read_manifest(path, 'features', _SETTINGS)
  found = manifest['plan']['tokenizer_digest']
  if found != digest:
    raise ValueError(
      f'features:{path}: encoded by the tokenizer with digest {found}, not '
      f'{digest}; name that tokenizer in the config, or cache features again '
      'with data.prepare --features --checkpoint=…'
    )


FEATURES = SourceKind(
  name='features',
  open=open_source,
  check_tokenizer=check_digest,
  features=True,
)


def decode_features(header: dict, parts: list, least: int) -> np.ndarray:
  """All variants of a record, at least so many: bfloat16 (v, t, h, w, d).

  Raises:
    ValueError: its part is not what the header says.
  """
  (part,) = parts
  if len(header['shape']) != 5 or header['shape'][0] < least:
    raise ValueError(f'features of shape {header["shape"]}')
  return np.frombuffer(part, ml_dtypes.bfloat16).reshape(header['shape'])


@dataclasses.dataclass(frozen=True)
class LoadVariants:
  """Loads all variants of a video: uint8 (v, T, H, W, 3).

  Attributes:
    source: of videos.
    seed: of the windows.
    windows: how many; window w of video i is a function of (seed, i, w).
    flips: whether each is there mirrored as well.
  """

  source: object
  seed: int
  windows: int
  flips: bool

  def __call__(self, index: int) -> tuple[str, int, np.ndarray | None, str]:
    """Returns name, label, variants (None if unreadable) and the reason."""
    name = self.source.name(index)
    videos = []
    try:
      for window in range(self.windows):
        rng = np.random.default_rng((self.seed, index, window))
        record = self.source.load(index, rng)
        videos.append(record['video'])
    except BadRecordError as error:
      return name, -1, None, str(error)
    if self.flips:
      videos += [video[:, :, ::-1] for video in videos]
    return name, int(record['label']), np.stack(videos), ''


def encode_records(
  loaded: Iterable[tuple[str, int, np.ndarray | None, str]],
  encode: Callable[[np.ndarray], np.ndarray],
  *,
  batch_size: int,
  stats: dict,
) -> Iterator[bytes]:
  """Encodes videos in batches of one size and yields their records.

  Args:
    loaded: what `LoadVariants` returns, video by video.
    encode: uint8 (b, T, H, W, 3) -> float (b, t, h, w, d).
    batch_size: b; the last batch is filled up by repeating its last clip.
    stats: gets `labels` of what was written, `skipped` (name -> reason) and
      the `shape` (t, h, w, d).
  Raises:
    ValueError: a feature is not finite.
  """
  stats.update(labels=[], skipped={}, shape=None)
  waiting, clips, done = [], [], []
  for name, label, videos, reason in loaded:
    if videos is None:
      stats['skipped'][name] = reason
      continue
    waiting.append((name, label, len(videos)))
    clips.extend(videos)
    while len(clips) >= batch_size:
      done.extend(_encode(clips[:batch_size], encode, batch_size))
      clips = clips[batch_size:]
      yield from _whole_records(waiting, done, stats)
  if clips:
    done.extend(_encode(clips, encode, batch_size))
  yield from _whole_records(waiting, done, stats)


def _encode(clips: list, encode, batch_size: int) -> np.ndarray:
  filled = clips + clips[-1:] * (batch_size - len(clips))
  features_bthwd = np.asarray(encode(np.stack(filled)))[: len(clips)]
  if not np.isfinite(features_bthwd).all():
    raise ValueError('the tokenizer gives features that are not finite')
  return features_bthwd.astype(ml_dtypes.bfloat16)


def _whole_records(waiting: list, done: list, stats: dict) -> Iterator[bytes]:
  """Takes complete videos off both lists, as records."""
  while waiting and len(done) >= waiting[0][2]:
    name, label, count = waiting.pop(0)
    features_vthwd = np.stack(done[:count])
    del done[:count]
    stats['labels'].append(label)
    stats['shape'] = list(features_vthwd.shape[1:])
    header = {'name': name, 'label': label, 'shape': features_vthwd.shape}
    yield shards.pack(header, [features_vthwd.tobytes()])
