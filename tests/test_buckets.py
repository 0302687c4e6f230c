"""A bucket instead of a folder: runs, pictures, locks, exports, results."""

import io
import json
import os
import subprocess
import sys
import threading
import time
import types

import jax
import numpy as np
import pytest
import toy
from etils import epath
from shell import ROOT
from tiny_runs import CLASSES, make_runs
from toy import compile_cache  # noqa: F401

from videoar_jax import media
from videoar_jax.commands import evaluate, report, sample, train
from videoar_jax.core import buckets, command, files, lock
from videoar_jax.core.export import load_weights
from videoar_jax.evaluate import compare
from videoar_jax.report import sections
from videoar_jax.sample import output
from videoar_jax.train import metrics, recipe, starts

BEAT_S = 0.05
VIDEO = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8)


@pytest.fixture
def place(served_bucket, request):
  """A folder of the bucket for one test."""
  path = f'gs://bucket/{request.node.name.partition("[")[0]}'
  buckets.check(path)  # as commands do, before anything is read
  return epath.Path(path)


def names(store, place):
  prefix = f'{place}/'.removeprefix('gs://bucket/')
  return {name.removeprefix(prefix) for name in store.names(prefix)}


def run(module, *words):
  """Runs a command in this process; its line of refusal, or None."""
  try:
    assert command.run(module, [module.__name__, *map(str, words)]) is None
  except SystemExit as error:
    return error.code


def test_a_killed_run_goes_on_and_lacks_no_line(place, served_bucket):
  environment = {
    **os.environ,
    'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}',
    **{name.upper(): str(getattr(jax.config, name)) for name in toy.CACHE},
  }
  options = {'pause_s': 0.1, 'checkpoint_every': 2, 'log_every': 1}
  process = subprocess.Popen(
    [sys.executable, ROOT / 'tests/toy.py', place, json.dumps(options)],
    env=environment,
  )
  try:
    written = []
    while len(written) < 5:
      assert process.poll() is None
      time.sleep(0.02)
      written = metrics.read_metrics(place)
  finally:
    process.kill()
    process.wait()
  written = metrics.read_metrics(place)
  toy.train(place, checkpoint_every=2, log_every=1)
  lines = metrics.read_metrics(place)
  assert [line['step'] for line in lines] == list(range(1, 13))
  first, again = (line['step'] for line in starts.read_starts(place))
  assert first == 0 and 0 < again <= len(written)
  assert lines[:again] == written[:again]
  found = names(served_bucket, place)
  assert {'config.json', 'checkpoints/12/commit_success.txt'} <= found
  assert any(name.startswith('tensorboard/events') for name in found)
  assert load_weights(place).step == 12


def test_a_damaged_step_in_a_bucket_is_set_aside(place, served_bucket, caplog):
  toy.train(place, checkpoint_every=6)
  files_of = f'{place}/checkpoints/12/arrays/'.removeprefix('gs://bucket/')
  for name in served_bucket.names(files_of):
    data, generation = served_bucket.objects[name]
    damaged = bytes(byte ^ 255 for byte in data[-20:])
    served_bucket.objects[name] = (data[:-20] + damaged, generation)
  toy.train(place, num_steps=14, checkpoint_every=100)
  assert 'checkpoints/12 is damaged' in caplog.text
  found = names(served_bucket, place)
  assert 'checkpoints/14/commit_success.txt' in found
  aside = [x for x in found if x.startswith('checkpoints_damaged/12-')]
  assert any(x.endswith('commit_success.txt') for x in aside)
  steps = [line['step'] for line in metrics.read_metrics(place)]
  assert steps == [3, 6, 9, 12, 14]


def test_a_line_costs_the_same_however_long_the_file_is(place, served_bucket):
  files.append(place / 'x.jsonl', 'first\n')
  for text in ('second\n', 'x' * 10**6 + '\n', 'last\n'):
    before = len(served_bucket.calls)
    files.append(place / 'x.jsonl', text)
    assert len(served_bucket.calls) == before + 3
  lines = (place / 'x.jsonl').read_text().splitlines()
  assert [line[:6] for line in lines] == ['first', 'second', 'xxxxxx', 'last']


