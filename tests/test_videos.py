"""Videos as an array: labels that follow, pages and files that show them."""

import base64
import io
import re
import sys

import numpy as np
import pytest
from PIL import Image

import videoar_jax as va
from videoar_jax import media
from videoar_jax.api import videos as videos_lib


def make(count=3, side=16, labels=('a', 'b', 'c')):
  rng = np.random.default_rng(0)
  shape = (count, 5, side, side, 3)
  return va.Videos(rng.integers(0, 256, shape, np.uint8), labels)


def picture(page):
  data = re.search('base64,([^"]*)"', page)[1]
  return Image.open(io.BytesIO(base64.b64decode(data)))


def test_labels_follow_what_is_taken():
  videos = make()
  assert videos[1].labels == videos[-2].labels == ('b',)
  assert videos[1:].labels == ('b', 'c')
  assert videos.copy().labels == videos.view().labels == ('a', 'b', 'c')
  # Of what is no longer a video for each label there are none.
  assert videos[1][2].labels == videos[:, 2].labels == videos[..., 0].labels
  assert videos[:, 2].labels == () == videos[[0, 1]].labels


def test_a_page_shows_them_moving():
  videos = make(labels=('<left>', 'b', 'b'))
  page = videos._repr_html_()
  assert 'alt="&lt;left&gt;, b"' in page
  with picture(page) as image:
    assert image.format == 'WEBP' and image.n_frames == 5
    grid = media.labelled_grid(videos, videos.labels, columns=2)
    assert image.size == grid.shape[2:0:-1]
  assert f'width: {10 * grid.shape[2]}px' in page  # small ones are enlarged
  with picture(videos[0][None][0]._repr_html_()) as image:
    assert image.size == (16, 16)  # no label, no grid


def test_a_page_shows_no_more_than_fit():
  page = make(70, side=8, labels=())._repr_html_()
  assert 'the first 64 of 70 videos' in page
  with picture(page) as image:
    assert image.size == (80, 80)  # 8 by 8 and what lies between


def test_what_is_computed_of_them_is_an_array():
  videos = make()
  for other in (videos / 2, videos + 1, videos == 3, videos.mean(axis=0)):
    assert type(other) is np.ndarray
  assert isinstance(videos.mean(), float)
  assert isinstance(videos.max(), np.uint8)


def test_a_part_of_one_shows_as_an_array():
  videos = make()
  for part in (videos[0, 0], videos[:0], videos[..., :1], videos.astype(int)):
    assert part._repr_html_() is None
    with pytest.raises(ValueError, match='wanted videos, uint8'):
      part.grid()


def test_they_are_saved_as_their_name_says(tmp_path):
  videos = make()
  grid = media.labelled_grid(videos, videos.labels, columns=2)
  for name in ('x.mp4', 'x.GIF', 'x.webp', 'x.png'):
    videos.save(tmp_path / name, fps=10)
  assert media.read_video(tmp_path / 'x.mp4').shape == grid.shape
  with Image.open(tmp_path / 'x.GIF') as image:
    assert image.size == grid.shape[2:0:-1] and image.n_frames == 5
  with Image.open(tmp_path / 'x.png') as image:
    assert image.width == 5 * (16 + 2)
  make(labels=())[0].save(tmp_path / 'one.mp4')
  assert media.read_video(tmp_path / 'one.mp4').shape == (5, 16, 16, 3)
  with pytest.raises(ValueError, match='x.avi: the name must end in .mp4'):
    videos.save(tmp_path / 'x.avi')
  with pytest.raises(ValueError, match='columns=0'):
    videos.save(tmp_path / 'x.mp4', columns=0)


def test_outside_a_notebook_they_open_in_the_browser(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'IPython', None)
  opened = []
  monkeypatch.setattr(videos_lib.webbrowser, 'open', opened.append)
  make().show()
  (address,) = opened
  path = address.removeprefix('file://')
  with open(path, encoding='utf-8') as file:
    assert picture(file.read()).n_frames == 5
  # Where there is no browser it says what one is to open.
  assert path in capsys.readouterr().out


def test_in_a_notebook_they_are_displayed_there(monkeypatch):
  shown = []

  class Notebook:
    class display:
      HTML = str
      display = staticmethod(shown.append)

    @staticmethod
    def get_ipython():
      return object()

  monkeypatch.setitem(sys.modules, 'IPython', Notebook)
  make().show(columns=3)
  assert picture(shown[0]).width > 3 * 16
