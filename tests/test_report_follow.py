"""A page is written again while a run goes on, and stands still after it."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import toy
from etils import epath
from test_report import run  # noqa: F401
from toy import compile_cache  # noqa: F401

from videoar_jax.commands import report
from videoar_jax.core import command
from videoar_jax.report import sections
from videoar_jax.report.videos import read_samples
from videoar_jax.train import recipe, starts
from videoar_jax.train.metrics import read_metrics

REFRESH = '<meta http-equiv="refresh"'


def finish(run, half: str) -> None:
  config = {'recipe': half, 'train': {'num_steps': 50}}
  (run / half / 'config.json').write_text(json.dumps(config))


def is_finished(run) -> bool:
  return sections.is_finished(run, sections.read_stages(run))


def test_a_page_reads_itself_again_only_while_followed(run):
  assert REFRESH not in sections.make_report(run)
  assert REFRESH in sections.make_report(run, follow=True)
  finish(run, 'tokenizer')
  page = sections.make_report(run, follow=True)
  assert REFRESH in page and 'The generator: 50 steps' in page
  finish(run, 'generator')
  page = sections.make_report(run, follow=True)
  assert REFRESH not in page and 'Finished.' in page


def test_a_run_is_finished_when_it_is_evaluated_too(run):
  for half in ('tokenizer', 'generator'):
    assert not is_finished(run)
    finish(run, half)
  assert is_finished(run)
  (run / 'generator/checkpoints/50').mkdir(parents=True)
  later = time.time() + 60
  os.utime(run / 'generator/checkpoints/50', (later, later))
  assert not is_finished(run)
  assert 'Trained; sampling is to come' in sections.make_report(run)
  os.utime(run / 'samples/samples.npz', (later, later))
  assert 'Trained; its evaluation is to come' in sections.make_report(run)
  os.utime(run / 'generator.json', (later, later))
  assert is_finished(run)
  assert is_finished(run / 'tokenizer')


def test_what_a_run_lacks_that_goes_on_is_not_missing(run, tmp_path):
  (run / 'generator.json').unlink()
  (run / 'samples/samples.npz').unlink()
  page = sections.make_report(run, follow=True)
  assert 'Missing' not in page and 'Generated videos' not in page
  empty = tmp_path / 'empty'
  empty.mkdir()
  page = sections.make_report(empty, follow=True)
  assert 'Nothing is trained yet' in page and REFRESH in page


def following(run, out) -> list[str]:
  return ['report', f'--run={run}', f'--out={out}', '--follow']


def wait_for(happens) -> None:
  end = time.monotonic() + 20
  while not happens():
    assert time.monotonic() < end
    time.sleep(0.01)


def test_it_follows_to_the_end(run, tmp_path, monkeypatch):
  monkeypatch.setattr(report, '_LOOK_S', 0.01)
  out, seen = tmp_path / 'page.html', []

  def act():
    wait_for(out.exists)
    seen.append(out.read_text())
    lines = [{'step': 51, 'kind': 'train', 'loss': 7.75}]
    with (run / 'tokenizer/metrics.jsonl').open('a') as file:
      file.write('\n' + json.dumps(lines[0]) + '\n')
    wait_for(lambda: '7.75' in out.read_text())
    seen.append(out.read_text())
    for half in ('tokenizer', 'generator'):
      finish(run, half)

  thread = threading.Thread(target=act)
  thread.start()
  assert not command.run(report, following(run, out))
  thread.join()
  assert all(REFRESH in page for page in seen) and len(seen) == 2
  assert REFRESH not in out.read_text() and 'Finished' in out.read_text()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_a_page_that_stands_still(run, tmp_path, number):
  out = tmp_path / 'page.html'
  before = signal.getsignal(signal.SIGTERM)

  def act():
    wait_for(out.exists)
    assert REFRESH in out.read_text()
    os.kill(os.getpid(), number)

  ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)
  thread = threading.Thread(target=act)
  thread.start()
  try:
    assert not command.run(report, following(run, out))
  finally:
    signal.signal(signal.SIGINT, ctrl_c)
  thread.join()
  assert REFRESH not in out.read_text()
  assert signal.getsignal(signal.SIGTERM) == before


def test_a_start_is_written_down_and_shown(tmp_path):
  toy.train(tmp_path)
  toy.train(tmp_path)  # nothing is left to do
  toy.train(tmp_path, num_steps=15)
  first, second = starts.read_starts(tmp_path)
  assert (first['step'], second['step']) == (0, 12)
  assert first['parameters'] == {'toy': 8 * 16 + 16 + 16 * 3}
  assert first['device'] == 'cpu' and first['cores'] >= 1
  page = sections.make_report(tmp_path)
  assert f'{first["cores"]} cores of {first["processor"]}' in page
  assert '15 of 15' in page and 'toy 192' in page
  trained_s = sections.read_stages(tmp_path)['tokenizer'].trained_s
  lines = read_metrics(tmp_path)
  assert trained_s == pytest.approx(3 * sum(x['step_s'] for x in lines))
  with (tmp_path / starts.FILE).open('a') as file:
    file.write('{"step": 0}\n[]\n{"st')
  assert starts.read_starts(tmp_path) == [first, second]


def test_work_of_a_network_is_written_as_sheet_and_videos(tmp_path):
  rng = np.random.default_rng(0)
  videos = rng.integers(0, 256, (2, 3, 11, 13, 3), dtype=np.uint8)
  workdir = epath.Path(tmp_path)
  recipe.write_work(workdir, 'still_1', videos, ['a', 'b'], moving=False)
  assert [x.name for x in (tmp_path / 'samples').iterdir()] == ['still_1.png']
  for step in (1, 2):
    recipe.write_work(workdir, f'samples_{step}', videos // step, ['a', 'b'])
  shown = read_samples(tmp_path / 'samples/newest.npz')
  assert np.array_equal(shown.videos_nTHWc, videos // 2)
  assert shown.labels == ['a', 'b']
