"""Class folders of pictures: clips of one frame, and bad files."""

import numpy as np
import pytest
from PIL import Image

from videoar_jax.data import decode, folder, pictures, pipeline, preparation
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadRecordError, FailureLog
from videoar_jax.data.stores import FolderStore


def _picture(seed, size=(36, 48), mode='RGB'):
  shape = (*size, len(Image.new(mode, (1, 1)).getbands()))
  rng = np.random.default_rng(seed)
  return np.squeeze(rng.integers(0, 256, shape).astype(np.uint8))


def _save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(array).save(path, **options)


def _config(path, **changes):
  defaults = dict(
    source=f'images:{path}', batch_size=4, num_frames=1, height=16, width=16
  )
  return DataConfig(**{**defaults, **changes})


@pytest.fixture
def data_set(tmp_path):
  """Twelve pictures of two classes, a video, and three that do not serve."""
  root = tmp_path / 'set'
  for i in range(12):
    name = 'cat' if i % 2 else 'dog'
    suffix = ('.png', '.webp', '.jpg')[i % 3]
    _save(root / name / f'p{i:02d}{suffix}', _picture(i))
  whole = (root / 'dog' / 'p00.png').read_bytes()
  (root / 'dog' / 'cut.png').write_bytes(whole[: len(whole) // 2])
  (root / 'dog' / 'empty.jpg').write_bytes(b'')
  (root / 'dog' / 'text.png').write_text('no picture')
  (root / 'dog' / 'clip.mp4').write_text('a video is not looked at')
  return root


def test_pictures_of_every_mode_become_rgb(tmp_path):
  rgb = _picture(0)
  _save(tmp_path / 'a.png', rgb)
  np.testing.assert_array_equal(
    pictures.read_picture(str(tmp_path / 'a.png')), rgb
  )
  grey = _picture(1, mode='L')
  _save(tmp_path / 'grey.tif', grey)
  found = pictures.read_picture(str(tmp_path / 'grey.tif'))
  np.testing.assert_array_equal(found, grey[..., None].repeat(3, -1))
  rgba = _picture(2, mode='RGBA')
  rgba[:5, :, 3], rgba[5:, :, 3] = 0, 255
  _save(tmp_path / 'rgba.png', rgba)
  found = pictures.read_picture(str(tmp_path / 'rgba.png'))
  assert (found[:5] == 255).all()
  np.testing.assert_array_equal(found[5:], rgba[5:, :, :3])
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was held upright
  _save(tmp_path / 'turned.png', rgb, exif=exif)
  found = pictures.read_picture(str(tmp_path / 'turned.png'))
  np.testing.assert_array_equal(found, np.rot90(rgb, k=-1))


def test_a_batch_holds_clips_of_one_frame(data_set):
  config = _config(data_set, max_bad_share=1.0, height=36, width=48)
  source = pipeline.make_source(config, train=True)
  assert source.classes == ('cat', 'dog')
  assert not any(name.endswith('.mp4') for name in source.listing.names)
  log = FailureLog(source, max_bad_share=1.0)
  known = {path.read_bytes(): path for path in data_set.glob('*/p*.png')}
  assert known
  seen = set()
  batches = pipeline.make_batches(config, train=True, seed=0)
  for _ in range(3 * len(source) // 4 + 1):
    batch = next(batches)
    log.update(batch['failed'])
    assert batch['video'].shape == (4, 1, 36, 48, 3)
    for video, label in zip(batch['video'], batch['label']):
      seen.add((video.tobytes(), int(label)))
  for path in data_set.glob('*/p*.png'):
    name = f'{path.parent.name}/{path.name}'
    if name in source.listing.names:
      label = source.classes.index(path.parent.name)
      assert (np.asarray(Image.open(path)).tobytes(), label) in seen
  bad = {'dog/cut.png', 'dog/empty.jpg', 'dog/text.png'}
  assert set(log.failures) == bad & set(source.listing.names)
  assert len(log.failures) >= 2


def test_prepared_pictures_equal_those_read_directly(data_set, tmp_path):
  out = tmp_path / 'prepared'
  manifest = preparation.prepare_videos(
    f'images:{data_set}', str(out), height=16, width=24, max_bad_share=0.5
  )
  assert set(manifest['skipped']) == {
    'dog/cut.png',
    'dog/empty.jpg',
    'dog/text.png',
  }
  config = _config(out, source=f'array_record:{out}', height=16, width=24)
  prepared = pipeline.make_source(config, train=True)
  direct = folder.FileSource(
    FolderStore(str(data_set)),
    folder.list_splits(str(data_set), kind='images')[0],
    *(1, 16, 24),
  )
  rng = np.random.default_rng(0)
  names = {direct.name(i): i for i in range(len(direct))}
  assert len(prepared) >= 10
  for index in range(len(prepared)):
    found = prepared.load(index, rng)
    wanted = direct.load(names[prepared.name(index)], rng)
    np.testing.assert_array_equal(found['video'], wanted['video'])
    assert found['label'] == wanted['label']


def test_what_pictures_cannot_be_is_refused(data_set, tmp_path):
  with pytest.raises(ValueError, match='num_frames=5.*clip of one frame'):
    pipeline.make_source(_config(data_set, num_frames=5), train=True)
  with pytest.raises(ValueError, match=r'images:.*no file ends in .bmp'):
    (tmp_path / 'other' / 'a').mkdir(parents=True)
    (tmp_path / 'other' / 'a' / 'x.txt').write_text('')
    pipeline.make_source(_config(tmp_path / 'other'), train=True)
  path = str(data_set / 'dog' / 'p00.png')
  rng = np.random.default_rng(0)
  assert len(decode.read_window(path, rng, num_frames=1)) == 1
  with pytest.raises(BadRecordError, match='too short: 1 frames'):
    decode.read_window(path, rng, num_frames=5)
  assert decode.frame_rate(path).fps == 0
