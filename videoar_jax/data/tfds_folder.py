"""The folder that TensorFlow Datasets prepared: found, and looked through.

Its description is JSON, read here before TFDS reads it: TFDS imports what a
feature is called there, and nothing but its own features may be.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from videoar_jax.core import files, structure

AGAIN = 'copy it again, or prepare it again'
_FEATURES = 'tensorflow_datasets.core.features'
IMAGE = f'{_FEATURES}.image_feature.Image'
VIDEO = f'{_FEATURES}.video_feature.Video'
_INFO, _DESCRIPTION = 'dataset_info.json', 'features.json'
_DATA_DIR = ('TFDS_DATA_DIR', '~/tensorflow_datasets')
_HELD_OUT = ('validation', 'test')
_SPLIT = {'name': str, 'shardLengths?': [str]}


@dataclasses.dataclass(frozen=True)
class Features:
  """Which features of a builder are read.

  Attributes:
    video: the one with the frames.
    label: the one with the class; '' where there is none.
  """

  video: str
  label: str


def find(path: str) -> pathlib.Path:
  """The folder of a prepared builder.

  Args:
    path: this folder, one above it, or a name as `ucf101/ucf101_1:2.0.0` below
      TFDS's own folder.
  Raises:
    ValueError: none there, or more than one.
  """
  root = pathlib.Path(path)
  if not root.is_dir():
    variable, default = _DATA_DIR
    above = os.path.expanduser(os.environ.get(variable) or default)
    root = pathlib.Path(above, path.replace(':', '/'))
  found = sorted(
    file.parent
    for pattern in ('', '*/', '*/*/')
    for file in root.glob(f'{pattern}{_INFO}')
    if not file.parent.name.startswith('incomplete.')
  )
  if not found:
    raise ValueError(
      f'tfds:{path}: no {_INFO} in {root} or below; give the folder of a '
      f'prepared data set, or prepare it: {_command(path)}'
    )
  if len(found) > 1:
    raise ValueError(
      f'tfds:{path}: {len(found)} prepared data sets; give one of '
      f'{", ".join(map(str, found[:10]))}'
    )
  return found[0]


def read_info(root: str) -> dict:
  """What `dataset_info.json` says.

  Raises:
    ValueError: it is damaged, or the files are no ArrayRecord.
  """
  path = pathlib.Path(root, _INFO)
  shape = {'name': str, 'fileFormat?': str, 'splits': [_SPLIT]}
  info = files.read_json(path, shape, fix=AGAIN)
  kind = info.get('fileFormat', 'tfrecord')
  if kind != 'array_record':
    raise ValueError(
      f'{path}: its files are {kind}, which need TensorFlow to be read; '
      f'prepare it as ArrayRecord: {_command(info["name"])}'
    )
  return info


def read_features(root: str) -> Features:
  """Finds the video and the label among the features.

  Raises:
    ValueError: the description is missing or damaged, names what is no feature
      of TFDS, or has no video.
  """
  path = pathlib.Path(root, _DESCRIPTION)
  shape = {'featuresDict': {'features': structure.Each(dict)}}
  described = files.read_json(path, shape, fix=AGAIN)
  for name in _class_names(described):
    if not name.startswith(f'{_FEATURES}.'):
      raise ValueError(
        f'{path}: {name[:200]!r} is no feature of TFDS itself, and is not '
        'imported; prepare the data set with features of tfds.features'
      )
  features = described['featuresDict']['features']
  videos = [name for name, x in features.items() if _is_video(x)]
  labels = [name for name, x in features.items() if 'classLabel' in x]
  video = _only('video', videos)
  if not video:
    there = ', '.join(f'{x} ({_kind(y)})' for x, y in sorted(features.items()))
    raise ValueError(
      f'{path}: {len(videos)} features are videos, wanted one, or one that is '
      f'called video: a Video, a Sequence of Image, or a uint8 Tensor of shape '
      f'(None, H, W, 3); it has {there}'
    )
  return Features(video, _only('label', labels))


def choose_splits(root: str, lengths: Mapping[str, int]) -> tuple[str, str]:
  """The split to train on, and the held-out one; '' where there is none.

  Raises:
    ValueError: no split is called train, and there are several.
  """
  filled = [name for name, length in lengths.items() if length]
  training = _only('train', filled)
  if not training:
    raise ValueError(
      f'tfds:{root}: its splits are {", ".join(filled) or "all empty"}; wanted '
      'one that is called train'
    )
  held_out = [x for x in _HELD_OUT if x in filled and x != training]
  return training, (held_out or [''])[0]


def _only(name: str, found: list[str]) -> str:
  """The one of that name, or the only one; ''."""
  if name in found:
    return name
  return found[0] if len(found) == 1 else ''


def _is_video(feature: Mapping[str, Any]) -> bool:
  if 'video' in feature or _within(feature, 'sequence', 'feature', 'image'):
    return 'uint16' not in str(feature)
  sizes = _within(feature, 'tensor', 'shape', 'dimensions')
  colours = isinstance(sizes, list) and len(sizes) == 4 and sizes[-1] == '3'
  return colours and _within(feature, 'tensor', 'dtype') == 'uint8'


def _within(value: Any, *keys: str) -> Any:
  """What lies below keys of objects within one another; None: nothing."""
  for key in keys:
    value = value.get(key) if isinstance(value, dict) else None
  return value


def _kind(feature: Mapping[str, Any]) -> str:
  return str(feature.get('pythonClassName', '?')).rpartition('.')[2]


def _class_names(described: Any) -> Iterator[str]:
  """What a description says that features are, however deep."""
  if isinstance(described, dict):
    for key, value in described.items():
      if key in ('pythonClassName', 'python_class_name', 'type'):
        yield str(value)
      else:
        yield from _class_names(value)
  elif isinstance(described, list):
    for value in described:
      yield from _class_names(value)


def _command(name: str) -> str:
  return (
    "pip install 'videoar_jax[tfds-prepare]'; python -c \"import "
    f"tensorflow_datasets as t; t.builder('{name}', "
    "file_format='array_record').download_and_prepare()\""
  )
