"""States of prompts, cached: taken up where stopped, refused where foreign."""

import json
import zlib

import ml_dtypes
import numpy as np
import pytest
from test_prepare_command import run
from test_umt5 import folder  # noqa: F401
from toy import compile_cache  # noqa: F401

from videoar_jax.core import files
from videoar_jax.data import embeddings
from videoar_jax.data.embeddings import (
  open_embeddings,
  prepare_embeddings,
  read_prompts,
)
from videoar_jax.data.prompts import NEGATIVE_PROMPT
from videoar_jax.transformer.umt5_stream import TextEncoder

NEGATIVE = 'a mat.'
PROMPTS = ('a cat', 'a cat on a mat', 'cat  on\tcat')


def encoded(prompts):
  """As an encoder: states that tell prompts apart."""
  return [
    np.full((len(prompt), 4), zlib.crc32(prompt.encode()) % 97, np.float32)
    for prompt in prompts
  ]


def prepare(out, prompts=PROMPTS, *, encode=encoded, **changes):
  options = {'negative_prompt': NEGATIVE, 'encoder': 'digest', **changes}
  return prepare_embeddings(prompts, str(out), encode=encode, **options)


@pytest.fixture
def small_shards(monkeypatch):
  monkeypatch.setattr(embeddings, '_PER_SHARD', 2)


def test_states_are_found_by_prompt(tmp_path, small_shards):
  prepare(tmp_path / 'x', [*PROMPTS, NEGATIVE])
  cache = open_embeddings(str(tmp_path / 'x'), encoder='digest')
  assert len(cache) == 4  # the negative prompt once
  for prompt in (*PROMPTS, NEGATIVE):
    (wanted,) = encoded([prompt])
    assert f' {prompt}\n' in cache
    assert cache[prompt].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(cache[prompt], wanted.astype('bfloat16'))
  np.testing.assert_array_equal(cache.negative, cache[NEGATIVE])
  batch = cache.batch(PROMPTS[:2], length=16)
  assert batch.shape == (2, 16, 4)
  np.testing.assert_array_equal(batch[0, :5], cache['a cat'])
  assert not batch[0, 5:].any()
  with pytest.raises(ValueError, match='length=9: a prompt has 14 tokens'):
    cache.batch(PROMPTS, length=9)
  assert 'a dog' not in cache
  with pytest.raises(ValueError, match="no states of the prompt 'a dog'"):
    cache['a dog']


def test_states_of_another_encoder_are_refused(tmp_path):
  prepare(tmp_path / 'x')
  with pytest.raises(ValueError, match='digest digest, not other; name that'):
    open_embeddings(str(tmp_path / 'x'), encoder='other')
  assert open_embeddings(str(tmp_path / 'x')).encoder == 'digest'
  for change, words in (
    ({'encoder': 'other'}, 'prepared with another text encoder'),
    ({'prompts': ('a',)}, 'prepared from other prompts'),
    ({'negative_prompt': 'b'}, "with negative_prompt='a mat.', now 'b'"),
  ):
    with pytest.raises(ValueError, match=words):
      prepare(tmp_path / 'x', **change)


def test_a_stopped_run_is_taken_up_where_it_was(tmp_path, small_shards):
  def stops(prompts):
    if PROMPTS[1] in prompts:
      raise KeyboardInterrupt
    return encoded(prompts)

  with pytest.raises(KeyboardInterrupt):
    prepare(tmp_path / 'x', encode=stops)
  with pytest.raises(ValueError, match='was not finished'):
    open_embeddings(str(tmp_path / 'x'))
  asked = []

  def counts(prompts):
    asked.extend(prompts)
    return encoded(prompts)

  prepare(tmp_path / 'x', encode=counts)
  assert asked == [*PROMPTS[1:]]
  cache = open_embeddings(str(tmp_path / 'x'))
  assert [x.tobytes() for x in map(cache.__getitem__, PROMPTS)] == [
    x.astype('bfloat16').tobytes() for x in encoded(PROMPTS)
  ]
  prepare(tmp_path / 'x', encode=None)  # complete: nobody is asked


