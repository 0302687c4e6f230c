"""UCF-101 as published goes in by one command, and is held to its lists."""

import json
import pathlib
import shutil
import zipfile

import made_ucf101
import numpy as np
import pytest
import rar
from absl.testing import flagsaver
from made_ucf101 import LISTS, SPLITS_ZIP

from videoar_jax.commands import prepare
from videoar_jax.core import command
from videoar_jax.data import array_record, pipeline, shards, ucf101
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadDataError

SIZE = ('--height=16', '--width=16', '--num_shards=3')


@pytest.fixture(scope='module')
def made():
  return made_ucf101.make()


@pytest.fixture(scope='module')
def files(made, tmp_path_factory):
  """Name -> bytes of a sound video."""
  folder = tmp_path_factory.mktemp('tiny')
  return made_ucf101.contents(made, made_ucf101.tiny_video(folder / 'x.avi'))


@pytest.fixture(scope='module')
def data(made, files, tmp_path_factory):
  """All three forms of the videos, and the lists beside them."""
  root = tmp_path_factory.mktemp('data')
  made.write_lists(root / LISTS)
  made_ucf101.write_folder(root / 'UCF-101', files)
  made_ucf101.write_zip(root / 'UCF101.zip', files)
  members = [(f'UCF-101/{name}', data) for name, data in files.items()]
  rar.write(root / 'UCF101.rar', members)
  return root


def run(source: pathlib.Path, out: pathlib.Path, *more: str):
  """Runs the command in this process; its exit status or message."""
  saved = flagsaver.save_flag_values(prepare.FLAGS.values)
  flags = (f'--source=ucf101:{source}', f'--out={out}', *SIZE, *more)
  try:
    return command.run(prepare, ['prepare', *flags])
  except SystemExit as end:
    return end.code
  finally:
    flagsaver.restore_flag_values(saved, prepare.FLAGS.values)


def manifest(out: pathlib.Path) -> dict:
  return json.loads((out / shards.MANIFEST).read_text())


def records(out: pathlib.Path, *, train: bool) -> dict[str, int]:
  """Name -> label of a split's records."""
  config = DataConfig(
    source=f'array_record:{out}', num_frames=17, height=16, width=16
  )
  source = pipeline.make_source(config, train=train)
  found = [source.records[i][0] for i in range(len(source))]
  return {x['name']: x['label'] for x in found}


def forms(data: pathlib.Path) -> list[pathlib.Path]:
  pytest.importorskip('rarfile')
  return [data / x for x in ('UCF-101', 'UCF101.zip', 'UCF101.rar')]


def test_all_forms_give_the_same_shards_of_the_official_splits(
  made, data, tmp_path
):
  found = []
  for i, source in enumerate(forms(data)):
    assert run(source, tmp_path / f'{i}') is None
    found.append(manifest(tmp_path / f'{i}'))
    assert found[-1]['plan'].pop('source') == f'ucf101:{source}'
  assert found[0] == found[1] == found[2]
  assert found[0]['classes'] == list(made.classes)
  assert (found[0]['missing'], found[0]['unknown']) == ([], [])
  for names, train in ((made.training, True), (made.test, False)):
    assert records(tmp_path / '1', train=train) == {
      name: made.classes.index(name.partition('/')[0]) for name in names
    }


def test_what_is_bad_missing_or_unknown_is_named_and_nothing_else_lost(
  made, files, tmp_path, caplog
):
  pytest.importorskip('rarfile')
  files, bad, missing, unknown = made_ucf101.damage(
    made, files, bad=3, gone=2, renamed=2
  )
  files['Archery/Thumbs.db'] = b'no video'
  made.write_lists(tmp_path / LISTS)
  made_ucf101.write_folder(tmp_path / 'UCF-101', files)
  made_ucf101.write_zip(tmp_path / 'UCF101.zip', files)
  members = [(f'UCF-101/{name}', data) for name, data in files.items()]
  rar.write(tmp_path / 'UCF101.rar', members)
  for i, source in enumerate(forms(tmp_path)):
    said = run(source, tmp_path / f'{i}')
    # Of 33 videos 4 are missing, which is too much without being told so.
    assert '4 of 33 listed videos are missing' in said and '\n' not in said
    assert ', '.join(missing) in said
    assert run(source, tmp_path / f'{i}', '--max_bad_share=0.5') is None
    found = manifest(tmp_path / f'{i}')
    assert sorted(found['skipped']) == bad
    assert found['missing'] == missing
    inner = '' if i == 0 else 'UCF-101/'
    assert found['unknown'] == [f'{inner}{name}' for name in unknown]
    assert found['ignored'] == 1
    kept = set()
    for train in (True, False):
      kept |= records(tmp_path / f'{i}', train=train).keys()
    assert kept == set(made.names) - set(bad) - set(missing)
  assert f'missing (4): {missing[0]}' in caplog.text
  assert f'in no list (2): {unknown[0]}' in caplog.text
  assert 'no videos (1): Archery/Thumbs.db' in caplog.text
  assert f'skipped {bad[0]}' in caplog.text


