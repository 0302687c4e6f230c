"""Taking turns with another side; nothing here needs torch."""

import importlib.metadata
import json
import pathlib

import jax
import numpy as np
import pytest
from shell import ROOT
from tiny_config import write_config

from videoar_jax.benchmark import beside, worker
from videoar_jax.commands import benchmark
from videoar_jax.core import command, mesh


class InProcess:
  """A side without a process of its own."""

  def __init__(self, name, checkout):
    self.name, self.checkout = name, checkout

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def ask(self, told):
    if isinstance(told, dict):
      self._parts, self._results = worker.make_side(told)
      return {name: worker.timed(part) for name, part in self._parts.items()}
    if told[0] == 'time':
      return worker.turn(self._parts[told[1]])
    return np.savez(told[1], **self._results())


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  return write_config(
    tmp_path_factory.mktemp('beside') / 'tiny.py',
    data={'num_frames': 3, 'height': 4, 'width': 4},
    tokenizer={
      'multipliers': (1, 1),
      'num_time_levels': 1,
      'encoder_blocks': 0,
      'decoder_blocks': 0,
    },
    transformer={'num_layers': 1, 'width': 8},
  )


@pytest.fixture
def run(config, tmp_path, monkeypatch):
  """run(*arguments): the result, or what is said of bad ones."""
  one = mesh.make_mesh(devices=jax.devices()[:1])
  monkeypatch.setattr(worker, 'make_mesh', lambda config: one)
  monkeypatch.setattr(worker, '_TURN_S', 0.0)
  monkeypatch.setattr(beside, 'Side', InProcess)
  out = tmp_path / 'x.json'

  def measured(action, *arguments):
    argv = [
      *('benchmark', action, f'--config={config}:generator'),
      *(f'--tokenizer={config}:tokenizer', f'--out={out}', *arguments),
    ]
    assert command.run(benchmark, argv) is None
    return json.loads(out.read_text())

  return measured


@pytest.fixture
def with_torch(monkeypatch):
  """Lets torch seem to be there; nothing may begin to use it."""
  version = importlib.metadata.version
  monkeypatch.setattr(
    importlib.metadata,
    'version',
    lambda name: '9' if name == 'torch' else version(name),
  )
  monkeypatch.setattr(beside, 'Side', lambda *_: pytest.fail('it began'))


def test_sampling_takes_turns_with_a_checkout(run, capsys):
  result = run(
    *('sample', f'--beside={ROOT}', '--batch_sizes=2', '--rounds=3'),
    '--parts=rollout,decoder,encoder',
  )
  rows = result['beside']
  assert [row['part'] for row in rows] == ['rollout', 'decoder', 'encoder']
  for row in rows:
    assert row['batch_size'] == 2 and row['beside'] == str(ROOT)
    assert len(row['here_all_s']) == len(row['beside_all_s']) == 3
    assert 0 < row['here_least_s'] <= row['here_s'] <= row['here_most_s']
    assert row['ratio'] == row['here_s'] / row['beside_s']
  (agreed,) = result['agreement']
  assert agreed['equal_bits'] == agreed['equal_pixels'] == 1.0
  assert agreed['pixel_difference'] == 0
  said = capsys.readouterr().out
  assert 'part rollout' in said and 'equal_bits 1' in said


def test_training_takes_turns_too(run):
  result = run(
    *('train', f'--beside={ROOT}', '--batch_sizes=3', '--rounds=1'),
    '--remat=none',
  )
  (row,), (agreed,) = result['beside'], result['agreement']
  assert row['part'] == 'step' and row['remat'] == 'none'
  assert row['ratio'] > 0
  assert agreed['logits_difference'] == 0.0 < agreed['logits_most']


def test_sides_take_turns_part_by_part():
  order = []

  def side(name, step):
    def turn(part):
      order.append((name, part))
      return step * len(order)

    return turn

  times = beside.interleave([side('a', 1), side('b', 10)], ['x', 'y'], 2)
  turns = [('a', 'x'), ('b', 'x'), ('a', 'y'), ('b', 'y')]
  assert order == 2 * turns
  assert times == {'x': [[1, 5], [20, 60]], 'y': [[3, 7], [40, 80]]}


def test_a_row_has_medians_and_their_ratio():
  row = beside.summary('x', [3.0, 1.0, 20.0], [6.0, 4.0, 5.0])
  assert (row['here_least_s'], row['here_s'], row['here_most_s']) == (1, 3, 20)
  assert (row['beside_least_s'], row['beside_most_s']) == (4, 6)
  assert row['beside_s'] == 5 and row['ratio'] == 0.6
  assert row['least_ratio'] == 0.25


