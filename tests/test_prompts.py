"""Prompts and captions: any text is read, what cannot be is refused."""

import dataclasses
import json

import numpy as np
import pytest
import tokenizers

from videoar_jax.data.captions import PromptedSource, read_captions
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import BadRecordError
from videoar_jax.data.pipeline import make_batches
from videoar_jax.data.prompts import (
  PADDING,
  PromptConfig,
  PromptEncoder,
  read_tokenizer,
  train_bpe,
)

TEXTS = ['a video of a person riding a horse', 'a person plays the violin'] * 3
JSON = train_bpe(TEXTS, vocabulary=300)
ENCODER = PromptEncoder(PromptConfig(tokenizer=JSON), 12)


def test_the_same_texts_give_the_same_tokenizer():
  assert train_bpe(TEXTS, vocabulary=300) == JSON
  assert 256 < ENCODER.vocabulary <= 300
  assert train_bpe(TEXTS[:1], vocabulary=300) != JSON


def test_known_words_are_few_tokens_and_unknown_ones_bytes():
  known = ENCODER.encode('a person riding a horse')
  assert known.dtype == np.int32 and known.shape == (12,)
  assert 3 <= (known != PADDING).sum() <= 8
  assert (known[(known == PADDING).argmax() :] == PADDING).all()
  strange = ENCODER.encode('日本')
  assert (strange != PADDING).sum() >= 6 and strange.max() < ENCODER.vocabulary
  assert (ENCODER.encode(' a horse\n') == ENCODER.encode('a horse')).all()


def test_a_tokenizer_is_read_from_a_file(tmp_path):
  path = tmp_path / 'tokenizer.json'
  path.write_text(JSON)
  assert read_tokenizer(str(path)) == JSON
  path.write_text('{"version": 2}')
  with pytest.raises(ValueError, match='tokenizer.json: not a JSON file of'):
    read_tokenizer(str(path))
  path.write_text(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())
  with pytest.raises(ValueError, match='tokenizer.json: it knows no token'):
    read_tokenizer(str(path))
  path.write_bytes(b'{\n"x": "\xff"}')
  with pytest.raises(ValueError, match='line 2: byte 0xff is not UTF-8'):
    read_tokenizer(str(path))
  with pytest.raises(ValueError, match='none.json: no such file'):
    read_tokenizer(str(tmp_path / 'none.json'))


@pytest.mark.parametrize(
  ('prompt', 'message'),
  [
    ('', "prompt '' is empty"),
    (' \n', 'is empty'),
    ('a \udcff cat', r"'a .udcff cat': character 3 is no text"),
    ('a cat\0', 'character 6 is no text'),
    ('\udcff' * 99, 'character 1 is no text'),
    ('wxyz ' * 9, 'tokens, the generator reads 12'),
    ('wxyz ' * 200_000, '999999 characters; use fewer than 20000'),
  ],
)
def test_prompts_that_cannot_be_read_are_refused(prompt, message):
  with pytest.raises(ValueError, match=message) as refusal:
    ENCODER.encode(prompt)
  assert len(str(refusal.value).encode()) < 200


def test_other_refusals():
  with pytest.raises(ValueError, match='vocabulary=100'):
    train_bpe(TEXTS, vocabulary=100)
  with pytest.raises(ValueError, match="template='a person'"):
    PromptConfig(template='a person')
  with pytest.raises(ValueError, match=r"template 'a \\udcff {}': character 3"):
    PromptConfig(template='a \udcff {}')


def test_names_of_classes_are_read_as_words():
  config = PromptConfig(template='a video of {}')
  assert config.class_prompt('ApplyEyeMakeup') == 'a video of apply eye makeup'
  assert config.class_prompt('orbit_clockwise') == 'a video of orbit clockwise'
  braces = PromptConfig(template='{style} of {}')
  assert braces.class_prompt('Archery') == '{style} of archery'


def _file(tmp_path, *lines):
  path = tmp_path / 'captions.jsonl'
  path.write_text('\n'.join(lines))
  return str(path)


def _line(video, caption):
  return json.dumps({'video': video, 'caption': caption})


