"""Checkpoints: trust, damage, retention; digests; exports."""

import errno
import json
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from etils import epath
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from videoar_jax.core import digest as digest_lib
from videoar_jax.core import export, manifest
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.manifest import CheckpointError
from videoar_jax.core.mesh import MeshConfig, make_mesh


def _numpy_tree(seed=0):
  rng = np.random.default_rng(seed)
  return {
    'nets': {
      'toy': {
        'params': {'w': rng.normal(size=(4, 7)).astype(np.float32)},
        'ema': {'w': rng.normal(size=(4, 7)).astype(np.float32)},
        'opt_state': (
          rng.normal(size=(8, 3)).astype(ml_dtypes.bfloat16),
          {'count': np.int32(3), 'mask': rng.normal(size=5) > 0},
        ),
      }
    },
    'bytes': rng.integers(0, 255, (3, 5), np.uint8),
    'rng': rng.integers(0, 2**32, (2,), np.uint32),
  }


def _tree(seed=0):
  return jax.tree.map(jnp.asarray, _numpy_tree(seed))


def _abstract(tree, mesh=None):
  mesh = mesh or make_mesh(MeshConfig(), jax.devices()[:1])

  def describe(x):
    spec = P('fsdp') if x.ndim == 2 and x.shape[0] % 4 == 0 else P()
    return jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=NamedSharding(mesh, spec)
    )

  return jax.tree.map(describe, tree)


def _assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def _save(directory, *steps, meta=None, **options):
  checkpoints = Checkpoints(directory, keep=options.pop('keep', 3))
  for step in steps:
    checkpoints.save(step, _tree(step), meta or {'step': step}, **options)
  checkpoints.close()


def _damage(step_folder, what='arrays/d'):
  """Flips one bit in the middle of the largest file of a folder."""
  files = [p for p in (step_folder / what).rglob('*') if p.is_file()]
  path = max(files, key=lambda p: p.stat().st_size)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 0x10
  path.write_bytes(data)


# Digests.


def test_digest_is_the_same_on_any_mesh_and_in_numpy(monkeypatch):
  tree = _numpy_tree()
  expected = digest_lib.array_digests(digest_lib.flatten(tree))
  one = jax.tree.map(jnp.asarray, tree)
  mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
  many = jax.tree.map(
    lambda x, a: jax.device_put(x, a.sharding), tree, _abstract(one, mesh)
  )
  for placed in (one, many):
    assert digest_lib.array_digests(digest_lib.flatten(placed)) == expected
    assert digest_lib.tree_digest(placed) == digest_lib.tree_digest(tree)
  # By a program, as on an accelerator, and not by NumPy where arrays lie.
  monkeypatch.setattr(digest_lib, '_is_in_memory', lambda x: False)
  for placed in (one, many):
    assert digest_lib.array_digests(digest_lib.flatten(placed)) == expected


def test_digest_changes_with_any_bit_place_or_name():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(6, 5)).astype(np.float32)
  digests = {digest_lib.tree_digest({'x': x})}
  for _ in range(64):
    y = x.copy().view(np.uint32).reshape(-1)
    y[rng.integers(y.size)] ^= np.uint32(1) << np.uint32(rng.integers(32))
    digests.add(digest_lib.tree_digest({'x': y.view('f4').reshape(x.shape)}))
  assert len(digests) > 60
  swapped = x.copy()
  swapped[[0, 1]] = x[[1, 0]]
  for other in ({'x': swapped}, {'y': x}, {'x': x.T.copy()}, {'x': -x}):
    assert digest_lib.tree_digest(other) not in digests


def test_digest_reads_keys_and_refuses_complex():
  key = jax.random.key(3)
  data = jax.random.key_data(key)
  digests = digest_lib.array_digests({'key': key, 'data': data})
  assert digests['key'] == digests['data']
  with pytest.raises(ValueError, match='complex64'):
    digest_lib.array_digests({'x': np.zeros(3, np.complex64)})


# Saving and restoring.


def test_restore_gives_back_every_bit_on_another_mesh(tmp_path):
  tree = _tree()
  _save(tmp_path, 0, meta={'a': [1, None, 'x']})
  for mesh in (None, make_mesh(MeshConfig(data=2, fsdp=4))):
    abstract = _abstract(tree, mesh)
    restored = Checkpoints(tmp_path).restore(abstract)
    _assert_same(restored.tree, tree)
    assert (restored.step, restored.meta) == (0, {'a': [1, None, 'x']})
    placed = jax.tree.map(lambda x: x.sharding, restored.tree)
    assert placed == jax.tree.map(lambda x: x.sharding, abstract)


