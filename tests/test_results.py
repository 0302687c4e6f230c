"""Tables of figures, one protocol each, made of files; the hours of a run."""

import copy
import importlib.util
import json
import pathlib
import re

import pytest
from etils import epath

from videoar_jax.evaluate import protocols
from videoar_jax.report import published, records, results

ROOT = pathlib.Path(__file__).parents[1]
RECORD = {
  'format': records.FORMAT,
  'row': 'configs/videoar_ucf101.py:L',
  'command': 'bash launch/reproduce_ucf101.sh --scale=ucf101 --data=DATA',
  'machine': '16 × TPU v5 lite',
  'trained': [
    {'part': 'tokenizer', 'steps': 9, 'hours': 1.25, 'machine': '1 × H'},
    {'part': 'generator', 'steps': 9, 'hours': 2.0, 'machine': '1 × H'},
  ],
  'result': {
    'recipe': 'generator',
    'protocol': protocols.DEFAULT,
    'rules': {'covariance': 'n-1'},
    'fvd': 91.25,
    'fvd_sd': 0.5,
    'fvd_inf': 88.5,
    'kvd': 3.25,
    'kvd_stderr': 0.75,
    'num_real': 10_000,
    'frames': 17,
    'resolution': [128, 128],
    'split': 'train',
    'weights_sha256': 'ab' * 32,
    'device': 'TPU v5 lite',
    'num_devices': 16,
    'versions': {'commit': '0123456789abcdef-modified'},
  },
}


def changed(**changes):
  """The record with other values, of its result where it has them there."""
  record = copy.deepcopy(RECORD)
  for key, value in changes.items():
    place = record['result'] if key in record['result'] else record
    place[key] = value
  return record


def sections(text):
  """What stands under each title: its lines, by its text."""
  found, title = {}, ''
  for line in text.splitlines():
    if line.startswith('###'):
      kind = line[4:8]
    elif line.startswith(('Protocol', 'Rules')):
      title = f'{kind} {line}'
      assert title not in found  # one table for each way of measuring
    elif line.startswith('|'):
      found.setdefault(title, []).append(line)
  return found


def load(name):
  path = ROOT / 'launch' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize(
  ('script', 'words', 'page'),
  [
    ('results', ['page', ROOT / 'docs/results'], 'docs/results.md'),
    ('hours_table', [ROOT / 'docs/pods'], 'docs/reproduce.md'),
  ],
)
def test_a_committed_page_is_what_the_command_makes(
  script, words, page, tmp_path
):
  copied = tmp_path / 'page.md'
  text = (ROOT / page).read_text()
  # A row less, so that an unwritten page would be found.
  row = re.search(r'<!-- .* -->\n(?:.*\n)*?(\| .*[0-9].* \|\n)', text)
  copied.write_text(text.replace(row[1], '', 1))
  assert copied.read_text() != text
  assert load(script).main([*map(str, words), str(copied)]) == 0
  assert copied.read_text() == text


def test_rows_of_one_table_were_measured_alike():
  found = sections(results.tables({}))
  for row in published.PUBLISHED:
    holding = [
      title
      for title, lines in found.items()
      if any(f'| {row.row} | {row.value:g} |' in line for line in lines)
    ]
    (title,) = holding
    assert title.startswith(f'{row.kind[0]}FVD')
    if title[5:].startswith('Protocol'):
      name = protocols.get_protocol(row.rules).name
      assert f'Protocol `{name}`: ' in title
    else:
      assert row.rules in title
      # Nothing of ours stands beside a protocol that nobody knows.
      assert not any('`' in line for line in found[title])


def test_what_was_not_run_says_so_until_there_is_a_record():
  text = results.tables({})
  line = '| `configs/videoar_ucf101.py:L` | not run |'
  assert line in text and '| `configs/videoar_ucf101.py:XL` | not run |' in text
  text = results.tables({'L.json': RECORD})
  assert line not in text and ':XL` | not run |' in text
  row = next(x for x in text.splitlines() if 'videoar_ucf101.py:L' in x)
  assert row == (
    '| `configs/videoar_ucf101.py:L` | 91.25 ± 0.5 | 88.5 | 3.25 ± 0.75 |  | '
    '`bash launch/reproduce_ucf101.sh --scale=ucf101 --data=DATA` | '
    '0123456-modified | 16 × TPU v5 lite | 3.25 |'
  )


@pytest.mark.parametrize(
  ('changes', 'said'),
  [
    ({'num_real': 2048}, 'num_real 10000 in a.json, 2048 in b.json'),
    ({'weights_sha256': 'cd' * 32}, 'weights_sha256 '),
    ({'rules': {'covariance': 'n'}}, 'rules.covariance '),
    ({'resolution': [64, 64]}, 'resolution .*64×64 in b.json'),
  ],
)
def test_results_of_one_protocol_that_differ_are_refused(changes, said):
  other = changed(row='configs/videoar_ucf101.py:XL', **changes)
  with pytest.raises(ValueError, match=said):
    results.tables({'a.json': RECORD, 'b.json': other})
  # Of two protocols they stand in two tables.
  other['result']['protocol'] = 'ucf9_train256_17f_64'
  text = results.tables({'a.json': RECORD, 'b.json': other})
  of_both = [
    title
    for title, lines in sections(text).items()
    if any(' 91.25 ' in line for line in lines)
  ]
  assert len(of_both) == 2