def test_agreement_counts_bits_and_pixels():
  ours = {
    'bits_0': np.asarray([0.0, 1.0]),
    'bits_1': np.asarray([[1.0, 1.0], [0.0, 1.0]]),
    'video': np.asarray([0, 250, 7, 9], np.uint8),
  }
  theirs = {
    'bits_0': np.asarray([0.0, 0.0]),
    'bits_1': np.asarray([[1.0, 1.0], [1.0, 1.0]]),
    'video': np.asarray([0, 5, 7, 9], np.uint8),
  }
  assert beside.agreement(ours, theirs) == {
    'equal_bits': 4 / 6,
    'equal_pixels': 0.75,
    'pixel_difference': 245,
  }
  del ours['video']
  assert beside.agreement(ours, theirs) == {'equal_bits': 4 / 6}
  ours, theirs = ({'logits': np.asarray(x)} for x in ([1.0, -4], [1.5, -4]))
  assert beside.agreement(ours, theirs) == {
    'logits_difference': 0.5,
    'logits_most': 4.0,
  }


_ANSWERS = """
import json, sys
for line in sys.stdin:
  told = json.loads(line)
  if told == 'end':
    sys.exit(3)
  print(json.dumps(told), flush=True)
"""


@pytest.fixture
def answers(tmp_path, monkeypatch):
  """Lets a side's process send back what it is sent."""
  script = tmp_path / 'answers.py'
  script.write_text(_ANSWERS)
  monkeypatch.setattr(worker, '__file__', str(script))


def test_a_side_answers_refuses_and_fails(answers):
  with beside.Side('other', ROOT) as side:
    assert side.ask({'answer': [1, None]}) == [1, None]
    with pytest.raises(ValueError, match='^other: too much$'):
      side.ask({'refusal': 'too much', 'fault': 'Traceback'})
    with pytest.raises(RuntimeError, match='^other: Traceback'):
      side.ask({'refusal': None, 'fault': 'Traceback'})
    with pytest.raises(ValueError, match='other: its process .* status 3'):
      side.ask('end')


def test_a_side_runs_the_code_of_its_checkout(tmp_path, monkeypatch):
  (tmp_path / 'videoar_jax').mkdir()
  (tmp_path / 'videoar_jax/__init__.py').write_text('AGE = 7')
  script = tmp_path / 'script.py'
  script.write_text(
    'input()\nimport videoar_jax\nprint(\'{"answer": %d}\' % videoar_jax.AGE)'
  )
  monkeypatch.setattr(worker, '__file__', str(script))
  monkeypatch.chdir(tmp_path.parent)
  with beside.Side('old', pathlib.Path(tmp_path.name)) as side:
    assert side.ask({}) == 7


def test_without_torch_its_extra_is_named(run, monkeypatch):
  def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, 'version', missing)
  with pytest.raises(SystemExit) as end:
    run('sample', '--beside=torch')
  assert "not installed; run: pip install -e '.[parity]'" in str(end.value)


@pytest.mark.parametrize(
  ('action', 'arguments', 'words'),
  [
    ('sample', ('--beside=/no/such',), "wanted 'torch', or a checkout"),
    ('sample', ('--beside=',), 'it is empty'),
    ('sample', ('--beside=torch', '--parts=all'), '--parts=all'),
    ('sample', ('--beside=torch', '--rounds=0'), 'at least 1'),
    ('sample', ('--beside=torch', '--uncast'), 'not read by sample --beside'),
    ('sample', ('--rounds=3',), '--rounds is not read by sample;'),
    (
      'sample',
      ('--beside=torch', '--frames=9'),
      '--beside is not read by sample --frames',
    ),
    (
      'sample',
      ('--beside=torch', '--config.transformer.dtype=bfloat16'),
      'transformer.dtype=bfloat16: beside torch it must be float32',
    ),
    (
      'sample',
      ('--beside=torch', '--tokenizer.tokenizer.dtype=bfloat16'),
      'tokenizer.dtype=bfloat16',
    ),
    (
      'sample',
      ('--beside=torch', '--config.sampling.temperature=0'),
      'temperature=0',
    ),
    (
      'sample',
      ('--beside=torch', '--config.transformer.plan=clip_pyramid'),
      'transformer.plan=clip_pyramid',
    ),
    ('train', ('--beside=torch', '--parts=rollout'), '--parts is not read'),
    ('train', ('--beside=torch', '--remat=dots'), 'must be none or full'),
    (
      'train',
      ('--beside=torch', '--config.optimizer.kind=muon'),
      'optimizer.kind=muon: beside torch it must be adamw',
    ),
    (
      'train',
      ('--beside=torch', '--config.frame_mask.window=2'),
      'frame_mask',
    ),
  ],
)
def test_what_cannot_be_compared_is_refused(
  run, with_torch, action, arguments, words, capsys
):
  said = ''
  try:
    run(action, *arguments)
  except AssertionError:  # the status of a bad command line
    said = capsys.readouterr().err
  except SystemExit as end:
    said = f'{end.code}\n'
  assert words in said and said.count('\n') == 1
