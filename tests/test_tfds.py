"""Builders of TensorFlow Datasets are read, and refused, without TensorFlow."""

import io
import json
import pathlib
import pickle
import shutil
import sys

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from videoar_jax.commands import prepare
from videoar_jax.core import command
from videoar_jax.data import pipeline, shards, tfds_folder
from videoar_jax.data import tfds as ours
from videoar_jax.data.config import DataConfig

SIZE = (16, 24)


@pytest.fixture(scope='module')
def tfds():
  return pytest.importorskip(
    'tensorflow_datasets', reason='pip install "videoar_jax[tfds]"'
  )


def video(split: str, index: int) -> np.ndarray:
  """Its first frame tells it from the others."""
  rng = np.random.default_rng((len(split), index))
  return rng.integers(0, 256, (20 + index, *SIZE, 3), np.uint8)


def encoded(frames: np.ndarray) -> list[bytes]:
  files = []
  for frame in frames:
    files.append(io.BytesIO())
    Image.fromarray(frame).save(files[-1], format='PNG')
  return [x.getvalue() for x in files]


def build(tfds, folder: pathlib.Path, features: dict, examples: dict) -> str:
  """Writes a builder as TFDS does.

  Args:
    tfds: the package.
    folder: to write in.
    features: as of tfds.features.
    examples: split -> its examples.
  Returns:
    The folder of the builder.
  """

  class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      described = tfds.features.FeaturesDict(features)
      return tfds.core.DatasetInfo(builder=self, features=described)

    def _split_generators(self, dl_manager):
      return {name: enumerate(x) for name, x in examples.items()}

    def _generate_examples(self):
      raise NotImplementedError

  builder = Made(data_dir=str(folder), file_format='array_record')
  builder.download_and_prepare()
  return str(builder.data_path)


@pytest.fixture(scope='module')
def tensors(tfds, tmp_path_factory):
  """Videos as arrays, with classes: 12 of train, 4 of test."""
  features = {
    'clip': tfds.features.Tensor(shape=(None, *SIZE, 3), dtype=np.uint8),
    'label': tfds.features.ClassLabel(names=['b', 'a']),
    'more': tfds.features.Tensor(shape=(2,), dtype=np.float32),
  }
  examples = {
    split: [
      {'clip': video(split, i), 'label': i % 2, 'more': [0.0, i]}
      for i in range(count)
    ]
    for split, count in (('train', 12), ('test', 4))
  }
  return build(tfds, tmp_path_factory.mktemp('tensors'), features, examples)


@pytest.fixture(scope='module')
def pictures(tfds, tmp_path_factory):
  """Videos as TensorFlow writes a `Video`: a PNG for each frame; no label."""
  features = {'video': tfds.features.Sequence(tfds.features.Text())}
  examples = [{'video': encoded(video('train', i))} for i in range(9)]
  folder = tmp_path_factory.mktemp('pictures')
  root = build(tfds, folder, features, {'train': examples})
  path = pathlib.Path(root, 'features.json')
  described = json.loads(path.read_text())
  shape = {'dimensions': ['-1', *map(str, SIZE), '3']}
  described['featuresDict']['features']['video'] = {
    'pythonClassName': tfds_folder.VIDEO,
    'video': {'dtype': 'uint8', 'encodingFormat': 'png', 'shape': shape},
  }
  path.write_text(json.dumps(described))
  return root


def config(root, **changes) -> DataConfig:
  defaults = {'num_frames': 5, 'height': SIZE[0], 'width': SIZE[1]}
  return DataConfig(source=f'tfds:{root}', **{**defaults, **changes})


def run(source, out, *more: str):
  """Runs data.prepare in this process; its exit status or message."""
  saved = flagsaver.save_flag_values(prepare.FLAGS.values)
  flags = (f'--source=tfds:{source}', f'--out={out}', '--height=16')
  try:
    return command.run(prepare, ['prepare', *flags, '--width=24', *more])
  except SystemExit as end:
    return end.code
  finally:
    flagsaver.restore_flag_values(saved, prepare.FLAGS.values)


def windows(videos: list[np.ndarray], num_frames: int, stride: int) -> set:
  span = (num_frames - 1) * stride + 1
  return {
    whole[start : start + span : stride].tobytes()
    for whole in videos
    for start in range(len(whole) - span + 1)
  }


