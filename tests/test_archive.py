"""Archives that nobody vouches for are read within bounds, or refused."""

import io
import pathlib
import struct
import zipfile

import numpy as np
import pytest

from videoar_jax.core import archive

MIB = 2**20


def header(text: str) -> bytes:
  """The beginning of a .npy file with any description."""
  body = text.encode()
  return b'\x93NUMPY\x02\x00' + struct.pack('<I', len(body)) + body


def npy(descr="'<f4'", shape='(2,)', data=b'\0' * 8) -> bytes:
  about = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
  return header(about) + data


def write(path: pathlib.Path, method=zipfile.ZIP_DEFLATED, **members) -> None:
  with zipfile.ZipFile(path, 'w', method) as file:
    for name, data in members.items():
      file.writestr(f'{name}.npy', data)


def read_array(path: pathlib.Path, name='a') -> np.ndarray:
  with archive.Archive(path, fix='write it again') as file:
    return file.read_array(name)


@pytest.mark.parametrize(
  'value',
  [
    np.arange(7, dtype=np.int16),
    np.ones((2, 0, 3), bool),
    np.float64(2.5),
    np.asarray(['left', 'größer']),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
  ],
)
def test_arrays_come_back(tmp_path, value):
  np.savez_compressed(tmp_path / 'x.npz', a=value)
  found = read_array(tmp_path / 'x.npz')
  assert found.dtype == np.asarray(value).dtype
  np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
  ('data', 'words'),
  [
    (npy(shape='(209715200000000,)'), 'states 838860800000000 bytes, holds 8'),
    (npy(shape='(-2,)'), 'states the shape'),
    (npy(shape='(3,)'), 'states 12 bytes, holds 8'),
    (npy(shape='(1,)'), 'states 4 bytes, holds 8'),
    (npy(descr="'|O'", shape='(1,)'), 'Python objects'),
    (npy(descr="[('a', '|O')]", shape='(1,)'), 'Python objects'),
    (npy(descr="'|V4'"), 'wanted numbers or text'),
    (npy(descr="'<c8'", shape='(1,)'), 'wanted numbers or text'),
    (npy(descr="'<U0'", shape='(10000000000,)', data=b''), 'numbers or text'),
    (npy(descr="'<q99'"), 'no header of an array'),
    (npy(shape='2'), 'no header of an array'),
    (header('(' * 9000), 'no header of an array'),
    (header('-' * 9000 + '1'), 'no header of an array'),
    (header('"""'), 'no header of an array'),
    (header(' ' * 20_000), 'no header of an array'),
    (b'\x93NUMPY\x09\x00', 'array of format'),
    (b'\x93NUM', 'EOF'),
    (b'', 'EOF'),
  ],
)
def test_a_lying_array_is_refused_before_it_takes_memory(tmp_path, data, words):
  write(tmp_path / 'x.npz', a=data)
  with pytest.raises(ValueError, match=words) as caught:
    read_array(tmp_path / 'x.npz')
  said = str(caught.value)
  assert 'x.npz' in said and said.endswith('; write it again')
  assert '\n' not in said
  for advice in ('pickle', 'max_header_size'):  # NumPy's, to load unsafely
    assert advice not in said


def test_an_honest_array_larger_than_memory_is_refused(tmp_path, monkeypatch):
  write(tmp_path / 'x.npz', a=npy(shape='(1048576,)', data=bytes(4 * MIB)))
  assert read_array(tmp_path / 'x.npz').shape == (MIB,)
  monkeypatch.setattr(archive, 'free_memory', lambda: 4 * MIB - 1)
  with pytest.raises(ValueError, match='of memory'):
    read_array(tmp_path / 'x.npz')


def test_a_missing_array_is_named_with_those_there(tmp_path):
  write(tmp_path / 'x.npz', b=npy())
  with pytest.raises(ValueError, match='no a.npy in it, only b.npy'):
    read_array(tmp_path / 'x.npz')


def test_a_member_is_not_inflated_beyond_what_it_may_have(tmp_path):
  write(tmp_path / 'x.npz', a=bytes(8 * MIB))
  assert (tmp_path / 'x.npz').stat().st_size < MIB / 50
  with archive.Archive(tmp_path / 'x.npz', fix='f') as file:
    with pytest.raises(ValueError, match='8388608 bytes, wanted at most 999'):
      file.read('a.npy', most=999)
    assert file.read('a.npy', most=8 * MIB) == bytes(8 * MIB)


@pytest.mark.parametrize('method', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_compression_are_refused(tmp_path, method):
  write(tmp_path / 'x.npz', method, a=npy())
  with pytest.raises(ValueError, match='method other than zip'):
    read_array(tmp_path / 'x.npz')


def patched(data: bytes, flags=None, method=None, size=None) -> bytes:
  """A zip file of one member with other facts in its central directory."""
  data, at = bytearray(data), data.index(b'PK\x01\x02')
  for offset, kind, value in (
    (8, 'H', flags),
    (10, 'H', method),
    (24, 'I', size),
  ):
    if value is not None:
      struct.pack_into(f'<{kind}', data, at + offset, value)
  return bytes(data)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'flags': 1}, 'encrypted'),
    ({'method': 77}, 'method other than zip'),
    ({'size': 2**31}, 'states 8 bytes, holds'),
  ],
)
def test_what_the_directory_says_is_not_believed(tmp_path, change, words):
  write(tmp_path / 'x.npz', a=npy())
  data = (tmp_path / 'x.npz').read_bytes()
  (tmp_path / 'x.npz').write_bytes(patched(data, **change))
  with pytest.raises(ValueError, match=words):
    read_array(tmp_path / 'x.npz')


def test_two_members_of_one_name_are_refused(tmp_path):
  with zipfile.ZipFile(tmp_path / 'x.npz', 'w') as file:
    file.writestr('a.npy', npy())
    with pytest.warns(UserWarning, match='Duplicate'):
      file.writestr('a.npy', npy())
  with pytest.raises(ValueError, match='two members of one name'):
    read_array(tmp_path / 'x.npz')


@pytest.mark.parametrize('content', [b'', b'no archive', b'PK\x03\x04cut'])
def test_what_is_no_archive_is_named(tmp_path, content):
  (tmp_path / 'x.npz').write_bytes(content)
  with pytest.raises(ValueError, match='x.npz: not readable'):
    read_array(tmp_path / 'x.npz')
  with pytest.raises(ValueError, match='absent: no such file'):
    read_array(tmp_path / 'absent')


def test_damage_anywhere_is_refused_or_changes_nothing(tmp_path):
  value = np.arange(300, dtype=np.int16)
  whole = io.BytesIO()
  np.savez_compressed(whole, a=value)
  whole, rng, refused = whole.getvalue(), np.random.default_rng(0), 0
  for i in range(400):
    data = bytearray(whole)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    if i % 4 == 0:
      data = data[: rng.integers(len(data))]
    (tmp_path / 'x.npz').write_bytes(data)
    try:
      found = read_array(tmp_path / 'x.npz')
    except ValueError:
      refused += 1
    else:
      np.testing.assert_array_equal(found, value)
  assert refused > 200