def test_a_line_whose_answer_is_lost_is_there_once(place, monkeypatch):
  from google.cloud.storage import Blob

  def lose(name):
    ask = getattr(Blob, name)

    def again(self, *words, **options):
      if 'if_generation_match' in options:
        ask(Blob(self.name, self.bucket), *words, **options)
      ask(self, *words, **options)

    monkeypatch.setattr(Blob, name, again)

  for name in ('upload_from_string', 'compose'):
    lose(name)
  for text in ('first\n', 'é\n'):
    files.append(place / 'x.jsonl', text)
  assert files.read_text(place / 'x.jsonl') == 'first\né\n'
  compose = Blob.compose

  def come_late(self, *words, **options):
    buckets.write(place / 'x.jsonl', b'of another')
    compose(self, *words, **options)

  monkeypatch.setattr(Blob, 'compose', come_late)
  with pytest.raises(OSError, match='412'):
    files.append(place / 'x.jsonl', 'text\n')
  assert files.read_text(place / 'x.jsonl') == 'of another'


def test_errors_of_gcsfs_are_one_line_too(place, monkeypatch):
  import fsspec
  from gcsfs.retry import HttpError

  def fail(*_, **__):
    raise HttpError({'code': 403, 'message': 'no access'})

  system = types.SimpleNamespace(cat_ranges=fail, mv=fail)
  monkeypatch.setattr(fsspec, 'filesystem', lambda _: system)
  with pytest.raises(OSError, match=f'{place}/x: no access'):
    buckets.read_parts([(f'{place}/x', 0)], 1, at_once=1)
  with pytest.raises(OSError, match=f'{place}/x: no access'):
    files.move_folder(place / 'x', place / 'y')


def test_what_another_process_writes_is_seen_at_once(place, served_bucket):
  files.append(place / 'a', 'x')
  assert [path.name for path in place.iterdir()] == ['a']
  name = f'{place}/b'.removeprefix('gs://bucket/')
  served_bucket.objects[name] = (b'y', 1)
  assert sorted(path.name for path in place.iterdir()) == ['a', 'b']
  assert (place / 'b').exists() and files.read_text(place / 'b') == 'y'
  served_bucket.objects[name] = (b'longer', 2)
  assert files.read_text(place / 'b') == 'longer'
  del served_bucket.objects[name]
  assert not (place / 'b').exists()


@pytest.mark.parametrize('suffix', ['mp4', 'gif', 'webp', 'png'])
def test_pictures_in_a_bucket_are_those_of_a_disk(place, tmp_path, suffix):
  write = {'png': lambda path, video: media.write_contact_sheet(path, [video])}
  write = write.get(suffix) or getattr(media, f'write_{suffix}')
  for folder in (place, tmp_path):
    write(folder / f'x.{suffix}', VIDEO)
  data = (place / f'x.{suffix}').read_bytes()
  assert data and data == (tmp_path / f'x.{suffix}').read_bytes()
  with (
    pytest.raises(KeyboardInterrupt),
    files.replacing(place / 'y') as partial,
  ):
    partial.write_text('half')
    raise KeyboardInterrupt
  assert not (place / 'y').exists() and not partial.parent.exists()


def holder(token):
  about = dict.fromkeys(('what', 'owner', 'machine', 'since'), 'x')
  return {**about, 'process': 7, 'token': token, 'beat': 0}


def take(place, token, **options):
  path = place / lock.NAME
  return lock.take_by_beats(path, holder(token), beat_s=BEAT_S, **options)


def test_one_job_holds_a_folder_of_a_bucket(place, capsys):
  (place / lock.NAME).write_bytes(b'')  # damaged, and of nobody
  give_back = take(place, 'a')
  time.sleep(2 * BEAT_S)
  with pytest.raises(lock.LockedError, match='in use, by x of x'):
    take(place, 'b')
  give_back()
  assert not (place / lock.NAME).exists()
  (place / lock.NAME).write_text(json.dumps(holder('silent')))
  ended = threading.Event()
  give_back = take(place, 'c', lost=ended.set)
  assert 'no sign of life, taken over' in capsys.readouterr().err
  (place / lock.NAME).write_text(json.dumps(holder('d')))
  assert ended.wait(10)
  give_back()
  assert json.loads((place / lock.NAME).read_text())['token'] == 'd'


def test_of_two_that_take_over_at_once_the_bucket_lets_one(place):
  path = place / lock.NAME
  path.write_text(json.dumps(holder('silent')))
  signs = [lock._BucketSign(path) for _ in range(2)]
  assert [sign.read()['token'] for sign in signs] == ['silent'] * 2
  for sign, token in zip(signs, 'ab'):
    sign.write(holder(token))
  assert [sign.read()['token'] for sign in signs] == ['a'] * 2
  assert buckets.replace(path, b'x', generation=0) is None


