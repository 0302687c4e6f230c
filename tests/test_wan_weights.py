"""Wan's weights from files of others, and back; those of diffusers are real."""

import dataclasses
import json
import re

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tiny_wan

from videoar_jax.core import weight_folder
from videoar_jax.core.digest import flatten
from videoar_jax.transformer.wan_config import WanConfig
from videoar_jax.transformer.wan_names import Naming, shapes
from videoar_jax.transformer.wan_weights import (
  export,
  import_arrays,
  load,
  match,
  param_shapes,
  parts,
)

# Narrow, and as deep as the real one: so many names there are.
DEEP = dataclasses.replace(tiny_wan.CONFIG, num_layers=30)
NAMES = 825
INDEX = f'{weight_folder.STEM}.safetensors.index.json'

# Diffusers' names as the original's, written down a second time.
_ORIGINAL = (
  (r'attn1\.to_(.)\.', r'self_attn.\1.'),
  (r'attn2\.to_(.)\.', r'cross_attn.\1.'),
  (r'attn1\.to_out\.0\.', 'self_attn.o.'),
  (r'attn2\.to_out\.0\.', 'cross_attn.o.'),
  (r'attn1\.norm_', 'self_attn.norm_'),
  (r'attn2\.norm_', 'cross_attn.norm_'),
  (r'\.norm2\.', '.norm3.'),
  (r'ffn\.net\.0\.proj\.', 'ffn.0.'),
  (r'ffn\.net\.2\.', 'ffn.2.'),
  (r'(\d)\.scale_shift_table', r'\1.modulation'),
  (r'^scale_shift_table', 'head.modulation'),
  (r'^proj_out', 'head.head'),
  (r'condition_embedder\.time_proj', 'time_projection.1'),
  (r'condition_embedder\.time_embedder\.linear_1', 'time_embedding.0'),
  (r'condition_embedder\.time_embedder\.linear_2', 'time_embedding.2'),
  (r'condition_embedder\.text_embedder\.linear_1', 'text_embedding.0'),
  (r'condition_embedder\.text_embedder\.linear_2', 'text_embedding.2'),
)


def original_name(name):
  for pattern, there in _ORIGINAL:
    name = re.sub(pattern, there, name)
  return name


def made_up(config, naming, dtype=np.float32):
  """A state dict of random numbers."""
  rng = np.random.default_rng(0)
  return {
    name: rng.standard_normal(shape).astype(dtype)
    for name, shape in shapes(config, naming).items()
  }


def renamed(arrays, prefix='', wrapper=''):
  return {
    f'{prefix}{name.replace("blocks.", f"blocks.{wrapper}", 1)}': x
    for name, x in arrays.items()
  }


def written(params, config, naming):
  return {x.name: x.make() for x in parts(params, config, naming)}


def assert_same(found, wanted):
  assert found.keys() == wanted.keys()
  for name, x in wanted.items():
    np.testing.assert_array_equal(found[name], x, err_msg=name)


def test_diffusers_names_and_shapes_are_those_of_its_own_files():
  found = {
    name: x.shape for name, x in weight_folder.read(tiny_wan.WEIGHTS).items()
  }
  assert found == shapes(tiny_wan.GOLDEN, Naming.DIFFUSERS)
  taken = load(tiny_wan.WEIGHTS)
  assert not taken.match.unexpected
  # What the file does not say is as in the default.
  own = ('text_length', 'remat', 'dtype')
  said = {name: getattr(taken.config, name) for name in own}
  assert said == {name: getattr(WanConfig(), name) for name in own}
  assert dataclasses.replace(tiny_wan.GOLDEN, **said) == taken.config


def test_original_names_are_those_of_diffusers_in_other_words():
  there = shapes(DEEP, Naming.DIFFUSERS)
  assert shapes(DEEP, Naming.ORIGINAL) == {
    original_name(name): shape for name, shape in there.items()
  }


@pytest.mark.parametrize('naming', list(Naming))
def test_all_names_of_the_real_network_are_mapped(naming):
  zeros = {
    name: np.broadcast_to(np.float32(0), shape)
    for name, shape in shapes(WanConfig(), naming).items()
  }
  found = match(zeros, WanConfig())
  assert found.naming == naming and found.prefix == ''
  assert len(found.mapped) == len(zeros) == NAMES
  assert not (found.missing or found.unexpected or found.faults())
  total = sum(x.size for x in zeros.values())
  assert total == sum(x.size for x in param_shapes(WanConfig()).values())


