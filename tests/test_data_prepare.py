"""Prepared data: equal to direct decoding, resumable, damage noticed."""

import json
import pathlib
import shutil
import subprocess
import sys

import av
import ml_dtypes
import numpy as np
import pytest

from videoar_jax.data import (
  array_record,
  decode,
  features,
  pipeline,
  preparation,
  shards,
  transforms,
)
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadDataError

_SIZE = dict(height=16, width=24)


def _write_videos(root, count=24, frames=20):
  rng = np.random.default_rng(1)
  for i in range(count):
    path = root / 'abc'[i % 3] / f'v{i:02d}.mp4'
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
      stream = container.add_stream('libx264', rate=25)
      stream.width, stream.height, stream.pix_fmt = 48, 32, 'yuv420p'
      for _ in range(frames + i % 5):
        coarse = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        frame = coarse.repeat(8, 0).repeat(8, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
      container.mux(stream.encode())


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  root = tmp_path_factory.mktemp('videos')
  _write_videos(root)
  (root / 'a' / 'bad.mp4').write_text('no video')
  return root


@pytest.fixture(scope='module')
def once(videos, tmp_path_factory):
  out = tmp_path_factory.mktemp('prepared') / 'out'
  preparation.prepare_videos(
    f'folder:{videos}', str(out), num_shards=3, **_SIZE
  )
  return out


@pytest.fixture
def prepared(once, tmp_path):
  """A copy, which a test may damage."""
  return pathlib.Path(shutil.copytree(once, tmp_path / 'out'))


def _config(kind, path, **changes):
  defaults = dict(
    source=f'{kind}:{path}', num_frames=9, frame_stride=2, batch_size=4, **_SIZE
  )
  return DataConfig(**{**defaults, **changes})


def _clips(source):
  """Name -> clip, each drawn with the same generator."""
  return {
    source.name(i): source.load(i, np.random.default_rng(7))
    for i in range(len(source))
    if not source.name(i).endswith('bad.mp4')
  }


def _assert_equal_clips(ours, theirs):
  assert ours.keys() == theirs.keys()
  for name, record in ours.items():
    np.testing.assert_array_equal(record['video'], theirs[name]['video'])
    assert record['label'] == theirs[name]['label']


@pytest.mark.parametrize('train', [True, False])
def test_prepared_clips_equal_direct_decoding(videos, prepared, train):
  direct = pipeline.make_source(_config('folder', videos), train=train)
  stored = pipeline.make_source(_config('array_record', prepared), train=train)
  assert stored.classes == direct.classes == ('a', 'b', 'c')
  _assert_equal_clips(_clips(stored), _clips(direct))


def test_prepared_real_clips_equal_direct_decoding(shared_dir):
  for name in ('ucf9_128', 'ucf101_original'):
    folder = shared_dir / 'data' / name / 'Archery'
    path = str(sorted(folder.iterdir())[0])
    record, count = array_record.encode_video(
      decode.iterate_frames(path),
      name='x',
      label=0,
      height=64,
      width=48,
      rate=25,
    )
    frames = list(decode.iterate_frames(path))
    assert count == len(frames)
    header, parts = shards.unpack(record)
    np.testing.assert_array_equal(
      array_record.decode_frames(header, parts, range(count)),
      np.stack([transforms.fit_frame(frame, 64, 48) for frame in frames]),
    )
    assert len(record) < 0.75 * count * 64 * 48 * 3


def test_manifest_states_what_is_there(videos, prepared):
  manifest = json.loads((prepared / 'manifest.json').read_text())
  assert manifest['format'] == 'videoar_jax.videos'
  assert manifest['classes'] == ['a', 'b', 'c']
  assert list(manifest['skipped']) == ['a/bad.mp4']
  assert manifest['skipped']['a/bad.mp4'].startswith('unreadable')
  counts = {name: x['records'] for name, x in manifest['splits'].items()}
  assert sum(counts.values()) == 24
  for split, entry in manifest['splits'].items():
    source = pipeline.make_source(
      _config('array_record', prepared), train=split == 'train'
    )
    labels = [
      source.load(i, np.random.default_rng(0))['label']
      for i in range(len(source))
    ]
    found = np.bincount(labels, minlength=3).tolist()
    assert list(entry['per_class'].values()) == found
  assert len(manifest['splits']['train']['shards']) == 3
  assert sorted(x.name for x in prepared.iterdir())[0] == 'manifest.json'
  assert shards.verify_digests(str(prepared), 'videos') >= 4


def test_batches_flow_from_prepared_data(prepared):
  config = _config('array_record', prepared, flip=True)
  first = [next(pipeline.make_batches(config, train=True, seed=0))]
  batches = pipeline.make_batches(config, train=True, seed=0)
  np.testing.assert_array_equal(next(batches)['video'], first[0]['video'])
  assert first[0]['video'].shape == (4, 9, 16, 24, 3)


def test_a_stopped_preparation_takes_up_where_it_was(
  videos, prepared, tmp_path, monkeypatch
):
  out = tmp_path / 'again'
  encode, encoded = array_record.encode_video, []

  def stumble(frames, **options):
    if len(encoded) == 14:
      raise KeyboardInterrupt
    encoded.append(options['name'])
    return encode(frames, **options)

  monkeypatch.setattr(array_record, 'encode_video', stumble)
  arguments = (f'folder:{videos}', str(out))
  with pytest.raises(KeyboardInterrupt):
    preparation.prepare_videos(*arguments, num_shards=3, **_SIZE)
  assert sorted(x.name for x in out.glob('*.array_record')) == [
    'train-00000-of-00003.array_record'
  ]
  with pytest.raises(ValueError, match='not finished; run the same command'):
    pipeline.make_source(_config('array_record', out), train=True)
  monkeypatch.setattr(
    array_record,
    'encode_video',
    lambda frames, **o: encoded.append(o['name']) or encode(frames, **o),
  )
  manifest = preparation.prepare_videos(*arguments, num_shards=3, **_SIZE)
  assert manifest == json.loads((prepared / 'manifest.json').read_text())
  # Only the second shard's start was encoded twice.
  assert len(set(encoded)) < len(encoded) < 14 + 24
  assert not (out / '.unfinished').exists()
  before = len(encoded)
  preparation.prepare_videos(*arguments, num_shards=3, **_SIZE)
  assert len(encoded) == before


def test_another_plan_does_not_touch_what_is_there(videos, prepared):
  with pytest.raises(ValueError, match='prepared with height=16, now 8'):
    preparation.prepare_videos(
      f'folder:{videos}', str(prepared), height=8, width=24, num_shards=3
    )
  with pytest.raises(ValueError, match='holds other files'):
    preparation.prepare_videos(f'folder:{videos}', str(videos), **_SIZE)


def test_over_5_percent_stops_with_the_list(tmp_path):
  _write_videos(tmp_path / 'in', count=10, frames=17)
  for i in range(2):
    (tmp_path / 'in' / 'b' / f'bad{i}.avi').write_bytes(b'')
  arguments = (f'folder:{tmp_path}/in', str(tmp_path / 'out'))
  with pytest.raises(BadDataError, match='b/bad0.avi: empty file'):
    preparation.prepare_videos(*arguments, **_SIZE)
  assert not (tmp_path / 'out' / 'manifest.json').exists()
  manifest = preparation.prepare_videos(*arguments, max_bad_share=0.5, **_SIZE)
  assert sorted(manifest['skipped']) == ['b/bad0.avi', 'b/bad1.avi']


@pytest.mark.parametrize(
  'fault', ['missing', 'truncated', 'altered', 'swapped']
)
def test_damaged_shards_are_named(prepared, fault):
  shard = prepared / 'train-00001-of-00003.array_record'
  blob = shard.read_bytes()
  message = {
    'missing': 'missing shard',
    'truncated': 'truncated or altered',
    'altered': 'is damaged|unreadable shard',
    'swapped': 'altered since it was written',
  }[fault]
  if fault == 'missing':
    shard.unlink()
  elif fault == 'truncated':
    shard.write_bytes(blob[:-1000])
  else:
    middle = len(blob) // 2
    changed = bytes(255 - x for x in blob[middle : middle + 64])
    shard.write_bytes(blob[:middle] + changed + blob[middle + 64 :])
  with pytest.raises(ValueError, match=message) as caught:
    if fault == 'swapped':
      shards.verify_digests(str(prepared), 'videos')
    source = pipeline.make_source(_config('array_record', prepared), train=True)
    _clips(source)
  assert shard.name in str(caught.value)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (dict(height=32), 'was prepared at 16, 24'),
    (dict(source='array_record:/nowhere'), 'no such folder'),
    (dict(source='features:{}'), 'wanted videoar_jax.features'),
  ],
)
def test_a_config_at_odds_with_the_manifest_is_refused(
  prepared, changes, message
):
  changes = {
    k: v.format(prepared) if k == 'source' else v for k, v in changes.items()
  }
  with pytest.raises(ValueError, match=message):
    pipeline.make_source(
      _config('array_record', prepared, **changes), train=True
    )


