"""Exports that are damaged, hostile or of another network are refused."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from tiny_runs import runs  # noqa: F401

from videoar_jax.commands import train
from videoar_jax.core import command, digest, export, files
from videoar_jax.evaluate.request import Request
from videoar_jax.evaluate.task import resolve
from videoar_jax.sample.sampler import Generator
from videoar_jax.tokenizer.features import make_encoder
from videoar_jax.tokenizer.stream import Codec

NET = 'autoencoder'


@pytest.fixture
def copy(runs, tmp_path):
  """copy(name, change, arrays, transformer): an export, altered; its path.

  Args:
    name: 'tokenizer' or 'generator'.
    about: changes what config.json holds.
    arrays: changes the arrays, whose digest is made anew.
  """

  def copy(name, *, about=lambda x: None, arrays=None):
    source, out = runs / name, tmp_path / 'copy'
    out.mkdir()
    if name == 'generator':
      (out / 'tokenizer').symlink_to(runs / 'tokenizer')
    text = json.loads((source / 'config.json').read_text())
    (net,) = text['digests']
    flat = safetensors.numpy.load((source / f'{net}.safetensors').read_bytes())
    if arrays is not None:
      arrays(flat)
      text['digests'][net] = digest.tree_digest(digest.nest(flat))
    (out / f'{net}.safetensors').write_bytes(safetensors.numpy.save(flat))
    text = about(text) or text
    (out / 'config.json').write_text(json.dumps(text))
    return out

  return copy


def refused(function, *arguments) -> str:
  with pytest.raises(ValueError) as caught:
    function(*arguments)
  said = str(caught.value)
  assert '\n' not in said and len(said) < 700
  return said


@pytest.mark.parametrize('name', ['../outside', '/tmp/outside', 'a/b', '..'])
def test_an_export_names_no_file_outside_its_folder(copy, name):
  path = copy('tokenizer', about=lambda x: x['digests'].update({name: 'd'}))
  said = refused(export.load_weights, path)
  assert 'config.json' in said and 'wanted a plain file name' in said


def without(*names):
  def change(about):
    for name in names[:-1]:
      about = about[name]
    del about[names[-1]]

  return change


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda x: [x], 'wanted an object'),
    (lambda x: 'text', 'wanted an object'),
    (without('digests'), 'digests is missing'),
    (without('step'), 'step is missing'),
    (without('config'), 'config is missing'),
    (without('format'), 'no committed checkpoint'),
    (lambda x: {**x, 'digests': ['autoencoder']}, 'digests is'),
    (lambda x: {**x, 'digests': {NET: 7}}, 'digests.autoencoder is 7'),
    (lambda x: {**x, 'digests': {}}, 'autoencoder is missing'),
    (lambda x: {**x, 'step': -1}, 'step is -1'),
    (lambda x: {**x, 'step': True}, 'step is True'),
    (lambda x: {**x, 'config': [1]}, r'config is [1]'),
    (lambda x: {**x, 'config': {'a.b': 1}}, 'dots'),
    (lambda x: {**x, 'config': {'__class__': 1}}, 'not a config'),
    (without('config', 'recipe'), 'recipe None'),
    (without('config', 'tokenizer'), 'no such section'),
    (lambda x: x['config'].update(tokenizer=3), 'wanted a section'),
    (lambda x: x['config'].update(tokenizer='runs/x'), 'wanted a section'),
  ],
)
def test_a_config_of_another_structure_is_refused(copy, change, words):
  assert words in refused(Codec.load, copy('tokenizer', about=change))


@pytest.mark.parametrize(
  'text', ['', '{', 'NaN', '[' * 10**5, '{"a": 1e999}', '\xff']
)
def test_a_config_that_is_no_json_is_refused(copy, text):
  path = copy('tokenizer')
  (path / 'config.json').write_bytes(text.encode('latin1'))
  assert 'config.json' in refused(export.load_weights, path)
  assert 'config.json' in refused(export.read_config, path)


def test_a_byte_order_mark_does_not_hide_an_export(copy):
  path = copy('tokenizer')
  text = (path / 'config.json').read_bytes()
  (path / 'config.json').write_bytes(b'\xef\xbb\xbf' + text)
  assert Codec.load(path).digest


def first(flat):
  return min(flat)


ARRAYS = {
  'missing': (lambda x: x.pop(first(x)), 'is missing'),
  'unknown': (lambda x: x.update(zz=np.zeros(1, np.float32)), 'zz is unknown'),
  'shape': (
    lambda x: x.update({first(x): np.zeros((2, 3), np.float32)}),
    'is float32[2, 3], wanted float32[',
  ),
  'nan': (
    lambda x: x[first(x)].reshape(-1).__setitem__(0, np.nan),
    'holds NaN or infinity',
  ),
  'infinite': (
    lambda x: x[first(x)].reshape(-1).__setitem__(slice(2), [np.inf, -np.inf]),
    'holds NaN or infinity',
  ),
  'none': (lambda x: x.clear(), 'autoencoder'),
}


@pytest.mark.parametrize('case', ARRAYS)
def test_weights_that_do_not_fit_are_named_by_their_array(copy, case):
  change, words = ARRAYS[case]
  names = []

  def and_note(flat):
    names.append(first(flat))
    change(flat)

  path = copy('tokenizer', arrays=and_note)
  for load in (
    Codec.load,
    lambda path: make_encoder(path, num_frames=5),
    lambda path: resolve(Request(checkpoint=str(path), fvd=False)),
  ):
    said = refused(load, path)
    assert words in said and 'copy: autoencoder' in said
    if case not in ('unknown', 'none'):
      assert names[0] in said


@pytest.mark.parametrize('case', ['missing', 'unknown', 'shape', 'nan'])
def test_a_generators_weights_are_held_to_its_network(copy, case):
  change, words = ARRAYS[case]
  path = copy('generator', arrays=change)
  said = refused(lambda: Generator.of(export.load_weights(path)))
  assert words in said and 'copy: transformer' in said


SIZES = {
  'tokenizer': [
    *({'base_width': 10**n} for n in (7, 12, 25)),
    {'base_width': 16},
    {'base_width': 0},
    {'base_width': -8},
    {'encoder_blocks': 10**9},
    {'decoder_blocks': 2},
    {'latent_width': 10**9},
    {'latent_width': 0},
    {'norm_groups': 0},
    {'multipliers': [1] * 10**5},
    {'multipliers': [10**9, 1, 1]},
    {'multipliers': ['a', 1]},
    {'multipliers': []},
    {'scales': [[1, 1], [2]]},
    {'scales': [[1, 1], 'xy']},
    {'scales': []},
    {'dtype': 'float999'},
    {'num_time_levels': -1},
    {'more': 1},
  ],
  'transformer': [
    {'num_layers': 10**9},
    {'num_layers': 0},
    {'width': 10**7},
    {'width': 10**30},
    {'num_heads': 0},
    {'num_heads': -2},
    {'num_classes': 10**12},
    {'num_classes': 7},
    {'prefix_length': 10**9},
    {'hidden_ratio': 1e30},
    {'hidden_ratio': -1.0},
    {'dtype': 'int8'},
    {'plan': 'no_such'},
    {'more': 1},
  ],
}


@pytest.mark.parametrize(
  ('section', 'changes'),
  [(section, x) for section, found in SIZES.items() for x in found],
  ids=lambda x: str(x)[:40],
)
def test_sizes_that_are_not_those_of_the_weights_are_refused_at_once(
  copy, section, changes
):
  name = {'transformer': 'generator'}.get(section, section)
  path = copy(name, about=lambda x: x['config'][section].update(changes))
  if name == 'generator':
    refused(lambda: Generator.of(export.load_weights(path)))
  else:
    refused(Codec.load, path)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (
      without('config', 'transformer'),
      'transformer: the config has no such section',
    ),
    (without('config', 'data'), 'data is missing'),
    (without('config', 'sampling'), 'sampling is missing'),
    (without('config', 'classes'), 'classes is missing'),
    (lambda x: x['config'].update(classes='left'), 'classes is'),
    (lambda x: x['config'].update(classes=[1, 2]), 'classes[0] is 1'),
    (without('config', 'classes', 0), 'names of 7 classes'),
    (lambda x: x['config']['data'].update(num_frames='9'), 'num_frames'),
    (lambda x: x['config']['sampling'].update(top_p='x'), 'top_p'),
  ],
)
def test_what_sampling_needs_of_a_config_is_checked(copy, change, words):
  path = copy('generator', about=change)
  said = refused(lambda: Generator.of(export.load_weights(path)).sampling())
  assert words in said


def safetensors_file(header, data=b'\0' * 8) -> bytes:
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack('<Q', len(text)) + text + data


def entry(dtype='F32', shape=(2,), offsets=(0, 8)):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': offsets}


@pytest.mark.parametrize(
  'data',
  [
    b'',
    b'\0' * 7,
    struct.pack('<Q', 2**62) + b'{}',
    safetensors_file(b'\xff\xfe'),
    safetensors_file(b'[' * 10**5),
    safetensors_file([]),
    safetensors_file({'a': entry(shape=(2**40,))}),
    safetensors_file({'a': entry(shape=(2**40, 2**40))}),
    safetensors_file({'a': entry(shape=(-2,))}),
    safetensors_file({'a': entry(offsets=(0, 2**40))}),
    safetensors_file({'a': entry(offsets=(8, 0))}),
    safetensors_file({'a': entry(dtype='X9')}),
    safetensors_file({'a': entry(dtype='F8_E4M3', shape=(8,))}),
    safetensors_file({'a': entry(dtype='C64', shape=(1,))}),
    safetensors_file({'a': entry(), 'b': entry()}),
    safetensors_file({'a': entry(shape=(0, 2**40), offsets=(0, 0))}, b''),
    safetensors_file(
      {'a': entry(), 'a/b': entry(offsets=(8, 16))}, data=bytes(16)
    ),
    safetensors_file(
      {'a/b': entry(), 'a': entry(offsets=(8, 16))}, data=bytes(16)
    ),
  ],
)
def test_a_lying_weight_file_is_refused(copy, data):
  path = copy('tokenizer')
  (path / f'{NET}.safetensors').write_bytes(data)
  assert f'{NET}.safetensors: ' in refused(export.load_weights, path)


def test_a_missing_weight_file_is_named(copy):
  path = copy('tokenizer')
  (path / f'{NET}.safetensors').unlink()
  assert f'{NET}.safetensors: ' in refused(export.load_weights, path)


def test_a_folder_that_is_its_own_tokenizer_ends(copy):
  path = copy('generator')
  (path / 'tokenizer').unlink()
  (path / 'tokenizer').symlink_to('.')
  loaded = export.load_weights(path)
  assert loaded.tokenizer.tokenizer is None
  assert 'wanted a section' in refused(Generator.of, loaded)


def test_configs_and_digests_are_found_from_a_folder_named_like_a_step(
  runs, tmp_path
):
  (tmp_path / '7').symlink_to(runs / 'generator')
  assert export.load_weights(tmp_path / '7').step == 9
  assert export.read_config(tmp_path / '7').recipe == 'generator'
  wanted = export.load_weights(runs / 'tokenizer').digests
  assert export.tokenizer_digests(tmp_path / '7') == wanted
  assert export.tokenizer_digests(runs / 'tokenizer') is None
  assert 'no config.json' in refused(export.read_config, tmp_path)


def export_to(out, workdir):
  """The exit status, or the line, of `train export`."""
  try:
    return command.run(
      train, ['train', 'export', f'--workdir={workdir}', f'--out={out}']
    )
  except SystemExit as end:
    return end.code


def test_an_export_replaces_no_run_and_nothing_else(runs, tmp_path):
  source = tmp_path / 'generator'
  export.write_loaded(source, export.load_weights(runs / 'generator'))
  before = {x: x.read_bytes() for x in source.rglob('*') if x.is_file()}
  (tmp_path / 'link').symlink_to(source)
  for out in (source, source / 'tokenizer', tmp_path / 'link'):
    assert 'which is read' in export_to(out, source)
  other = tmp_path / 'mine'
  other.mkdir()
  (other / 'thesis.tex').write_text('')
  assert 'holds thesis.tex' in export_to(other, source)
  assert 'a file' in export_to(other / 'thesis.tex', source)
  assert '/proc' in export_to('/proc/export', source)
  assert before == {x: x.read_bytes() for x in source.rglob('*') if x.is_file()}
  assert [x.name for x in other.iterdir()] == ['thesis.tex']
  for _ in range(2):  # an export takes the place of an export
    assert export_to(tmp_path / 'new', source) is None
    assert export.load_weights(tmp_path / 'new').tokenizer is not None


def test_an_export_leaves_out_what_training_alone_needs(runs, tmp_path):
  loaded = export.load_weights(runs / 'tokenizer')
  nets = {**loaded.nets, 'discriminator': {'w': np.ones(3, np.float32)}}
  old = tmp_path / 'old'
  export.write_export(old, nets, loaded.config)  # as they once were
  again = export.load_weights(old)
  assert set(again.nets) == set(nets)
  assert Codec.load(old).digest == loaded.digests[NET]
  assert export_to(tmp_path / 'new', old) is None
  assert export.load_weights(tmp_path / 'new').digests == loaded.digests
  export.write_loaded(old, again)
  assert set(export.load_weights(old).nets) == {NET}


def test_an_interrupted_export_is_none(runs, tmp_path, monkeypatch):
  loaded, out = export.load_weights(runs / 'tokenizer'), tmp_path / 'x'
  export.write_loaded(out, loaded)

  def stop(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(export, 'tree_digest', stop)
  with pytest.raises(KeyboardInterrupt):
    export.write_loaded(out, loaded)
  monkeypatch.undo()
  assert 'no committed checkpoint' in refused(export.load_weights, out)
  (out / files.partial_name('config.json')).touch()
  export.check_target(out, source=runs / 'tokenizer')
  export.write_loaded(out, loaded)
  assert export.load_weights(out).digest == loaded.digest


def test_a_full_disk_ends_an_export_in_one_line(runs, tmp_path):
  done = subprocess.run(
    [
      *('bash', '-c', 'trap "" XFSZ; ulimit -f 20; exec "$@"', 'bash'),
      *(sys.executable, '-m', 'videoar_jax.train', 'export'),
      *(f'--workdir={runs}/tokenizer', f'--out={tmp_path}/x'),
    ],
    capture_output=True,
    text=True,
    env={**os.environ, 'JAX_ENABLE_COMPILATION_CACHE': '0'},
  )
  assert done.returncode == 1 and 'Traceback' not in done.stderr
  (line,) = [x for x in done.stderr.splitlines() if x.startswith('error')]
  assert f'{NET}.safetensors: the file may not grow further' in line
  assert not (tmp_path / 'x/config.json').exists()
