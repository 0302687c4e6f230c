"""I3D: published figures, real clips, and its own parts against plain ones."""

import json

import av
import jax
import numpy as np
import pytest

from videoar_jax.commands import evaluate
from videoar_jax.core import command, pretrained
from videoar_jax.evaluate import frechet, i3d

pytestmark = pytest.mark.optimized

# FVD of all zeros against all ones, 64x64, first n frames: the torch port's
# list of common_metrics_on_video_quality.
_TORCH_PORT = dict(
  zip(
    range(10, 31),
    (
      *(569.23, 486.36, 551.96, 146.37, 172.85, 133.70, 152.92),
      *(357.74, 382.47, 306.74, 338.42, 78.17, 82.33, 64.59),
      *(66.06, 314.48, 316.69, 288.97, 287.78, 152.15, 151.26),
    ),
  )
)
# Places in the alphabetical list of the 400 Kinetics classes.
_KINETICS = {
  'v_SoccerJuggling_g23_c01.avi': ('juggling soccer ball', 171),
  'v_Archery_g01_c01.avi': ('archery', 5),
  'v_BabyCrawling_g01_c01.avi': ('crawling baby', 77),
}


@pytest.fixture(scope='module')
def model() -> i3d.I3D:
  try:
    return i3d.load_i3d()
  except pretrained.MissingWeightsError as error:
    pytest.skip(str(error))


def _zeros_against_ones(model, num_frames: int) -> float:
  video = np.zeros((1, num_frames, 64, 64, 3), np.float32)
  # All eight videos of a set are the same, so one stands for them.
  zeros = np.repeat(i3d.logits(model, video), 8, axis=0)
  ones = np.repeat(i3d.logits(model, video + 1), 8, axis=0)
  return frechet.fvd(zeros, ones)


def test_command_writes_the_published_fvd(model, tmp_path):
  zeros = np.zeros((2, 10, 64, 64, 3), np.uint8)
  np.savez(tmp_path / 'zeros.npz', videos=zeros)
  np.savez(tmp_path / 'ones.npz', videos=np.ones(zeros.shape, np.float16))
  out = tmp_path / 'result.json'
  argv = [
    'evaluate',
    f'--real={tmp_path}/zeros.npz',
    f'--generated={tmp_path}/ones.npz',
    f'--out={out}',
    '--paired',
  ]
  assert command.run(evaluate, argv) is None
  result = json.loads(out.read_text())
  assert abs(result['fvd'] - 569.77) < 0.01
  assert result['fvd_inf'] is None
  assert result['kvd'] > 0 and result['kvd_stderr'] is None
  assert abs(result['psnr']) < 1e-5 and result['ssim'] < 0.01
  assert abs(result['lpips'] - 0.8140) < 5e-4  # black against white
  assert result['num_real'] == result['num_generated'] == 2
  assert result['frames'] == 10 and result['resolution'] == [64, 64]
  assert result['weights_sha256'] == pretrained.I3D_KINETICS_400.sha256
  assert {'jax', 'videoar_jax', 'commit'} == set(result['versions'])
  assert result['seeds'] == {'fvd_inf': 0}
  assert 'none' in result['protocol']


@pytest.mark.slow
@pytest.mark.parametrize('num_frames,fvd', ((10, 569.77), (16, 152.90)))
def test_zeros_against_ones_is_the_tensorflow_fvd(model, num_frames, fvd):
  assert abs(_zeros_against_ones(model, num_frames) - fvd) < 0.01


def test_zeros_against_ones_of_30_frames_is_the_tensorflow_figure(model):
  assert abs(_zeros_against_ones(model, 30) - 151.39244) < 0.01


@pytest.mark.parametrize(
  'num_frames',
  [
    n if n == 10 else pytest.param(n, marks=pytest.mark.slow)
    for n in sorted(_TORCH_PORT)
  ],
)
def test_zeros_against_ones_follows_the_published_list(model, num_frames):
  value = _zeros_against_ones(model, num_frames)
  assert abs(value / _TORCH_PORT[num_frames] - 1) < 0.01


@pytest.mark.parametrize('name', sorted(_KINETICS))
def test_real_clips_get_their_kinetics_label(model, shared_dir, name):
  folder = shared_dir / 'data' / 'ucf101_original' / name.split('_')[1]
  frames = []
  with av.open(str(folder / name)) as container:
    for frame in container.decode(video=0):
      frames.append(frame.to_ndarray(format='rgb24'))
      if len(frames) == 48:
        break
  config = i3d.I3DConfig(fit=i3d.Fit.CENTER_CROP)
  cropping = i3d.I3D(config=config, units=model.units, sha256=model.sha256)
  logits = i3d.logits(cropping, np.stack(frames)[None])[0].astype(np.float64)
  probability = np.exp(logits - logits.max())
  probability /= probability.sum()
  label, index = _KINETICS[name]
  assert probability.argmax() == index, label
  assert probability[index] > 0.95


