"""Reading and writing videos."""

import pathlib

import av
import disk
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


def test_contact_sheet_of_many_videos_is_no_strip(tmp_path):
  videos = [_video(seed=s) for s in range(64)]
  media.write_contact_sheet(tmp_path / 'sheet.png', videos, labels=['a'] * 64)
  sheet = np.asarray(Image.open(tmp_path / 'sheet.png'))
  columns, width = 3, 8 * 48 + 8
  assert sheet.shape == (22 * 52, columns * width, 3)
  y, x = 52 * 5 + 16, width * 1
  np.testing.assert_array_equal(sheet[y : y + 34, x : x + 46], videos[16][0])


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


WRITERS = {
  'a.mp4': media.write_mp4,
  'a.gif': media.write_gif,
  'a.webp': media.write_webp,
  'a.png': lambda path, video: media.write_contact_sheet(path, [video]),
}


@pytest.mark.parametrize('limit', [10, 2000])
@pytest.mark.parametrize('name', WRITERS)
def test_a_full_disk_names_the_file_and_leaves_what_was_there(
  tmp_path, name, limit
):
  video = np.random.default_rng(0).integers(0, 256, (40, 34, 46, 3), np.uint8)
  (tmp_path / name).write_text('older')
  with disk.full(limit), pytest.raises(OSError, match=f"large.*{name}'"):
    WRITERS[name](tmp_path / name, video)
  assert [path.name for path in tmp_path.iterdir()] == [name]
  assert (tmp_path / name).read_text() == 'older'


@pytest.mark.parametrize('name', WRITERS)
def test_a_place_that_takes_no_file_is_named(tmp_path, name):
  for place in (tmp_path / 'absent', pathlib.Path('/proc')):
    with pytest.raises(OSError, match=f"{place}/{name}'"):
      WRITERS[name](place / name, _video())
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('error', [KeyboardInterrupt, KeyError])
def test_a_video_cut_short_is_none_and_a_live_one_can_be_played(
  tmp_path, error
):
  path, live = tmp_path / 'a.mp4', tmp_path / 'live.mp4'
  for writer in (media.Mp4Writer(path), media.Mp4Writer(live, live=True)):
    with pytest.raises(error), writer:
      writer.add(_video(frames=5))
      raise error
  assert [path.name for path in tmp_path.iterdir()] == ['live.mp4']
  assert len(media.read_video(live)) == 5


def test_the_first_error_is_told_and_not_that_nothing_can_be_completed(
  tmp_path,
):
  video = np.random.default_rng(0).integers(0, 256, (40, 34, 46, 3), np.uint8)
  writer = media.Mp4Writer(tmp_path / 'a.mp4')
  with disk.full(10), pytest.raises(KeyError, match='first'), writer:
    writer.add(video)
    raise KeyError('first')
  assert not list(tmp_path.iterdir())
  writer = media.Mp4Writer(tmp_path / 'live.mp4', live=True)
  told = pytest.raises(OSError, match="large.*live.mp4'")
  with disk.full(9000), told, writer:
    writer.add(video)
  assert 1 <= len(media.read_video(tmp_path / 'live.mp4')) < 40


def test_frame_rates_that_no_file_can_state_are_refused(tmp_path):
  for fps in (float('inf'), float('nan'), 1e-9, 0, -1, 1e9):
    for name in ('a.mp4', 'a.gif', 'a.webp'):
      with pytest.raises(ValueError, match=f'fps={fps}: wanted'):
        WRITERS[name](tmp_path / name, _video(), fps=fps)
  for fps in media.FRAME_RATES.values():
    for name in ('a.mp4', 'a.gif', 'a.webp'):
      WRITERS[name](tmp_path / name, _video(frames=2), fps=fps)
    assert len(media.read_video(tmp_path / 'a.mp4')) == 2


def test_a_video_has_the_name_of_one(tmp_path):
  with pytest.raises(ValueError, match='must end in .mp4'):
    media.Mp4Writer(tmp_path / 'a.webm')


def test_a_title_that_is_no_text_is_no_obstacle(tmp_path):
  path = tmp_path / 'x.mkv'
  with av.open(str(path), 'w') as container:
    container.metadata['title'] = 'no text'
    stream = container.add_stream('mpeg4', rate=5)
    stream.width = stream.height = 32
    frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), 'rgb24')
    container.mux([*stream.encode(frame), *stream.encode(None)])
  data = path.read_bytes()
  assert b'no text' in data
  path.write_bytes(data.replace(b'no text', b'no \xff\xfext'))
  assert media.read_video(path).shape == (1, 32, 32, 3)
