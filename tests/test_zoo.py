"""Models that come along: found by name, in half the bits, gone on from."""

import ast
import glob
import pathlib
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from tiny_runs import CLASSES, FRAMES, SIDE, runs  # noqa: F401
from toy import compile_cache  # noqa: F401

import videoar_jax as va
from videoar_jax import media, zoo
from videoar_jax.commands import train as train_command
from videoar_jax.core import command, export
from videoar_jax.core.manifest import CheckpointError
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.evaluate import motion
from videoar_jax.train import defaults
from videoar_jax.train.generator_recipe import make_generator_recipe
from videoar_jax.train.initial import with_classes
from videoar_jax.train.recipe import run_recipe


def export_to(out, source, *words):
  line = ['train', 'export', f'--workdir={source}', f'--out={out}', *words]
  return command.run(train_command, line)


@pytest.fixture(scope='module')
def root(runs, tmp_path_factory):  # noqa: F811
  """A zoo of one model, exported as those that come along are."""
  root = tmp_path_factory.mktemp('zoo')
  export_to(root / 'tiny', runs / 'generator', '--dtype=bfloat16')
  (root / 'tiny' / zoo.CARD).write_text('# Tiny\n')
  (root / 'no_model').mkdir()
  return root


@pytest.fixture(autouse=True)
def tiny_zoo(root, monkeypatch):
  monkeypatch.setattr(zoo, 'ROOT', root)


def test_models_are_found_by_name(root):
  assert zoo.names() == ('tiny',)
  assert zoo.card('zoo:tiny') == '# Tiny\n'
  model = va.load('zoo:tiny')
  assert model.classes == CLASSES and 'zoo:tiny' in repr(model)
  assert export.read_config('zoo:tiny').recipe == 'generator'
  found = export.load_weights('zoo:tiny')
  assert export.tokenizer_digests('zoo:tiny') == found.tokenizer.digests
  assert (
    va.load_tokenizer('zoo:tiny').codec.digest
    == (found.tokenizer.digests['autoencoder'])
  )


@pytest.mark.parametrize(
  'name', ['zoo:tyni', 'zoo:', 'zoo:no_model', 'zoo:../tiny', 'zoo:tiny/']
)
def test_an_unknown_name_is_told_with_those_there_are(name):
  for call in (va.load, va.load_tokenizer, export.read_config):
    with pytest.raises(CheckpointError) as error:
      call(name)
    assert str(error.value) == f'{name}: no such model; there are zoo:tiny'


def test_an_installation_without_models_says_so(monkeypatch, tmp_path):
  monkeypatch.setattr(zoo, 'ROOT', tmp_path)
  with pytest.raises(CheckpointError, match='are none in this installation'):
    va.load('zoo:tiny')