def test_a_checkpoint_in_a_bucket_is_exported_sampled_and_measured(
  place, served_bucket
):
  make_runs(place)
  checkpoint = f'--checkpoint={place}/generator'
  out = f'--out={place}/samples'
  words = (checkpoint, out, '--num_videos=2', '--batch_size=2')
  assert run(sample, *words) is None
  found = names(served_bucket, place)
  assert {f'samples/{name}' for name in output.SET} <= found
  assert len([x for x in found if x.endswith('.mp4')]) == 2
  assert 'samples/.lock' not in found
  npz = np.load(io.BytesIO((place / 'samples/samples.npz').read_bytes()))
  assert npz['videos'].shape[0] == 2 and set(npz['classes']) == set(CLASSES)
  assert 'wanted a path on a disk' in run(sample, *words, '--stream')
  words = (f'--checkpoint={place}/tokenizer', '--num_videos=2', '--nofvd')
  words += (f'--out={place}/tokenizer.json', f'--save={place}/saved')
  assert run(evaluate, *words) is None
  assert json.loads((place / 'tokenizer.json').read_text())['psnr'] > 0
  assert {'saved/videos.npz', 'saved/contact_sheet.png'} <= names(
    served_bucket, place
  )


def test_an_export_may_go_to_a_bucket_and_come_from_one(place):
  toy.train(place / 'run', num_steps=3, log_every=1)
  assert (
    run(train, 'export', f'--workdir={place}/run', f'--out={place}/x') is None
  )
  ours, theirs = load_weights(place / 'run'), load_weights(place / 'x')
  assert ours.digests == theirs.digests and not (place / 'x/.lock').exists()
  refused = run(train, 'export', f'--workdir={place}/x', f'--out={place}/run')
  assert 'which is of no export' in refused


def test_a_report_is_made_of_a_run_in_a_bucket(place, served_bucket, tmp_path):
  for folder in (place, tmp_path):
    (folder / 'tokenizer').mkdir(parents=True, exist_ok=True)
    config = json.dumps({'recipe': 'tokenizer'})
    (folder / 'tokenizer/config.json').write_text(config)
    for step in (1, 2):
      line = {'step': step, 'kind': 'train', 'loss': 1 / step}
      files.append(folder / 'tokenizer/metrics.jsonl', json.dumps(line) + '\n')
    recipe.write_work(
      folder / 'tokenizer', 'reconstructions_0000002', [VIDEO] * 2, ['a', 'b']
    )
    compare.write_json(folder / 'tokenizer.json', {'psnr': 23.4567})
  (place / 'tokenizer/checkpoints/2').mkdir(parents=True, exist_ok=True)
  (place / 'tokenizer/checkpoints/2/x.json').write_text('not to be copied')
  served_bucket.calls.clear()
  assert run(report, f'--run={place}', f'--out={place}/report.html') is None
  assert not any('checkpoints/2' in call for call in served_bucket.calls)
  page, own = (
    (place / 'report.html').read_text(),
    sections.make_report(tmp_path),
  )
  assert '23.4567' in page and 'data:image' in page
  body = [text.partition('<h2')[2] for text in (page, own)]
  assert body[0].partition('Written')[0] == body[1].partition('Written')[0]
  refused = run(report, f'--run={place}', f'--out={place}/x.html', '--follow')
  assert 'wanted a path on a disk' in refused


def test_what_a_bucket_cannot_do_is_one_line(place, monkeypatch):
  for path, words in (
    ('s3://bucket/run', 'wanted a path on a disk, or gs://BUCKET/PATH'),
    ('gs://bucket', 'wanted gs://BUCKET/PATH'),
  ):
    with pytest.raises(ValueError, match=words):
      buckets.check(path)
  with pytest.raises(OSError, match='gs://nowhere/x: 404'):
    files.append('gs://nowhere/x', 'text')


def test_without_the_extra_the_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gcsfs', None)
  monkeypatch.setattr(buckets, '_unready', buckets._unready.__wrapped__)
  for use in (files.output_folder, load_weights):
    with pytest.raises(ValueError, match=r"pip install 'videoar_jax\[gcs\]'"):
      use('gs://bucket/run')
