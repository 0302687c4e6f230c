"""Prepared shards in a bucket: written, copied once, checked, trained on."""

import concurrent.futures
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from videoar_jax.benchmark import reading
from videoar_jax.core.config import section
from videoar_jax.data import pipeline, preparation, shard_cache, shards
from videoar_jax.data.config import DataConfig

SIZE = dict(height=8, width=12)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  root, rng = tmp_path_factory.mktemp('pictures'), np.random.default_rng(0)
  for i in range(24):
    path = root / 'ab'[i % 2] / f'{i:02d}.png'
    path.parent.mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)
  return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'shards'


def prepare(pictures, out):
  return preparation.prepare_videos(
    f'images:{pictures}', str(out), num_shards=2, **SIZE
  )


@pytest.fixture
def prepared(served_bucket, pictures, request):
  out = f'gs://bucket/{request.node.name}'
  prepare(pictures, out)
  served_bucket.calls.clear()
  return out


def entries(prepared):
  return shards.read_manifest(prepared, 'videos')['splits']['train']['shards']


def name(prepared, shard):
  return f'{prepared}/{shard["name"]}'.removeprefix('gs://bucket/')


def config(path):
  return DataConfig(
    source=f'array_record:{path}', num_frames=1, batch_size=4, **SIZE
  )


def test_clips_of_a_bucket_are_those_of_a_disk(
  prepared, served_bucket, pictures, tmp_path, cache
):
  here = prepare(pictures, tmp_path / 'out')
  there = shards.read_manifest(prepared, 'videos')
  assert there == here and shards.verify_digests(prepared, 'videos') >= 3
  kept = {
    path.rpartition('/')[2] for path in served_bucket.names(prepared[12:])
  }
  assert kept == {path.name for path in (tmp_path / 'out').iterdir()}
  for train in (True, False):
    ours, theirs = (
      next(pipeline.make_batches(config(path), train=train, seed=3))
      for path in (prepared, tmp_path / 'out')
    )
    np.testing.assert_array_equal(ours['video'], theirs['video'])
  served_bucket.calls.clear()
  pipeline.make_source(config(prepared), train=True)
  assert not any('array_record' in call for call in served_bucket.calls)
  assert not list(cache.glob('*.partial'))


def test_a_preparation_in_a_bucket_goes_on_where_it_stopped(
  served_bucket, pictures, request, monkeypatch
):
  out = f'gs://bucket/{request.node.name}'
  write, written = preparation.shard_writer.Preparation.write, []

  def stumble(self, name, *arguments):
    if len(written) == 1:
      raise KeyboardInterrupt
    written.append(name)
    return write(self, name, *arguments)

  with monkeypatch.context() as patch:
    patch.setattr(preparation.shard_writer.Preparation, 'write', stumble)
    with pytest.raises(KeyboardInterrupt):
      prepare(pictures, out)
  with pytest.raises(ValueError, match='not finished; run the same command'):
    shards.read_manifest(out, 'videos')
  served_bucket.calls.clear()
  prepare(pictures, out)
  stem = f'{request.node.name}/{written[0]}'
  assert f'POST {stem}' not in served_bucket.calls
  assert shards.verify_digests(out, 'videos') == 3


def test_a_copy_that_was_cut_short_goes_on(prepared, served_bucket, cache):
  shard = entries(prepared)[0]
  cache.mkdir(parents=True)
  data = served_bucket.objects[name(prepared, shard)][0]
  (cache / f'{shard["sha256"]}.partial').write_bytes(data[:100])
  served_bucket.cut.add(name(prepared, shard))
  served_bucket.calls.clear()
  (file,) = shard_cache.fetch(prepared, [shard])
  first, *others = served_bucket.calls
  assert others and first == f'GET {name(prepared, shard)} bytes=100-'
  assert all(re.search('bytes=[1-9][0-9]+-', call) for call in others)
  assert pathlib.Path(file).read_bytes() == data
  (cache / f'{shard["sha256"]}.partial').write_bytes(bytes(len(data)))
  pathlib.Path(file).unlink()
  shard_cache.fetch(prepared, [shard])  # what is not it is copied again
  assert pathlib.Path(file).read_bytes() == data


def test_many_at_once_copy_a_shard_once(prepared, served_bucket):
  wanted = entries(prepared)
  served_bucket.calls.clear()
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(
      pool.map(lambda _: shard_cache.fetch(prepared, wanted), 'abcd')
    )
  assert found == [found[0]] * 4
  read = [x for x in served_bucket.calls if x.startswith('GET')]
  assert sorted(read) == sorted(f'GET {name(prepared, x)}' for x in wanted)


def test_a_shard_that_is_another_is_refused(
  prepared, served_bucket, monkeypatch
):
  shard = entries(prepared)[1]
  data, generation = served_bucket.objects[name(prepared, shard)]
  changed = bytes([data[0] ^ 1]) + data[1:]
  served_bucket.objects[name(prepared, shard)] = (changed, generation)
  with pytest.raises(ValueError, match='not what the manifest says'):
    pipeline.make_source(config(prepared), train=True)
  del served_bucket.objects[name(prepared, shard)]
  with pytest.raises(OSError, match=f'{shard["name"]}: 404'):
    pipeline.make_source(config(prepared), train=True)
  with pytest.raises(ValueError, match='no SHA-256'):
    shard_cache.fetch(prepared, [{**shard, 'sha256': '../../x'}])
  monkeypatch.setattr(shard_cache.shutil, 'disk_usage', lambda _: Full)
  with pytest.raises(OSError, match='0.0 GB are free'):
    shard_cache.fetch(prepared, [shard])


def test_what_is_copied_already_takes_no_more_room(
  prepared, served_bucket, cache, monkeypatch
):
  shard = entries(prepared)[0]
  cache.mkdir(parents=True)
  data = served_bucket.objects[name(prepared, shard)][0]
  (cache / f'{shard["sha256"]}.partial').write_bytes(data)
  monkeypatch.setattr(shard_cache.shutil, 'disk_usage', lambda _: Full)
  (file,) = shard_cache.fetch(prepared, [shard])
  assert pathlib.Path(file).read_bytes() == data


class Full:
  free = 0


def test_files_to_decode_lie_on_a_disk():
  for kind in ('folder', 'images'):
    with pytest.raises(ValueError, match='decoded from a disk'):
      preparation.prepare_videos(f'{kind}:gs://bucket/x', 'out', **SIZE)


def test_records_of_a_bucket_are_timed_beside_what_a_run_needs(
  prepared, monkeypatch
):
  monkeypatch.setattr(reading, '_RECORDS', 40)
  given = section(config(prepared))
  row = reading.measure_shards(given, step_s=0.5, hosts=2)
  assert row['records_per_s_needed'] == 4 / 0.5 / 2
  assert row['copy_bytes_per_s'] > row['record_bytes'] > 100
  assert row['records_per_s_16_at_once'] > 0 < row['records_per_s_disk']
  with pytest.raises(ValueError, match='wanted array_record or features:PATH'):
    reading.measure_shards(section(DataConfig()), step_s=1, hosts=1)
