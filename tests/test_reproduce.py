"""From clips to figures by one command: dry runs, refusals, once through."""

import importlib
import json
import os
import re
import shlex
import signal
import subprocess

import numpy as np
import pytest
import stages
from processes import wait_for
from shell import ROOT, Shell

from videoar_jax.core import command
from videoar_jax.data import shards

SCRIPT = ROOT / 'launch' / 'reproduce_ucf101.sh'
# The smoke's networks, smaller, and with an optimizer that compiles sooner.
SMALL = (
  '--tokenizer_flags=--config.optimizer.kind=adamw --config.train.eval_every=0 '
  '--config.tokenizer.base_width=4 --config.tokenizer.multipliers=(1,1) '
  '--config.tokenizer.scales=((1,1),(8,8)) --config.tokenizer.latent_width=4',
  '--generator_flags=--config.optimizer.kind=adamw '
  '--config.train.eval_every=0 --config.transformer.num_layers=1 '
  '--config.transformer.width=16',
)
SMOKE = [
  *('prepare', 'image_tokenizer', 'tokenizer', 'features', 'rfvd'),
  *('generator', 'samples', 'gfvd', 'results', 'report'),
]


def reproduce(*words, status=0, **environment):
  """Runs the script to its end; what it printed, or said of an error."""
  done = subprocess.run(
    ['bash', SCRIPT, *map(str, words)],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    timeout=1500,
  )
  assert done.returncode == status, done.stdout + done.stderr
  return done.stderr if status else done.stdout


# Dry runs.

DRY = {
  'UCF-101': ['--data=UCF101.rar'],
  'XL on a slice': [
    *('--size=XL', '--workdir=gs://mine/XL', '--base=gs://mine/L'),
    *('--generator_flags=--config.mesh.data=2', '--num_processes=4'),
    *('--process_id=3', '--coordinator=10.0.0.1:1234', '--num_workers=4'),
  ],
  'pictures': ['--data=UCF-101', '--images=imagenet', '--split_file=my.txt'],
  'UCF-9': ['--scale=ucf9', '--data=ucf9_128'],
  'Weizmann': ['--scale=weizmann', '--data=weizmann'],
  'a few steps of Weizmann': ['--scale=weizmann', '--data=x', '--smoke'],
  'smoke': ['--scale=smoke', *SMALL],
}


@pytest.mark.parametrize('words', DRY.values(), ids=DRY)
def test_a_dry_run_prints_commands_that_can_be_read(
  words, tmp_path, monkeypatch
):
  runs = tmp_path / 'runs'
  said = reproduce(*words, '--dry_run', VIDEOAR_RUNS=str(runs))
  assert not runs.exists()
  lines = said.splitlines()
  titles = [line for line in lines if line.startswith('# [')]
  assert len(titles) == int(re.search(r'/(\d+)\]', titles[0])[1])
  for title, after in zip(lines, lines[1:]):  # each has its command
    assert not title.startswith('# [') or after.startswith('python ')
  monkeypatch.chdir(ROOT)
  for line in lines:
    if line.startswith('python -m videoar_jax.'):
      _, _, name, *flags = shlex.split(line)
      name = name.rpartition('.')[2]
      module = importlib.import_module(f'videoar_jax.commands.{name}')
      assert len(command.parse(module.FLAGS, [name, *flags])) <= 1


def test_each_scale_is_measured_by_its_protocol_and_begins_with_its_own():
  def dry(*words):
    return reproduce(*words, '--dry_run').splitlines()

  full = dry('--data=UCF101.rar')
  assert '--source=ucf101:' in full[1]
  assert 'tokenizer_image.py ' in full[3] and 'clips' in full[3]
  assert sum('--protocol=ucf101_train10k_17f_128' in x for x in full) == 2
  assert any('videoar_ucf101.py:L ' in line for line in full)
  pictures = dry('--data=x', '--images=/imagenet')
  assert '--config.data.source=images:/imagenet' in pictures[3]
  assert 'images:' not in pictures[5]
  nine = dry('--scale=ucf9', '--data=x')
  assert '--split_file=trainlist01.txt' in nine[1]
  assert sum('--protocol=ucf9_train256_17f_64' in line for line in nine) == 2
  assert [line for line in nine if 'short_tokenizer' in line][-1].endswith(
    '--config.init_from=runs/ucf9/short_tokenizer'
  )
  # Another size takes what the first one made.
  large = dry('--size=XL', '--base=gs://mine/L', '--workdir=gs://mine/XL')
  assert len([x for x in large if x.startswith('# [')]) == 5
  assert 'features:gs://mine/L/features' in large[1]
  assert '--config.tokenizer=gs://mine/L/tokenizer' in large[1]
  assert '--workdir=gs://mine/XL/generator' in large[1]


def test_one_stage_alone_is_one_command():
  said = reproduce('--data=x', '--stage=features', '--dry_run')
  title, line = said.splitlines()
  assert title.startswith('# [1/1] features') and '--windows=8 --flips' in line