def test_windows_of_arrays_and_of_pictures_are_those_of_the_videos(
  tensors, pictures
):
  for root, split, train, count in (
    (tensors, 'train', True, 12),
    (tensors, 'test', False, 4),
    (pictures, 'train', True, 8),
  ):
    source = pipeline.make_source(config(root, frame_stride=2), train=train)
    assert len(source) == count
    known = windows([video(split, i) for i in range(12)], 5, 2)
    for index in range(count):
      clip = source.load(index, np.random.default_rng(index))
      # TFDS shuffles what it writes; a video is known by its length.
      number = len(source.reader.example(source.name(index))[0]) - 20
      assert clip['video'].tobytes() in known
      assert clip['label'] == (number % 2 if root == tensors else 0)
  # Names as the builder has them, in its order; one class where none is told.
  assert pipeline.make_source(config(tensors), train=True).classes == ('b', 'a')
  assert pipeline.make_source(config(pictures), train=True).classes == ('made',)
  names = {
    x
    for train in (True, False)
    for x in ours.catalogue(pictures).splits[1 - train].names
  }
  assert names == {f'train/{i}' for i in range(9)}


def test_batches_flow_and_a_source_can_be_sent_to_a_worker(tensors):
  batches = pipeline.make_batches(
    config(tensors, batch_size=4), train=True, seed=1
  )
  assert (next(batches)['failed'] == -1).all()
  source = pipeline.make_source(config(tensors), train=True)
  sent = pickle.dumps(source)
  assert len(sent) < 2000
  clips = [
    x.load(3, np.random.default_rng(3))['video']
    for x in (source, pickle.loads(sent))
  ]
  np.testing.assert_array_equal(*clips)


def test_prepared_videos_equal_those_of_the_builder(
  tensors, pictures, tmp_path, capsys
):
  for root, counts in ((tensors, (12, 4)), (pictures, (8, 1))):
    out = tmp_path / f'{counts[0]}'
    ours._say_once.cache_clear()
    assert run(root, out) is None
    assert shards.verify_digests(str(out), 'videos') == 2
    said = capsys.readouterr()
    assert f'{counts[0]} of train, {counts[1]} of validation' in said.out
    assert f'{counts[0]} videos of' in said.err
    stored = DataConfig(
      source=f'array_record:{out}', num_frames=17, height=16, width=24
    )
    for train in (True, False):
      found = pipeline.make_source(stored, train=train)
      direct = pipeline.make_source(config(root, num_frames=17), train=train)
      assert found.classes == direct.classes
      for index in range(len(direct)):
        assert found.name(index) == direct.name(index)
        stored_clip, direct_clip = (
          x.load(index, np.random.default_rng(5)) for x in (found, direct)
        )
        np.testing.assert_array_equal(
          stored_clip['video'], direct_clip['video']
        )
        assert stored_clip['label'] == direct_clip['label']
  assert run(tensors, tmp_path / '12') is None
  assert 'complete already' in capsys.readouterr().out


