"""Archives of videos that are damaged, or were made to do harm."""

import os
import pathlib
import shutil
import stat
import sys
import zipfile

import made_ucf101
import pytest
import rar as made_rar
from absl.testing import flagsaver

from videoar_jax.commands import prepare
from videoar_jax.core import archive, command, rar
from videoar_jax.data import stores

GOOD = 'UCF-101/Archery/v_Archery_g08_c01.avi'
TOOLS = ('unrar', 'unar', '7zz', '7z', 'bsdtar')


@pytest.fixture(autouse=True)
def library():
  pytest.importorskip('rarfile')


def write_zip(path: pathlib.Path, *names: str, link: str = '') -> None:
  with zipfile.ZipFile(path, 'w') as file:
    for name in names:
      info = zipfile.ZipInfo(name)
      if name == link:
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
      file.writestr(info, b'/etc/passwd')


def write(path: pathlib.Path, *names: str, link: str = '') -> None:
  if path.suffix == '.zip':
    write_zip(path, *names, link=link)
  else:
    made_rar.write(path, [(x, b'/etc/passwd') for x in names], link=link)


def refusal(path: pathlib.Path) -> str:
  """What the command says of an archive, which is one line."""
  made_ucf101.make().write_lists(path.parent / made_ucf101.LISTS)
  saved = flagsaver.save_flag_values(prepare.FLAGS.values)
  flags = (f'--source=ucf101:{path}', f'--out={path.parent}/out', '--height=16')
  try:
    said = command.run(prepare, ['prepare', *flags])
  except SystemExit as end:
    said = end.code
  finally:
    flagsaver.restore_flag_values(saved, prepare.FLAGS.values)
  assert said.startswith('error: ') and '\n' not in said
  return said


@pytest.mark.parametrize('suffix', ['.zip', '.rar'])
@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('../v_Archery_g08_c02.avi', 'leads out of the archive'),
    ('UCF-101/../../v_Archery_g08_c02.avi', 'leads out of the archive'),
    ('UCF-101/..\\..\\v_Archery_g08_c02.avi', 'leads out of the archive'),
    ('/etc/v_Archery_g08_c02.avi', 'is an absolute name'),
    ('C:/v_Archery_g08_c02.avi', 'is an absolute name'),
  ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, suffix, name, words):
  write(tmp_path / f'x{suffix}', GOOD, name)
  said = refusal(tmp_path / f'x{suffix}')
  assert words in said and 'download it again' in said
  left = {x.name for x in tmp_path.rglob('*') if x.is_file()}
  assert not any(x.endswith('.avi') for x in left)


@pytest.mark.parametrize('suffix', ['.zip', '.rar'])
def test_a_link_and_a_name_that_comes_twice_are_refused(tmp_path, suffix):
  path = tmp_path / f'x{suffix}'
  write(path, GOOD, 'UCF-101/link.avi', link='UCF-101/link.avi')
  assert "'UCF-101/link.avi' is a link" in refusal(path)
  with pytest.warns(UserWarning) if suffix == '.zip' else _nothing():
    write(path, GOOD, GOOD)
  said = refusal(path)
  assert 'two members of one name' in said or 'is in it twice' in said
  assert GOOD in said
  # The same place by another name.
  write(path, GOOD, GOOD.replace('UCF-101/', 'UCF-101/./'))
  assert 'is in it twice' in refusal(path)


def _nothing():
  return flagsaver.flagsaver()


def test_a_device_is_refused(tmp_path):
  with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as file:
    info = zipfile.ZipInfo('UCF-101/tty.avi')
    info.external_attr = (stat.S_IFCHR | 0o666) << 16
    file.writestr(info, b'')
  assert "'UCF-101/tty.avi' is a device" in refusal(tmp_path / 'x.zip')


