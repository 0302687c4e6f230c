"""Reading and writing videos."""

import numpy as np
import pytest
from PIL import Image

from videoar_jax import media


def _video(*, frames=11, height=34, width=46, seed=0) -> np.ndarray:
  """A smooth moving pattern, which codecs keep well."""
  rng = np.random.default_rng(seed)
  phase = rng.random(3) * 6
  t, y, x = np.meshgrid(
    np.arange(frames), np.arange(height), np.arange(width), indexing='ij'
  )
  waves = [np.sin(x / 9 + y / 13 + t / 5 + p) for p in phase]
  return (127.5 + 110 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize('height,width', ((34, 46), (33, 47)))
def test_mp4_returns_what_was_written(tmp_path, height, width):
  video = _video(height=height, width=width)
  media.write_mp4(tmp_path / 'a.mp4', video, fps=8)
  back = media.read_video(tmp_path / 'a.mp4')
  assert back.shape == (11, height + height % 2, width + width % 2, 3)
  error = back[:, :height, :width].astype(float) - video
  # Chroma is held at half the resolution, so colours are not exact.
  assert np.abs(error).mean() < 5
  few = media.read_video(tmp_path / 'a.mp4', max_frames=4)
  np.testing.assert_array_equal(few, back[:4])


@pytest.mark.parametrize(
  'write,suffix', ((media.write_gif, 'gif'), (media.write_webp, 'webp'))
)
def test_animations_hold_every_frame_at_its_time(tmp_path, write, suffix):
  video = _video()
  path = tmp_path / f'a.{suffix}'
  write(path, video, fps=10)
  with Image.open(path) as image:
    assert image.n_frames == len(video)
    assert image.info['loop'] == 0
    for index in range(len(video)):
      image.seek(index)
      frame = np.asarray(image.convert('RGB')).astype(float)
      assert np.abs(frame - video[index]).mean() < 8
    assert image.info['duration'] == 100


def test_real_avi_is_decoded(shared_dir):
  folder = shared_dir / 'data' / 'ucf101_original' / 'Archery'
  video = media.read_video(folder / 'v_Archery_g01_c01.avi', max_frames=5)
  assert video.shape == (5, 240, 320, 3)
  assert video.std() > 10


def test_unreadable_files_are_named(tmp_path):
  text = tmp_path / 'text.avi'
  text.write_text('not a video\n' * 100)
  empty = tmp_path / 'empty.mp4'
  empty.touch()
  media.write_mp4(tmp_path / 'whole.mp4', _video())
  cut = tmp_path / 'cut.mp4'
  cut.write_bytes((tmp_path / 'whole.mp4').read_bytes()[:64])
  for path in (text, empty, cut, tmp_path / 'absent.mp4'):
    with pytest.raises(ValueError, match=path.name):
      media.read_video(path)


def test_truncated_avi_gives_the_frames_before_the_cut(tmp_path, shared_dir):
  folder = shared_dir / 'data' / 'ucf101_original' / 'Archery'
  whole = folder / 'v_Archery_g01_c01.avi'
  cut = tmp_path / 'cut.avi'
  cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
  part, full = media.read_video(cut), media.read_video(whole)
  assert 1 <= len(part) < len(full)
  np.testing.assert_array_equal(part[0], full[0])


def test_grid_places_each_video(tmp_path):
  videos = [_video(seed=s, frames=5) for s in range(5)]
  grid = media.labelled_grid(videos, columns=3)
  assert grid.shape == (5, 2 * 36, 3 * 48, 3)
  np.testing.assert_array_equal(grid[:, 36:70, 48:94], videos[4])
  assert (grid[:, 36:, 96:] == 255).all()
  labelled = media.labelled_grid(videos, list('abcde'), columns=3)
  assert labelled.shape[1] == grid.shape[1] + 2 * 16
  assert (labelled[:, :16] < 255).any()
  np.testing.assert_array_equal(labelled[:, 16:50, :46], videos[0])


def test_contact_sheet_shows_the_chosen_frames(tmp_path):
  videos = [_video(seed=s) for s in range(2)]
  path = tmp_path / 'sheet.png'
  media.write_contact_sheet(path, videos, frames=[2, 7])
  sheet = np.asarray(Image.open(path))
  assert sheet.shape == (2 * 36, 2 * 48, 3)
  np.testing.assert_array_equal(sheet[36:70, 48:94], videos[1][7])
  media.write_contact_sheet(path, videos, labels=['left', 'right'], frames=3)
  sheet = np.asarray(Image.open(path))
  assert sheet.shape == (2 * 52, 3 * 48, 3)
  np.testing.assert_array_equal(sheet[16:50, 96:142], videos[0][10])


@pytest.mark.parametrize(
  'call,word',
  (
    (lambda v: media.write_mp4('x.mp4', v / 255.0), 'uint8'),
    (lambda v: media.write_gif('x.gif', v[0]), 'shape'),
    (lambda v: media.write_webp('x.webp', v, fps=0), 'fps'),
    (lambda v: media.labelled_grid([v, v[:3]]), 'shapes'),
    (lambda v: media.labelled_grid([v], ['a', 'b']), 'labels'),
    (lambda v: media.labelled_grid([]), 'no videos'),
    (lambda v: media.write_contact_sheet('x.png', [v], frames=[99]), '99'),
  ),
)
def test_unfit_videos_are_refused(call, word):
  with pytest.raises(ValueError, match=word):
    call(_video())