def test_a_stopped_preparation_of_an_archive_takes_up_where_it_was(
  data, tmp_path, monkeypatch
):
  encode, encoded = array_record.encode_video, []

  def stumble(frames, **options):
    if len(encoded) == 20:
      raise KeyboardInterrupt
    encoded.append(options['name'])
    return encode(frames, **options)

  for source in forms(data)[1:]:
    monkeypatch.setattr(array_record, 'encode_video', encode)
    assert run(source, tmp_path / f'{source.suffix}_whole') is None
    encoded.clear()
    monkeypatch.setattr(array_record, 'encode_video', stumble)
    out = tmp_path / source.suffix
    assert run(source, out) == 130
    written = sorted(x.name for x in out.glob('*.array_record'))
    assert len(written) == 2  # shards of eight videos
    encoded[:] = ['x'] * 21  # stumbles no more
    assert run(source, out) is None
    assert len(encoded) == 21 + 33 - 16
    assert manifest(out) == manifest(tmp_path / f'{source.suffix}_whole')


def test_clips_are_drawn_from_an_archive_as_from_the_folder(data):
  found = []
  for source in forms(data):
    config = DataConfig(
      source=f'ucf101:{source}', num_frames=5, height=16, width=16
    )
    batch = next(pipeline.make_batches(config, train=True, seed=3))
    found.append(batch)
    assert (batch['failed'] == -1).all()
  for other in found[1:]:
    for name in found[0]:
      np.testing.assert_array_equal(found[0][name], other[name])


def test_lists_are_found_beside_within_and_where_they_are_said_to_be(
  made, files, data, tmp_path
):
  wanted = ucf101.catalogue(str(data / 'UCF-101')).splits
  # In the folder above the videos, which is given.
  assert ucf101.catalogue(str(data)).splits == wanted
  # As the zip that is published, beside the archive.
  with zipfile.ZipFile(tmp_path / SPLITS_ZIP, 'w') as file:
    for path in (data / LISTS).iterdir():
      file.write(path, f'{LISTS}/{path.name}')
  shutil.copy(data / 'UCF101.zip', tmp_path)
  found = ucf101.catalogue(str(tmp_path / 'UCF101.zip'))
  assert _labelled(found.splits) == _labelled(wanted)
  # Told.
  for place in (data / LISTS / 'trainlist01.txt', tmp_path / SPLITS_ZIP):
    found = ucf101.catalogue(str(data / 'UCF-101'), split_file=str(place))
    assert found.splits == wanted
  # In the archive itself.
  alone = tmp_path / 'alone' / 'all.zip'
  alone.parent.mkdir()
  lists = {
    f'{LISTS}/{x.name}': x.read_bytes() for x in (data / LISTS).iterdir()
  }
  made_ucf101.write_zip(alone, {**files, **lists})
  found = ucf101.catalogue(str(alone))
  assert _labelled(found.splits) == _labelled(wanted)
  assert found.about['ignored'] == 3


def _labelled(splits) -> list[dict[str, int]]:
  return [dict(zip(x.names, x.labels)) for x in splits]


def test_a_zip_without_class_folders_and_with_another_spelling_is_known(
  made, files, data, tmp_path
):
  flat = {
    pathlib.PurePosixPath(x).name.replace('HandStand', 'Handstand'): y
    for x, y in files.items()
  }
  made_ucf101.write_zip(tmp_path / 'flat.zip', flat, inner='UCF101')
  made_ucf101.write_folder(tmp_path / 'UCF101', flat)
  wanted = ucf101.catalogue(str(data / 'UCF-101')).splits
  for source in ('flat.zip', 'UCF101'):
    found = ucf101.catalogue(
      str(tmp_path / source),
      split_file=str(data / LISTS / 'trainlist01.txt'),
    )
    assert _labelled(found.splits) == _labelled(wanted)
    assert not found.missing and not found.about['unknown']


def test_without_a_list_of_test_videos_all_others_are_held_out(
  made, data, tmp_path
):
  made.write_lists(tmp_path)
  (tmp_path / 'testlist01.txt').unlink()
  (tmp_path / 'classInd.txt').unlink()
  shutil.copytree(data / 'UCF-101', tmp_path / 'UCF-101')
  stray = tmp_path / 'UCF-101' / 'Stray' / 'v_Stray_g01_c01.avi'
  stray.parent.mkdir()
  stray.write_bytes(b'')
  found = ucf101.catalogue(
    str(tmp_path / 'UCF-101'), split_file=str(tmp_path / 'trainlist01.txt')
  )
  # The order of the classes is that of their numbers all the same.
  assert found.splits[0].classes == made.classes
  assert _labelled(found.splits) == _labelled(
    ucf101.catalogue(str(data / 'UCF-101')).splits
  )
  assert found.about['unknown'] == ['Stray/v_Stray_g01_c01.avi']


