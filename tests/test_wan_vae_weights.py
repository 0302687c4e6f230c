"""Import and export of the Wan VAE: names, shapes, and what is refused."""

import dataclasses
import json

import golden_inputs
import numpy as np
import pytest
import safetensors.numpy
from test_wan_vae import CONFIG, golden, params  # noqa: F401

from videoar_jax.core import foreign
from videoar_jax.core.digest import flatten
from videoar_jax.tokenizer.wan_config import WanVaeConfig
from videoar_jax.tokenizer.wan_weights import (
  CONFIG as ABOUT,
)
from videoar_jax.tokenizer.wan_weights import (
  WEIGHTS,
  Names,
  load_wan_vae,
  naming,
  read_config,
  write_wan_vae,
)


def state_dict(names):
  """The weights of the goldens, by names of either kind."""
  own, other = (naming(CONFIG, x) for x in (Names.DIFFUSERS, names))
  return {
    other[name].name: golden_inputs.drawn(x.name, x.shape)
    for name, x in own.items()
  }


def write(path, state):
  safetensors.numpy.save_file(state, path)
  return path


@pytest.mark.parametrize('names', list(Names))
def test_the_full_networks_names_and_shapes_all_have_a_place(names):
  rows = json.loads(bytes(golden('names')))
  column = list(Names)[::-1].index(names)
  shapes = {row[column]: tuple(row[2]) for row in rows}
  assert len(shapes) == 194
  ways = [naming(WanVaeConfig(), x) for x in Names]
  way = foreign.choose(ways, list(shapes), where='x')
  report = foreign.compare(way, shapes, where='x')
  assert len(report.mapped) == 194
  assert not report.missing and not report.skipped
  for name, other in report.mapped.items():
    assert way[name].shape == shapes[other]


@pytest.mark.parametrize('names', list(Names))
def test_either_kind_of_file_comes_in_and_goes_out_the_same(
  tmp_path,
  params,
  names,  # noqa: F811
):
  path = write(tmp_path / 'vae.safetensors', state_dict(names))
  _, found, report = load_wan_vae(path, CONFIG)
  assert not report.missing and not report.skipped
  found, wanted = flatten(found), flatten(params)
  assert found.keys() == wanted.keys()
  for name, x in found.items():
    np.testing.assert_array_equal(x, wanted[name])
  write_wan_vae(tmp_path / 'out', CONFIG, params)
  written = safetensors.numpy.load_file(tmp_path / 'out' / WEIGHTS)
  state = state_dict(Names.DIFFUSERS)
  assert written.keys() == state.keys()
  for name, x in written.items():
    np.testing.assert_array_equal(x, state[name])


def test_a_folder_tells_its_sizes(tmp_path, params):  # noqa: F811
  write_wan_vae(tmp_path, CONFIG, params, dtype='bfloat16')
  config, found, _ = load_wan_vae(tmp_path)
  assert dataclasses.replace(config, decoder_dtype='float32') == CONFIG
  for name, x in flatten(found).items():
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, flatten(params)[name], rtol=2**-8)
  about = json.loads((tmp_path / ABOUT).read_text())
  for key, x in golden_inputs.VAE.items():
    assert about[key] == x
  about['is_residual'] = True  # that of Wan 2.2
  (tmp_path / ABOUT).write_text(json.dumps(about))
  with pytest.raises(ValueError, match='is_residual is True.*Wan 2.1'):
    load_wan_vae(tmp_path)
  (tmp_path / ABOUT).write_text(json.dumps({'latents_std': [0.0]}))
  with pytest.raises(ValueError, match='config.json: latent_std='):
    read_config(tmp_path / ABOUT)


def test_an_array_of_another_shape_is_shown_beside_what_was_wanted(tmp_path):
  state = state_dict(Names.ORIGINAL)
  state['conv1.weight'] = np.zeros((6, 8, 1, 1, 1), np.float32)
  path = write(tmp_path / 'vae.safetensors', state)
  wrong = r'conv1.weight is \(6, 8, 1, 1, 1\), wanted \(8, 8, 1, 1, 1\)'
  with pytest.raises(ValueError, match=wrong):
    load_wan_vae(path, CONFIG)
  with pytest.raises(
    ValueError, match=r'of 1\d\d arrays are of another'
  ) as all_:
    load_wan_vae(path)
  assert len(str(all_.value).splitlines()) == 10  # and how many more


def test_what_is_missing_or_unknown_is_told(tmp_path, params):  # noqa: F811
  state = state_dict(Names.ORIGINAL)
  state['more.weight'] = np.ones(3, np.float32)
  del state['decoder.head.2.bias']
  path = write(tmp_path / 'vae.safetensors', state)
  with pytest.raises(ValueError, match=r'there is no decoder.head.2.bias; get'):
    load_wan_vae(path, CONFIG)
  _, found, report = load_wan_vae(path, CONFIG, initial=params)
  assert report.skipped == {'more.weight': 'no counterpart'}
  assert list(report.missing) == ['decoder/conv_out/bias']
  assert '1 arrays missing' in report.lines()
  np.testing.assert_array_equal(
    found['decoder']['conv_out']['bias'], params['decoder']['conv_out']['bias']
  )


def test_files_that_are_no_vae_are_refused(tmp_path):
  path = write(tmp_path / 'other.safetensors', {'a': np.ones(3, np.float32)})
  with pytest.raises(ValueError, match='holds a; wanted arrays like'):
    load_wan_vae(path)
  path.write_bytes(b'0' * 100)
  with pytest.raises(ValueError, match='damaged safetensors file'):
    load_wan_vae(path)
  (tmp_path / 'vae.pth').write_bytes(b'')
  with pytest.raises(ValueError, match='vae.pth: .*torch_to_safetensors.py'):
    load_wan_vae(tmp_path / 'vae.pth')
  with pytest.raises(ValueError, match='none: no such file or folder'):
    load_wan_vae(tmp_path / 'none')
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match=r'empty: holds no \*.safetensors'):
    load_wan_vae(tmp_path / 'empty')
  state = state_dict(Names.ORIGINAL)
  state['conv1.bias'][0] = np.nan
  path = write(tmp_path / 'nan.safetensors', state)
  with pytest.raises(ValueError, match='holds NaN or infinity'):
    load_wan_vae(path, CONFIG)