def test_logits_do_not_depend_on_the_batch_or_the_dtype(model):
  rng = np.random.default_rng(0)
  videos = rng.integers(0, 256, (3, 10, 23, 31, 3), np.uint8)
  as_float = (videos / 255).astype(np.float32)
  one = i3d.logits(model, videos, batch_size=1)
  padded = i3d.logits(model, as_float, batch_size=2)
  assert one.shape == (3, i3d.NUM_CLASSES)
  np.testing.assert_allclose(one, padded, atol=5e-4)
  assert np.abs(one[0] - one[1]).max() > 0.1


@pytest.mark.parametrize('strides', ((1, 1, 1), (2, 2, 2)))
@pytest.mark.parametrize('frames', (16, 17))
def test_planar_convolutions_equal_the_3d_one(strides, frames):
  rng = np.random.default_rng(2)
  x = rng.standard_normal((2, frames, 13, 11, 5), np.float32)
  kernel = rng.standard_normal((7, 7, 7, 5, 3), np.float32) / 30
  native = i3d._conv_native(x, kernel, strides=strides)
  for planar in (i3d._conv_taps, i3d._conv_stacked):
    other = planar(x, kernel, strides=strides)
    np.testing.assert_allclose(native, other, atol=1e-4)


@pytest.mark.parametrize('platform,axes', (('cpu', 2), ('cuda', 3), ('tpu', 3)))
def test_each_platform_gets_its_convolution(platform, axes):
  x = np.zeros((1, 9, 14, 14, 5), np.float32)
  kernel = np.zeros((3, 3, 3, 5, 2), np.float32)
  traced = jax.jit(lambda x, k: i3d._conv(x, k, (1, 1, 1))).trace(x, kernel)
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  strides = f'window = {{stride = [{", ".join("1" * axes)}]'
  assert strides in text


@pytest.mark.parametrize(
  'window,strides', (((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)))
)
def test_separated_max_pool_equals_the_3d_one(window, strides):
  rng = np.random.default_rng(3)
  x = rng.standard_normal((2, 8, 13, 11, 5), np.float32)
  whole = jax.lax.reduce_window(
    x, -np.inf, jax.lax.max, (1, *window, 1), (1, *strides, 1), 'SAME'
  )
  np.testing.assert_array_equal(i3d._max_pool(x, window, strides), whole)


@pytest.mark.parametrize('convention', i3d.Resize)
@pytest.mark.parametrize('size', (64, 128, 240, 320))
def test_resize_samples_where_the_convention_says(convention, size):
  rng = np.random.default_rng(4)
  line = rng.standard_normal(size)
  at = np.arange(224.0)
  if convention is i3d.Resize.HALF_PIXEL:
    at = (at + 0.5) * size / 224 - 0.5
  else:
    at = at * size / 224
  # np.interp repeats the border samples, as both conventions do.
  wanted = np.interp(at, np.arange(size), line)
  matrix = i3d.resize_matrix(size, 224, convention=convention)
  np.testing.assert_allclose(matrix @ line, wanted, atol=1e-5)


def test_centre_crop_keeps_the_middle():
  video = np.zeros((1, 1, 224, 300, 3), np.float32)
  video[:, :, :, 38:262] = 1
  config = i3d.I3DConfig(fit=i3d.Fit.CENTER_CROP)
  whole = i3d.preprocess(jax.numpy.asarray(video), config=config)
  assert whole.shape == (1, 1, 224, 224, 3)
  np.testing.assert_array_equal(whole, 1)


@pytest.mark.parametrize(
  'videos,word',
  (
    (np.zeros((2, 8, 16, 16, 3), np.uint8), '8 frames'),
    (np.zeros((2, 9, 16, 16), np.uint8), 'shape'),
    (np.zeros((2, 9, 16, 16, 3), np.int32), 'int32'),
    (np.zeros((0, 9, 16, 16, 3), np.uint8), 'n >= 1'),
  ),
)
def test_unfit_videos_are_refused(videos, word):
  model = i3d.I3D(config=i3d.I3DConfig(), units={}, sha256='')
  with pytest.raises(ValueError, match=word):
    i3d.logits(model, videos)
