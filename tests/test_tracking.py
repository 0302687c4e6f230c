"""Weights & Biases gets a run's metrics where it is asked for, and can fail."""

import sys
import types

import pytest
import toy
from toy import compile_cache  # noqa: F401

from videoar_jax.train import tracking
from videoar_jax.train.metrics import read_metrics


class Wandb(types.ModuleType):
  """Stands in for the package; keeps what it was given."""

  def __init__(self, *, init_fails='', log_fails=False):
    super().__init__('wandb')
    self.init_fails, self.log_fails = init_fails, log_fails
    self.begun, self.lines, self.axes, self.finished = [], [], [], 0

  def init(self, **settings):
    if self.init_fails:
      raise RuntimeError(self.init_fails)
    self.begun.append(settings)
    return self

  def define_metric(self, name, *, step_metric):
    self.axes.append((name, step_metric))

  def log(self, values):
    if self.log_fails:
      raise OSError('no network')
    self.lines.append(values)

  def finish(self):
    self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
  def install(**options):
    found = Wandb(**options)
    monkeypatch.setitem(sys.modules, 'wandb', found)
    return found

  return install


def test_it_gets_what_metrics_jsonl_gets_and_goes_on_when_resumed(
  wandb, tmp_path
):
  package = wandb()
  toy.train(tmp_path, config={'train': {'wandb': 'demo'}}, wandb='demo')
  toy.train(
    tmp_path, config={'train': {'wandb': ''}}, wandb='demo', num_steps=15
  )
  first, second = package.begun
  assert first['project'] == 'demo' and first['name'] == tmp_path.name
  assert first['config']['train'] == {'wandb': 'demo'}
  assert first['id'] == second['id'] and first['resume'] == 'allow'
  assert first['dir'] == str(tmp_path)
  assert package.axes == [('*', 'step')] * 2 and package.finished == 2
  written = read_metrics(tmp_path)
  assert [x['step'] for x in package.lines] == [3, 6, 9, 12, 15]
  for line, sent in zip(written, package.lines, strict=True):
    values = {f'train/{k}': v for k, v in line.items() if k[:4] not in 'kind'}
    values.pop('train/step')
    assert sent == {'step': line['step'], **values}


def test_two_runs_have_two_ids(wandb, tmp_path):
  package = wandb()
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    tracking.Tracker('demo', workdir=tmp_path / name, config={})
  assert len({x['id'] for x in package.begun}) == 2


def test_without_the_package_training_does_not_begin(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(ValueError, match=r'wandb=demo.*pip install') as caught:
    toy.train(tmp_path / 'run', wandb='demo')
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'run').exists()
  toy.train(tmp_path / 'run')  # nobody asks for it


def test_a_run_that_cannot_begin_is_refused_in_one_line(wandb, tmp_path):
  wandb(init_fails='no key\nconfigured')
  with pytest.raises(ValueError, match='no key configured; .*offline'):
    toy.train(tmp_path, wandb='demo')
  wandb()
  (tmp_path / 'wandb_id').write_text('../x')
  with pytest.raises(ValueError, match='no id of a run'):
    toy.train(tmp_path, wandb='demo')


def test_what_cannot_be_sent_stops_nothing(wandb, tmp_path, caplog):
  wandb(log_fails=True)
  state = toy.train(tmp_path, wandb='demo')
  assert int(state.step) == 12
  assert 'metrics of step 3 not sent: no network' in caplog.text
  assert len(read_metrics(tmp_path)) == 4
