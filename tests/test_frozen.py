"""The tokenizer of a generator's run: which one it is, and its copy."""

import shutil

import jax
import numpy as np
import pytest
from etils import epath
from test_stages import _config, _tokenizer

from videoar_jax.core import export
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.export import load_weights
from videoar_jax.core.mesh import MeshConfig, make_mesh
from videoar_jax.tokenizer.features import note_length
from videoar_jax.train import loop
from videoar_jax.train.frozen import keep_tokenizer, load_tokenizer
from videoar_jax.train.generator_recipe import make_generator_recipe


@pytest.fixture(scope='module')
def exports(tmp_path_factory):
  """Folders `a/tokenizer` and `b/tokenizer` of two tokenizers."""
  folder = tmp_path_factory.mktemp('exports')
  for seed, name in enumerate('ab'):
    _tokenizer(folder / name / 'tokenizer', seed=seed)
  return folder


@pytest.fixture
def own(exports, tmp_path):
  """Copies of these that a test may move."""
  shutil.copytree(exports, tmp_path / 'exports')
  return tmp_path / 'exports'


def config_of(folder, **changes):
  options = {'frames': 3, 'height': 4, 'width': 4, 'text': False}
  return _config(folder, **{**options, **changes})


def recipe_of(config, workdir):
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  return make_generator_recipe(config, workdir=epath.Path(workdir), mesh=mesh)


def digests(path):
  return load_weights(path).digests


def begin(workdir, *, checkpoint):
  """Leaves a workdir as a run with tokenizer a does."""
  recipe = recipe_of(config_of(workdir.parent / 'exports' / 'a'), workdir)
  recipe.begin()
  if checkpoint:
    checkpoints = Checkpoints(workdir / 'checkpoints')
    checkpoints.save(1, {'x': np.ones(3)}, {}, wait=True)
    checkpoints.close()


def test_nothing_is_copied_before_all_checks_pass(exports, tmp_path):
  workdir = tmp_path / 'run'
  with pytest.raises(ValueError, match='num_classes=5: synthetic has 8'):
    config = config_of(exports / 'a')
    config.transformer.num_classes = 5
    recipe_of(config, workdir)
  recipe = recipe_of(config_of(exports / 'a'), workdir)
  assert not workdir.exists()
  recipe.begin()
  wanted = digests(exports / 'a' / 'tokenizer')
  assert digests(workdir / 'tokenizer') == wanted


def test_the_tokenizer_lies_where_its_axes_say(exports, tmp_path):
  mesh = make_mesh(MeshConfig(data=4, fsdp=2))
  config = config_of(exports / 'a')
  recipe = make_generator_recipe(config, workdir=tmp_path, mesh=mesh)
  placed = recipe.frozen['autoencoder']
  wanted = load_weights(exports / 'a' / 'tokenizer').nets['autoencoder']
  jax.tree.map(np.testing.assert_array_equal, placed, wanted)
  kernel = placed['encoder']['conv_in']['kernel']
  assert kernel.addressable_shards[0].data.size == kernel.size // 2


def test_a_tokenizer_left_by_a_run_that_came_to_nothing_is_replaced(
  own, tmp_path
):
  workdir = tmp_path / 'run'
  begin(workdir, checkpoint=False)
  recipe = recipe_of(config_of(own / 'b'), workdir)
  wanted = load_weights(own / 'b' / 'tokenizer')
  np.testing.assert_array_equal(
    jax.tree.leaves(recipe.frozen['autoencoder'])[0],
    jax.tree.leaves(wanted.nets['autoencoder'])[0],
  )
  recipe.begin()
  assert digests(workdir / 'tokenizer') == wanted.digests


@pytest.mark.parametrize('written', [0, 1])
def test_a_copy_cut_short_by_a_kill_is_made_again(
  own, tmp_path, monkeypatch, written
):
  """After so many of its two files, each cut short in turn."""
  workdir, write, done = tmp_path / 'run', export._write, []

  def killed(path, data):
    done.append(path)
    if len(done) > written:
      write(path, data[: len(data) // 2])
      raise KeyboardInterrupt
    write(path, data)

  monkeypatch.setattr(export, '_write', killed)
  with pytest.raises(KeyboardInterrupt):
    begin(workdir, checkpoint=False)
  monkeypatch.undo()
  assert list((workdir / 'tokenizer').iterdir())
  begin(workdir, checkpoint=False)
  assert digests(workdir / 'tokenizer') == digests(own / 'a' / 'tokenizer')


def test_a_run_does_not_change_its_tokenizer(own, tmp_path):
  workdir = tmp_path / 'run'
  begin(workdir, checkpoint=True)
  with pytest.raises(ValueError, match='not the one that .*run is trained on'):
    recipe_of(config_of(own / 'b'), workdir)


@pytest.mark.parametrize('way', ['moved', 'vanished', 'damaged', 'unnamed'])
def test_a_run_goes_on_where_its_tokenizer_has_gone(own, tmp_path, capsys, way):
  workdir, path = epath.Path(tmp_path / 'run'), own / 'a' / 'tokenizer'
  begin(workdir, checkpoint=True)
  wanted, config = digests(path), config_of(own / 'a')
  if way == 'moved':
    path.rename(tmp_path / 'elsewhere')
    config.tokenizer = str(tmp_path / 'elsewhere')
  elif way == 'vanished':
    shutil.rmtree(path)
  elif way == 'damaged':
    (path / 'autoencoder.safetensors').write_bytes(b'')
  else:
    config.tokenizer = ''
  loaded = load_tokenizer(config, workdir)
  assert loaded.digests == wanted
  told = 'going on with the copy' in capsys.readouterr().err
  assert told == (way in ('vanished', 'damaged'))
  keep_tokenizer(loaded, workdir)
  assert digests(workdir / 'tokenizer') == wanted


def test_only_a_generators_path_of_its_tokenizer_may_change():
  assert loop._may_change('tokenizer') and loop._may_change('mesh.data')
  for key in ('tokenizer.base_width', 'optimizer.beta1', 'data.source'):
    assert not loop._may_change(key)


def test_the_number_of_classes_is_the_datas(exports, tmp_path):
  config = config_of(exports / 'a')
  config.transformer.num_classes = 0
  recipe = recipe_of(config, tmp_path)
  assert recipe.config.transformer.num_classes == 8
  (update,) = recipe.updates
  shapes = jax.eval_shape(update.init, jax.random.key(0))
  (table,) = jax.tree.leaves(shapes['prefix'])
  assert table.shape[0] == 8 + 1
  assert config.transformer.num_classes == 0  # the file's is left as it is


def test_longer_clips_than_a_tokenizer_has_seen_are_told(
  exports, tmp_path, capsys
):
  tokenizer = load_weights(exports / 'a' / 'tokenizer')
  assert tokenizer.config.data.num_frames == 17
  note_length(tokenizer, 17)
  assert not capsys.readouterr().err
  note_length(tokenizer, 21)
  said = capsys.readouterr().err
  assert said.startswith('note: num_frames=21: ') and '17 frames' in said
  recipe_of(config_of(exports / 'a', frames=33), tmp_path)
  assert 'note: num_frames=33' in capsys.readouterr().err
