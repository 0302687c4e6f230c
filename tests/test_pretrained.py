"""Weights are found, checked, cached, and never run."""

import collections
import os
import pickle

import numpy as np
import pytest
import safetensors.numpy

from videoar_jax.core import pretrained
from videoar_jax.evaluate import i3d


class _Payload:
  def __reduce__(self):
    return os.mkdir, ('weights-were-run',)


def test_malicious_pickle_is_refused_by_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  data = pickle.dumps({'params': {'kernel': np.ones(3), 'bias': _Payload()}})
  with pytest.raises(ValueError, match=r'mkdir'):
    pretrained.read_array_pickle(data, name='bad.ckpt')
  assert not (tmp_path / 'weights-were-run').exists()


@pytest.mark.parametrize(
  'value,word',
  (
    (collections.OrderedDict(a=np.ones(2)), 'OrderedDict'),
    ({'a': np.ones(2), 'b': 'text'}, 'b is str'),
    ({'a': np.array([None, 'x'], dtype=object)}, 'object'),
    ([np.ones(2)], 'list'),
  ),
)
def test_anything_but_a_tree_of_arrays_is_refused(value, word):
  with pytest.raises(ValueError, match=word):
    pretrained.read_array_pickle(pickle.dumps(value), name='bad.ckpt')


@pytest.mark.parametrize('data', (b'', b'junk', pickle.dumps({'a': 1})[:-3]))
def test_damaged_pickle_is_named(data):
  with pytest.raises(ValueError, match='bad.ckpt'):
    pretrained.read_array_pickle(data, name='bad.ckpt')


@pytest.mark.parametrize('protocol', (2, 4, 5))
def test_arrays_survive_every_pickle_protocol(protocol):
  rng = np.random.default_rng(0)
  kernel = rng.standard_normal((3, 5), np.float32)
  tree = {'params': {'a/b': {'kernel': kernel, 'steps': np.arange(4)}}}
  if protocol == 2:
    # Protocol 2 keeps bytes as text, which asks for a codec to be called.
    with pytest.raises(ValueError, match='_codecs.encode'):
      pretrained.read_array_pickle(pickle.dumps(tree, protocol), name='x')
    return
  arrays = pretrained.read_array_pickle(pickle.dumps(tree, protocol), name='x')
  np.testing.assert_array_equal(arrays['params.a/b.kernel'], kernel)
  np.testing.assert_array_equal(arrays['params.a/b.steps'], np.arange(4))


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path))
  absent = pretrained.WeightFile('no-such-package-xyz', 'a/b.ckpt', 'ff')
  with pytest.raises(pretrained.MissingWeightsError, match=r'\[metrics\]'):
    pretrained.load_weights(absent)


def test_wrong_digest_is_refused(tmp_path, monkeypatch):
  monkeypatch.setenv('VIDEOAR_CACHE', str(tmp_path))
  known = pretrained.I3D_KINETICS_400
  other = pretrained.WeightFile(known.distribution, known.member, 'ff')
  with pytest.raises(ValueError, match='SHA-256|metrics'):
    pretrained.load_weights(other)


@pytest.fixture(scope='module')
def own_cache(tmp_path_factory):
  """A fresh cache with I3D in it, and the arrays as the package has them."""
  folder = tmp_path_factory.mktemp('cache')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('VIDEOAR_CACHE', str(folder))
    try:
      loaded = pretrained.load_weights(pretrained.I3D_KINETICS_400)
    except pretrained.MissingWeightsError as error:
      pytest.skip(str(error))
    yield folder / 'i3d-kinetics-400.safetensors', loaded


def _no_package(monkeypatch):
  def refuse(file):
    raise AssertionError(f'{file} was read again')

  monkeypatch.setattr(pretrained, '_load_installed', refuse)


def test_cache_spares_the_package(own_cache, monkeypatch):
  path, loaded = own_cache
  assert path.is_file() and len(loaded.arrays) == 230
  _no_package(monkeypatch)
  again = pretrained.load_weights(pretrained.I3D_KINETICS_400)
  assert again.sha256 == loaded.sha256
  for key, value in loaded.arrays.items():
    np.testing.assert_array_equal(again.arrays[key], value)


@pytest.mark.parametrize('damage', ('flip', 'cut', 'empty'))
def test_damaged_cache_is_written_again(own_cache, monkeypatch, damage):
  path, loaded = own_cache
  whole = path.read_bytes()
  middle = len(whole) // 2
  bad = {
    'flip': whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    'cut': whole[:middle],
    'empty': b'',
  }[damage]
  path.write_bytes(bad)
  pretrained.load_weights(pretrained.I3D_KINETICS_400)
  _no_package(monkeypatch)
  again = pretrained.load_weights(pretrained.I3D_KINETICS_400)
  for key, value in loaded.arrays.items():
    np.testing.assert_array_equal(again.arrays[key], value)


def test_weights_from_a_path_give_the_same_network(own_cache, tmp_path):
  path, loaded = own_cache
  model = i3d.load_i3d(path=str(path))
  assert model.sha256 != loaded.sha256  # the digest is that of the file read
  for key, (kernel, bias) in i3d.load_i3d().units.items():
    np.testing.assert_array_equal(model.units[key][0], kernel)
    np.testing.assert_array_equal(model.units[key][1], bias)
  other = tmp_path / 'other.safetensors'
  safetensors.numpy.save_file({'a': np.ones(3)}, other)
  with pytest.raises(ValueError, match='I3D'):
    i3d.load_i3d(path=str(other))
  with pytest.raises(ValueError, match='no such'):
    i3d.load_i3d(path=str(tmp_path / 'absent.ckpt'))
