"""Class folders of videos: listing, decoding, and files that do not serve."""

import pathlib
import shutil

import av
import numpy as np
import pytest

from videoar_jax.data import decode, folder, pipeline, transforms
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import (
  BadDataError,
  BadRecordError,
  FailureLog,
)


def _real(shared_dir, name, count):
  files = sorted((shared_dir / 'data' / name).glob('*/v_*'))
  return files[:: len(files) // count][:count]


def _decode_all(path):
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    return [x.to_ndarray(format='rgb24') for x in container.decode(stream)]


def _write_video(path, frames=24, height=36, width=48, seed=0):
  """A clip whose every frame differs, with B-frames and several key frames."""
  rng = np.random.default_rng(seed)
  path.parent.mkdir(parents=True, exist_ok=True)
  avi = path.suffix == '.avi'
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('mpeg4' if avi else 'libx264', rate=25)
    stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
    stream.codec_context.gop_size = 7
    stream.codec_context.max_b_frames = 2
    coarse = rng.integers(0, 256, (frames, height // 6, width // 6, 3))
    for frame in coarse.astype(np.uint8).repeat(6, 1).repeat(6, 2):
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
    container.mux(stream.encode())


class _At:
  """A generator whose every draw is one number."""

  def __init__(self, place):
    self.place = place

  def integers(self, bound):
    assert 0 <= self.place < bound
    return self.place


def _check_windows(path, starts, num_frames, stride):
  whole = _decode_all(path)
  assert len(whole) == sum(1 for _ in decode.iterate_frames(str(path)))
  for start in starts(len(whole)):
    found = decode.read_window(
      str(path), _At(start), num_frames=num_frames, stride=stride
    )
    wanted = whole[start : start + num_frames * stride : stride]
    np.testing.assert_array_equal(np.stack(found), np.stack(wanted))


@pytest.mark.parametrize('name', ['x.mp4', 'x.avi', 'x.mkv'])
def test_every_window_equals_decoding_in_order(tmp_path, name):
  _write_video(tmp_path / name)
  _check_windows(tmp_path / name, lambda n: range(n - 4), 5, 1)
  _check_windows(tmp_path / name, lambda n: range(n - 12), 5, 3)


@pytest.mark.parametrize('name', ['ucf9_128', 'ucf101_original'])
def test_windows_of_real_clips_equal_decoding_in_order(shared_dir, name):
  for path in _real(shared_dir, name, 4):
    _check_windows(path, lambda n: (0, 1, 16, n // 2, n - 17), 17, 1)


def test_seeking_is_used_for_mp4_and_not_for_avi(tmp_path, monkeypatch):
  _write_video(tmp_path / 'x.mp4')
  _write_video(tmp_path / 'x.avi')
  monkeypatch.setattr(decode, '_decode_in_order', lambda *_: 'in order')
  for name, in_order in (('x.mp4', False), ('x.avi', True)):
    found = decode.read_window(str(tmp_path / name), _At(15), num_frames=3)
    assert (found == 'in order') == in_order


def _damage(folder_path):
  """Puts files into a class folder that do not serve; name -> reason."""
  good = folder_path / 'good0.mp4'
  _write_video(good)
  _write_video(folder_path / 'avi.avi')
  whole = (folder_path / 'avi.avi').read_bytes()
  (folder_path / 'text.avi').write_text('this is no video\n' * 40)
  (folder_path / 'empty.mp4').write_bytes(b'')
  (folder_path / 'cut.avi').write_bytes(whole[: int(len(whole) * 0.6)])
  (folder_path / 'end.avi').write_bytes(whole[:-1])
  blob = good.read_bytes()
  (folder_path / 'cut.mp4').write_bytes(blob[: len(blob) // 2])
  _write_video(folder_path / 'short.mp4', frames=6)
  return {
    'text.avi': 'unreadable',
    'empty.mp4': 'empty file',
    'cut.avi': 'truncated',
    'end.avi': 'truncated',
    'cut.mp4': 'unreadable|truncated',
    'short.mp4': 'too short: 6 frames, a clip spans 9',
  }


def test_files_that_do_not_serve_are_told_apart(tmp_path):
  for name, reason in _damage(tmp_path).items():
    with pytest.raises(BadRecordError, match=reason):
      decode.read_window(
        str(tmp_path / name), np.random.default_rng(0), num_frames=9
      )


def test_truncated_real_clips_are_noticed(shared_dir, tmp_path):
  for name in ('ucf9_128', 'ucf101_original'):
    path = _real(shared_dir, name, 1)[0]
    blob = path.read_bytes()
    for share in (0.02, 0.5, 0.99):
      cut = tmp_path / f'cut{path.suffix}'
      cut.write_bytes(blob[: int(len(blob) * share)])
      with pytest.raises(BadRecordError, match='unreadable|truncated'):
        decode.read_window(str(cut), _At(0), num_frames=9)


def _data_set(tmp_path, good=12, damage=True):
  for i in range(good):
    name = 'cat' if i % 2 else 'dog'
    suffix = '.mp4' if i % 3 else '.avi'
    _write_video(tmp_path / name / f'v{i:02d}{suffix}', seed=i)
  return _damage(tmp_path / 'dog') if damage else {}


def _config(path, **changes):
  defaults = dict(
    source=f'folder:{path}', batch_size=4, num_frames=9, height=16, width=16
  )
  return DataConfig(**{**defaults, **changes})


def test_failures_are_substituted_counted_and_named_once(tmp_path, caplog):
  reasons = _data_set(tmp_path)
  config = _config(tmp_path, max_bad_share=1.0)
  source = pipeline.make_source(config, train=True)
  log = FailureLog(source, max_bad_share=1.0)
  batches = pipeline.make_batches(config, train=True, seed=0)
  rows = []
  for _ in range(3 * len(source) // 4 + 1):
    batch = next(batches)
    log.update(batch['failed'])
    rows.extend(batch['failed'].tolist())
    for video in batch['video']:
      assert video.std() > 10  # a real clip stands in
  known = [n for n in source.listing.names if pathlib.Path(n).name in reasons]
  assert set(log.failures) == set(known)
  assert len(known) >= 4
  for name, reason in log.failures.items():
    wanted = reasons[pathlib.Path(name).name]
    assert any(part in reason for part in wanted.split('|'))
    assert caplog.text.count(f'skipped {name}:') == 1
    assert rows.count(source.listing.names.index(name)) >= 2


def test_too_many_failures_stop_the_run_with_the_list(tmp_path):
  reasons = _data_set(tmp_path)
  config = _config(tmp_path)
  source = pipeline.make_source(config, train=True)
  log = FailureLog(source, max_bad_share=config.max_bad_share)
  with pytest.raises(BadDataError, match='over the 5%') as caught:
    for batch in pipeline.make_batches(config, train=True, seed=0):
      log.update(batch['failed'])
  assert any(f'dog/{name}: ' in str(caught.value) for name in reasons)


def test_a_folder_of_nothing_but_damage_stops(tmp_path):
  (tmp_path / 'a').mkdir()
  for i in range(9):
    (tmp_path / 'a' / f'{i}.avi').write_text('no video')
  batches = pipeline.make_batches(_config(tmp_path), train=True, seed=0)
  with pytest.raises(Exception, match='in a row cannot be used'):
    next(batches)


def test_an_official_split_matches_by_stem(tmp_path):
  _data_set(tmp_path, damage=False)
  split = tmp_path / 'trainlist.txt'
  split.write_text('dog/v00.mp4 2\ncat/v01.avi 1\n\nbird/v07.avi 3\n')
  train, held_out = folder.list_splits(str(tmp_path), split_file=str(split))
  assert train.names == ('cat/v01.mp4', 'dog/v00.avi')
  assert train.labels == (0, 1)
  assert train.classes == held_out.classes == ('cat', 'dog')
  assert len(held_out.names) == 10
  assert not set(train.names) & set(held_out.names)


def test_the_official_list_serves_the_real_clips(shared_dir):
  root = str(shared_dir / 'data' / 'ucf9_128')
  split = str(shared_dir / 'data' / 'ucf101_splits' / 'trainlist01.txt')
  train, held_out = folder.list_splits(root, split_file=split)
  assert len(train.names) + len(held_out.names) == 1066
  groups = {name.split('_')[-2] for name in held_out.names}
  assert groups == {'g04', 'g05', 'g06', 'g07'}


def test_without_a_split_a_fixed_twentieth_is_held_out(shared_dir):
  root = str(shared_dir / 'data' / 'ucf9_128')
  train, held_out = folder.list_splits(root)
  assert 0.03 < len(held_out.names) / 1066 < 0.07
  assert not set(train.names) & set(held_out.names)
  assert (train, held_out) == folder.list_splits(root)


@pytest.mark.parametrize('fault', ['missing', 'file', 'bare', 'no videos'])
def test_a_wrong_path_is_a_clear_error(tmp_path, fault):
  path, message = tmp_path / 'there', 'does not exist'
  if fault == 'file':
    path.write_text('x')
    message = 'is not a folder'
  elif fault == 'bare':
    _write_video(path / 'x.mp4', frames=2)
    message = 'holds no class folders'
  elif fault == 'no videos':
    (path / 'a').mkdir(parents=True)
    (path / 'a' / 'notes.txt').write_text('x')
    message = 'no file ends in'
  with pytest.raises(ValueError, match=message):
    pipeline.make_batches(_config(path), train=True, seed=0)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (None, 'no such file'),
    ('cat/v01.avi\nnonsense\n', "line 2: 'nonsense'"),
    ('bird/v01.avi 1\n', 'names no video under'),
  ],
)
def test_a_wrong_split_file_is_a_clear_error(tmp_path, text, message):
  _data_set(tmp_path / 'data', good=2, damage=False)
  split = tmp_path / 'list.txt'
  if text is not None:
    split.write_text(text)
  with pytest.raises(ValueError, match=message):
    folder.list_splits(str(tmp_path / 'data'), split_file=str(split))


def test_a_split_that_leaves_nothing_is_a_clear_error(tmp_path):
  _data_set(tmp_path / 'data', good=2, damage=False)
  split = tmp_path / 'list.txt'
  split.write_text('dog/v00.avi\ncat/v01.avi\n')
  with pytest.raises(ValueError, match='no held-out files'):
    config = _config(tmp_path / 'data', split_file=str(split))
    pipeline.make_source(config, train=False)


def test_frames_are_scaled_with_antialias_and_cropped_at_the_centre():
  rng = np.random.default_rng(0)
  frame = rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)
  np.testing.assert_array_equal(
    transforms.fit_frame(frame, 48, 60), frame[:, 10:70]
  )
  # Noise shrunk with antialias loses its variance; picking pixels keeps it.
  small = transforms.fit_frame(frame, 12, 12)
  assert small.shape == (12, 12, 3)
  assert small.std() < 0.45 * frame.std()
  blocks = frame[:, 16:64].reshape(12, 4, 12, 4, 3).mean((1, 3))
  assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.85


def test_a_vanished_file_fails_alone(tmp_path):
  _data_set(tmp_path, good=6, damage=False)
  config = _config(tmp_path, max_bad_share=1.0)
  batches = pipeline.make_batches(config, train=True, seed=0)
  source = pipeline.make_source(config, train=True)
  pathlib.Path(source.store.path(source.name(2))).unlink()
  failed = np.concatenate([next(batches)['failed'] for _ in range(12)])
  assert set(failed.tolist()) >= {2, -1}
  assert 'unreadable' in source.explain(2)
  shutil.rmtree(tmp_path / 'dog')


def test_the_share_of_failures_is_a_sharp_bound():
  class Source:
    def __len__(self):
      return 40

    def name(self, index):
      return f'video {index}'

    def explain(self, index):
      return 'broken'

  log = FailureLog(Source(), max_bad_share=0.05)
  log.update(np.array([-1, 3, 3, -1], np.int32))
  log.update(np.array([3, 7], np.int32))
  assert len(log.failures) == 2  # 5%, and not over it
  with pytest.raises(BadDataError, match='3 of 40 videos'):
    log.update(np.array([21], np.int32))