def test_too_long_a_clip_fails_by_record(prepared):
  config = _config('array_record', prepared, num_frames=12)  # spans 23 frames
  source = pipeline.make_source(config, train=True)
  batch = next(pipeline.make_batches(config, train=True, seed=0))
  assert (batch['failed'] >= 0).any()
  index = int(batch['failed'].max())
  assert 'a clip spans 23' in source.explain(index)


def test_the_command_prepares_and_reports(videos, tmp_path):
  out = tmp_path / 'out'
  command = [sys.executable, '-m', 'videoar_jax.data.prepare']
  flags = ['--height=16', '--width=24', f'--out={out}', '--num_workers=1']
  done = subprocess.run(
    [*command, *flags, f'--source=folder:{videos}'],
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.endswith('3 classes), 1 skipped\n')
  said = done.stderr.splitlines()
  assert [x for x in said if not x.endswith(' left')] == [
    'note: videoar_jax.data.prepare: starting',
    'warning: skipped a/bad.mp4: unreadable: Invalid data found when '
    'processing input',
  ]
  assert shards.verify_digests(str(out), 'videos')


def _encode(video_bTHWc):
  """A stand-in for a tokenizer: (b, 3, 2, 3, 4), and telling clips apart."""
  assert len(video_bTHWc) == 4  # always one size: one compilation
  x = video_bTHWc[:, :9:4, ::8, ::8].astype(np.float32) / 255
  return np.concatenate([x, x.sum(-1, keepdims=True)], -1)


def _cache(source, out, **options):
  options = {'tokenizer_digest': 'abc', 'encode': _encode, **options}
  return preparation.prepare_features(source, str(out), **options)


def test_cached_features_equal_the_encoded_clips(prepared, tmp_path):
  config = _config('array_record', prepared)
  out = tmp_path / 'features'
  manifest = _cache(config, out, windows=3, flips=True, seed=5)
  assert manifest['splits']['train']['records'] + 1 <= 24
  videos = pipeline.make_source(config, train=True)
  cached = pipeline.make_source(_config('features', out, flip=True), train=True)
  assert len(cached) == len(videos)
  for index in range(len(videos)):
    header, (part,) = cached.records[index]
    stored = np.frombuffer(part, ml_dtypes.bfloat16).reshape(header['shape'])
    assert stored.shape == (6, 3, 2, 3, 4)
    clips = [
      videos.load(index, np.random.default_rng((5, index, window)))['video']
      for window in range(3)
    ]
    clips = np.stack(clips + [clip[:, :, ::-1] for clip in clips])
    wanted = np.concatenate([_encode(clips[:4]), _encode(clips[2:])[2:]])
    np.testing.assert_array_equal(stored, wanted.astype(ml_dtypes.bfloat16))
    assert header['name'] == videos.name(index)


def test_feature_batches_draw_each_variant_and_mirror_only_on_request(
  prepared, tmp_path
):
  out = tmp_path / 'features'
  _cache(_config('array_record', prepared), out, windows=2, flips=True)
  rng = np.random.default_rng(0)
  for flip, train, variants in (
    (True, True, 4),
    (False, True, 2),
    (True, False, 2),
  ):
    config = _config('features', out, flip=flip)
    source = pipeline.make_source(config, train=train)
    # Two windows of one video may happen to be the same.
    drawn = [
      {source.load(i, rng)['features'].tobytes() for _ in range(60)}
      for i in range(len(source))
    ]
    assert max(len(found) for found in drawn) == variants
  batch = next(pipeline.make_batches(config, train=True, seed=0))
  assert set(batch) == {'features', 'label', 'failed'}
  assert batch['features'].shape == (4, 3, 2, 3, 4)
  assert batch['features'].dtype == ml_dtypes.bfloat16
  assert batch['label'].dtype == np.int32


def test_features_of_another_tokenizer_or_clip_are_refused(prepared, tmp_path):
  out = tmp_path / 'features'
  _cache(_config('array_record', prepared), out)
  features.check_digest(str(out), 'abc')
  with pytest.raises(ValueError, match='digest abc, not xyz'):
    features.check_digest(str(out), 'xyz')
  with pytest.raises(ValueError, match='wanted videoar_jax.features'):
    features.check_digest(str(prepared), 'abc')
  with pytest.raises(ValueError, match='num_frames=9; use that'):
    pipeline.make_source(_config('features', out, num_frames=5), train=True)
  with pytest.raises(ValueError, match='hold no mirrored clips'):
    pipeline.make_source(_config('features', out, flip=True), train=True)
  with pytest.raises(ValueError, match='was prepared with another tokenizer'):
    _cache(_config('array_record', prepared), out, tokenizer_digest='xyz')


def test_synthetic_features_follow_the_clip_order(tmp_path):
  config = DataConfig(num_frames=9, height=16, width=24, batch_size=4)
  manifest = _cache(config, tmp_path / 'out', num_clips=22, num_shards=2)
  assert manifest['splits']['train']['records'] == 22
  assert manifest['splits']['validation']['records'] == 2
  assert max(manifest['splits']['train']['per_class'].values()) == 3
  with pytest.raises(ValueError, match='has one window'):
    _cache(config, tmp_path / 'other', windows=2)


def test_features_that_are_not_finite_stop(prepared, tmp_path):
  with pytest.raises(ValueError, match='not finite'):
    _cache(
      _config('array_record', prepared),
      tmp_path / 'features',
      encode=lambda video: np.full((len(video), 1, 1, 1, 1), np.nan),
    )


def test_a_record_that_is_not_whole_is_refused():
  record = shards.pack({'name': 'x'}, [b'abc', b'defg'])
  header, parts = shards.unpack(record)
  assert header == {'name': 'x', 'sizes': [3, 4]}
  assert [bytes(part) for part in parts] == [b'abc', b'defg']
  for wrong in (record[:-1], record + b'x', b'PK' + record[2:], b''):
    with pytest.raises(ValueError, match='record'):
      shards.unpack(wrong)
