"""Lists of videos: split files as people save them, names as on disks."""

import os

import pytest

from videoar_jax.data import folder

_LIST = 'cat/v00.avi 1\ncat/v01.avi 1\ndog/v02.avi 2\n'


@pytest.fixture
def root(tmp_path):
  """Two classes of three files each; a listing does not open them."""
  for name in ('cat', 'dog'):
    (tmp_path / 'data' / name).mkdir(parents=True)
    for i in range(3):
      (tmp_path / 'data' / name / f'v{i:02d}.mp4').write_bytes(b'')
  return str(tmp_path / 'data')


def _split(root, tmp_path, data):
  """The names that a split file of these bytes trains on."""
  path = tmp_path / 'list.txt'
  path.write_bytes(data)
  train, held_out = folder.list_splits(root, split_file=str(path))
  assert len(train.names) + len(held_out.names) == 6
  return train.names


@pytest.mark.parametrize(
  'data',
  [
    _LIST.encode('utf-8-sig'),
    _LIST.replace('\n', '\r\n').encode(),
    _LIST.replace('\n', '\r\n').encode('utf-8-sig'),
    _LIST.replace('\n', '\r').encode(),
    (_LIST * 2).encode(),
    b'cat/v00.avi\ncat/v01\n  dog/v02.mp4 \t\n',
  ],
  ids=['mark', 'windows', 'both', 'old mac', 'twice', 'no numbers'],
)
def test_a_split_file_is_read_however_it_was_saved(root, tmp_path, data):
  found = _split(root, tmp_path, data)
  assert found == ('cat/v00.mp4', 'cat/v01.mp4', 'dog/v02.mp4')


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    ('cat/v00.avi\ncat/café.avi\n'.encode('latin-1'), 'line 2: byte 0xe9'),
    (_LIST.encode('utf-16'), 'line 1: byte 0xff is not UTF-8'),
    (b'/data/cat/v00.avi 1\n', "line 1: '/data/cat/v00.avi 1'; wanted <class>"),
    (b'/v00.avi 1\n', "line 1: '/v00.avi 1'; wanted <class>"),
    (b'cat/v00.avi 1\n../v00.avi 1\n', 'line 2: .* wanted <class>'),
    (b'cat/../cat/v00.avi\n', 'line 1: .* wanted <class>'),
    (b'cat\\v00.avi 1\n', 'line 1: .* wanted <class>'),
    (b'', 'names no video under'),
  ],
)
def test_a_split_file_that_does_not_serve_is_named_by_line(
  root, tmp_path, data, message
):
  with pytest.raises(ValueError, match=message):
    _split(root, tmp_path, data)


def test_an_endless_split_file_ends(root, monkeypatch):
  monkeypatch.setattr('videoar_jax.core.files._MOST_TEXT', 2**12)
  with pytest.raises(ValueError, match='/dev/zero: no plain file'):
    folder.list_splits(root, split_file='/dev/zero')


def test_names_in_a_split_file_without_a_file_are_told(root, tmp_path, caplog):
  found = _split(root, tmp_path, _LIST.encode() + b'cat/gone.avi 1\n')
  assert len(found) == 3
  folder.list_splits(root, split_file=str(tmp_path / 'list.txt'))
  (record,) = caplog.records  # once, however many splits are listed
  assert 'list.txt: names without a file' in record.getMessage()
  assert record.getMessage().endswith('(1): cat/gone')


def test_names_with_dots_keep_what_is_no_suffix(root, tmp_path):
  for name in ('v.01.mp4', 'v.02.mp4'):
    (tmp_path / 'data' / 'cat' / name).write_bytes(b'')
  path = tmp_path / 'list.txt'
  path.write_text('cat/v.01 1\ncat/v.02.avi 1\n')
  train, _ = folder.list_splits(root, split_file=str(path))
  assert train.names == ('cat/v.01.mp4', 'cat/v.02.mp4')


def test_names_that_are_not_utf8_are_left_out_counted_and_named(
  root, tmp_path, caplog
):
  inside = os.fsencode(tmp_path / 'data' / 'cat') + b'/caf\xe9.mp4'
  outside = os.fsencode(tmp_path / 'data') + b'/caf\xe9'
  os.mkdir(outside)
  for path in (inside, outside + b'/v.mp4'):
    with open(path, 'wb'):
      pass
  found = folder.list_splits(root)
  assert found[0].classes == ('cat', 'dog')
  assert sum(len(split.names) for split in found) == 6
  wanted = r'names are not UTF-8 (2): caf\xe9/v.mp4, cat/caf\xe9.mp4'
  assert wanted in caplog.text


def test_what_is_no_file_of_the_kind_is_left_out_by_name(
  root, tmp_path, caplog
):
  cat = tmp_path / 'data' / 'cat'
  os.mkfifo(cat / 'pipe.mp4')
  (cat / 'loop.mp4').symlink_to(cat / 'loop.mp4')
  (cat / 'deeper').mkdir()
  (cat / 'notes.txt').write_text('')
  (tmp_path / 'data' / 'none').mkdir()
  found = folder.list_splits(root)
  assert sum(len(split.names) for split in found) == 6
  wanted = '(4): cat/deeper, cat/loop.mp4, cat/notes.txt, cat/pipe.mp4'
  assert wanted in caplog.text
  assert 'folders without files (1): none' in caplog.text


def test_one_video_makes_no_two_splits(tmp_path):
  (tmp_path / 'cat').mkdir()
  (tmp_path / 'cat' / 'v00.mp4').write_bytes(b'')
  found = folder.catalogue(str(tmp_path))
  with pytest.raises(ValueError, match='no held-out files among the 1 there'):
    found.check_filled((0, 1), 'folder:x', '')