@pytest.mark.parametrize(
  ('file', 'old', 'new', 'words'),
  [
    ('trainlist01.txt', 'c01.avi 1\r', 'c01.avi 2\r', 'Archery has number 2'),
    ('trainlist01.txt', 'Archery/', 'Archer/', 'has no class Archer;'),
    ('testlist01.txt', '_g01_', '_g08_', 'is in .*trainlist01.txt, line 1 as'),
    ('testlist01.txt', 'Archery/', '', 'wanted <class>/<video>.avi <number>'),
    ('classInd.txt', '2 Hand', '3 Hand', 'wanted number 2 and a class'),
    ('trainlist01.txt', None, '', 'names no video'),
    ('trainlist01.txt', None, '\xff', 'is not UTF-8'),
  ],
)
def test_lists_that_contradict_themselves_are_refused_by_line(
  made, data, tmp_path, file, old, new, words
):
  made.write_lists(tmp_path / LISTS)
  path = tmp_path / LISTS / file
  text = path.read_bytes().decode()
  text = new if old is None else text.replace(old, new, 1)
  path.write_bytes(text.encode('latin-1'))
  with pytest.raises(ValueError, match=f'(?s){file}.*{words}') as refusal:
    ucf101.catalogue(
      str(data / 'UCF-101'),
      split_file=str(tmp_path / LISTS / 'trainlist01.txt'),
    )
  assert '\n' not in str(refusal.value)


def test_what_is_no_data_set_is_one_line(data, tmp_path):
  (tmp_path / 'text.rar').write_text('no archive')
  (tmp_path / 'empty').mkdir()
  shutil.copytree(data / 'UCF-101', tmp_path / 'sub' / 'UCF-101')
  lists = data / LISTS / 'trainlist01.txt'
  for source, words, more in (
    ('nowhere', 'no such file or folder', ()),
    ('text.rar', 'neither a zip nor a RAR archive', ()),
    (
      'empty',
      'none of the 0 files there (it is em',
      (f'--split_file={lists}',),
    ),
    ('sub/UCF-101', 'no lists of the splits', ()),
    ('sub/UCF-101', 'no such file', ('--split_file=/no/list.txt',)),
  ):
    said = run(tmp_path / source, tmp_path / 'out', *more)
    assert words in said and '\n' not in said
  said = run('gs://bucket/UCF101.rar', tmp_path / 'out')
  assert 'read from a disk' in said


def test_two_files_of_one_name_are_refused(data, tmp_path):
  shutil.copytree(data, tmp_path / 'data')
  inner = tmp_path / 'data' / 'UCF-101' / 'Archery'
  shutil.copy(inner / 'v_Archery_g08_c01.avi', inner / 'v_Archery_g08_c01.mp4')
  with pytest.raises(
    ValueError, match='g08_c01.avi and .*g08_c01.mp4 are both'
  ):
    ucf101.catalogue(str(tmp_path / 'data'))


def test_too_many_missing_videos_stop_a_run_that_decodes_directly(
  made, data, tmp_path
):
  shutil.copytree(data, tmp_path / 'data')
  for name in made.training[::4]:
    (tmp_path / 'data' / 'UCF-101' / name).unlink()
  config = DataConfig(source=f'ucf101:{tmp_path}/data', height=16, width=16)
  with pytest.raises(BadDataError, match='6 of 33 listed.*max_bad_share'):
    pipeline.make_source(config, train=True)


def test_lists_that_are_not_the_official_ones_are_told(data, caplog):
  ucf101.failures._warn_once.cache_clear()
  ucf101.catalogue(str(data / 'UCF-101'))
  assert 'not the official lists: 24 + 9 videos of 4 classes' in caplog.text


def test_real_clips_go_through_as_folder_and_zip(shared_dir, tmp_path, caplog):
  lists = shared_dir / 'data' / 'ucf101_splits' / 'trainlist01.txt'
  clips = shared_dir / 'data' / 'ucf101_original'
  chosen = sorted(clips.glob('*/*.avi'))[::13]
  assert len(chosen) > 4
  files = {f'{x.parent.name}/{x.name}': x.read_bytes() for x in chosen}
  made_ucf101.write_folder(tmp_path / 'UCF-101', files)
  made_ucf101.write_zip(tmp_path / 'UCF101.zip', files)
  found = []
  for i, source in enumerate(('UCF-101', 'UCF101.zip')):
    flags = (f'--split_file={lists}', '--max_bad_share=1')
    assert run(tmp_path / source, tmp_path / f'{i}', *flags) is None
    found.append(manifest(tmp_path / f'{i}'))
    assert len(found[i]['missing']) == 13_320 - len(chosen)
    assert not found[i]['skipped'] and len(found[i]['classes']) == 101
  assert found[0]['splits'] == found[1]['splits']
  # Numbers of the official list are kept: not those of sorted names.
  assert found[0]['classes'][34:36] == ['Hammering', 'HammerThrow']
