"""Kinds of sources: a new one is an object and an entry, and then is there."""

import dataclasses

import jax
import numpy as np
import pytest
from etils import epath

from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.data import folder, kinds, pipeline, preparation
from videoar_jax.data.config import DataConfig
from videoar_jax.data.source import SourceKind
from videoar_jax.evaluate import windows
from videoar_jax.evaluate.rules import Split
from videoar_jax.train import defaults
from videoar_jax.train.tokenizer_recipe import make_tokenizer_recipe

_SIZE = {'num_frames': 3, 'height': 8, 'width': 8}


@dataclasses.dataclass(frozen=True)
class _Noise:
  """Seven clips of noise at first, two held out."""

  seed: int
  size: tuple[int, ...]
  train: bool

  classes = ('white',)

  def __len__(self):
    return 7 if self.train else 2

  def name(self, index):
    return f'noise {index}'

  def load(self, index, rng):
    own = np.random.default_rng((self.seed, index))
    return {'video': own.integers(0, 256, self.size, np.uint8), 'label': 0}

  def explain(self, index):
    return 'noise cannot fail'


def _open(path, config, *, train):
  return _Noise(int(path), (config.num_frames, 8, 8, 3), train)


def _check(config):
  if config.frame_stride != 1:
    raise ValueError(f'frame_stride={config.frame_stride}: noise has none')


@pytest.fixture
def noise(monkeypatch):
  """A kind that nothing else in the package knows."""
  kind = SourceKind(name='noise', open=_open, check=_check)
  monkeypatch.setitem(kinds.SOURCES, 'noise', kind)
  return DataConfig(source='noise:5', batch_size=2, flip=True, **_SIZE)


def test_a_new_kind_is_checked_drawn_prepared_and_measured(noise, tmp_path):
  assert (noise.kind.name, noise.path) == ('noise', '5')
  with pytest.raises(ValueError, match='frame_stride=2: noise has none'):
    dataclasses.replace(noise, frame_stride=2)
  batch = next(pipeline.make_batches(noise, train=True, seed=0))
  known = {x.tobytes() for i in range(7) for x in _both(_noise(i))}
  assert {x.tobytes() for x in batch['video']} < known
  preparation.prepare_features(
    dataclasses.replace(noise, flip=False),
    str(tmp_path / 'cached'),
    tokenizer_digest='abc',
    encode=lambda video: video[..., :1].astype(np.float32),
  )
  cached = DataConfig(source=f'features:{tmp_path}/cached', **_SIZE)
  assert len(pipeline.make_source(cached, train=True)) == 7
  found = windows.draw_windows(
    dataclasses.replace(noise, flip=False),
    num_videos=5,
    split=Split.TRAIN,
    seed=0,
  )
  assert found.draw.videos_repeated == 0 and len(found.videos_nTHWc) == 5


def _noise(index):
  return _Noise(5, (3, 8, 8, 3), True).load(index, None)['video']


def _both(video):
  return video, video[:, :, ::-1]


def test_messages_name_the_kinds_that_there_are(noise, monkeypatch):
  with pytest.raises(ValueError) as refusal:
    dataclasses.replace(noise, source='nois:5')
  said = str(refusal.value)
  assert said.startswith(
    "source='nois:5': unknown kind 'nois'; use synthetic, folder:PATH, "
  )
  assert said.endswith(' or noise:PATH')
  split = {'split_file': 'x.txt'}
  with pytest.raises(ValueError, match='x.txt.*only folder:PATH, im.*read one'):
    dataclasses.replace(noise, **split)
  with pytest.raises(
    ValueError,
    match='noise:5.*only folder.*be prepared',
  ):
    preparation.prepare_videos('noise:5', 'nowhere', height=8, width=8)
  kind = dataclasses.replace(
    noise.kind, catalogue=folder.catalogue, split_lists=True
  )
  monkeypatch.setitem(kinds.SOURCES, 'noise', kind)
  assert dataclasses.replace(noise, **split).split_file == 'x.txt'


@pytest.mark.parametrize('name', kinds.SOURCES)
def test_a_kind_is_found_by_its_name_and_says_what_it_misses(name):
  kind = kinds.SOURCES[name]
  assert kind.name == name
  path = '' if kind.rendered else 'nowhere'
  source = f'{name}:{path}'.rstrip(':')
  assert kinds.parse_source(source) == (kind, path)
  config = DataConfig(source=source, **{**_SIZE, 'num_frames': 1})
  assert (config.kind, config.path) == (kind, path)
  if not kind.rendered:
    with pytest.raises(ValueError, match='nowhere'):
      pipeline.make_source(config, train=True)
  if kind.images:
    with pytest.raises(ValueError, match='clip of one frame'):
      DataConfig(source=source, **_SIZE)


def test_a_tokenizer_is_not_trained_on_features(tmp_path):
  config = defaults.tokenizer_config()
  config.data.update(source='features:cached', height=128, width=128)
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  with pytest.raises(
    ValueError, match=r"^data\.source='features:cached' holds"
  ):
    make_tokenizer_recipe(config, workdir=epath.Path(tmp_path), mesh=mesh)