def test_what_follows_no_protocol_is_no_row(tmp_path):
  record = changed(protocol='none: feature rules of x')
  (tmp_path / 'x.json').write_text(json.dumps(record))
  with pytest.raises(ValueError, match='x.json: protocol is .*--protocol=NAME'):
    records.read_all(tmp_path)
  del record['command']
  (tmp_path / 'x.json').write_text(json.dumps(record))
  with pytest.raises(ValueError, match='x.json: command is missing'):
    records.read_all(tmp_path)
  page = tmp_path / 'page.md'
  page.write_text('no marks\n')
  assert load('results').main(['page', str(tmp_path), str(page)]) == 1
  assert page.read_text() == 'no marks\n'


def test_a_result_becomes_a_record_with_its_parts(tmp_path):
  (tmp_path / 'generator.json').write_text(json.dumps(RECORD['result']))
  for name, steps in (('image_tokenizer', 3), ('tokenizer', 5)):
    (tmp_path / name).mkdir()
    lines = [
      {'kind': 'train', 'step': i + 1, 'step_s': 3600.0} for i in range(steps)
    ]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (tmp_path / name / 'metrics.jsonl').write_text(text)
  made = records.make(
    tmp_path, 'generator', config='configs/x.py:L,smoke', command='bash x'
  )
  assert [x['part'] for x in made['trained']] == [
    'image_tokenizer',
    'tokenizer',
  ]
  assert records.hours(made) == 8 and made['machine'] == '16 × TPU v5 lite'
  assert records.write(made, tmp_path / 'a').name == 'x_L_smoke.json'
  assert records.read_all(tmp_path / 'a') == {'x_L_smoke.json': made}
  with pytest.raises(ValueError, match='no such file; measure the tokenizer'):
    records.make(tmp_path, 'tokenizer', config='x', command='y')


def test_a_record_of_a_run_in_a_bucket_lies_in_the_bucket(served_bucket):
  run = epath.Path('gs://bucket/results_run')
  (run / 'generator.json').write_text(json.dumps(RECORD['result']))
  module = load('results')
  module.collect(str(run), {'generator': 'configs/x.py:L'}, 'bash x')
  written = json.loads((run / 'results' / 'x_L.json').read_text())
  assert (
    written['result'] == RECORD['result'] and written['command'] == 'bash x'
  )


def test_in_a_bucket_a_result_is_older_than_a_later_checkpoint(served_bucket):
  look = load('look')
  run = epath.Path('gs://bucket/newer_run')
  result, mark = (
    run / 'x.json',
    run / 'checkpoints' / '3' / 'commit_success.txt',
  )
  assert not look.is_newer(str(result), str(run))
  result.write_text('{}')
  assert look.is_newer(str(result), str(run))  # of a model that comes along
  mark.write_text('')
  assert not look.is_newer(str(result), str(run))
  result.write_text('{}')
  assert look.is_newer(str(result), str(run))
  assert look.main(['exists', str(result)]) == 0
  assert look.main(['exists', str(run / 'y.json')]) == 1


def test_one_process_alone_is_the_first_of_one(capsys):
  assert load('look').main(['process']) == 0
  assert capsys.readouterr().out == '0 1\n'


def test_hours_are_steps_by_least_steps_and_dollars_those_given(capsys):
  table = load('hours_table')
  pods = str(ROOT / 'docs/pods')
  assert table.main([pods, '--dollars=v5e:2,H100:3']) == 0
  said = capsys.readouterr().out
  rows = {
    (x[0], x[-2]): x
    for x in (
      [y.strip() for y in line.split('|')[1:-1]] for line in said.splitlines()
    )
  }
  plan = json.loads((ROOT / 'docs/pods/L_v5e_16x16.json').read_text())
  clips = 1000 * 9537 // 64 * 64
  hours = clips / 256 * plan['least_s'] / 3600
  row = rows['L', '`L_v5e_16x16`']
  assert row[1:6] == [
    *('256 × v5e', '256', '37,253'),
    *(f'{hours:.1f}', f'{hours * 256:,.0f}'),
  ]
  assert row[-1] == f'{hours * 256 * 2:,.0f}'
  assert rows['L', '`L_v5p_4x4x4`'][-1] == ''  # no price, no cost
  alone = clips * plan['flops'] / 256 / 989e12 / 3600
  assert rows['L', 'products alone'][4] == f'{alone:.1f}'
  assert rows['L', 'products alone'][-1] == f'{alone * 3:,.0f}'
  assert table.main([pods, '--dollars=v9:1']) == 2
  assert 'no row is of v9' in capsys.readouterr().err