def test_tensorflow_is_not_imported(pictures, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  ours._open.cache_clear()
  frames, _ = ours.catalogue(pictures).reader.example('train/0')
  assert ours.picture(frames[0]).shape == (*SIZE, 3)


def test_a_name_is_looked_up_in_the_folder_of_tfds(
  tensors, tmp_path, monkeypatch
):
  data_dir = pathlib.Path(tensors).parents[1]
  monkeypatch.setenv('TFDS_DATA_DIR', str(data_dir))
  for name in ('made', 'made/1.0.0', 'made:1.0.0'):
    assert str(tfds_folder.find(name)) == tensors
  assert str(tfds_folder.find(str(data_dir))) == tensors
  with pytest.raises(ValueError, match='tfds:ucf101: no dataset_info') as none:
    tfds_folder.find('ucf101')
  assert "t.builder('ucf101', file_format='array_record')" in str(none.value)
  shutil.copytree(tensors, tmp_path / 'two' / '1.0.0')
  shutil.copytree(tensors, tmp_path / 'two' / '2.0.0')
  with pytest.raises(ValueError, match='2 prepared data sets; give one of'):
    tfds_folder.find(str(tmp_path / 'two'))


def edit(root: str, tmp_path: pathlib.Path, file: str, change) -> str:
  """A copy of a builder of which one JSON file says something else."""
  copy = tmp_path / 'copy'
  shutil.copytree(root, copy)
  path = copy / file
  value = json.loads(path.read_text())
  change(value)
  path.write_text(json.dumps(value))
  return str(copy)


def test_what_cannot_be_read_is_one_line_that_names_the_fix(
  tfds, tensors, tmp_path
):
  def features(value):
    return value['featuresDict']['features']

  cases = (
    ('features.json', lambda x: features(x).pop('clip'), '0 features are vid'),
    (
      'features.json',
      lambda x: features(x).update(other=features(x)['clip']),
      '2 features are videos, wanted one',
    ),
    (
      'features.json',
      lambda x: features(x)['more'].update(pythonClassName='os.path.X'),
      "'os.path.X' is no feature of TFDS itself",
    ),
    ('features.json', lambda x: x.clear(), 'featuresDict is missing'),
    (
      'dataset_info.json',
      lambda x: x.update(fileFormat='tfrecord'),
      'its files are tfrecord.*prepare it as ArrayRecord.*tfds-prepare',
    ),
    ('dataset_info.json', lambda x: x.pop('splits'), 'splits is missing'),
    (
      'dataset_info.json',
      lambda x: [y.update(name=y['name'] + 'ed') for y in x['splits']],
      'wanted one that is called train',
    ),
    (
      'features.json',
      lambda x: features(x)['clip'].pop('pythonClassName'),
      'not readable .*copy it again',
    ),
  )
  for i, (file, change, words) in enumerate(cases):
    root = edit(tensors, tmp_path / f'{i}', file, change)
    with pytest.raises(ValueError, match=words) as refusal:
      pipeline.make_source(config(root), train=True)
    assert '\n' not in str(refusal.value) and root in str(refusal.value)
  with pytest.raises(ValueError, match='split_file=.x.txt.: only folder'):
    config(tensors, split_file='x.txt')
  said = run(tensors, tmp_path / 'out', '--split_file=x.txt')
  assert "split_file='x.txt': only folder" in said


def test_damaged_files_are_refused_and_damaged_examples_named(
  tensors, tmp_path
):
  for i, fault in enumerate(('missing', 'cut', 'altered')):
    copy = tmp_path / f'{i}'
    shutil.copytree(tensors, copy)
    (path,) = copy.glob('*-train.*')
    data = path.read_bytes()
    if fault == 'missing':
      path.unlink()
    elif fault == 'cut':
      path.write_bytes(data[: len(data) // 2])
    else:
      middle = len(data) // 2
      path.write_bytes(data[:middle] + bytes(64) + data[middle + 64 :])
      source = pipeline.make_source(config(copy), train=True)
      bad = [x for x in range(len(source)) if 'damaged' in source.explain(x)]
      assert len(bad) == 1
      out = tmp_path / 'out'
      assert run(copy, out, '--max_bad_share=0.2') is None
      manifest = json.loads((out / shards.MANIFEST).read_text())
      assert list(manifest['skipped']) == [f'train/{bad[0]}']
      continue
    with pytest.raises(ValueError, match='not readable .*copy it again') as e:
      pipeline.make_source(config(copy), train=True)
    assert '\n' not in str(e.value)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
  folder = tmp_path / 'x'
  folder.mkdir()
  tensor = {'dtype': 'uint8', 'shape': {'dimensions': ['-1', '8', '8', '3']}}
  described = {'video': {'tensor': tensor}}
  (folder / 'features.json').write_text(
    json.dumps({'featuresDict': {'features': described}})
  )
  (folder / 'dataset_info.json').write_text(
    json.dumps({'name': 'x', 'fileFormat': 'array_record', 'splits': []})
  )
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  with pytest.raises(ValueError, match=r"pip install 'videoar_jax\[tfds\]'"):
    pipeline.make_source(config(folder), train=True)


def test_a_builder_that_tensorflow_wrote_is_read_as_tensorflow_reads_it(
  tfds, tmp_path
):
  pytest.importorskip(
    'tensorflow', reason='pip install "videoar_jax[tfds-prepare]"'
  )
  features = {
    'video': tfds.features.Video(shape=(None, *SIZE, 3), encoding_format='png'),
    'label': tfds.features.ClassLabel(names=['a', 'b', 'c']),
  }
  examples = [{'video': video('train', i), 'label': i % 3} for i in range(6)]
  root = build(tfds, tmp_path, features, {'train': examples, 'test': examples})
  reader = ours.catalogue(root).reader
  theirs = tfds.builder_from_directory(root).as_data_source('train')
  assert len(theirs) == 6
  for index, example in enumerate(theirs):
    frames, label = reader.example(f'train/{index}')
    found = np.stack([ours.picture(x) for x in frames])
    np.testing.assert_array_equal(found, np.stack(example['video']))
    assert label == example['label']
