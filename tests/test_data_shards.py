"""Prepared folders that were altered: told by file, and nothing else read."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from videoar_jax.data import array_record, pipeline, shard_writer, shards
from videoar_jax.data.config import DataConfig

_SIZE = {'height': 16, 'width': 24}
_SETTINGS = {
  'videos': _SIZE,
  'features': {
    **_SIZE,
    'num_frames': 9,
    'frame_stride': 1,
    'windows': 2,
    'flips': False,
    'tokenizer_digest': 'abc',
  },
}
_KINDS = {'videos': 'array_record', 'features': 'features'}


def _video():
  """A sound record of nine frames, as (header, parts)."""
  frames = np.random.default_rng(0).integers(0, 256, (9, 16, 24, 3), np.uint8)
  options = {'name': 'a/x.mp4', 'label': 1, 'rate': 25.0, **_SIZE}
  record, _ = array_record.encode_video(frames, **options)
  return shards.unpack(record)


def _features():
  """A sound record of two variants."""
  part = np.arange(2 * 3 * 2 * 3 * 4, dtype=np.uint16).tobytes()
  return {'name': 'x', 'label': 0, 'shape': [2, 3, 2, 3, 4]}, [part]


def _write(out, kind, record):
  """A folder of one record in each split."""
  preparation = shard_writer.Preparation(
    str(out), kind=kind, settings=_SETTINGS[kind]
  )
  splits = {}
  for split in shards.SPLITS:
    (name,) = shards.shard_names(split, 1)
    stats = {'labels': [0], 'skipped': {}}
    note = preparation.write(name, (x for x in [record]), stats)
    splits[split] = shard_writer.summarise([note], ['a', 'b'])
  preparation.finish({'classes': ['a', 'b'], 'splits': splits, 'skipped': {}})
  return out


def _load(out, kind):
  config = DataConfig(source=f'{_KINDS[kind]}:{out}', num_frames=9, **_SIZE)
  source = pipeline.make_source(config, train=True)
  return source.load(0, np.random.default_rng(0))


def test_sound_records_are_read_as_written(tmp_path):
  header, parts = _video()
  out = _write(tmp_path / 'videos', 'videos', shards.pack(header, parts))
  record = _load(out, 'videos')
  assert record['video'].shape == (9, 16, 24, 3) and record['label'] == 1
  out = _write(tmp_path / 'features', 'features', shards.pack(*_features()))
  assert _load(out, 'features')['features'].shape == (3, 2, 3, 4)


_SHARD = ('splits', 'train', 'shards', 0)
BAD_ENTRIES = [
  ((*_SHARD, 'name'), '../outside', 'plain file name'),
  ((*_SHARD, 'name'), '/etc/passwd', 'plain file name'),
  ((*_SHARD, 'name'), 'a/b', 'plain file name'),
  ((*_SHARD, 'name'), '..', 'plain file name'),
  ((*_SHARD, 'name'), 7, 'plain file name'),
  ((*_SHARD, 'bytes'), -1, 'whole number of at least 0'),
  ((*_SHARD, 'records'), True, 'whole number of at least 0'),
  ((*_SHARD, 'records'), 2**70, 'a number of 22 digits'),
  ((*_SHARD, 'records'), 5, 'records, the manifest says 5'),
  ((*_SHARD, 'sha256'), None, 'wanted text'),
  (_SHARD, [], 'wanted an object'),
  (('splits', 'train', 'shards'), [], 'holds no records'),
  (('splits', 'train'), None, 'wanted an object'),
  (('splits',), {}, 'splits.train is missing'),
  (('classes',), 'ab', 'wanted a list'),
  (('classes',), [1, 2], 'wanted text'),
  (('skipped',), [], 'wanted an object'),
  (('plan',), {}, 'plan.height is missing'),
  (('plan', 'height'), '16', 'whole number of at least 1'),
  (('plan', 'width'), 0, 'whole number of at least 1'),
  (('format',), None, 'wanted text'),
  (('version',), '1', 'wanted a whole number'),
  (('version',), 2, 'version 2; wanted'),
]


@pytest.mark.parametrize(('place', 'value', 'words'), BAD_ENTRIES)
def test_a_manifest_is_believed_in_nothing(tmp_path, place, value, words):
  out = _write(tmp_path / 'out', 'videos', shards.pack(*_video()))
  file = out / shards.MANIFEST
  manifest = json.loads(file.read_text())
  inner = manifest
  for key in place[:-1]:
    inner = inner[key]
  inner[place[-1]] = value
  file.write_text(json.dumps(manifest))
  shard = out / 'train-00000-of-00001.array_record'
  (tmp_path / 'outside').write_bytes(shard.read_bytes())
  with pytest.raises(ValueError) as caught:
    _load(out, 'videos')
  assert words in str(caught.value) and str(out) in str(caught.value)
  assert '\n' not in str(caught.value)
  if words == 'plain file name':
    with pytest.raises(ValueError, match=words):
      shards.verify_digests(str(out), 'videos')


@pytest.mark.parametrize(
  'data',
  [b'', b'[]', b'{', b'\xff\xfe', b'{"format": NaN}', b'[' * 100_000, b'null'],
)
def test_a_manifest_that_is_none_is_named(tmp_path, data):
  out = _write(tmp_path / 'out', 'videos', shards.pack(*_video()))
  (out / shards.MANIFEST).write_bytes(data)
  with pytest.raises(ValueError, match='manifest.json') as caught:
    _load(out, 'videos')
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'label': 2}, 'label is 2: wanted a whole number of at least 0, below'),
    ({'label': -1}, 'label is -1'),
    ({'label': 0.5}, 'label is 0.5'),
    ({'name': None}, 'name is None; wanted text'),
    ({'num_frames': 0}, 'num_frames is 0'),
    ({'num_frames': '9'}, "num_frames is '9'"),
    ({'num_frames': 2**62}, '4611686018427387904 frames in 2 parts'),
    ({'num_frames': 17}, '17 frames in 2 parts'),
    ({'height': 8}, 'height is 8'),
    ({'width': -24}, 'width is -24'),
    ({'codec': 'gif'}, "codec 'gif'"),
    ({'codec': None}, 'codec is None; wanted text'),
  ],
)
def test_a_video_header_that_lies_is_told_with_its_shard(
  tmp_path, changes, words
):
  header, parts = _video()
  record = shards.pack({**header, **changes}, parts)
  out = _write(tmp_path / 'out', 'videos', record)
  with pytest.raises(ValueError) as caught:
    _load(out, 'videos')
  assert words in str(caught.value) and 'train-00000-of' in str(caught.value)


def _picture(height, width, kind='WEBP'):
  file = io.BytesIO()
  Image.new('RGB', (width, height)).save(file, format=kind, lossless=True)
  return file.getvalue()


@pytest.mark.parametrize(
  'part',
  [
    b'',
    b'no picture',
    _picture(16 * 8, 24, 'PNG'),
    _picture(16 * 9, 24),
    _picture(16 * 8, 23),
    _picture(8, 24),
    _picture(16 * 2, 24),  # a group of two, where eight frames belong
  ],
)
def test_a_part_that_is_not_its_frames_is_told_with_its_shard(tmp_path, part):
  header, parts = _video()
  record = shards.pack(header, [part, parts[1]])
  out = _write(tmp_path / 'out', 'videos', record)
  with pytest.raises(ValueError, match='train-00000-of.*is damaged'):
    _load(out, 'videos')


@pytest.mark.parametrize(
  ('shape', 'parts'),
  [
    ([2, 3, 2, 3, 5], 1),
    ([144], 1),
    ([2, 3, 2, 3, -4], 1),
    ([2**40, 2**40, 1, 1, 1], 1),
    ([2, 3, 2, 3, 4.0], 1),
    ('23234', 1),
    (None, 1),
    ([1, 6, 2, 3, 4], 1),  # one variant, where two belong
    ([2, 3, 2, 3, 4], 0),
    ([2, 3, 2, 3, 4], 2),
  ],
)
def test_features_of_another_shape_are_told_with_their_shard(
  tmp_path, shape, parts
):
  header, (part,) = _features()
  record = shards.pack({**header, 'shape': shape}, [part] * parts)
  out = _write(tmp_path / 'out', 'features', record)
  with pytest.raises(ValueError, match='train-00000-of.*is damaged'):
    _load(out, 'features')


@pytest.mark.parametrize(
  'text',
  [
    b'[]',
    b'{}',
    b'{"sizes": 3}',
    b'{"sizes": [-3, 6]}',
    b'{"sizes": [1e300]}',
    b'{"sizes": [99999999999999999999]}',
    b'{"sizes": [3], "x": NaN}',
    b'\xff',
    b'[' * 100_000,
  ],
)
def test_a_header_that_is_none_is_refused(text):
  record = b'VJR1' + struct.pack('<I', len(text)) + text + b'abc'
  with pytest.raises(ValueError, match='header'):
    shards.unpack(record)


def test_a_header_longer_than_its_record_is_refused():
  with pytest.raises(ValueError, match='header'):
    shards.unpack(b'VJR1' + struct.pack('<I', 2**32 - 1) + b'{}')