@pytest.mark.parametrize('suffix', ['.zip', '.rar'])
@pytest.mark.parametrize(
  ('limit', 'value', 'words'),
  [
    ('MOST_MEMBER', 10, 'has 11 bytes, wanted at most 10'),
    ('MOST_ALL', 30, 'unpacked over 30 bytes'),
    ('MOST_MEMBERS', 2, 'over 2 members'),
  ],
)
def test_a_limit_is_stated_with_what_to_do(
  tmp_path, monkeypatch, suffix, limit, value, words
):
  monkeypatch.setattr(archive, limit, value)
  write(tmp_path / f'x{suffix}', GOOD, *(f'a/{i}.avi' for i in range(2)))
  said = refusal(tmp_path / f'x{suffix}')
  assert words in said and 'unpack it yourself and give the folder' in said


def test_a_member_that_would_inflate_without_bound_is_never_inflated(tmp_path):
  path = tmp_path / 'bomb.zip'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr(GOOD, bytes(archive.MOST_MEMBER + 1))
  assert path.stat().st_size < archive.MOST_MEMBER / 900
  assert f'has {archive.MOST_MEMBER + 1} bytes' in refusal(path)


@pytest.mark.parametrize(
  ('suffix', 'kept', 'words'),
  [
    ('.zip', 0.5, 'not readable (File is not a zip file)'),
    ('.rar', 0.5, 'not readable'),
    ('.4.rar', 0.5, 'cut short'),
    ('.rar', 0, 'neither a zip nor a RAR archive'),
  ],
)
def test_an_archive_that_is_cut_short_is_one_line(
  tmp_path, suffix, kept, words
):
  path = tmp_path / f'x{suffix}'
  names = [f'UCF-101/Archery/v_{i}.avi' for i in range(3)]
  if suffix == '.4.rar':
    made_rar.write(path, [(x, os.urandom(999)) for x in names], version=4)
  else:
    write(path, *names)
  os.truncate(path, int(path.stat().st_size * kept))
  assert words in refusal(path)


def refused_member(store, name: str) -> str:
  with pytest.raises(stores.BadRecordError) as refusal, store.local(name):
    pass
  return str(refusal.value)


def test_a_member_that_is_damaged_is_named_alone(tmp_path):
  for suffix in ('.zip', '.rar'):
    path = tmp_path / f'x{suffix}'
    write(path, GOOD, 'UCF-101/Archery/other.avi')
    path.write_bytes(path.read_bytes().replace(b'/etc/pass', b'/ETC/pass', 1))
    store = stores.open_archive(str(path))
    assert set(store.sizes()) == {GOOD, 'UCF-101/Archery/other.avi'}
    assert 'damaged in the archive' in refused_member(store, GOOD)
    with store.local('UCF-101/Archery/other.avi') as file:
      assert pathlib.Path(file).read_bytes() == b'/etc/passwd'
    assert not os.path.exists(file)


def test_an_encrypted_or_solid_archive_is_told_as_such(tmp_path):
  path = tmp_path / 'x.zip'
  write(path, GOOD)
  data = bytearray(path.read_bytes())
  for at in (data.index(b'PK\3\4') + 6, data.index(b'PK\1\2') + 8):
    data[at] |= 1
  path.write_bytes(data)
  assert 'is encrypted' in refusal(path)
  made_rar.write(tmp_path / 'x.rar', [(GOOD, b'x')], packed=True, solid=True)
  said = refusal(tmp_path / 'x.rar')
  assert 'a solid archive' in said and 'give the folder' in said


def test_random_damage_is_noticed_or_named(tmp_path):
  data = bytes(range(256))
  members = [(f'A/v{i}.avi', data) for i in range(4)]
  for suffix, version in (('zip', 0), ('rar', 4), ('rar', 5)):
    path = tmp_path / f'x{version}.{suffix}'
    if version:
      made_rar.write(path, members, version=version)
    else:
      with zipfile.ZipFile(path, 'w') as file:
        for name, content in members:
          file.writestr(name, content)
    whole = path.read_bytes()
    for at in range(8, len(whole), 23):
      path.write_bytes(
        whole[:at] + bytes((whole[at] ^ 0x55,)) + whole[at + 1 :]
      )
      try:
        store = stores.open_archive(str(path))
        names = store.sizes()
      except ValueError as error:
        assert '\n' not in str(error)
        continue
      for name in names:
        try:
          with store.local(name) as file:
            assert pathlib.Path(file).read_bytes() in (data, b'')
        except stores.BadRecordError:
          pass


