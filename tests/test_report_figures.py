"""Figures of a page are those of the run; recorded ones are told apart."""

import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image
from test_report import Page, pictures, run  # noqa: F401

from videoar_jax.report import published, recorded, sections

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = {
  'recipe': 'tokenizer',
  'source': 'synthetic',
  'frames': 9,
  'resolution': [32, 32],
  'num_generated': 256,
  'psnr': 21.5,
  'fvd': None,
  'protocol': 'none: feature rules of another',
}
PROBE = {
  'train_windows': 240,
  'ridge': 0.3,
  'chance': 0.25,
  'real_heldout': {
    'accuracy': 0.94,
    'low': 0.8,
    'high': 0.99,
    'windows': 32,
    'by_class': {'a': 1.0},
  },
  'samples': {'accuracy': 0.875, 'low': 0.81, 'high': 0.92, 'windows': 256},
}
SPREAD = {'videos': 8, 'median': 12.5, 'quantiles': {'0.05': 9.5, '0.5': 12.5}}
MEMORISATION = {
  **{name: SPREAD for name in ('samples', 'heldout', 'train')},
  'nearer': {
    'heldout below 5%': {'share': 0.031, 'low': 0.016, 'high': 0.06},
  },
  'pairs': [{'sample': 3, 'distance': 8.5, 'window': 'x'}],
  'picture': '/etc/passwd',
}


def write(run, half, result) -> str:
  """The text of the page, with a result in the place of another."""
  (run / f'{half}.json').write_text(json.dumps(result))
  return Page(sections.make_report(run)).text


def test_a_run_stands_beside_what_was_recorded(run):
  text = write(run, 'tokenizer', QUICKSTART)
  assert re.search(r'this runrecordedpsnrpeak[^0-9]*21\.524\.96', text)
  assert 'Recorded, another run: quickstart, tokenizer, 256 videos' in text
  assert 'do not compare' not in text and 'protocol none' not in text


def test_another_number_of_videos_is_told(run):
  text = write(run, 'tokenizer', {**QUICKSTART, 'num_generated': 16})
  told = 'num generated 16 (this run), 256 (recorded): its distances do not'
  assert told in text and re.search(r'psnrpeak[^0-9]*21\.524\.96', text)


def test_distances_of_another_number_of_videos_are_left_out(run):
  result = {'recipe': 'tokenizer', 'protocol': 'ucf9_train256_17f_64'}
  result |= {'fvd': 99.5, 'kvd': 12.5, 'psnr': 21.5, 'num_generated': 256}
  assert '2530' in write(run, 'tokenizer', result)
  text = write(run, 'tokenizer', {**result, 'num_generated': 16})
  assert '2530' not in text and '337' not in text and '24.6' in text


@pytest.mark.parametrize(
  'change',
  [
    {'frames': 17},
    {'source': 'folder:x'},
    {'recipe': 'generator', 'frames': 1},
  ],
)
def test_what_was_measured_otherwise_stands_alone(run, change):
  text = write(run, 'tokenizer', {**QUICKSTART, **change})
  assert 'Recorded, another run' not in text and '24.96' not in text


def test_published_figures_are_named_as_such(run):
  result = {'recipe': 'generator', 'protocol': 'ucf101_train10k_17f_128'}
  text = write(run, 'generator', {**result, 'fvd': 1234.5})
  assert re.search('Published, not measured here.*not known in full', text)
  assert '90.3' in text and '88.6' in text and 'rFVD' not in text
  result['protocol'] = 'ucf9_train256_17f_64'
  assert 'Published' not in write(run, 'generator', result)


def test_recorded_figures_are_those_of_the_document():
  document = (ROOT / recorded.DOCUMENT).read_text().replace(',', '')
  assert len(recorded.OWN) > 3
  for entry in recorded.OWN:
    assert entry.commit in document and entry.num_videos == 256
    figures = dict(entry.figures)
    rows = [f'{x:.3f}' if x <= 1 else f'{x:g}' for x in figures.values()]
    if 'kvd' in figures:
      rows.append(f'{figures["kvd"]:g} ± {figures["kvd_stderr"]:g}')
    for row in rows:
      assert re.search(rf'(?<![\d.]){re.escape(row)}(?![\d.]\d)', document), (
        f'{entry.name}: {row} is not in {recorded.DOCUMENT}'
      )
  for row in published.PUBLISHED:
    assert re.search(rf'(?<![\d.]){row.value:g}(?!\d)', document)


def test_baselines_stand_below_the_checkpoint(run):
  result = {
    'fvd': 3286.4,
    'kvd': 379.0,
    'baselines': {'real': {'fvd': 379.2, 'kvd': -12.0, 'farther': {}}},
    'h264': {'fvd': None, 'psnr': 31.0},
    'intervals': {'kvd': {'value': 379.0, 'low': 300.0, 'high': 450.0}},
  }
  text = write(run, 'generator', result)
  assert 'fvdkvdthis checkpoint3286379real379.2-12H.264' in text
  assert '379300 to 450' in text


def test_what_a_probe_names_and_the_nearest_clips_are_shown(run):
  Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(run / 'nearest.png')
  result = {'probe': PROBE, 'memorisation': MEMORISATION}
  text = write(run, 'generator', result)
  assert 'samples0.8750.81 to 0.92256' in text
  assert 'real held-out clips0.940.8 to 0.9932' in text
  assert 'chance is 0.25. Fitted to 240 windows' in text
  assert '5%50%samples9.512.5' in text
  assert 'nearer than heldout below 5%0.0310.016 to 0.06' in text
  page = sections.make_report(run)
  assert 'training window nearest to it' in page
  # The picture beside the result, never one that a result names.
  assert sum(x.size == (8, 8) for x in pictures(Page(page))) == 1
  Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(run / 'nearest.webp')
  shown = pictures(Page(sections.make_report(run)))
  assert {(9, 9)} == {x.size for x in shown if x.size in ((8, 8), (9, 9))}


@pytest.mark.parametrize('key', ['probe', 'memorisation', 'intervals'])
@pytest.mark.parametrize(
  'value',
  [
    {},
    {'samples': {}},
    {'samples': {'accuracy': '<b>', 'low': None, 'quantiles': [1]}},
    {'samples': {'median': [1], 'quantiles': {'x': {}}}, 'nearer': {'a': 1}},
    {'nearer': [], 'chance': {}, 'train_windows': '<i>', 'psnr': 3},
  ],
)
def test_odd_parts_of_a_result_break_no_page(run, key, value):
  (run / 'generator.json').write_text(json.dumps({'psnr': 1.0, key: value}))
  Page(sections.make_report(run))  # nests, and holds no tag of the file
  (run / 'generator.json').write_text(json.dumps({key: 'text'}))
  if key == 'intervals':
    with pytest.raises(ValueError, match='intervals is'):
      sections.make_report(run)
  else:
    sections.make_report(run)
