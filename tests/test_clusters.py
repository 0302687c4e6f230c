"""The launchers for GKE, Slurm and Docker, and that all scripts are clean."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
import yaml
from fake_gcloud import FakeCloud
from shell import ROOT

LAUNCH = ROOT / 'launch'
SCRIPTS = sorted(
  [*LAUNCH.rglob('*.sh'), LAUNCH / 'slurm.sbatch', ROOT / '.ci' / 'run']
)
JOBSET = ('gke/jobset.sh', '--name=big', '--image=registry/videoar:1')
TRAIN = ('--', 'videoar-jax', 'train', '--config=a b', '--x="\\n" & ${name}')
# Of kubernetes-sigs/jobset's v1alpha2 and of Kubernetes' Job and Pod.
FIELDS = {
  '': {'apiVersion', 'kind', 'metadata', 'spec'},
  'metadata': {'name', 'annotations'},
  'spec': {'failurePolicy', 'replicatedJobs'},
  'spec.failurePolicy': {'maxRestarts', 'rules'},
  'spec.failurePolicy.rules': {'action', 'onJobFailureReasons'},
  'spec.replicatedJobs': {'name', 'replicas', 'template'},
  'spec.replicatedJobs.template': {'spec'},
}


def launch(script, *words, status=0, **environment):
  """Runs a launcher; returns what it printed, or said of an error."""
  done = subprocess.run(
    ['bash', LAUNCH / script, *map(str, words)],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    timeout=30,
  )
  assert done.returncode == status, done.stdout + done.stderr
  return done.stderr if status else done.stdout


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_bash_and_short(path):
  subprocess.run(['bash', '-n', path], check=True)
  text = path.read_text()
  assert len(text.splitlines()) < 400
  sourced = text.startswith('# shellcheck shell=bash')
  assert sourced or 'set -euo pipefail' in text


def test_shellcheck_has_nothing_to_say():
  beside = os.path.join(os.path.dirname(sys.executable), 'shellcheck')
  program = shutil.which(beside) or shutil.which('shellcheck')
  if program is None:
    pytest.skip('no shellcheck: pip install "videoar_jax[dev]"')
  done = subprocess.run(
    [program, '--external-sources', *SCRIPTS],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout


# GKE.


def manifest(*words):
  return yaml.safe_load(launch(*JOBSET, *words, '--dry_run', *TRAIN))


@pytest.mark.parametrize(
  ('words', 'accelerator', 'topology', 'hosts', 'chips'),
  [
    (['--topology=v5e:4x4'], 'tpu-v5-lite-podslice', '4x4', 4, 4),
    (['--topology=v6e:16x16'], 'tpu-v6e-slice', '16x16', 64, 4),
    (['--topology=v5p:4x4x4'], 'tpu-v5p-slice', '4x4x4', 16, 4),
    (['--topology=tpu7x:2x2x2'], 'tpu7x', '2x2x2', 2, 4),
    (['--topology=v6e:1x1'], 'tpu-v6e-slice', '1x1', 1, 1),
    (
      ['--topology=v6e:2x4', '--chips_per_host=8'],
      *('tpu-v6e-slice', '2x4', 1, 8),
    ),
  ],
)
def test_a_jobset_fits_its_slice(words, accelerator, topology, hosts, chips):
  (job,) = manifest(*words, '--slices=3')['spec']['replicatedJobs']
  assert job['replicas'] == 3
  spec = job['template']['spec']
  assert spec['completions'] == spec['parallelism'] == hosts
  assert spec['backoffLimit'] == 0
  pod = spec['template']['spec']
  assert pod['nodeSelector'] == {
    'cloud.google.com/gke-tpu-accelerator': accelerator,
    'cloud.google.com/gke-tpu-topology': topology,
    'cloud.google.com/gke-spot': 'true',
  }
  (container,) = pod['containers']
  assert container['resources']['limits'] == {'google.com/tpu': chips}
  assert container['command'] == list(TRAIN[1:])


def test_a_jobset_has_the_fields_of_its_kind():
  found = manifest('--topology=v5e:4x4', '--nospot', '--permanent=2,64')
  assert found['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  assert found['kind'] == 'JobSet'
  for path, fields in FIELDS.items():
    value = found
    for key in filter(None, path.split('.')):
      value = value[key]
      value = value[0] if isinstance(value, list) else value
    assert value.keys() == fields, path
  (rule,) = found['spec']['failurePolicy']['rules']
  assert rule['action'] == 'FailJobSet'
  assert rule['onJobFailureReasons'] == ['PodFailurePolicy']
  spec = found['spec']['replicatedJobs'][0]['template']['spec']
  (rule,) = spec['podFailurePolicy']['rules']
  pod = spec['template']['spec']
  # A policy for exit codes is refused unless pods are never restarted.
  assert pod['restartPolicy'] == 'Never' and rule['action'] == 'FailJob'
  assert rule['onExitCodes'] == {
    'containerName': pod['containers'][0]['name'],
    'operator': 'In',
    'values': [2, 64],
  }
  assert 'cloud.google.com/gke-spot' not in pod['nodeSelector']


def test_secrets_of_a_jobset_are_named_alone(monkeypatch):
  monkeypatch.setenv('WANDB_API_KEY', 'sesame')
  words = ('--secrets=WANDB_API_KEY=wandb/key', '--env=A=1,B=x=y')
  said = launch(*JOBSET, '--topology=v5e:4x4', *words, '--dry_run', *TRAIN)
  assert 'sesame' not in said
  job = yaml.safe_load(said)['spec']['replicatedJobs'][0]
  assert job['template']['spec']['template']['spec']['containers'][0][
    'env'
  ] == [
    {'name': 'A', 'value': '1'},
    {'name': 'B', 'value': 'x=y'},
    {
      'name': 'WANDB_API_KEY',
      'valueFrom': {'secretKeyRef': {'name': 'wandb', 'key': 'key'}},
    },
  ]


def test_kubectl_gets_the_manifest(tmp_path):
  cloud = FakeCloud(tmp_path / 'cloud')
  cloud.add_program('kubectl', 'echo "$@" && cat')
  said = launch(
    *(*JOBSET, '--topology=v5e:4x4', '--namespace=mine', *TRAIN),
    PATH=cloud.environment()['PATH'],
  )
  first, _, rest = said.partition('\n')
  assert first == 'apply --namespace=mine -f -'
  assert yaml.safe_load(rest) == manifest('--topology=v5e:4x4')


@pytest.mark.parametrize(
  ('words', 'line'),
  [
    (['--topology=v9:4x4', *TRAIN], '--topology=v9:4x4: wanted v5e:'),
    (['--topology=v5e', *TRAIN], '--topology=v5e: wanted v5e:4x4'),
    (['--topology=v5e:4x4'], 'give the command after --'),
    (['--topology=v5e:4x4', '--secrets=KEY', *TRAIN], 'wanted NAME=secret/key'),
    (['--topology=v5e:4x4', '--', 'a\nb'], 'a control character'),
    (
      ['--topology=v5p:2x2x3', '--chips_per_host=8', *TRAIN],
      'does not divide 12 chips',
    ),
  ],
)
def test_a_bad_flag_of_a_jobset_is_refused(words, line):
  said = launch(*JOBSET, '--dry_run', *words, status=2)
  assert said.startswith('error: ') and line in said


# Slurm.

SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_NTASKS_PER_NODE': '1',
  'SLURM_JOB_END_TIME': '99999999999',
}


@pytest.fixture
def slurm(tmp_path):
  """slurm(step, …) -> status, what `srun` and `scontrol` were told."""
  cloud = FakeCloud(tmp_path / 'cloud')
  calls = tmp_path / 'calls'
  cloud.add_program('scontrol', f'echo scontrol "$@" >>{calls}')

  def run(step, *words, **environment):
    calls.write_text('')
    cloud.add_program('srun', f'echo srun "$@" >>{calls}; {step}')
    done = subprocess.run(
      ['bash', LAUNCH / 'slurm.sbatch', *words],
      env={
        **{k: v for k, v in os.environ.items() if not k.startswith('SLURM')},
        **SLURM,
        'PATH': cloud.environment()['PATH'],
        **environment,
      },
      cwd=tmp_path,
      capture_output=True,
      text=True,
      timeout=30,
    )
    return done, calls.read_text()

  return run


@pytest.mark.parametrize(
  ('step', 'environment', 'status', 'requeued'),
  [
    ('exit 0', {}, 0, False),
    ('exit 75', {}, 75, True),
    ('exit 75', {'SLURM_RESTART_COUNT': '20'}, 75, False),
    ('exit 2', {}, 2, False),
    ('exit 64', {'PERMANENT': '2 64'}, 64, False),
    # The time limit; this is no failure, and does not end.
    (
      'exit 143',
      {'SLURM_RESTART_COUNT': '99', 'SLURM_JOB_END_TIME': '60'},
      *(143, True),
    ),
    ('kill -TERM $PPID; exit 143', {}, 143, False),  # scancel
  ],
)
def test_what_ends_a_slurm_job_decides_whether_it_comes_back(
  slurm, step, environment, status, requeued
):
  if 'SLURM_JOB_END_TIME' in environment:
    environment = {**environment}
    environment['SLURM_JOB_END_TIME'] = str(int(time.time()) + 60)
  done, calls = slurm(step, 'python', '-m', 'x', **environment)
  assert done.returncode == status, done.stderr
  assert calls.startswith('srun --kill-on-bad-exit=0 --wait=120 python -m x\n')
  assert ('scontrol requeue 7\n' in calls) == requeued


def test_each_gpu_has_a_task(slurm):
  done, calls = slurm('exit 0', 'python', SLURM_GPUS_ON_NODE='8')
  assert done.returncode == 2 and calls == ''
  assert '1 tasks a node, but 8 GPUs' in done.stderr
  eight = {'SLURM_GPUS_ON_NODE': '8', 'SLURM_NTASKS_PER_NODE': '8'}
  done, calls = slurm('exit 0', 'python', **eight)
  assert done.returncode == 0 and calls


def test_the_environment_is_first_on_the_path_of_a_step(slurm, tmp_path):
  (tmp_path / '.venv' / 'bin').mkdir(parents=True)
  done, _ = slurm('echo "$PATH"', 'python')
  assert done.stdout.startswith(f'{tmp_path}/.venv/bin:')


def test_what_slurm_is_asked_for():
  text = (LAUNCH / 'slurm.sbatch').read_text()
  asked = set(re.findall(r'^#SBATCH (\S+)$', text, re.M))
  assert {'--signal=TERM@120', '--requeue', '--ntasks-per-node=1'} <= asked
  # Slurm reads them up to the first command.
  assert text.index('#SBATCH') < text.index('set -euo pipefail')
  said = launch('slurm.sbatch', '--dry_run', 'python', 'a b')
  assert shlex.split(said)[-2:] == ['python', 'a b']
  for words in ((), ('--dry_runn', 'x')):
    said = launch('slurm.sbatch', *words, status=2)
    assert said.startswith('error: ') and said.count('\n') == 1


# Docker.


def instructions():
  """Of the Dockerfile: its instructions and what follows each."""
  text = (LAUNCH / 'Dockerfile').read_text().replace('\\\n', ' ')
  lines = [x for x in text.splitlines() if x and not x.startswith('#')]
  return [tuple(line.split(None, 1)) for line in lines]


def test_the_image_runs_the_command_as_no_root():
  found = instructions()
  names = [name for name, _ in found]
  known = {'ARG', 'FROM', 'ENV', 'WORKDIR', 'COPY', 'RUN', 'USER', 'ENTRYPOINT'}
  assert set(names) == known and names[:2] == ['ARG', 'FROM']
  by_name = dict(found)  # the last of each
  assert re.fullmatch(r'python:\$\{PYTHON\}-slim', by_name['FROM'])
  assert ('ARG', 'PYTHON=3.12') in found and ('ARG', 'EXTRAS=tpu,gcs') in found
  assert json.loads(by_name['ENTRYPOINT']) == ['videoar-jax']
  assert by_name['USER'] == 'videoar'
  assert names.index('USER') > max(
    i for i, name in enumerate(names) if name == 'RUN'
  )
  # No argument is a secret: they stay in the image.
  assert not re.search('KEY|TOKEN|PASSWORD', str(found))


def test_the_image_is_built_of_what_the_package_needs():
  lines = (LAUNCH / 'Dockerfile.dockerignore').read_text().splitlines()
  assert lines[0] == '*'
  kept = {line[1:] for line in lines if line.startswith('!')}
  assert all((ROOT / name).exists() for name in kept)
  needed = {'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'NOTICE'}
  assert needed | {'videoar_jax', 'configs'} <= kept


# The page.


def commands_of_the_page():
  text = (LAUNCH / 'README.md').read_text()
  blocks = re.findall(r'^(?: {4}.*\n)+', text, re.M)
  joined = ''.join(blocks).replace('\\\n', ' ')
  return [line.strip() for line in joined.splitlines()]


def test_the_page_shows_each_launcher():
  text = (LAUNCH / 'README.md').read_text()
  for path in [*SCRIPTS, LAUNCH / 'Dockerfile']:
    shared = path.read_text().startswith('# shellcheck shell=bash')
    if path.is_relative_to(LAUNCH) and not shared:
      assert path.relative_to(LAUNCH).as_posix() in text


def test_commands_of_the_page_run(tmp_path):
  """As typed; launchers with --dry_run."""
  cloud = FakeCloud(tmp_path / 'cloud')
  for name in ('gcloud', 'docker', 'kubectl', 'xpk', 'sbatch'):
    cloud.add_program(name, 'exit 0')
  environment = cloud.environment(WANDB_API_KEY='sesame')
  commands = commands_of_the_page()
  for line in commands:
    words = shlex.split(line)
    if words[0] == 'bash':
      words.insert(2, '--dry_run')
    done = subprocess.run(
      words, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f'{line}\n{done.stderr}'
    assert 'sesame' not in done.stdout + done.stderr
  assert len(commands) > 12