def test_arrays_may_be_donated_after_save(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  x = jnp.arange(100_000.0)
  checkpoints.save(1, {'x': x}, {})
  overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
  overwrite(x).block_until_ready()
  checkpoints.close()
  restored = manifest.load_arrays(tmp_path)
  np.testing.assert_array_equal(restored.tree['x'], np.arange(100_000.0))


def test_a_relative_folder_is_saved_restored_and_loaded(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  tree = _tree()
  _save('run/checkpoints', 3)
  restored = Checkpoints('run/checkpoints').restore(_abstract(tree))
  assert restored.step == 3
  assert manifest.load_arrays('run/checkpoints').step == 3


def test_nothing_saved_restores_none(tmp_path):
  assert Checkpoints(tmp_path / 'none').restore(_abstract(_tree())) is None


def test_latest_and_best_are_kept(tmp_path):
  checkpoints = Checkpoints(tmp_path, keep=2)
  for step, value in enumerate([0.5, 0.1, None, 0.3, 0.2, None]):
    checkpoints.save(step, {'x': jnp.ones(3)}, {}, best_value=value)
  checkpoints.close()
  assert manifest.list_steps(tmp_path) == [1, 4, 5]
  checkpoints = Checkpoints(tmp_path, keep=2)
  checkpoints.save(6, {'x': jnp.ones(3)}, {}, best_value=0.05, wait=True)
  assert manifest.list_steps(tmp_path) == [5, 6]
  checkpoints.close()


@pytest.mark.parametrize('what', ['arrays/d', 'manifest'])
def test_damaged_step_is_named_and_the_one_before_used(tmp_path, caplog, what):
  folder = tmp_path / 'checkpoints'
  _save(folder, 1, 2, 3)
  _damage(folder / '3', what)
  assert manifest.load_arrays(folder).step == 2
  checkpoints = Checkpoints(folder)
  restored = checkpoints.restore(_abstract(_tree()))
  assert restored.step == 2
  _assert_same(restored.tree, _tree(2))
  assert f'{folder}/3 is damaged' in caplog.text
  assert [p.name[:2] for p in (tmp_path / 'checkpoints_damaged').iterdir()] == [
    '3-'
  ]
  checkpoints.save(3, _tree(9), {}, wait=True)
  checkpoints.close()
  _assert_same(Checkpoints(folder).restore(_abstract(_tree())).tree, _tree(9))


def test_array_that_differs_from_its_digest_is_damage(tmp_path, caplog):
  # As if the file system had given back another, whole file.
  _save(tmp_path / 'a', 1, 2)
  _save(tmp_path / 'b', 2 + 1)
  shutil.rmtree(tmp_path / 'a/2/arrays')
  shutil.copytree(tmp_path / 'b/3/arrays', tmp_path / 'a/2/arrays')
  restored = Checkpoints(tmp_path / 'a').restore(_abstract(_tree()))
  assert restored.step == 1
  assert 'digest mismatch in ' in caplog.text


def test_all_damaged_lists_them_all(tmp_path):
  _save(tmp_path, 1, 2)
  _damage(tmp_path / '1')
  (tmp_path / '2/manifest/metadata').write_text('{}')
  with pytest.raises(CheckpointError, match='none of its') as error:
    Checkpoints(tmp_path).restore(_abstract(_tree()))
  assert '\n  2: ' in str(error.value) and '\n  1: ' in str(error.value)
  assert manifest.list_steps(tmp_path) == [1, 2]


def test_uncommitted_step_is_named_and_passed_over(tmp_path, caplog):
  _save(tmp_path, 1)
  shutil.copytree(tmp_path / '1', tmp_path / '2.orbax-checkpoint-tmp')
  assert manifest.load_arrays(tmp_path).step == 1
  assert Checkpoints(tmp_path).restore(_abstract(_tree())).step == 1
  assert '2.orbax-checkpoint-tmp was never completed' in caplog.text
  assert not (tmp_path / '2.orbax-checkpoint-tmp').exists()


def test_what_is_still_being_written_to_stays_for_the_next_start(
  tmp_path, monkeypatch, caplog
):
  _save(tmp_path, 1)
  shutil.copytree(tmp_path / '1', tmp_path / '2.orbax-checkpoint-tmp')

  def busy(self, **_):
    raise OSError(errno.ENOTEMPTY, 'Directory not empty')

  monkeypatch.setattr(type(epath.Path(tmp_path)), 'rmtree', busy)
  assert Checkpoints(tmp_path).restore(_abstract(_tree())).step == 1
  assert 'could not be removed' in caplog.text
  monkeypatch.undo()
  Checkpoints(tmp_path).restore(_abstract(_tree()))
  assert not (tmp_path / '2.orbax-checkpoint-tmp').exists()


def test_what_cannot_be_removed_stops_no_save(tmp_path, monkeypatch, caplog):
  before = type(epath.Path(tmp_path)).rmtree

  def busy(self, **options):
    if self.exists():
      raise OSError(errno.EBUSY, 'Device or resource busy')
    before(self, **options)

  monkeypatch.setattr(type(epath.Path(tmp_path)), 'rmtree', busy)
  _save(tmp_path, 1, 2, keep=1)
  assert 'not all is removed from' in caplog.text
  assert manifest.list_steps(tmp_path) == [1, 2]
  monkeypatch.undo()
  _save(tmp_path, 3, keep=1)
  assert manifest.list_steps(tmp_path) == [3]


def test_arrays_of_another_config_are_refused_not_damage(tmp_path):
  _save(tmp_path, 1)
  other = _tree()
  other['nets']['toy']['params']['w'] = jnp.zeros((4, 8))
  with pytest.raises(
    CheckpointError, match=r'another config: nets/toy/params/w is float32\[4, 7'
  ):
    Checkpoints(tmp_path).restore(_abstract(other))
  assert manifest.list_steps(tmp_path) == [1]


def test_failed_save_leaves_the_earlier_ones(tmp_path, monkeypatch, caplog):
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, _tree(1), {}, wait=True)

  def full(*args, **kwargs):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(checkpoints._writer, 'save', full)
  checkpoints.save(2, _tree(2), {})
  assert checkpoints.failed_saves == 1
  assert 'No space left on device' in caplog.text
  assert manifest.list_steps(tmp_path) == [1]
  checkpoints.save(3, _tree(3), {}, wait=True)  # there is room again
  checkpoints.close()
  assert manifest.list_steps(tmp_path) == [1, 3]


# Exports, and all that --checkpoint takes.

CONFIG = {'recipe': 'tokenizer', 'sizes': (1, 2), 'tokenizer': {'width': 3}}


@pytest.fixture
def workdir(tmp_path):
  folder = tmp_path / 'run'
  _save(folder / 'checkpoints', 4, 7, meta={'config': CONFIG, 'best': None})
  (folder / 'config.json').write_text(json.dumps(CONFIG))
  return folder


def test_every_kind_of_path_gives_the_same_weights(workdir, tmp_path):
  loaded = export.load_weights(workdir)
  _assert_same(loaded.nets['toy'], _numpy_tree(7)['nets']['toy']['ema'])
  assert loaded.step == 7 and loaded.config.sizes == (1, 2)
  export.write_loaded(tmp_path / 'export', loaded)
  for path in (
    workdir / 'checkpoints',
    workdir / 'checkpoints/7',
    tmp_path / 'export',
  ):
    again = export.load_weights(path, expect='tokenizer')
    _assert_same(again.nets, loaded.nets)
    assert again.digests == loaded.digests and again.digest == loaded.digest
    assert again.step == 7 and again.config.to_dict() == loaded.config.to_dict()
  assert export.load_weights(workdir / 'checkpoints/4').step == 4
  raw = export.load_weights(workdir, ema=False)
  _assert_same(raw.nets['toy'], _numpy_tree(7)['nets']['toy']['params'])


def test_export_of_a_generator_carries_its_tokenizer(workdir, tmp_path):
  tokenizer = export.load_weights(workdir)
  nets = {'generator': {'a': {'b': jnp.arange(6.0).reshape(2, 3)}}}
  config = {'recipe': 'generator'}
  export.write_export(tmp_path / 'e', nets, config, step=5, tokenizer=tokenizer)
  loaded = export.load_weights(tmp_path / 'e', expect='generator')
  _assert_same(loaded.nets, jax.device_get(nets))
  _assert_same(loaded.tokenizer.nets, tokenizer.nets)
  assert loaded.tokenizer.digests == tokenizer.digests


def test_damaged_export_is_refused(workdir, tmp_path):
  export.write_loaded(tmp_path / 'e', export.load_weights(workdir))
  path = tmp_path / 'e/toy.safetensors'
  whole = path.read_bytes()
  flipped = bytearray(whole)
  flipped[-3] ^= 1
  path.write_bytes(flipped)
  with pytest.raises(CheckpointError, match='digest mismatch'):
    export.load_weights(tmp_path / 'e')
  path.write_bytes(whole[:-9])
  with pytest.raises(CheckpointError, match='unreadable'):
    export.load_weights(tmp_path / 'e')
  path.unlink()
  with pytest.raises(CheckpointError, match='unreadable'):
    export.load_weights(tmp_path / 'e')


def test_wrong_paths_and_recipes_say_what_is_wanted(workdir, tmp_path):
  with pytest.raises(CheckpointError, match='no such checkpoint; give a workd'):
    export.load_weights(tmp_path / 'nowhere')
  (tmp_path / 'empty').mkdir()
  with pytest.raises(CheckpointError, match='holds no committed checkpoint'):
    export.load_weights(tmp_path / 'empty')
  (tmp_path / 'file.txt').write_text('x')
  with pytest.raises(CheckpointError, match='holds no committed checkpoint'):
    export.load_weights(tmp_path / 'file.txt')
  with pytest.raises(CheckpointError, match="'tokenizer'; wanted a generator"):
    export.load_weights(workdir, expect='generator')