@pytest.mark.parametrize('naming', list(Naming))
@pytest.mark.parametrize(
  ('prefix', 'wrapper'),
  [
    ('', ''),
    ('model.', '_fsdp_wrapped_module.'),
    ('generator.', ''),
    ('generator_ema.model.', '_checkpoint_wrapped_module._orig_mod.'),
  ],
)
def test_what_is_taken_over_is_given_back(naming, prefix, wrapper):
  state = made_up(DEEP, naming)
  taken = import_arrays(renamed(state, prefix, wrapper), DEEP)
  assert taken.match.prefix == prefix and len(taken.match.mapped) == NAMES
  found, wanted = flatten(taken.params), param_shapes(DEEP)
  assert {k: x.shape for k, x in found.items()} == {
    k: x.shape for k, x in wanted.items()
  }
  assert_same(written(taken.params, DEEP, naming), state)


def test_both_names_give_the_same_parameters():
  state = made_up(tiny_wan.CONFIG, Naming.DIFFUSERS)
  other = {original_name(name): x for name, x in state.items()}
  ours, theirs = (
    flatten(import_arrays(x, tiny_wan.CONFIG).params) for x in (state, other)
  )
  assert_same(ours, theirs)


@pytest.mark.parametrize(
  ('dtype', 'shard_bytes', 'files'),
  [('float32', 10**9, 1), ('float32', 40_000, 4), ('bfloat16', 40_000, 2)],
)
def test_an_export_is_what_diffusers_writes(
  tmp_path, dtype, shard_bytes, files
):
  config = tiny_wan.CONFIG
  state = made_up(config, Naming.DIFFUSERS, ml_dtypes.bfloat16)
  params = import_arrays(state, config).params
  out = tmp_path / 'out'
  export(out, params, config, dtype=dtype, shard_bytes=shard_bytes)
  names = sorted(x.name for x in out.glob('*.safetensors'))
  assert len(names) == files and (out / INDEX).exists() == (files > 1)
  for name in names:
    with safetensors.safe_open(out / name, framework='numpy') as file:
      assert file.metadata() == {'format': 'pt'}
  taken = load(out, config)
  assert not taken.match.unexpected
  assert_same(flatten(taken.params), flatten(params))
  card = json.loads((tiny_wan.WEIGHTS / 'config.json').read_text())
  ours = json.loads((out / 'config.json').read_text())
  assert ours.keys() <= card.keys()
  for key in ('_class_name', 'qk_norm', 'cross_attn_norm', 'eps', 'patch_size'):
    assert ours[key] == card[key]
  assert (ours['num_attention_heads'], ours['attention_head_dim']) == (4, 8)
  with pytest.raises(ValueError, match='holds something; give a new folder'):
    export(out, params, config)


def test_the_averaged_student_is_used_unless_another_is_named():
  config = tiny_wan.CONFIG
  state = made_up(config, Naming.ORIGINAL)
  other = {name: x + 1 for name, x in state.items()}
  arrays = renamed(state, 'generator_ema.') | renamed(other, 'generator.model.')
  arrays |= renamed(other, 'critic.model.')
  taken = import_arrays(arrays, config)
  assert taken.match.prefix == 'generator_ema.'
  assert len(taken.match.unexpected) == 2 * len(state)
  lines = taken.match.lines()
  assert lines[0].endswith("of original names below 'generator_ema.'")
  assert lines[-1] == f'  and {2 * len(state) - 20} more'
  student = import_arrays(arrays, config, net='generator')
  patch = flatten(student.params)['patch/bias']
  np.testing.assert_array_equal(patch, other['patch_embedding.bias'])
  with pytest.raises(
    ValueError, match="net='teacher': there are networks 'gen"
  ):
    import_arrays(arrays, config, net='teacher')
  two = renamed(state, 'a.') | renamed(state, 'b.')
  with pytest.raises(ValueError, match="several: there are networks 'a', 'b'"):
    import_arrays(two, config)


def test_arrays_of_other_shapes_are_refused_by_name():
  state = made_up(tiny_wan.CONFIG, Naming.ORIGINAL)
  wider = dataclasses.replace(tiny_wan.CONFIG, hidden=28)
  with pytest.raises(
    ValueError,
    match=r'blocks.0.ffn.0.weight is 24×32, wanted 28×32; .*and 1 more arrays. '
    'They are of a network with width=32, num_layers=2, latent_width=3',
  ):
    import_arrays(state, wider)
  deeper = dataclasses.replace(tiny_wan.CONFIG, num_layers=3)
  found = match(state, deeper)
  assert len(found.missing) == 27 and '27 arrays missing' in found.lines()
  with pytest.raises(
    ValueError, match='blocks.2.self_attn.q.weight is missing'
  ):
    import_arrays(state, deeper)


def test_what_is_no_number_is_refused_by_name():
  state = made_up(tiny_wan.CONFIG, Naming.ORIGINAL)
  state['blocks.1.ffn.2.bias'][3] = np.nan
  with pytest.raises(ValueError, match='blocks.1.ffn.2.bias holds NaN'):
    import_arrays(state, tiny_wan.CONFIG)


