"""The script for clips of people: strips, refusals, a few steps of it all."""

import importlib.util
import pathlib
import subprocess

import numpy as np
import pytest
import stages
from PIL import Image

from videoar_jax.data import decode

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / 'launch' / 'weizmann.sh'


def _load(name):
  spec = importlib.util.spec_from_file_location(
    name, ROOT / f'launch/{name}.py'
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='module')
def strips():
  return _load('strips_to_videos')


def write_strip(path, *, frames=5, side=16, seed=0):
  rng = np.random.default_rng(seed)
  image = rng.integers(0, 255, (side, frames * side, 3), np.uint8)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image).save(path)
  return image


def test_a_strip_becomes_its_frames_to_the_last_bit(tmp_path, strips):
  image = write_strip(tmp_path / 'in' / 'Wave_Hands_00000003.png')
  assert strips.convert(tmp_path / 'in', tmp_path / 'out') == {}
  (video,) = (tmp_path / 'out').rglob('*.*')
  assert video.name == 'v_Wave_Hands_00000003.mkv'
  assert video.parent.name == 'Wave_Hands'
  frames = list(decode.iterate_frames(str(video)))
  assert len(frames) == 5
  np.testing.assert_array_equal(np.concatenate(frames, axis=1), image)


def test_what_is_no_strip_is_skipped_and_named(tmp_path, strips, capsys):
  write_strip(tmp_path / 'in' / 'Bend_1.png')
  write_strip(tmp_path / 'in' / 'Bend_2.png', frames=1)
  write_strip(tmp_path / 'in' / 'unnumbered.png')
  (tmp_path / 'in' / 'Bend_3.jpg').write_bytes(b'no picture')
  assert strips.main([str(tmp_path / 'in'), str(tmp_path / 'out')]) == 0
  said = capsys.readouterr().err
  for name in ('Bend_2.png', 'unnumbered.png', 'Bend_3.jpg'):
    assert f'skipped {name}: ' in said
  assert len(list((tmp_path / 'out').rglob('*.mkv'))) == 1


def test_no_strip_at_all_is_an_error(tmp_path, strips, capsys):
  assert strips.main([str(tmp_path), str(tmp_path / 'out')]) == 1
  write_strip(tmp_path / 'unnumbered.png')
  assert strips.main([str(tmp_path), str(tmp_path / 'out')]) == 1
  said = capsys.readouterr().err
  assert 'no pictures there' in said and 'none of 1 pictures' in said
  assert strips.main([]) == 2


@pytest.mark.parametrize(
  ('words', 'code', 'said'),
  [
    ([], 2, 'usage: '),
    (['--smokee'], 2, 'usage: '),
    (['/no/such/folder'], 1, 'error: /no/such/folder is not a folder'),
  ],
)
def test_the_script_refuses_what_it_cannot_use(words, code, said):
  done = subprocess.run(
    ['bash', SCRIPT, *words], capture_output=True, text=True, timeout=60
  )
  assert done.returncode == code and said in done.stderr


@pytest.mark.slow
def test_a_few_steps_of_all_of_it(tmp_path, synthetic_strips):
  environment = {
    **stages.make_environment(tmp_path / 'venv'),
    'VIDEOAR_RUNS': str(tmp_path / 'runs'),
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
  }
  run = tmp_path / 'runs' / 'weizmann-smoke'
  for again in (False, True):
    done = subprocess.run(
      ['bash', SCRIPT, synthetic_strips, '--smoke'],
      env=environment,
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ('tokenizer', 'generator', 'text_generator', 'continuation'):
      assert (run / f'{name}.json').exists()
      found = f'{run}/{name}.json is up to date' in done.stdout
      assert found == again
  for name in ('samples/grid.png', 'text_samples/grid.png', 'report.html'):
    assert (run / name).exists()


@pytest.fixture
def synthetic_strips(tmp_path):
  """Strips of 40 frames of 64×64, 24 of each of four classes."""
  for kind in ('Bend', 'JumpingJack', 'WaveOneHand', 'WaveTwoHands'):
    for i in range(24):
      path = tmp_path / 'strips' / f'{kind}_{i:08d}.png'
      write_strip(path, frames=40, side=64, seed=i)
  return tmp_path / 'strips'
