"""The ablation's table: means and spread of what the runs left behind."""

import json
import pathlib
import subprocess
import sys

LAUNCH = pathlib.Path(__file__).parents[1] / 'launch'


def _table(folder):
  return subprocess.run(
    [sys.executable, LAUNCH / 'ablation_table.py', folder],
    capture_output=True,
    text=True,
  )


def test_rows_are_means_and_spread_over_seeds(tmp_path):
  for seed, harm in ((0, 0.1), (1, 0.3)):
    exposure = {'clean': [0.5, 0.7], 'harm': [harm, 0.0]}
    result = {'fvd': 100.0, 'kvd': None, 'i3d_classes': None}
    path = tmp_path / f'no_time_ramp_{seed}.exposure.json'
    path.write_text(json.dumps(exposure))
    (tmp_path / f'no_time_ramp_{seed}.json').write_text(json.dumps(result))
  (tmp_path / 'full_0.exposure.json').write_text(json.dumps(exposure))
  done = _table(tmp_path)
  assert done.returncode == 0, done.stderr
  head, _, full, row = (tmp_path / 'table.md').read_text().splitlines()
  assert head.startswith('|  | seeds | nats a bit | harm of errors')
  assert full == '| full | 1 | 0.6 | 0.3 | - | - | - |'
  assert row == (
    '| no time ramp | 2 | 0.6 ± 0 | 0.2 ± 0.14 | 100 ± 0 | - | - |'
  )


def test_results_of_different_rules_are_no_table(tmp_path):
  for seed, count in ((0, 256), (1, 64)):
    result = {'fvd': 100.0, 'num_generated': count}
    (tmp_path / f'full_{seed}.json').write_text(json.dumps(result))
  done = _table(tmp_path)
  assert done.returncode == 1 and not (tmp_path / 'table.md').exists()
  assert 'num_generated 256 in full_0, 64 in full_1' in done.stderr


def test_an_empty_folder_is_refused(tmp_path):
  done = _table(tmp_path)
  assert done.returncode == 1 and 'no result' in done.stderr


def test_an_unknown_row_is_refused_before_anything_runs():
  script = (LAUNCH / 'ablation.sh').read_text()
  body = script[script.index('changes() {') : script.index('run_row() {')]
  done = subprocess.run(
    ['bash', '-c', f'{body}\nchanges nonsense'], capture_output=True, text=True
  )
  assert done.returncode != 0 and 'no row nonsense' in done.stderr
  for row in ('full', 'learned_positions', 'frame_mask'):
    done = subprocess.run(['bash', '-c', f'{body}\nchanges {row}'], check=True)