def test_other_networks_are_refused(tmp_path):
  with pytest.raises(
    ValueError, match='no transformer of Wan among a, b; want'
  ):
    import_arrays({'b': np.ones(2), 'a': np.ones(2)}, tiny_wan.CONFIG)
  params = tiny_wan.params()
  other = dataclasses.replace(tiny_wan.CONFIG, hidden=28)
  with pytest.raises(ValueError, match='layers/mlp/.*give the config of these'):
    export(tmp_path / 'x', params, other)


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'_class_name': 'CogVideoXTransformer3DModel'}, "'CogVideoXTransformer"),
    ({'_class_name': None}, 'of None; wanted Wan2.1 from text to video'),
    ({'image_dim': 1280}, 'image_dim=1280 of WanTransformer3DModel'),
    ({'in_channels': 36}, 'out_channels=4: it reads 36 channels'),
    ({'eps': 1e-5}, 'eps=1e-05'),
    ({'vace_layers': [0, 2]}, r'vace_layers=\[0, 2\]'),
    ({'num_layers': '2'}, "num_layers='2'"),
    ({'num_layers': 3}, 'has num_layers=3, wanted 2'),
    ({'attention_head_dim': 4}, 'has width=12, wanted 30'),
    ({'num_attention_heads': 5, 'attention_head_dim': 6}, 'has num_heads=5'),
  ],
)
def test_a_config_of_another_network_is_refused(tmp_path, changes, words):
  card = json.loads((tiny_wan.WEIGHTS / 'config.json').read_text())
  (tmp_path / 'config.json').write_text(json.dumps(card | changes))
  with pytest.raises(ValueError, match=words):
    load(tmp_path, tiny_wan.GOLDEN)


def test_configs_of_the_original_are_read(tmp_path):
  card = {
    '_class_name': 'WanModel',
    '_diffusers_version': '0.30.0',
    'dim': 32,
    'eps': 1e-06,
    'ffn_dim': 24,
    'freq_dim': 8,
    'in_dim': 3,
    'model_type': 't2v',
    'num_heads': 4,
    'num_layers': 2,
    'out_dim': 3,
    'text_len': 5,
    'text_dim': 6,
  }
  state = made_up(tiny_wan.CONFIG, Naming.ORIGINAL, np.float16)
  path = tmp_path / 'x.safetensors'
  safetensors.numpy.save_file(state, path)
  for extra in ({}, {'_class_name': 'CausalWanModel', 'local_attn_size': 21}):
    (tmp_path / 'config.json').write_text(json.dumps(card | extra))
    for given in (path, tmp_path):
      taken = load(given)
      assert (taken.config.width, taken.config.text_length) == (32, 5)
  assert_same(
    written(taken.params, taken.config, Naming.ORIGINAL),
    {name: np.float32(x) for name, x in state.items()},
  )
  (tmp_path / 'config.json').write_text(
    json.dumps(card | {'model_type': 'i2v'})
  )
  with pytest.raises(ValueError, match="model_type='i2v' of WanModel"):
    load(tmp_path)
  del card['ffn_dim']
  (tmp_path / 'config.json').write_text(json.dumps(card))
  with pytest.raises(ValueError, match='ffn_dim is missing'):
    load(tmp_path)


def test_files_that_are_damaged_or_missing_are_named(tmp_path):
  config, out = tiny_wan.CONFIG, tmp_path / 'out'
  params = tiny_wan.params()
  export(out, params, config, shard_bytes=40_000)
  with pytest.raises(ValueError, match='no such file; check the path'):
    load(tmp_path / 'x.safetensors', config)
  with pytest.raises(ValueError, match='a pickle, .*torch_to_safetensors.py'):
    load(tmp_path / 'model.pt', config)
  with pytest.raises(ValueError, match='holds no .safetensors'):
    load(tmp_path, config)
  (first, second, *_) = sorted(out.glob('*.safetensors'))
  index = json.loads((out / INDEX).read_text())
  index['weight_map']['head.weight'] = first.name
  (out / INDEX).write_text(json.dumps(index))
  with pytest.raises(ValueError, match='head.weight is in diffusion_pytorch'):
    load(out, config)
  (out / INDEX).unlink()
  with pytest.raises(ValueError, match='name the one that is meant'):
    load(out, config)
  index['weight_map'] = {'a': '../x.safetensors'}
  (out / INDEX).write_text(json.dumps(index))
  with pytest.raises(ValueError, match='wanted a plain file name'):
    load(out, config)
  index['weight_map'] = {'a': 'gone.safetensors'}
  (out / INDEX).write_text(json.dumps(index))
  with pytest.raises(ValueError, match='gone.safetensors: no such file, and'):
    load(out, config)
  second.write_bytes(second.read_bytes()[:100])
  with pytest.raises(ValueError, match='damaged safetensors file'):
    load(second, config)
