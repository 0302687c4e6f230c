"""launch/tpu_vm.sh and launch/babysit.sh on a fake cloud."""

import shutil
import stat
import subprocess

import pytest
from fake_gcloud import FakeCloud
from processes import wait_for
from shell import ROOT, TINY

from videoar_jax.core.manifest import list_steps

SECRET = 'sesame-opens "$quoted"'
# Counts to $2 in the folder $1, from where it stopped.
JOB = """
trap 'exit 143' TERM
count=$(cat "$1/count" 2>/dev/null || echo 0)
echo "from $count on $HOSTNAME"
while ((count < $2)); do
  sleep 0.05
  count=$((count + 1))
  [[ $HOSTNAME != t1v-w0_0 ]] || echo "$count" >"$1/count"
done
echo "done at $count"
"""
PLACE = ('--name=pod', '--zone=us-east5-b')
SLICE = (*PLACE, '--accelerator=v5p-16', '--poll_s=0.5')


@pytest.fixture
def cloud(tmp_path):
  cloud = FakeCloud(tmp_path / 'cloud')
  yield cloud
  for path in (tmp_path / 'cloud').glob('slices/*'):
    cloud.slice(path.name).end_jobs(notice=False)


@pytest.fixture
def checkout(tmp_path):
  """A repository with the launchers, a job, and files git does not track."""
  folder = tmp_path / 'checkout'
  shutil.copytree(ROOT / 'launch', folder / 'launch')
  shutil.copy(ROOT / 'setup.py', folder)
  (folder / 'job.sh').write_text(JOB)
  (folder / 'gone.txt').write_text('')
  for words in (['init', '-q'], ['add', '.']):
    subprocess.run(['git', *words], cwd=folder, check=True)
  (folder / 'gone.txt').unlink()
  (folder / 'weights.bin').write_text('large')
  (folder / 'job.sh').write_text(JOB + '# changed since\n')
  return folder


@pytest.fixture
def bucket(tmp_path):
  (tmp_path / 'bucket').mkdir()
  return tmp_path / 'bucket'


