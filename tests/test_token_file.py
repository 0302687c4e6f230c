"""Token files: what is written comes back, and what is wrong is told."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest
import tiny

from videoar_jax.tokenizer import token_file

SCALES = ((1, 1), (2, 3))
WIDTH = 4
CONFIG = dataclasses.replace(
  tiny.TOKENIZER,
  multipliers=(1, 2, 2),
  num_time_levels=2,
  scales=SCALES,
  latent_width=WIDTH,
)
BITS = 7 * WIDTH  # of a latent frame
ABOUT = {
  'format': token_file.FORMAT,
  'digest': 'abc',
  'scales': SCALES,
  'latent_width': WIDTH,
  'num_frames': 262,
  'latent_frames': 67,
  'fps': 12.5,
}


def make_bits(latent_frames, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.random((1, latent_frames, *size, WIDTH)) < 0.5 for size in SCALES]


def write(path, bits, num_frames, *, cuts=()):
  """Writes a file in pieces, all of whose frames come with the first."""
  with token_file.TokenWriter(str(path), digest='abc', fps=12.5) as writer:
    for piece in zip(*(np.split(scale, cuts, axis=1) for scale in bits)):
      writer.add(list(piece), num_frames=num_frames)
      num_frames = 0
  return writer.about


def pack(path, *, about=None, members=None, more=(), kind=zipfile.ZIP_STORED):
  """Writes an archive of any content."""
  with zipfile.ZipFile(path, 'w', kind) as archive:
    text = about if isinstance(about, str | bytes) else json.dumps(about)
    if about is not None:
      archive.writestr('about.json', text)
    for name, data in [*(members or {}).items(), *more]:
      archive.writestr(name, data)
  return str(path)


MEMBERS = {
  'bits/000000': bytes(64 * BITS // 8),
  'bits/000001': bytes(-(-3 * BITS // 8)),
}


def read(path):
  token_file.read_about(path)
  return list(token_file.read_bits(path))


@pytest.mark.parametrize('cuts', [(), (1,), (0, 3, 3, 66, 67)])
def test_bits_return_however_they_came(tmp_path, cuts):
  bits = make_bits(67)
  path = tmp_path / 'a.tokens'
  about = write(path, bits, 262, cuts=cuts)
  assert about == token_file.read_about(str(path))
  assert about.num_bits == 67 * BITS and about.num_frames == 262
  about.check_made_by(CONFIG)
  found = [np.concatenate(x, 1) for x in zip(*read(str(path)))]
  for scale, wanted in zip(found, bits, strict=True):
    np.testing.assert_array_equal(scale, wanted)
  assert path.stat().st_size < about.num_bits / 8 + 1000
  assert [x.name for x in tmp_path.iterdir()] == ['a.tokens']


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError, OSError])
def test_a_file_that_was_not_completed_does_not_appear(tmp_path, error):
  path = tmp_path / 'a.tokens'
  path.write_text('older')
  writer = token_file.TokenWriter(str(path), digest='', fps=8)
  with pytest.raises(error), writer:
    writer.add(make_bits(70), num_frames=277)
    raise error
  assert path.read_text() == 'older'
  assert [x.name for x in tmp_path.iterdir()] == ['a.tokens']


def test_what_stands_for_a_whole_file_is_read(tmp_path):
  pack(tmp_path / 'a', about=ABOUT, members=MEMBERS)
  assert sum(len(bits[0][0]) for bits in read(str(tmp_path / 'a'))) == 67


ABOUTS = [
  ({'latent_frames': -5}, 'latent_frames is -5'),
  ({'latent_frames': 0}, 'latent_frames is 0'),
  ({'latent_frames': 2**62}, '3 members'),
  ({'latent_frames': 65}, 'bits/000001 has 11 bytes, wanted at most 4'),
  ({'latent_frames': True}, 'latent_frames is True'),
  ({'latent_frames': 67.0}, 'latent_frames is 67.0'),
  ({'num_frames': -1}, 'num_frames is -1'),
  ({'num_frames': '9'}, "num_frames is '9'"),
  ({'scales': []}, 'scales is'),
  ({'scales': 5}, 'scales is 5'),
  ({'scales': [[1, 1], [2]]}, 'height and width'),
  ({'scales': [[1, 1], 2]}, 'a list'),
  ({'scales': [[0, 1]]}, 'at least 1'),
  ({'scales': [[1, 1], [2**40, 2**40]]}, 'bytes, wanted'),
  ({'scales': [[1, 1], [2, 2]]}, 'bytes, wanted'),
  ({'latent_width': 8}, 'bytes, wanted'),
  ({'latent_width': None}, 'latent_width is None'),
  ({'digest': 7}, 'digest is 7'),
  ({'fps': 0}, 'fps is 0'),
  ({'fps': 1e-9}, 'fps'),
  ({'fps': 1e9}, 'at most 1000'),
  ({'fps': float('nan')}, 'NaN'),
  ({'fps': 'fast'}, "fps is 'fast'"),
  ({'format': 'other'}, "format is 'other'"),
  ({'format': None}, 'format is None'),
  ({'also': 1}, 'more than a token file'),
]


@pytest.mark.parametrize(('change', 'words'), ABOUTS)
def test_what_a_file_says_of_itself_is_checked(tmp_path, change, words):
  path = pack(tmp_path / 'a', about={**ABOUT, **change}, members=MEMBERS)
  with pytest.raises(ValueError, match='a[:,] ') as refusal:
    read(path)
  assert words in str(refusal.value) and '\n' not in str(refusal.value)


ARCHIVES = {
  'no about': ({}, 'no about.json'),
  'about is no JSON': ({'about': 'hello'}, 'not JSON'),
  'about is no text': ({'about': b'\xff'}, 'not JSON'),
  'about is a list': ({'about': [1]}, 'wanted an object'),
  'about is deep': ({'about': '[' * 60_000}, 'not JSON'),
  'about is huge': ({'about': ' ' * 100_000}, 'wanted at most 65536'),
  'no bits': ({'about': ABOUT, 'members': {}}, '1 members'),
  'one is missing': (
    {'about': ABOUT, 'members': {'bits/000000': b''}},
    '2 members',
  ),
  'one more': ({'about': ABOUT, 'more': [('other', b'')]}, '4 members'),
  'other names': (
    {'about': ABOUT, 'members': {'bits/000000': b'', '../outside': b''}},
    '3 members',
  ),
  'short': (
    {'about': ABOUT, 'members': {**MEMBERS, 'bits/000000': b'12'}},
    'bits/000000 has 2 bytes, wanted 224',
  ),
}


@pytest.mark.parametrize('name', ARCHIVES)
def test_archives_of_other_content_are_refused(tmp_path, name):
  options, words = ARCHIVES[name]
  path = pack(tmp_path / 'a', **{'members': MEMBERS, **options})
  with pytest.raises(ValueError, match='a[:,] ') as refusal:
    read(path)
  assert words in str(refusal.value) and '\n' not in str(refusal.value)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_two_members_of_one_name_are_refused(tmp_path):
  more = [('bits/000000', MEMBERS['bits/000000'])]
  path = pack(tmp_path / 'a', about=ABOUT, members=MEMBERS, more=more)
  with pytest.raises(ValueError, match='members'):
    read(path)


def test_a_small_file_is_not_inflated_to_a_large_one(tmp_path, monkeypatch):
  members = {**MEMBERS, 'bits/000000': bytes(50_000_000)}
  kind = zipfile.ZIP_DEFLATED
  path = pack(tmp_path / 'a', about=ABOUT, members=members, kind=kind)
  with pytest.raises(ValueError, match='50000000 bytes, wanted at most 224'):
    read(path)
  # One whose own shape asks for as much is stopped by the memory there is.
  huge = {**ABOUT, 'latent_width': WIDTH * 50_000_000 // 224 + WIDTH}
  path = pack(tmp_path / 'b', about=huge, members=members, kind=kind)
  monkeypatch.setattr('videoar_jax.core.archive.free_memory', lambda: 10**7)
  with pytest.raises(ValueError, match='0.1 GB of memory, 0.0 are free'):
    read(path)


def edited(data: bytes, at: int, value: bytes) -> bytes:
  """Changes the same field of every member's header and directory entry."""
  for mark, shift in ((b'PK\3\4', 0), (b'PK\1\2', 2)):
    place = -1
    while (place := data.find(mark, place + 1)) >= 0:
      start = place + at + shift
      data = data[:start] + value + data[start + len(value) :]
  return data


