"""Users' text and JSON, and where results may be written."""

import errno
import json
import os
import pathlib

import pytest

from videoar_jax.core import files


def test_a_byte_order_mark_is_no_text(tmp_path):
  (tmp_path / 'x').write_bytes(b'\xef\xbb\xbfa/b.mp4\r\n')
  assert files.read_text(tmp_path / 'x') == 'a/b.mp4\r\n'
  (tmp_path / 'x').write_bytes(b'\xef\xbb\xbf{"a": 1}')
  assert files.read_json(tmp_path / 'x') == {'a': 1}


def test_text_that_is_not_utf8_is_told_by_its_line(tmp_path):
  (tmp_path / 'x').write_bytes('eins\nzwei\nfünf\n'.encode('latin1'))
  with pytest.raises(ValueError, match='x, line 3: byte 0xfc is not UTF-8'):
    files.read_text(tmp_path / 'x')


def test_what_is_no_file_is_not_read(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  for path, words in (
    (tmp_path / 'absent', 'no such file'),
    (tmp_path, 'a folder; wanted a file'),
    (tmp_path / 'pipe', 'no plain file'),
    ('/dev/zero', 'no plain file'),
  ):
    with pytest.raises(ValueError, match=words):
      files.read_text(path)


def test_text_without_an_end_is_refused(tmp_path):
  with open(tmp_path / 'x', 'wb') as file:
    file.truncate(2**28 + 1)
  with pytest.raises(ValueError, match='more than 256 MiB of text'):
    files.read_text(tmp_path / 'x')


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('', 'not JSON'),
    ('{"a": 1', 'not JSON'),
    ('{"a": NaN}', 'NaN is no number of JSON'),
    ('[-Infinity]', '-Infinity is no number of JSON'),
    ('[1e999]', '1e999 is no number of JSON'),
    ('[' * 10**6, 'nested too deeply'),
    ('[' * 200 + ']' * 200, 'nested more than 100 deep'),
    ('9' * 5000, 'not JSON'),
    ('[' + '9' * 20 + ']', 'a number of 20 digits'),
    ('[1]', r'it is \[1\]; wanted an object'),
  ],
)
def test_json_that_does_not_serve_is_one_line(tmp_path, text, words):
  (tmp_path / 'x.json').write_text(text)
  with pytest.raises(ValueError, match=words) as caught:
    files.read_json(tmp_path / 'x.json', dict, fix='write it again')
  said = str(caught.value)
  assert str(tmp_path / 'x.json') in said and '\n' not in said
  assert said.endswith('; write it again') and len(said) < 400


def test_json_keeps_its_values():
  value = {'a': [1, 2.5, -1e-9, None, True, 'é', {'b': []}], 'c': -(2**62)}
  assert files.parse_json(json.dumps(value), where='x') == value


def test_a_result_may_not_take_the_place_of_what_is_read(tmp_path):
  (tmp_path / 'in.mp4').write_bytes(b'1')
  (tmp_path / 'link.mp4').symlink_to('in.mp4')
  os.link(tmp_path / 'in.mp4', tmp_path / 'hard.mp4')
  for name in ('in.mp4', 'link.mp4', 'hard.mp4'):
    with pytest.raises(ValueError, match='which is read'):
      files.output_file(tmp_path / name, inputs=(None, tmp_path / 'in.mp4'))
  with pytest.raises(ValueError, match='which is read'):
    files.output_folder(tmp_path, inputs=(tmp_path / '.',))
  files.output_file(tmp_path / 'out.mp4', inputs=(tmp_path / 'in.mp4', 'no'))
  files.check_replaceable('gs://b/x', inputs=('gs://b/xy', tmp_path, 'x'))
  for name in ('gs://b/x', 'gs://b/x/', 'gs://b/y/../x'):
    with pytest.raises(ValueError, match='which is read'):
      files.check_replaceable('gs://b//x', inputs=(name,))


@pytest.mark.parametrize(
  ('path', 'words'),
  [
    ('', 'a folder'),
    ('folder', 'a folder; give the name of a file'),
    ('absent/x.json', 'no folder .*absent; make it first'),
    ('file/x.json', 'no folder'),
    ('/dev/null', 'no plain file'),
    ('/proc/x.json', '/proc: no file can be made there'),
  ],
)
def test_a_file_that_cannot_be_written_is_told_beforehand(
  tmp_path, monkeypatch, path, words
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match=words):
    files.output_file(path)
  with pytest.raises(ValueError, match='--plot='):
    files.output_file('folder', flag='plot')


@pytest.mark.parametrize(
  ('path', 'words'),
  [
    ('file', 'a file; give a folder'),
    ('file/deeper', 'file is a file'),
    ('/proc/x/y', '/proc: no file can be made there'),
  ],
)
def test_a_folder_that_cannot_be_written_is_told_beforehand(
  tmp_path, monkeypatch, path, words
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match=words):
    files.output_folder(path)
  assert not files.output_folder('new/deeper').exists()
  with pytest.raises(ValueError, match='wanted a path on a disk'):
    files.output_folder('gs://bucket/x', local=True)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'x.json'
  path.write_text('old')
  (tmp_path / 'link.json').symlink_to('x.json')
  with files.replacing(tmp_path / 'link.json') as partial:
    assert partial == path.parent / files.partial_name('x.json')
    assert partial.suffix == '.json'
    partial.write_text('new')
    assert path.read_text() == 'old'
  assert path.read_text() == 'new' and (tmp_path / 'link.json').is_symlink()
  with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
    partial.write_text('half')
    raise KeyboardInterrupt
  assert path.read_text() == 'new'
  assert {x.name for x in tmp_path.iterdir()} == {'x.json', 'link.json'}


def test_a_full_disk_is_told_with_the_name_of_the_file():
  for manager in (files.named, files.replacing):
    with pytest.raises(OSError) as caught, manager('folder/x.mp4'):
      raise OSError(errno.ENOSPC, 'No space left on device')
    assert pathlib.Path(caught.value.filename).name == 'x.mp4'
    assert caught.value.errno == errno.ENOSPC
  with pytest.raises(FileNotFoundError) as caught, files.named('x'):
    pathlib.Path('/no/such').read_bytes()
  assert caught.value.filename == '/no/such'