def test_damage_is_noticed(tmp_path):
  prepare(tmp_path / 'x')
  (shard,) = (tmp_path / 'x').glob('*.array_record')
  manifest = tmp_path / 'x' / 'manifest.json'
  about = json.loads(manifest.read_text())
  about['keys'][0], about['keys'][1] = about['keys'][1], about['keys'][0]
  manifest.write_text(json.dumps(about))
  with pytest.raises(ValueError, match='record 0 is damaged .it is of another'):
    open_embeddings(str(tmp_path / 'x'))['a cat']
  manifest.write_text(json.dumps({**about, 'keys': about['keys'][1:]}))
  with pytest.raises(ValueError, match='3 prompts and 4 records: altered'):
    open_embeddings(str(tmp_path / 'x'))
  shard.write_bytes(shard.read_bytes()[:-1])
  with pytest.raises(ValueError, match='truncated or altered'):
    open_embeddings(str(tmp_path / 'x'))

  def broken(prompts):
    return [x * np.nan for x in encoded(prompts)]

  with pytest.raises(ValueError, match="'a mat.' that are not finite"):
    prepare(tmp_path / 'y', encode=broken)


def test_prompts_are_read_from_lines_and_from_captions(tmp_path):
  (tmp_path / 'x.txt').write_text('a cat\n\n  a mat \r\na cat\n')
  assert read_prompts(str(tmp_path / 'x.txt')) == ['a cat', 'a mat']
  lines = [{'video': 'a/b', 'caption': x} for x in ('one', 'two', 'one')]
  text = '\n'.join(map(json.dumps, lines))
  (tmp_path / 'x.jsonl').write_text(text)
  assert read_prompts(str(tmp_path / 'x.jsonl')) == ['one', 'two']
  (tmp_path / 'x.txt').write_text('\n')
  with pytest.raises(ValueError, match='no line in it'):
    read_prompts(str(tmp_path / 'x.txt'))


def test_the_command_caches_what_the_encoder_gives(
  tmp_path,
  folder,
  capsys,  # noqa: F811
):
  (tmp_path / 'prompts.txt').write_text('\n'.join(PROMPTS))
  flags = [
    '--text',
    f'--prompts={tmp_path / "prompts.txt"}',
    f'--checkpoint={folder}',
    '--dtype=float32',
    f'--out={tmp_path / "out"}',
  ]
  assert run(*flags, f'--negative_prompt={NEGATIVE}') is None
  assert '4 prompts, the negative one among them' in capsys.readouterr().out
  encoder = TextEncoder.open(folder, dtype='float32')
  cache = open_embeddings(str(tmp_path / 'out'), encoder=encoder.digest)
  for prompt, state_ld in zip(PROMPTS, encoder.encode(PROMPTS)):
    found = cache[prompt].astype(np.float32)
    assert found.shape == (len(encoder.tokens(prompt)), 16)
    np.testing.assert_allclose(found, state_ld, rtol=2**-7, atol=1e-3)
  assert run(*flags, f'--negative_prompt={NEGATIVE}') is None
  assert 'complete already' in capsys.readouterr().out
  other = [x for x in flags if x != '--dtype=float32']
  said = run(*other, f'--negative_prompt={NEGATIVE}')
  assert 'prepared with another text encoder' in said


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    ('--text', '--prompts is missing'),
    ('--text --prompts=x --out=y', '--checkpoint is missing'),
    (
      '--text --prompts=x --checkpoint=y --out=z --flips',
      '--flips is not read',
    ),
    ('--source=images:x --out=y --prompts=x', '--prompts goes with --text'),
    ('--source=images:x --out=y --dtype=float32', '--dtype goes with --text'),
  ],
)
def test_flags_of_other_work_are_refused(capsys, flags, words):
  assert run(*flags.split()) == 2
  assert words in capsys.readouterr().err


def test_prompts_that_are_too_long_are_refused_by_name_at_first(
  tmp_path,
  folder,  # noqa: F811
):
  (tmp_path / 'prompts.txt').write_text('a cat\n' + 'cat ' * 600)
  said = run(
    '--text',
    f'--prompts={tmp_path / "prompts.txt"}',
    f'--checkpoint={folder}',
    f'--out={tmp_path / "out"}',
    f'--negative_prompt={NEGATIVE}',
  )
  assert (
    "1 of 3 prompts cannot be encoded:\n  prompt 2: prompt 'cat cat" in said
  )
  assert 'has 601 tokens, the text encoder reads 512' in said
  assert not (tmp_path / 'out').exists()


def test_wans_negative_prompt_is_a_text_of_its_own():
  assert (
    NEGATIVE_PROMPT.startswith('色调艳丽，过曝') and len(NEGATIVE_PROMPT) == 137
  )
  assert files.is_text(NEGATIVE_PROMPT)