def tools() -> list[str]:
  return [x for x in TOOLS if shutil.which(x)]


@pytest.mark.parametrize('tool', TOOLS)
def test_a_program_of_this_machine_unpacks_what_is_compressed(
  tmp_path, monkeypatch, tool
):
  if not shutil.which(tool):
    pytest.skip(f'no {tool} on this machine')
  monkeypatch.setattr(rar.shutil, 'which', lambda name: name == tool)
  members = [(f'A/v{i}.avi', os.urandom(5000 + i)) for i in range(3)]
  members.append(('A/empty.avi', b''))
  made_rar.write(tmp_path / 'x.rar', members, packed=True)
  try:
    opened = rar.RarArchive(tmp_path / 'x.rar', fix='')
  except ValueError as error:
    if '7z' in tool and 'no program unpacks it' in str(error):
      pytest.skip(f'this {tool} was built without RAR')
    raise
  assert {x.name: x.size for x in opened.members} == {
    name: len(data) for name, data in members
  }
  for name, data in members:
    assert opened.read(name, most=6000) == data
  with pytest.raises(ValueError, match='wanted at most 100'):
    opened.read('A/v0.avi', most=100)


# Unpacks by looking a name up; has the one that ends in `half` fail midway.
_UNPACKER = """#!{python}
import pathlib, re, sys
if '-?' in sys.argv:
  sys.exit(0)
name = re.search(rb'v_\\w+[.]avi', pathlib.Path(sys.argv[-1]).read_bytes())[0]
data = pathlib.Path({folder!r}, name.decode()).read_bytes()
whole = {half!r} not in name.decode()
sys.stdout.buffer.write(data if whole else data[: len(data) // 2])
sys.exit(0 if whole else 3)
"""


def unpacker(folder: pathlib.Path, monkeypatch, *, half: str) -> None:
  """Puts a program called unrar, and no other, on the path."""
  program = folder / 'bin' / 'unrar'
  program.parent.mkdir()
  program.write_text(
    _UNPACKER.format(python=sys.executable, folder=str(folder), half=half)
  )
  program.chmod(0o755)
  monkeypatch.setenv('PATH', str(program.parent))


def test_a_program_that_fails_midway_costs_the_video_at_hand(
  tmp_path, monkeypatch
):
  members = [(f'A/v_{i}.avi', os.urandom(500 + i)) for i in range(4)]
  for name, data in members:
    (tmp_path / pathlib.PurePosixPath(name).name).write_bytes(data)
  made_rar.write(tmp_path / 'x.rar', members, packed=True)
  unpacker(tmp_path, monkeypatch, half='v_2')
  store = stores.open_archive(str(tmp_path / 'x.rar'))
  for name, data in members:
    if name == 'A/v_2.avi':
      assert 'damaged in the archive' in refused_member(store, name)
    else:
      with store.local(name) as file:
        assert pathlib.Path(file).read_bytes() == data


def test_without_a_program_that_serves_it_is_said_what_to_install(
  tmp_path, monkeypatch
):
  (tmp_path / 'v_1.avi').write_bytes(b'x' * 50)
  path = tmp_path / 'x.rar'
  made_rar.write(path, [('A/v_1.avi', b'x' * 50)], packed=True)
  monkeypatch.setenv('PATH', str(tmp_path))
  said = refusal(path)
  assert '(none is on this machine); install unrar or unar' in said
  unpacker(tmp_path, monkeypatch, half='v_1')
  said = refusal(path)
  assert 'no program unpacks it (unrar: ' in said