@pytest.mark.parametrize(
  ('words', 'status', 'said'),
  [
    (['--scales=ucf9'], 2, '--scales: there is no such flag'),
    (['--scale=ucf'], 2, '--scale=ucf: wanted ucf101, ucf9, weizmann or smoke'),
    (['--size=M'], 2, '--size=M: wanted S, B, L, XL or 4B'),
    (['--stage=train'], 2, '--stage=train: wanted one of prepare image_'),
    (['more'], 2, 'unexpected word more'),
    (['--process_id=1'], 2, '--coordinator is missing'),
    (['--scale=ucf9', '--images=x'], 2, 'begins with frames of its clips'),
    (['--scale=smoke', '--data=x'], 2, 'renders its clips; leave it out'),
    (['--data=/no/such/file'], 1, '--data=/no/such/file: no such file or fol'),
  ],
)
def test_what_cannot_be_run_is_told_in_one_line(words, status, said, tmp_path):
  error = reproduce(*words, status=status, VIDEOAR_RUNS=str(tmp_path / 'runs'))
  assert said in error and error.count('\n') == 1 and error.startswith('error:')


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    (['--num_processes=1'], 'no clips there yet; prepare them first'),
    (
      ['--num_processes=1', '--scale=ucf9', '--data=launch'],
      'trainlist01.txt lies neither in',
    ),
    # Of several processes none prepares: not all of them have the videos.
    (
      ['--coordinator=127.0.0.1:1', '--num_processes=2', '--process_id=1']
      + ['--scale=ucf9', '--data=launch'],
      '--stage=prepare --num_processes=1',
    ),
  ],
)
def test_clips_that_are_missing_are_told_in_one_line(words, said, tmp_path):
  environment = stages.make_environment(tmp_path / 'venv')
  environment['VIDEOAR_RUNS'] = str(tmp_path / 'runs')
  error = reproduce(*words, '--stage=prepare', status=1, **environment)
  assert said in error and error.count('\n') == 1


# Runs.


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """The smoke once through, its commands in one process, a stub for I3D."""
  root = tmp_path_factory.mktemp('finished')
  with (
    Shell(SHELL_SET_UP='stages', VIDEOAR_CACHE=str(root / 'cache')) as shell,
    stages.relay(shell, root) as python,
  ):
    environment = stages.make_environment(root / 'venv', python=python)
    environment['VIDEOAR_RUNS'] = str(root / 'runs')
    words = ['--scale=smoke', '--num_processes=1', *SMALL]
    said = reproduce(*words, **environment)
    yield root / 'runs' / 'smoke', said, (words, environment)


def test_clips_become_figures_by_one_command(finished):
  run, said, _ = finished
  assert [x for x in re.findall(r'\[\d+/10\] (\w+):', said)] == SMOKE
  assert shards.verify_digests(str(run / 'clips'), 'videos')
  assert shards.verify_digests(str(run / 'features'), 'features')
  with np.load(run / 'samples' / 'samples.npz') as file:
    assert file['videos'].shape == (8, 9, 32, 32, 3)
  assert (run / 'report.html').exists()
  rows = {
    'rfvd': run / 'results' / 'quickstart_tokenizer_smoke.json',
    'gfvd': run / 'results' / 'quickstart_generator_smoke.json',
  }
  for kind, path in rows.items():
    record = json.loads(path.read_text())
    result = record['result']
    assert result['protocol'] == 'smoke_16_9f_32' and result['fvd'] > 0
    assert result['fvd'] == result[kind] and result['num_real'] == 16
    command = 'bash launch/reproduce_ucf101.sh --scale=smoke '
    assert record['command'].startswith(command)
    assert [x['steps'] for x in record['trained']] == [4] * (
      2 if kind == 'rfvd' else 3
    )


def test_what_is_finished_is_reused_and_what_is_older_is_made_again(finished):
  run, _, (words, environment) = finished
  before = {
    name: (run / name).stat().st_mtime_ns
    for name in ('tokenizer.json', 'generator.json')
  }
  newest = max(
    (run / 'generator' / 'checkpoints').glob('[0-9]*'),
    key=lambda path: int(path.name),
  )
  os.utime(newest)  # as if it had just been trained
  said = ''
  for stage in ('rfvd', 'gfvd'):
    said += reproduce(*words, f'--stage={stage}', **environment)
  assert f'{run}/tokenizer.json is up to date' in said
  after = {name: (run / name).stat().st_mtime_ns for name in before}
  assert [after[name] > before[name] for name in before] == [False, True]


def test_sigterm_reaches_the_command_which_may_save_first(tmp_path):
  script = tmp_path / 'python.sh'
  script.write_text(
    '[ "$1" != -c ] || exit 0\n'  # asked for its version
    'trap "echo saved >>$OUT; exit 143" TERM\n'
    'echo begun >>$OUT; while true; do sleep 0.1; done'
  )
  environment = stages.make_environment(
    tmp_path / 'venv', python=f'bash {script}'
  )
  out = tmp_path / 'out'
  environment |= {'VIDEOAR_RUNS': str(tmp_path / 'runs'), 'OUT': str(out)}
  process = subprocess.Popen(
    ['bash', SCRIPT, '--scale=smoke', '--num_processes=1', '--stage=generator'],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  wait_for(out.exists, 'the command')
  process.send_signal(signal.SIGTERM)
  said, _ = process.communicate(timeout=30)
  assert process.returncode == 143 and out.read_text() == 'begun\nsaved\n'
  assert 'stopped; the same command goes on from here' in said
  assert 'error' not in said
