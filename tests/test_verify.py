"""`train verify`: each checkpoint is whole or named, and nothing is changed."""

import importlib
import sys

import pytest
import test_checkpoint as whole
from test_checkpoint import CONFIG

from videoar_jax.commands import train
from videoar_jax.core import command, export, manifest
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.manifest import CheckpointError


@pytest.fixture
def workdir(tmp_path):
  """A run with checkpoints 3 and 5."""
  checkpoints = Checkpoints(tmp_path / 'checkpoints')
  for step in (3, 5):
    meta = {'config': CONFIG, 'best': None}
    checkpoints.save(step, whole._tree(step), meta, wait=True)
  checkpoints.close()
  return tmp_path


@pytest.fixture
def verify(workdir, monkeypatch, capsys):
  """verify(words…) -> exit status, and the lines that were printed."""

  def run(*words):
    argv = ['train', 'verify', f'--workdir={workdir}', *words]
    monkeypatch.setattr(sys, 'argv', argv)
    with pytest.raises(SystemExit) as end:
      sys.exit(command.run(importlib.reload(train), argv))
    return end.value.code, capsys.readouterr().out.splitlines()

  return run


def _everything(folder):
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_a_whole_run_is_told_step_by_step(workdir, verify):
  before = _everything(workdir)
  code, lines = verify()
  assert code == 0
  assert lines == [
    'step 5: 7 arrays, 0.0 MB, whole',
    'step 3: 7 arrays, 0.0 MB, whole',
    'a restart goes on from step 5',
  ]
  assert _everything(workdir) == before


@pytest.mark.parametrize('what', ['arrays/d', 'manifest'])
def test_a_damaged_newest_step_is_named(workdir, verify, what):
  whole._damage(workdir / 'checkpoints/5', what)
  before = _everything(workdir)
  code, lines = verify()
  assert code == 1
  assert lines[0].startswith('step 5: damaged: ')
  assert lines[1].endswith('whole')
  assert lines[2] == 'a restart goes on from step 3'
  assert _everything(workdir) == before


def test_an_older_damaged_step_is_named_and_is_no_failure(workdir, verify):
  whole._damage(workdir / 'checkpoints/3')
  code, lines = verify()
  assert code == 0 and lines[1].startswith('step 3: damaged: ')


def test_where_nothing_is_whole_it_says_so(workdir, verify):
  for step in (3, 5):
    whole._damage(workdir / f'checkpoints/{step}')
  code, lines = verify()
  assert code == 1 and lines[-1].startswith('no checkpoint can be trusted')


def test_a_damaged_copy_of_the_tokenizer_is_named(workdir, verify):
  copy = workdir / export.TOKENIZER
  nets = whole._numpy_tree()['nets']['toy']
  export.write_export(copy, {'autoencoder': nets['params']}, CONFIG)
  assert verify()[0] == 0
  path = copy / 'autoencoder.safetensors'
  data = bytearray(path.read_bytes())
  data[-3] ^= 1
  path.write_bytes(data)
  code, lines = verify()
  assert code == 1
  assert lines[-1].startswith('its tokenizer: damaged: ')


def test_what_a_run_removes_meanwhile_is_passed_over(
  workdir, verify, monkeypatch
):
  def read(path):
    if path.name == '3':
      path.rmtree()
      raise CheckpointError('gone')
    return 7, 0

  monkeypatch.setattr(manifest, 'verify_step', read)
  code, lines = verify()
  assert code == 0 and len(lines) == 2


def test_no_checkpoints_and_flags_of_others_are_one_line(workdir, verify):
  assert verify('--out=x')[0] == 2
  code, _ = verify(f'--workdir={workdir}/none')
  assert code.startswith(f'error: {workdir}/none: holds no committed check')


def test_parts_of_a_step_are_read_one_after_another(workdir, monkeypatch):
  path = workdir / 'checkpoints/5'
  seen = []
  read = manifest.read_arrays

  def watched(path, tree, **options):
    seen.append(whole.digest_lib.flatten(tree))
    return read(path, tree, **options)

  monkeypatch.setattr(manifest, 'read_arrays', watched)
  count, size = manifest.verify_step(path, at_once=100)
  names = [name for part in seen for name in part]
  assert sorted(names) == sorted(manifest.read_manifest(path)['arrays'])
  assert len(names) == count and 1 < len(seen) < count

  def held(part):
    return sum(x.size * x.dtype.itemsize for x in part.values())

  assert sum(map(held, seen)) == size
  assert all(held(part) <= 100 or len(part) == 1 for part in seen)