def start(cloud, checkout, script, *words, **environment):
  return subprocess.Popen(
    ['bash', checkout / 'launch' / script, *map(str, words)],
    env=cloud.environment(**environment),
    cwd=cloud.root,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def launch(cloud, checkout, script, *words, status=0, **environment):
  """Runs a launcher to its end; returns what it said."""
  process = start(cloud, checkout, script, *words, **environment)
  said, _ = process.communicate(timeout=120)
  assert process.returncode == status, said
  return said


def job(bucket, steps):
  return ('--', 'bash', 'job.sh', bucket, steps)


def count_of(bucket) -> int:
  path = bucket / 'count'
  return int(path.read_text() or 0) if path.exists() else 0


def test_from_create_to_delete(cloud, checkout, bucket):
  tpu_vm = 'tpu_vm.sh'
  said = launch(
    cloud,
    checkout,
    tpu_vm,
    *('up', *SLICE, '--secrets=SECRET_KEY'),
    *('--', 'bash', '-c', 'echo "key ${#SECRET_KEY}"; exec bash job.sh "$@"'),
    *('a b', bucket, 1000),
    SECRET_KEY=SECRET,
  )
  assert 'pod: ACTIVE' in said and said.count('started') == 2
  first, second = cloud.slice().workers()
  files = {p.name for p in (first / 'videoar' / 'code').iterdir()}
  assert {'launch', 'setup.py', 'job.sh'} <= files
  assert not files & {'weights.bin', 'gone.txt'}
  assert 'changed since' in (second / 'videoar/code/job.sh').read_text()
  # Both workers run it, without a connection, and it goes on.
  wait_for(lambda: count_of(bucket) > 3, 'counting')
  said = launch(cloud, checkout, tpu_vm, 'status', *PLACE)
  assert said.splitlines()[0] == 'state ACTIVE'
  assert said.count(' running') == 3 and said.endswith('job running\n')
  said = launch(cloud, checkout, tpu_vm, 'tail', *PLACE, '--nofollow')
  assert f'key {len(SECRET)}\nfrom 0 on t1v-w0_0\n' in said
  # Neither the code nor the command of a job that runs is replaced.
  for words in (('copy',), ('run', *job(bucket, 3))):
    said = launch(
      cloud, checkout, tpu_vm, words[0], *PLACE, *words[1:], status=1
    )
    assert 'job train is running on t1v-w0_0; stop it first' in said
  said = launch(cloud, checkout, tpu_vm, 'stop', *PLACE)
  assert said.count(' ended 143') == 2
  said = launch(cloud, checkout, tpu_vm, 'status', *PLACE)
  assert said.endswith('job failed 143\n')
  _check_that_the_secret_is_nowhere(cloud, checkout)
  launch(cloud, checkout, tpu_vm, 'delete', *PLACE)
  assert not cloud.slice().folder.exists()
  said = launch(cloud, checkout, tpu_vm, 'delete', *PLACE)
  assert said == 'there is no slice pod\n'


def _check_that_the_secret_is_nowhere(cloud, checkout):
  assert not any('sesame' in word for call in cloud.calls() for word in call)
  for folder in (cloud.root, checkout):
    for path in folder.rglob('*'):
      assert not path.is_file() or b'sesame' not in path.read_bytes(), path
  modes = {
    stat.S_IMODE(path.stat().st_mode)
    for path in cloud.root.glob('slices/pod/w*/videoar/jobs/train')
  }
  assert modes == {0o700}


@pytest.mark.parametrize(
  'notice', [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_a_slice_that_is_taken_away_comes_back_and_the_job_resumes(
  cloud, checkout, bucket, notice
):
  babysit = start(
    *(cloud, checkout, 'babysit.sh', *SLICE, '--backoff_s=0'),
    *job(bucket, 60),
  )
  wait_for(lambda: count_of(bucket) > 5, 'counting')
  cloud.take_away(notice=notice)
  assert count_of(bucket) < 60
  said, _ = babysit.communicate(timeout=120)
  assert babysit.returncode == 0, said
  assert count_of(bucket) == 60
  assert ': the slice was taken away; another slice is asked for' in said
  creations = [call[3] for call in cloud.calls()].count('create')
  assert creations == 2 and not cloud.slice().folder.exists()
  assert said.endswith('babysit: the job is done\n')


def test_a_failed_job_is_started_again_where_it_is(cloud, checkout, bucket):
  """It fails once, is stopped by a signal once, its worker reboots once."""
  script = (
    'mkdir "$0/failed" && exit 75; mkdir "$0/stopped" && exit 143;'
    'exec bash job.sh "$@"'
  )
  babysit = start(
    *(cloud, checkout, 'babysit.sh', *SLICE, '--backoff_s=0', '--keep'),
    *('--accelerator=v5p-8', '--', 'bash', '-c', script, bucket, bucket, 60),
  )
  wait_for(lambda: count_of(bucket) > 3, 'counting')
  cloud.slice().end_jobs(notice=False)  # as a reboot does, no status is left
  said, _ = babysit.communicate(timeout=120)
  assert babysit.returncode == 0, said
  for reason in ('ended with 75', 'stopped by a signal (143)', 'rebooted'):
    assert reason in said
  assert 'restart 3' in said and 'restart 4' not in said
  log = (cloud.slice().workers()[0] / 'videoar/jobs/train/log').read_text()
  assert log.count('starting on') == 4 and 'from 0' in log
  assert [call[3] for call in cloud.calls()].count('create') == 1
  assert 'the slice is kept, and costs money' in said


@pytest.mark.parametrize(
  ('exit_status', 'starts', 'status', 'words'),
  [
    (2, 1, 2, 'the job ended with 2, which no restart mends'),
    (9, 2, 1, 'gave up after --max_failures=2'),
    pytest.param(
      *(143, 1, 1, 'gave up after --max_restarts=0'), marks=pytest.mark.slow
    ),
  ],
)
def test_a_job_that_restarts_do_not_mend_ends_and_nothing_is_left(
  cloud, checkout, bucket, exit_status, starts, status, words
):
  said = launch(
    *(cloud, checkout, 'babysit.sh', *SLICE, '--accelerator=v5p-8'),
    *('--backoff_s=0', '--max_failures=2'),
    f'--max_restarts={0 if exit_status == 143 else 9}',
    *('--', 'bash', '-c', f'echo x >>{bucket}/starts; exit {exit_status}'),
    status=status,
  )
  assert words in said
  assert (bucket / 'starts').read_text().count('x') == starts
  assert not cloud.slice().folder.exists()


def test_babysit_takes_up_what_is_there(cloud, checkout, bucket):
  words = (*SLICE, '--accelerator=v5p-8', *job(bucket, 100))
  first = start(cloud, checkout, 'babysit.sh', *words)
  wait_for(lambda: count_of(bucket) > 3, 'counting')
  first.terminate()
  said, _ = first.communicate(timeout=120)
  assert first.returncode == 130 and 'slice and job go on' in said
  said = launch(cloud, checkout, 'babysit.sh', *words)
  assert 'job running' in said and 'starting' not in said
  assert count_of(bucket) == 100


def test_a_worker_that_is_passed_over_is_missed(cloud, checkout, bucket):
  launch(cloud, checkout, 'tpu_vm.sh', 'create', *SLICE)
  (cloud.slice().workers()[1] / 'unreachable').touch()
  said = launch(cloud, checkout, 'tpu_vm.sh', 'copy', *PLACE, status=1)
  assert 'error: 1 of 2 workers of pod answered' in said
  said = launch(cloud, checkout, 'tpu_vm.sh', 'status', *PLACE)
  assert said.endswith('job silent\n')


def test_several_slices_are_one_job(cloud, checkout):
  words = (*SLICE, '--accelerator=v5p-8', '--slices=2')
  launch(cloud, checkout, 'tpu_vm.sh', 'create', *words, '--nospot')
  (created,) = [call for call in cloud.calls() if call[3] == 'create']
  assert '--node-count=2' in created and '--spot' not in created
  said = launch(cloud, checkout, 'tpu_vm.sh', 'status', *PLACE, '--slices=2')
  assert said.count('worker none') == 2 and said.endswith('job none\n')


def test_a_refused_request_ends_the_wait(cloud, checkout):
  launch(cloud, checkout, 'tpu_vm.sh', 'create', *SLICE, '--nowait')
  slice_ = cloud.slice()
  slice_.write({**slice_.read(), 'state': 'FAILED', 'message': 'no quota'})
  said = launch(cloud, checkout, 'tpu_vm.sh', 'create', *SLICE, status=1)
  assert 'delete it first' in said


def test_a_dry_run_does_nothing_and_names_flags_that_gcloud_has(
  cloud, checkout, tmp_path
):
  settings = tmp_path / 'pod.settings'
  settings.write_text(
    '# mine\nname=pod\nzone=us-east5-b\nproject=mine\nspot=true'
  )
  for script, action in (('tpu_vm.sh', ['up']), ('babysit.sh', [])):
    said = launch(
      *(cloud, checkout, script, *action, f'--settings={settings}'),
      *('--accelerator=v6e-16', '--secrets=SECRET_KEY', '--dry_run'),
      *('--ssh_flags=--tunnel-through-iap', '--', 'train', '--flag=a b'),
      SECRET_KEY=SECRET,
    )
    assert cloud.calls() == [] and 'sesame' not in said
    commands = [x for x in said.splitlines() if x.startswith('gcloud ')]
    assert len(commands) > 6 and all('--project=mine' in x for x in commands)
    assert '--runtime-version=v2-alpha-tpuv6e --spot' in commands[0]
    assert '--tunnel-through-iap' in commands[-2] + commands[-1]
  # Pasted, the first one is a command that the cloud understands.
  subprocess.run(commands[0], shell=True, check=True, env=cloud.environment())
  assert cloud.slice().read()['workers'] == 4


@pytest.mark.parametrize(
  ('words', 'line'),
  [
    (['up', *PLACE], '--accelerator is missing: give '),
    (['create', *PLACE, '--accelerator=v5e:4x4'], 'use v5litepod-16'),
    (['create', *PLACE, '--accelerator=v5p:4x4x4'], 'use v5p-128'),
    (['create', *PLACE, '--accelerator=tpu7x-64'], 'use launch/gke'),
    (['create', *PLACE, '--accelerator=h100'], 'wanted v5litepod-…'),
    (['delete', '--zone=us-east5-b'], '--name is missing: give small letters'),
    (['delete', '--name=A', '--zone=x'], '--name=A: wanted small letters'),
    (['status', *PLACE, '--zonne=x'], '--zonne: there is no such flag'),
    (['status', *PLACE, '--zone'], '--zone: give a value'),
    (
      ['status', *PLACE, '--spot=maybe'],
      '--spot=maybe: give --spot or --nospot',
    ),
    (['status', *PLACE, 'now'], 'status: unexpected word now'),
    (['fly', *PLACE], "ACTION 'fly': wanted create, "),
    (['run', *PLACE], 'run: give the command after --'),
    (['run', *PLACE, '--secrets=NO_SUCH', '--', 'x'], 'is not set here'),
    (['run', *PLACE, '--secrets=a=b', '--', 'x'], 'no name of a variable'),
    (['run', *PLACE, '--settings=/no/file'], '/no/file: no such file'),
  ],
)
def test_a_bad_flag_is_one_line(cloud, checkout, words, line):
  if words == ['up', *PLACE]:
    words = [*words, '--', 'train']
  said = launch(cloud, checkout, 'tpu_vm.sh', *words, status=2)
  assert said.startswith('error: ') and line in said
  assert said.count('\n') == 1 and cloud.calls() == []


@pytest.mark.parametrize(
  ('words', 'line'),
  [
    (['--', 'x'], '--name is missing'),
    ([*SLICE], 'give the command after --'),
    ([*SLICE, '--max_restarts=many', '--', 'x'], '--max_restarts=many: wanted'),
    (
      [*SLICE, '--max_tries=3', '--', 'x'],
      '--max_tries: there is no such flag',
    ),
  ],
)
def test_a_bad_flag_of_babysit_is_one_line(cloud, checkout, words, line):
  said = launch(cloud, checkout, 'babysit.sh', *words, status=2)
  assert said.startswith('error: ') and line in said
  assert said.count('\n') == 1 and cloud.calls() == []


@pytest.mark.slow
def test_real_training_resumes_on_another_slice(cloud, tmp_path):
  run = tmp_path / 'run'
  babysit = start(
    *(cloud, ROOT, 'babysit.sh', *PLACE, '--accelerator=v5p-8', '--keep'),
    *('--poll_s=1', '--backoff_s=0', '--'),
    *('python', '-m', 'videoar_jax.train', f'--workdir={run}'),
    *('--config=configs/quickstart.py:tokenizer,smoke', *TINY),
    *('--config.train.num_steps=200', '--config.train.checkpoint_every=40'),
    JAX_DISABLE_MOST_OPTIMIZATIONS='1',
  )
  wait_for(lambda: list_steps(run / 'checkpoints'), 'a checkpoint', 300)
  cloud.take_away(notice=False)
  said, _ = babysit.communicate(timeout=400)
  assert babysit.returncode == 0, said
  assert 'restart 1: the slice was taken away' in said
  assert (run / 'checkpoints' / '200').is_dir()
  log = (cloud.slice().workers()[0] / 'videoar/jobs/train/log').read_text()
  assert 'resumed from checkpoint' in log