def test_every_model_that_comes_along_is_whole(monkeypatch):
  monkeypatch.undo()
  for name in zoo.names():
    folder = zoo.locate(f'zoo:{name}')
    files = [path for path in folder.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    assert len(zoo.card(f'zoo:{name}')) > 500
    assert va.load(f'zoo:{name}').classes


def load_own(monkeypatch, name):
  """A model that comes along, where this installation has it."""
  monkeypatch.undo()
  if name not in zoo.names():
    pytest.skip(f'no {name} in this installation')
  return va.load(f'zoo:{name}')


@pytest.mark.slow
def test_shapes_that_come_along_move_as_they_were_asked_to(monkeypatch):
  model = load_own(monkeypatch, 'shapes')
  labels = np.arange(32) % len(model.classes)
  videos = model.sample(num_videos=32, seed=0)
  assert motion.accuracy(videos, labels) > 0.8
  assert motion.accuracy(videos, labels[::-1]) < 0.5


@pytest.mark.slow
def test_people_that_come_along_move_and_differ_by_class(monkeypatch):
  model = load_own(monkeypatch, 'weizmann4')
  assert model.classes == ('Bend', 'JumpingJack', 'WaveOneHand', 'WaveTwoHands')
  videos = model.sample(num_videos=4, seed=0).astype(np.float32)
  assert videos.shape == (4, 17, 64, 64, 3)
  for video in videos:
    assert np.abs(np.diff(video, axis=0)).max(axis=(1, 2, 3)).min() > 10
  middle = videos[:, 8]
  apart = np.abs(middle[:, None] - middle).mean(axis=(2, 3, 4))
  assert apart[~np.eye(4, dtype=bool)].min() > 2


def stored(path):
  with safetensors.safe_open(path, framework='numpy') as file:
    names = file.keys()
    return {file.get_slice(name).get_dtype() for name in names}


def test_half_the_bits_are_half_the_file_and_as_near_as_they_can_be(
  runs,  # noqa: F811
  root,
):
  whole, half = runs / 'generator', root / 'tiny'
  for name in ('transformer.safetensors', 'tokenizer/autoencoder.safetensors'):
    assert stored(whole / name) == {'F32'} and stored(half / name) == {'BF16'}
    sizes = [(path / name).stat().st_size for path in (whole, half)]
    assert sizes[1] < 0.75 * sizes[0]
  one, other = export.load_weights(whole), export.load_weights(half)
  assert one.step == other.step and one.config == other.config
  for a, b in ((one, other), (one.tokenizer, other.tokenizer)):
    for name, net in a.nets.items():
      jax.tree.map(check_rounded, net, b.nets[name])
      # The digest is that of what is in memory, whatever the file holds.
      assert b.digests[name] == export.tree_digest(b.nets[name])
      assert b.digests[name] != a.digests[name]


def check_rounded(x, rounded):
  assert rounded.dtype == np.float32
  assert not np.any(rounded.view(np.uint32) & 0xFFFF)
  np.testing.assert_allclose(rounded, x, rtol=2**-8)


def test_weights_of_half_the_bits_go_into_a_new_file_as_they_are(
  root, tmp_path
):
  for dtype in ('float32', 'bfloat16'):
    export_to(tmp_path / dtype, root / 'tiny', f'--dtype={dtype}')
    found = export.load_weights(tmp_path / dtype)
    assert found.digest == export.load_weights(root / 'tiny').digest


def test_a_changed_bit_of_half_the_bits_is_noticed(root, tmp_path):
  shutil.copytree(root / 'tiny', tmp_path / 'copy')
  path = tmp_path / 'copy/transformer.safetensors'
  data = bytearray(path.read_bytes())
  data[-2] ^= 1
  path.write_bytes(data)
  with pytest.raises(CheckpointError, match='digest mismatch'):
    export.load_weights(tmp_path / 'copy')


@pytest.mark.parametrize(
  ('dtype', 'name'),
  [(np.float16, 'F16'), (np.float64, 'F64'), (np.int32, 'I32')],
)
def test_other_dtypes_are_refused(runs, tmp_path, dtype, name):  # noqa: F811
  shutil.copytree(runs / 'tokenizer', tmp_path / 'copy')
  path = tmp_path / 'copy/autoencoder.safetensors'
  arrays = safetensors.numpy.load(path.read_bytes())
  first = min(arrays)
  arrays[first] = arrays[first].astype(dtype)
  path.write_bytes(safetensors.numpy.save(arrays))
  said = f'{first} is of dtype {name}; wanted F32 or BF16'
  with pytest.raises(CheckpointError, match=said):
    export.load_weights(tmp_path / 'copy')


def test_an_unknown_dtype_is_a_bad_line(runs, tmp_path):  # noqa: F811
  assert export_to(tmp_path / 'new', runs / 'tokenizer', '--dtype=int8') == 2
  assert not (tmp_path / 'new').exists()


def test_classes_of_the_same_name_keep_their_tokens():
  table = np.arange(4, dtype=np.float32)[:, None, None]
  params = {'prefix': {'table': table}, 'rest': 1}
  found = with_classes(params, ('a', 'b', 'c'), ('c', 'new', 'a', 'more'))
  assert found['prefix']['table'][:, 0, 0].tolist() == [2, 3, 0, 3, 3]
  assert found['rest'] == 1
  assert with_classes(params, ('a', 'b', 'c'), ('a', 'b', 'c')) is params
  text = {'prefix': {'words': table}}
  assert with_classes(text, ('a',), ('b',)) is text


def test_a_model_goes_on_with_clips_and_classes_of_ones_own(tmp_path, capsys):
  rng = np.random.default_rng(0)
  for name in ('left', 'wave'):
    (tmp_path / 'clips' / name).mkdir(parents=True)
    for i in range(4):
      video = rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)
      media.write_mp4(tmp_path / f'clips/{name}/{i}.mp4', video)
  config = defaults.generator_config()
  config.init_from = config.tokenizer = 'zoo:tiny'
  config.data.update(source=f'folder:{tmp_path}/clips', batch_size=2)
  config.data.update(num_frames=FRAMES, height=SIDE, width=SIDE)
  config.transformer.update(num_layers=2, width=16, num_heads=2)
  config.transformer.dtype = 'float32'
  config.optimizer.update(learning_rate=0.0, warmup_steps=0)
  config.train.num_steps = 1
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  workdir = epath.Path(tmp_path / 'run')
  recipe = make_generator_recipe(config.lock(), workdir=workdir, mesh=mesh)
  run_recipe(recipe, workdir=workdir, mesh=mesh)
  assert 'no class in particular: wave' in capsys.readouterr().err
  before = export.load_weights('zoo:tiny')
  after = export.load_weights(tmp_path / 'run')
  assert tuple(after.config.classes) == ('left', 'wave')
  assert after.tokenizer.digests == before.tokenizer.digests
  old, new = (x.nets['transformer'] for x in (before, after))
  left, nothing = CLASSES.index('left'), len(CLASSES)
  np.testing.assert_array_equal(
    new['prefix']['table'], old['prefix']['table'][[left, nothing, nothing]]
  )
  jax.tree.map(np.testing.assert_array_equal, new['layers'], old['layers'])


def test_the_package_brings_its_models_along(root, tmp_path):
  text = (pathlib.Path(__file__).parents[1] / 'setup.py').read_text()
  patterns = next(
    ast.literal_eval(node.value)['videoar_jax']
    for node in ast.walk(ast.parse(text))
    if isinstance(node, ast.keyword) and node.arg == 'package_data'
  )
  shutil.copytree(root, tmp_path / 'zoo')
  found = {
    tmp_path / name
    for pattern in patterns
    for name in glob.glob(pattern, root_dir=tmp_path, recursive=True)
  }
  assert found >= {x for x in tmp_path.rglob('*') if x.is_file()}
