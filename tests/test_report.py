"""The report is complete, stands alone, and says what is missing."""

import base64
import html.parser
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from videoar_jax import media
from videoar_jax.commands import report
from videoar_jax.core import command
from videoar_jax.report import sections, videos
from videoar_jax.train import metrics

CLASSES = ('<script>alert(1)</script>', 'a & "b"')
VOID = ('meta', 'img', 'br', 'path')


class Page(html.parser.HTMLParser):
  """Collects text and links; fails on tags that do not nest."""

  def __init__(self, text: str):
    super().__init__()
    self.open, self.links, self.text, self.tags = [], [], '', []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.links += [v for k, v in attrs if k in ('src', 'href')]
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if 'style' not in self.open:
      self.text += data


@pytest.fixture
def run(tmp_path):
  """A small run with everything in it."""
  rng = np.random.default_rng(0)
  for half, extra in (('tokenizer', 'psnr'), ('generator', 'bit_accuracy')):
    workdir = tmp_path / half
    (workdir / 'samples').mkdir(parents=True)
    config = {'recipe': half, 'note': CLASSES[0]}
    (workdir / 'config.json').write_text(json.dumps(config))
    lines = []
    for step in range(10, 60, 10):
      values = {'loss': 100.0 / step, extra: step / 60, 'step_s': 0.25}
      values |= {f'bit_accuracy/scale{k}': 0.5 for k in range(11)}
      lines.append({'step': step, 'kind': 'train', **values})
    lines.append({'step': 50, 'kind': 'heldout', 'loss': 3.25, extra: None})
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (workdir / 'metrics.jsonl').write_text(text + '{"step": 60, "ki')
    result = {'psnr': 23.4567, 'ssim': None, 'resolution': [11, 13]}
    (tmp_path / f'{half}.json').write_text(json.dumps(result))
  videos = rng.integers(0, 256, (7, 3, 11, 13, 3), dtype=np.uint8)
  for step in (5, 50):
    path = tmp_path / f'tokenizer/samples/reconstructions_{step:07d}.png'
    media.write_contact_sheet(path, videos[: 1 + step // 50])
  (tmp_path / 'samples').mkdir()
  np.savez(
    tmp_path / 'samples/samples.npz',
    videos=videos,
    labels=np.array([0, 1, 0, 1, 0, 1, 0]),
    classes=np.asarray(CLASSES),
  )
  return tmp_path


def pictures(page: Page) -> list[Image.Image]:
  data = [link.split('base64,')[1] for link in page.links]
  return [Image.open(io.BytesIO(base64.b64decode(x))) for x in data]


def test_a_first_stage_on_single_frames_is_shown_where_there_is_one(run):
  title = 'Training the tokenizer on single frames'
  assert title not in sections.make_report(run)
  shutil.copytree(run / 'tokenizer', run / 'image_tokenizer')
  text = Page(sections.make_report(run)).text
  assert text.index('Training the generator') < text.index(title)


def test_the_page_needs_nothing_outside_it(run):
  text = sections.make_report(run)
  page = Page(text)
  assert page.links
  assert all(link.startswith('data:image/') for link in page.links)
  assert not re.search(r'url\(|@import|https?://|<script|<link', text)


def test_a_complete_run_lacks_nothing(run):
  text = sections.make_report(run)
  assert 'Missing' not in text
  assert '23.46' in text and '11×13' in text
  assert text.count('<svg') == 2 * 3
  assert 'held out 3.25' in text
  assert '50 steps, 0.25 s each' in text


def test_generated_videos_come_first_each_over_its_label(run):
  page = sections.make_report(run)
  *animations, last = pictures(Page(page))
  assert [(x.width, x.height, x.n_frames) for x in animations] == [
    (13, 11, 3)
  ] * 7
  newest = Image.open(run / 'tokenizer/samples/reconstructions_0000050.png')
  assert np.array_equal(last, newest)
  first = page.index('Generated videos')
  assert first < page.index('Figures') < page.index('Reconstructions')
  captions = re.findall('<figcaption>(.*?)</figcaption>', page)
  assert [html.unescape(x) for x in captions[:7]] == [
    *[CLASSES[0]] * 4,
    *[CLASSES[1]] * 3,
  ]


def test_a_page_bears_a_few_videos_of_many_labels():
  labels = [f'class {i % 100}' for i in range(1000)]
  assert videos.choose(labels) == list(range(videos.MOST))
  assert videos.choose(['a', 'b', 'a']) == [0, 2, 1]
  assert len(videos.choose(['a'] * 100)) == videos.MOST_OF_ONE


def test_samples_by_prompt_have_their_prompts(run):
  path = run / 'samples/samples.npz'
  prompts = np.asarray(['a person bends', 'a <b>jump</b>'])
  np.savez(path, videos=SAMPLES['videos'], prompts=prompts)
  page = sections.make_report(run)
  assert 'a person bends</figcaption>' in page
  assert 'a &lt;b&gt;jump&lt;/b&gt;</figcaption>' in page
  np.savez(path, videos=SAMPLES['videos'], prompts=prompts[:1])
  with pytest.raises(ValueError, match='`prompts`'):
    sections.make_report(run)


def test_work_in_training_is_shown_until_there_are_samples(run):
  (run / 'samples/samples.npz').unlink()
  path = run / 'generator/samples/samples_0001500.png'
  media.write_contact_sheet(path, SAMPLES['videos'])
  assert 'after step 1,500. Time runs' in sections.make_report(run)
  for half, labels in (('generator', CLASSES), ('tokenizer', ('one', 'two'))):
    np.savez(
      run / half / 'samples/newest.npz',
      videos=SAMPLES['videos'],
      prompts=np.asarray(labels),
    )
  page = sections.make_report(run)
  sizes = [(x.width, x.n_frames) for x in pictures(Page(page))]
  # Each sample, then originals joined with their copies.
  assert sizes == [(13, 1), (13, 1), (2 * 13 + 2, 1)]
  assert 'one, two</figcaption>' in page


def test_names_from_the_run_are_escaped(run):
  page = Page(sections.make_report(run))
  assert 'script' not in page.tags
  for name in CLASSES:
    assert name in page.text


@pytest.mark.parametrize(
  ('path', 'named'),
  [
    ('tokenizer.json', 'tokenizer.json'),
    ('generator.json', 'generator.json'),
    ('samples/samples.npz', 'samples/samples.npz'),
    ('tokenizer/samples/reconstructions_*.png', 'reconstructions'),
    ('generator/metrics.jsonl', 'its metrics'),
    ('generator/config.json', "generator's config.json"),
  ],
)
def test_a_missing_part_is_named(run, path, named):
  for file in list(run.glob(path)):
    file.unlink()
  missing = re.findall(r'Missing: ([^.]*\.?\w*)', sections.make_report(run))
  assert any(named in html.unescape(text) for text in missing)


def test_a_workdir_alone_makes_a_report(run):
  text = sections.make_report(run / 'tokenizer')
  assert 'Held-out clips' in text
  assert text.count('<svg') == 3


@pytest.mark.parametrize('content', [b'', b'no archive', b'PK\x03\x04cut'])
def test_unreadable_samples_are_named(run, content):
  (run / 'samples/samples.npz').write_bytes(content)
  with pytest.raises(ValueError, match='samples.npz: not readable'):
    sections.make_report(run)


SAMPLES = {
  'videos': np.zeros((2, 3, 11, 13, 3), np.uint8),
  'labels': np.array([0, 1]),
  'classes': np.asarray(CLASSES),
}


@pytest.mark.parametrize(
  ('name', 'value', 'words'),
  [
    ('videos', np.zeros((2, 3, 11, 13, 3), np.float32), '`videos`'),
    ('videos', np.zeros((2, 0, 11, 13, 3), np.uint8), '`videos`'),
    ('videos', np.zeros((2, 11, 13, 3), np.uint8), '`videos`'),
    ('videos', np.zeros((2, 3, 11, 13, 4), np.uint8), 'shape'),
    ('videos', None, 'no videos.npy in it'),
    ('labels', np.array([0, 1, 1]), '`labels`'),
    ('labels', np.array([0.0, 1.0]), '`labels`'),
    ('labels', np.array([0, 2]), 'labels 0 to 2 of 2 classes'),
    ('labels', np.array([-1, 0]), 'labels -1 to 0 of 2 classes'),
    ('classes', np.array([1, 2]), '`classes`'),
    ('classes', np.array(['a', None], object), 'objects'),
    ('classes', np.array('a'), '`classes`'),
  ],
)
def test_samples_of_another_structure_are_refused(run, name, value, words):
  arrays = {**SAMPLES, name: value}
  arrays = {k: v for k, v in arrays.items() if v is not None}
  np.savez(run / 'samples/samples.npz', **arrays)
  with pytest.raises(ValueError, match=words) as caught:
    sections.make_report(run)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'path',
  ['tokenizer.json', 'generator.json', 'tokenizer/config.json', 'config.json'],
)
@pytest.mark.parametrize('text', ['[1]', '3', '{"a": NaN}', '[' * 10**5, ''])
def test_json_of_another_structure_is_refused_by_name(run, path, text):
  (run / path).write_text(text)
  with pytest.raises(ValueError, match=f'{path}: ') as caught:
    sections.make_report(run)
  assert '\n' not in str(caught.value)


def test_results_of_odd_values_are_shown_as_they_are(run):
  odd = {'psnr': [[1, 'a'], {}], 'ssim': {'a': 1}, 'fvd': True, 'kvd': '<b>'}
  (run / 'tokenizer.json').write_text(json.dumps(odd))
  assert '&lt;b&gt;' in sections.make_report(run)
  (run / 'tokenizer.json').write_text('{"class_accuracy_by_class": [1]}')
  with pytest.raises(ValueError, match='class_accuracy_by_class is'):
    sections.make_report(run)


BAD_LINES = [
  '3',
  '"text"',
  '[1]',
  'null',
  '{}',
  '{"step": "1", "kind": "train"}',
  '{"step": -1, "kind": "train"}',
  '{"step": 1.5, "kind": "train"}',
  '{"step": 1, "kind": ["train"]}',
  '{"step": 1, "kind": "train", "loss": NaN}',
  '{"step": 1, "kind": "train", "loss": "high"}',
  '{"step": 1, "kind": "train", "loss": [1]}',
  '{"step": 1, "kind": "train", "loss": 1' + '0' * 400 + '}',
  '[' * 2000,
  '\udcff',
]


def test_lines_that_are_no_metrics_are_left_out_and_counted(run, caplog):
  path = run / 'tokenizer/metrics.jsonl'
  whole = metrics.read_metrics(run / 'tokenizer')
  assert len(whole) == 6 and not caplog.records
  bad = ''.join(f'{line}\n' for line in BAD_LINES)
  good = path.read_bytes()
  path.write_bytes(bad.encode(errors='surrogateescape') + b'\n\n' + good)
  assert metrics.read_metrics(run / 'tokenizer') == whole
  assert f'{len(BAD_LINES)} lines left out: line 1' in caplog.text
  page = sections.make_report(run)
  assert '50 steps, 0.25 s each' in page


def test_values_that_no_axis_shows_break_no_chart(run):
  path = run / 'tokenizer/metrics.jsonl'
  lines = [
    {'step': step, 'kind': 'train', 'loss': value, f'net{step}/loss': value}
    for step, value in enumerate(
      [1e308, -1e308, 5e-324, 0.0, 1e299, -1e299, 1e-299, 2**62, None] * 2
    )
  ]
  lines.append({'step': 2**62, 'kind': 'train', 'bit_accuracy/scaleX': 1.0})
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  page = sections.make_report(run)
  assert 'nan' not in page and 'inf"' not in page


PICTURES = {
  'empty': b'',
  'text': b'no picture',
  'cut': b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0',
  'bomb': b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x0f\xff\xff\0\x0f\xff\xff'
  b'\x08\x02\0\0\0',
}


@pytest.mark.parametrize('name', PICTURES)
def test_a_damaged_picture_is_missing(run, name):
  path = run / 'tokenizer/samples/reconstructions_0000050.png'
  path.write_bytes(PICTURES[name])
  page = sections.make_report(run)
  assert 'Missing: a picture, which is damaged' in page
  path.write_bytes(b'')
  path.rename(path.with_name('reconstructions_last.png'))
  page = Page(sections.make_report(run))  # the one before, by its number
  assert 'after step 5.' in page.text


@pytest.mark.parametrize(
  'out',
  ['{run}', '/proc/x.html', '/dev/null', '{run}/no/x.html']
  + [f'{{run}}/{name}' for name in ('tokenizer.json', 'samples/samples.npz')]
  + ['{run}/tokenizer/config.json', '{run}/generator/metrics.jsonl'],
)
def test_a_report_is_written_over_nothing_it_reads(run, out):
  before = {x: x.read_bytes() for x in run.rglob('*') if x.is_file()}
  argv = ['report', f'--run={run}', f'--out={out.format(run=run)}']
  with pytest.raises(SystemExit) as end:
    command.run(report, argv)
  assert '\n' not in end.value.code
  assert before == {x: x.read_bytes() for x in run.rglob('*') if x.is_file()}


def test_names_that_are_no_text_are_written_escaped(run, tmp_path):
  path = run / 'samples/samples.npz'
  with np.load(path) as file:
    arrays = dict(file)
  classes = ['\udcff', *arrays.pop('classes')[1:]]
  np.savez(path, classes=np.asarray(classes), **arrays)
  out = tmp_path / 'page.html'
  assert not command.run(report, ['report', f'--run={run}', f'--out={out}'])
  assert '\\udcff' in out.read_text()


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match='no run in it'):
    sections.make_report(tmp_path)
  with pytest.raises(ValueError, match='no such folder'):
    sections.make_report(tmp_path / 'absent')


def test_scales_and_several_networks_have_their_curves(tmp_path):
  run = tmp_path / 'run'
  run.mkdir()
  (run / 'config.json').write_text(json.dumps({'recipe': 'tokenizer'}))
  lines = []
  for step in (1, 2, 3):
    values = {'step_s': 0.5, 'discriminator/loss': 1.0 + step}
    for k in range(3):
      values[f'autoencoder/bit_entropy/scale{k}'] = 0.9
      values[f'autoencoder/residual_energy/scale{k}'] = 0.5**k
    values |= {'autoencoder/loss': 3.0 / step, 'autoencoder/psnr': 20.0}
    lines.append({'step': step, 'kind': 'train', **values})
  lines.append({'step': 3, 'kind': 'heldout', 'loss': 2.0, 'psnr': 19.0})
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (run / 'metrics.jsonl').write_text(text)
  page = sections.make_report(run)
  for words in (
    'train autoencoder',
    'train discriminator',
    'held out',
    'entropy of a bit by scale',
    'left over after each scale',
    'scale 2',
  ):
    assert words in page, words
  assert 'bit accuracy by scale' not in page