def test_captions_are_read_by_name(tmp_path):
  path = _file(
    tmp_path, _line('a/x.avi', 'one'), '', _line('a/x', 'two'), _line('y', '3')
  )
  assert read_captions(path) == {'a/x': ('one', 'two'), 'y': ('3',)}


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('{', 'line 2: not JSON'),
    ('["x", "y"]', 'line 2: it is .* wanted an object'),
    (_line('x', ' '), "line 2: caption is ' ': wanted text"),
    (_line('x', 3), 'line 2: caption is 3: wanted text'),
    ('{"caption": "one"}', 'line 2: video is missing; wanted {"video": name'),
    *(
      (_line(name, 'x'), 'line 2: video is .* path below the data')
      for name in ('.', '', '/', '/data/a/x.avi', '../a/x.avi', 7)
    ),
    (_line('x', 'half \ud800'), 'line 2: not JSON .*half a character'),
    (_line('\udc80', 'x'), 'line 2: not JSON .*half a character'),
    ('{"video": "x", "caption": NaN}', 'line 2: not JSON'),
    ('[' * 100_000, 'line 2: not JSON .nested too deeply'),
  ],
)
def test_lines_that_are_no_captions_are_refused(tmp_path, line, message):
  with pytest.raises(ValueError, match=message):
    read_captions(_file(tmp_path, _line('z', 'fine'), line))


def test_a_file_without_captions_is_refused(tmp_path):
  with pytest.raises(ValueError, match='no line in it'):
    read_captions(_file(tmp_path, ''))
  with pytest.raises(ValueError, match='none.jsonl: no such file'):
    read_captions(str(tmp_path / 'none.jsonl'))


def test_captions_keep_what_is_text_in_any_line_ending(tmp_path):
  path = tmp_path / 'captions.jsonl'
  line = '{"video": "%s", "caption": "%s"}'
  one = line % ('a/x.avi', 'one\u2028two\x85three')
  text = '\r\n'.join((one, line % ('v.01', '\\ud83d\\ude00')))
  path.write_bytes(b'\xef\xbb\xbf' + text.encode())
  assert read_captions(str(path)) == {
    'a/x': ('one\u2028two\x85three',),
    'v.01': ('\U0001f600',),
  }


def test_captions_in_latin_1_are_refused_by_line(tmp_path):
  path = tmp_path / 'captions.jsonl'
  lines = [_line('x', 'fine'), '{"video": "y", "caption": "café"}']
  path.write_bytes('\n'.join(lines).encode('latin-1'))
  with pytest.raises(ValueError, match='line 2: byte 0xe9 is not UTF-8'):
    read_captions(str(path))


@dataclasses.dataclass(frozen=True)
class _Videos:
  """Three records with names."""

  names: tuple[str, ...] = ('Riding/x.mp4', 'Riding/y.avi', 'Violin/z.mp4')
  classes = ('Riding', 'Violin')

  def __len__(self):
    return len(self.names)

  def name(self, index):
    return self.names[index]

  def load(self, index, rng):
    return {'video': rng.integers(9), 'label': index // 2}

  def explain(self, index):
    return 'broken'


def test_records_carry_the_prompt_of_their_class():
  source = PromptedSource.of(_Videos(), ENCODER, '')
  rng = np.random.default_rng(0)
  prompts = [source.load(index, rng)['prompt'] for index in range(3)]
  wanted = ENCODER.encode('a video of a person violin')
  np.testing.assert_array_equal(prompts[2], wanted)
  np.testing.assert_array_equal(prompts[0], prompts[1])
  assert (prompts[0] != wanted).any()


def test_records_carry_one_of_their_captions(tmp_path):
  path = _file(
    tmp_path,
    _line('Riding/x.avi', 'a horse'),
    _line('Riding/x.avi', 'a person'),
    _line('z.mp4', 'x ' * 40),
  )
  source = PromptedSource.of(_Videos(), ENCODER, path)
  drawn = {
    tuple(source.load(0, np.random.default_rng(seed))['prompt'])
    for seed in range(20)
  }
  assert drawn == {tuple(ENCODER.encode(x)) for x in ('a horse', 'a person')}
  with pytest.raises(BadRecordError, match='no caption'):
    source.load(1, np.random.default_rng(0))
  assert source.explain(0) == 'broken'
  assert 'no caption' in source.explain(1)
  assert 'reads 12' in source.explain(2)


def test_batches_carry_prompts_as_a_function_of_seed_and_step():
  config = DataConfig(batch_size=4, num_frames=3, height=8, width=8)
  encoder = dataclasses.replace(ENCODER, length=24)
  stream = make_batches(config, train=True, seed=3, prompts=encoder)
  first = [next(stream) for _ in range(3)]
  assert first[0]['prompt'].shape == (4, 24)
  later = make_batches(
    config, train=True, seed=3, start_step=2, prompts=encoder
  )
  np.testing.assert_array_equal(next(later)['prompt'], first[2]['prompt'])
  captioned = dataclasses.replace(config, captions='some.jsonl')
  with pytest.raises(ValueError, match='nothing here reads prompts'):
    make_batches(captioned, train=True, seed=0)
