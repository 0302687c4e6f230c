"""Does a video show its class, as I3D names it?"""

import os
import pathlib

import numpy as np
import pytest

from videoar_jax.core import pretrained
from videoar_jax.data import decode, transforms
from videoar_jax.evaluate import i3d, kinetics

pytestmark = pytest.mark.optimized

CLASSES = ('Archery', 'ApplyLipstick', 'Basketball', 'BabyCrawling')
SHARED = pathlib.Path(
  os.environ.get('VIDEOAR_SHARED', pathlib.Path(__file__).parents[2] / 'shared')
)


def test_only_classes_that_kinetics_has_are_counted():
  logits = np.zeros((5, 400))
  logits[0, 5] = 3.0  # archery, named rightly
  logits[1, 7] = 9.0  # lipstick is not counted
  logits[2, [1, 220]] = 4.0, 3.0  # playing basketball, second of 400
  logits[3, [220, 77]] = 2.0, 1.0  # a baby, taken for basketball
  logits[4, list(range(8, 18))] = 5.0  # archery, not among the first five
  labels = np.array([0, 1, 2, 3, 0])
  found = kinetics.class_accuracy(logits, labels, CLASSES)
  assert found['num_videos'] == 4 and found['chance'] == 1 / 3
  assert found['top1'] == 0.25 and found['top5'] == 0.75
  assert found['among_by_class'] == {
    'Archery': 1.0,
    'Basketball': 1.0,
    'BabyCrawling': 0.0,
  }
  assert found['among'] == 0.75


def test_without_two_known_classes_there_is_no_figure():
  labels = np.array([0, 1])
  for classes in (('left', 'right'), ('Archery', 'ApplyLipstick')):
    found = kinetics.class_accuracy(np.zeros((2, 400)), labels, classes)
    assert found is None


def test_real_clips_are_named():
  clips = [
    SHARED / 'data/ucf101_original' / path
    for path in (
      'Archery/v_Archery_g01_c01.avi',
      'BabyCrawling/v_BabyCrawling_g01_c01.avi',
    )
  ]
  if not all(clip.exists() for clip in clips):
    pytest.skip(f'no UCF-101 clips in {SHARED}')
  try:
    model = i3d.load_i3d(i3d.I3DConfig())
  except pretrained.MissingWeightsError as error:
    pytest.skip(str(error))
  videos = []
  for clip in clips:
    frames = list(decode.iterate_frames(str(clip)))[:30]
    videos.append([transforms.fit_frame(frame, 112, 112) for frame in frames])
  logits = i3d.logits(model, np.asarray(videos, np.uint8))
  found = kinetics.class_accuracy(logits, np.array([0, 3]), CLASSES)
  assert found['top1'] == 1.0 and found['among'] == 1.0