@pytest.mark.parametrize(
  ('at', 'value', 'words'),
  [
    (6, b'\1\0', 'encrypted'),
    (8, b'\x63\0', 'not readable'),
    (8, b'\x0c\0', 'not readable'),
    (8, b'\x0e\0', 'not readable'),
    (8, b'\x08\0', 'not readable'),
  ],
)
def test_what_zip_cannot_open_is_told(tmp_path, at, value, words):
  path = pack(tmp_path / 'a', about=ABOUT, members=MEMBERS)
  data = (tmp_path / 'a').read_bytes()
  (tmp_path / 'a').write_bytes(edited(data, at, value))
  with pytest.raises(ValueError, match=words) as refusal:
    read(path)
  assert 'encode' in str(refusal.value) and '\n' not in str(refusal.value)


def test_any_flipped_bit_and_any_cut_is_told_or_harmless(tmp_path):
  path = tmp_path / 'a'
  write(path, make_bits(3), 9)
  data, wanted = path.read_bytes(), read(str(path))
  rng = np.random.default_rng(0)
  places = rng.integers(0, 8 * len(data), 300)
  flipped = [
    data[: i // 8] + bytes([data[i // 8] ^ 1 << i % 8]) + data[i // 8 + 1 :]
    for i in places.tolist()
  ]
  cuts = [data[:n] for n in range(0, len(data), 7)]
  refused = 0
  for damaged in [*flipped, *cuts]:
    path.write_bytes(damaged)
    try:
      found = read(str(path))
    except ValueError as error:
      assert '\n' not in str(error)
      refused += 1
      continue
    for one, other in zip(found, wanted, strict=True):
      for scale, scale_wanted in zip(one, other, strict=True):
        np.testing.assert_array_equal(scale, scale_wanted)
  assert refused > 200


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'num_frames': 999}, 'num_frames=999: 67 latent frames hold 262 to 265'),
    ({'num_frames': 261}, 'hold 262 to 265'),
    ({'latent_frames': 1, 'num_frames': 2}, 'hold 1 to 1'),
    ({'latent_width': 8}, 'latent_width=8: the tokenizer has 4'),
    ({'scales': ((1, 1), (2, 2))}, 'none of the tokenizer'),
  ],
)
def test_a_file_of_another_tokenizer_is_told(change, words):
  about = {k: v for k, v in ABOUT.items() if k != 'format'}
  with pytest.raises(ValueError, match=words):
    token_file.About(**{**about, **change}).check_made_by(CONFIG)


def test_every_length_is_one_that_its_latent_frames_hold():
  about = {k: v for k, v in ABOUT.items() if k != 'format'}
  for frames in range(1, 30):
    latents = 1 + -(-(frames - 1) // CONFIG.time_factor)
    lengths = {'num_frames': frames, 'latent_frames': latents}
    token_file.About(**{**about, **lengths}).check_made_by(CONFIG)
