"""umT5's encoder: agreement with transformers, whole and layer by layer.

Goldens: tests/goldens/wan_goldens.py.
"""

import io
import json
import pathlib
import sys

import golden_inputs
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from toy import compile_cache  # noqa: F401

from videoar_jax.core.digest import flatten, nest
from videoar_jax.transformer import umt5_stream, umt5_text
from videoar_jax.transformer.umt5 import (
  Umt5Config,
  Umt5Encoder,
  buckets,
  param_shapes,
)
from videoar_jax.transformer.umt5_stream import TextEncoder
from videoar_jax.transformer.umt5_weights import Names, naming, open_weights

GOLDEN = np.load(pathlib.Path(__file__).parent / 'goldens' / 'umt5.npz')
TINY = golden_inputs.UMT5
CONFIG = Umt5Config(
  num_layers=TINY['num_layers'],
  width=TINY['d_model'],
  num_heads=TINY['num_heads'],
  head_width=TINY['d_kv'],
  hidden=TINY['d_ff'],
  vocabulary=TINY['vocab_size'],
  dtype='float32',
)
WORDS = ('<pad>', '</s>', '<unk>', '▁a', '▁cat', '▁on', '▁mat', '▁', '.', 'c')


def state_dict(which=Names.HUGGING_FACE):
  """The weights of the goldens, by name."""
  own, other = (naming(CONFIG, x) for x in (Names.HUGGING_FACE, which))
  return {
    other[name].name: golden_inputs.drawn(x.name, x.shape)
    for name, x in own.items()
  }


def write_tokenizer(path):
  """A tokenizer.json of a few words."""
  model = tokenizers.models.Unigram(
    [(word, -float(i)) for i, word in enumerate(WORDS)], 2, False
  )
  found = tokenizers.Tokenizer(model)
  found.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  found.add_special_tokens(list(WORDS[:3]))
  found.save(str(path))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Weights in two files, and a tokenizer."""
  folder = tmp_path_factory.mktemp('umt5')
  state = state_dict()
  for i in range(2):
    part = {name: x for j, (name, x) in enumerate(state.items()) if j % 2 == i}
    safetensors.numpy.save_file(part, folder / f'part{i}.safetensors')
  write_tokenizer(folder / 'tokenizer.json')
  return folder


def prompts_of(tokens_bl):
  return [
    row[:length].tolist()
    for row, length in zip(tokens_bl, golden_inputs.UMT5_LENGTHS)
  ]


def test_states_are_those_of_transformers():
  way, state = naming(CONFIG, Names.HUGGING_FACE), state_dict()
  shapes = {k: x.shape for k, x in flatten(param_shapes(CONFIG)).items()}
  params = nest(
    {k: way[k].taken(state[way[k].name], x) for k, x in shapes.items()}
  )
  tokens_bl = golden_inputs.umt5_tokens()
  states = jax.jit(Umt5Encoder(CONFIG).apply)(
    {'params': params}, tokens_bl, np.int32(golden_inputs.UMT5_LENGTHS)
  )
  np.testing.assert_allclose(states, GOLDEN['states_bld'], atol=1e-5)


def test_layer_by_layer_gives_the_same_states(folder):
  encoder = TextEncoder.open(folder, dtype='float32')
  assert encoder.config == CONFIG
  found = encoder.encode_tokens(prompts_of(golden_inputs.umt5_tokens()))
  for state_ld, wanted_ld in zip(found, GOLDEN['states_bld']):
    np.testing.assert_allclose(state_ld, wanted_ld[: len(state_ld)], atol=1e-5)


def test_the_full_network_has_its_size():
  shapes = jax.tree.leaves(param_shapes(Umt5Config()))
  assert sum(x.size for x in shapes) == 5_680_910_336


@pytest.mark.parametrize('which', list(Names))
def test_names_and_shapes_of_both_projects_are_known(which):
  way = naming(Umt5Config(), which)
  found = {x.name: list(x.shape) for x in way.values()}
  if which == Names.HUGGING_FACE:
    wanted = dict(json.loads(bytes(GOLDEN['names'])))
    # The embedding has two names there.
    assert wanted.pop('encoder.embed_tokens.weight') == found['shared.weight']
    assert found == wanted
  else:
    assert found['token_embedding.weight'] == [256384, 4096]
    assert found['norm.weight'] == [4096]
    assert {k: v for k, v in found.items() if k.startswith('blocks.23.')} == {
      'blocks.23.norm1.weight': [4096],
      'blocks.23.attn.q.weight': [4096, 4096],
      'blocks.23.attn.k.weight': [4096, 4096],
      'blocks.23.attn.v.weight': [4096, 4096],
      'blocks.23.attn.o.weight': [4096, 4096],
      'blocks.23.norm2.weight': [4096],
      'blocks.23.ffn.gate.0.weight': [10240, 4096],
      'blocks.23.ffn.fc1.weight': [10240, 4096],
      'blocks.23.ffn.fc2.weight': [4096, 10240],
      'blocks.23.pos_embedding.embedding.weight': [32, 64],
    }
    assert len(found) == 2 + 24 * 10


def test_positions_fall_into_the_buckets_of_transformers():
  found = buckets(512, Umt5Config())
  for query in range(512):
    wanted = GOLDEN['buckets'][511 - query : 1023 - query]
    np.testing.assert_array_equal(found[query], wanted)


def test_names_files_and_batches_make_no_difference(folder, tmp_path):
  path = tmp_path / 'original.safetensors'
  state = state_dict(Names.ORIGINAL)
  safetensors.numpy.save_file(state, path)
  encoders = [TextEncoder.open(folder, dtype='float32')]
  encoders.append(
    TextEncoder.open(path, tokenizer=folder / 'tokenizer.json', dtype='float32')
  )
  assert encoders[0].digest == encoders[1].digest
  tokens = prompts_of(golden_inputs.umt5_tokens())
  alone = [encoders[1].encode_tokens([row])[0] for row in tokens]
  for one, other in zip(alone, encoders[0].encode_tokens(tokens)):
    np.testing.assert_allclose(one, other, atol=1e-5)
  state['norm.weight'] = state['norm.weight'] + 1e-6
  safetensors.numpy.save_file(state, path)
  other = TextEncoder.open(path, tokenizer=folder / 'tokenizer.json')
  assert other.digest != encoders[0].digest


def test_batches_hold_every_prompt_once_in_few_shapes():
  lengths = np.random.default_rng(0).integers(1, 513, 300).tolist()
  batches = umt5_stream._batches(lengths)
  rows = [row for _, _, rows in batches for row in rows]
  assert sorted(rows) == list(range(300))
  for size, width, rows in batches:
    assert len(rows) <= size and size * width <= 4096
    assert max(lengths[row] for row in rows) <= width
  assert len({x[:2] for x in batches}) <= 4
  assert umt5_stream._batches([3]) == [(1, 64, [0])]


def test_half_the_bits_are_near_and_stored_ones_may_be_either(folder, tmp_path):
  tokens = prompts_of(golden_inputs.umt5_tokens())
  half = TextEncoder.open(folder)
  assert half.config.dtype == 'bfloat16'
  found = half.encode_tokens(tokens)
  for state_ld, wanted_ld in zip(found, GOLDEN['states_bld']):
    wanted_ld = wanted_ld[: len(state_ld)]
    gap = np.abs(state_ld - wanted_ld).mean() / np.abs(wanted_ld).mean()
    assert 1e-4 < gap < 0.05
  state = {k: x.astype(ml_dtypes.bfloat16) for k, x in state_dict().items()}
  # Its other name, as in files of whole pipelines.
  state['encoder.embed_tokens.weight'] = state.pop('shared.weight')
  safetensors.numpy.save_file(state, tmp_path / 'half.safetensors')
  stored = TextEncoder.open(tmp_path, tokenizer=folder / 'tokenizer.json')
  assert stored.digest == half.digest
  np.testing.assert_array_equal(stored.encode_tokens(tokens)[1], found[1])


def test_weights_of_another_network_are_refused(folder, tmp_path):
  def refused(words, **changes):
    state = {**state_dict(), **changes}
    state = {name: x for name, x in state.items() if x is not None}
    safetensors.numpy.save_file(state, tmp_path / 'x.safetensors')
    with pytest.raises(ValueError, match=words):
      open_weights(tmp_path)

  norm = 'encoder.final_layer_norm.weight'
  refused(
    r'final_layer_norm.weight is \(3,\), wanted \(16,\)', **{norm: np.ones(3)}
  )
  refused(f'there is no {norm}; get the whole file', **{norm: None})
  bias = 'encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight'
  refused('there is no encoder.block.1.*bias', **{bias.format(1): None})
  refused('wanted the encoder of umT5, with arrays', **{bias.format(0): None})
  (tmp_path / 'config.json').write_text('{"model_type": "t5"}')
  refused("config.json: model_type is 't5'.*wanted that of umT5")
  report = open_weights(folder)[-1]
  assert len(report.mapped) == 22 and not report.skipped


def test_prompts_are_cleaned_as_wan_cleans_them():
  wanted = json.loads(bytes(GOLDEN['texts']))
  assert [umt5_text.clean(x) for x in golden_inputs.RAW_TEXTS[:2]] == wanted[:2]
  pytest.importorskip('ftfy', reason="pip install 'videoar_jax[text]'")
  assert [umt5_text.clean(x) for x in golden_inputs.RAW_TEXTS] == wanted


def test_a_package_that_is_missing_is_named(monkeypatch, folder, tmp_path):
  monkeypatch.setitem(sys.modules, 'ftfy', None)
  monkeypatch.setitem(sys.modules, 'sentencepiece', None)
  encoder = TextEncoder.open(folder)
  encoder.check(['a cat'])
  with pytest.raises(ValueError, match=r"ftfy is not .*'videoar_jax\[text\]'"):
    encoder.check(['a café'])
  (tmp_path / 'spiece.model').write_bytes(b'x')
  with pytest.raises(ValueError, match=r'sentencepiece is not .*\[text\]'):
    umt5_text.read_tokenizer(tmp_path / 'spiece.model')


def test_prompts_become_pieces_and_an_end(folder):
  tokenizer = umt5_text.read_tokenizer(folder / 'tokenizer.json')
  assert tokenizer.encode(' a  cat on a mat. ') == [3, 4, 5, 3, 6, 8, 1]
  assert len(tokenizer.encode('a ' * 511)) == 512
  with pytest.raises(ValueError, match="prompt 'a a .* has 513 tokens"):
    tokenizer.encode('a ' * 512)
  with pytest.raises(ValueError, match='is empty'):
    tokenizer.encode(' ')


def test_sentencepiece_gives_the_same_pieces(tmp_path):
  sentencepiece = pytest.importorskip(
    'sentencepiece', reason="pip install 'videoar_jax[text]'"
  )
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['a cat on a mat', 'the cat sat on the mat'] * 20),
    model_writer=model,
    vocab_size=14,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
  )
  path = tmp_path / 'spiece.model'
  path.write_bytes(model.getvalue())
  found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
  pieces = [
    (found.id_to_piece(i), found.get_score(i)) for i in range(len(found))
  ]
  other = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 2, False))
  other.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  other.save(str(tmp_path / 'tokenizer.json'))
  readers = [
    umt5_text.read_tokenizer(tmp_path / name) for name in umt5_text.FILES
  ]
  for text in ('the mat', 'a cat  sat on the cat', 'tame moths'):
    tokens = [reader.encode(text) for reader in readers]
    assert tokens[0] == tokens[1] and len(tokens[0]) > 2


def test_tokenizers_that_are_not_umt5s_are_refused(folder, tmp_path):
  safetensors.numpy.save_file(state_dict(), tmp_path / 'x.safetensors')
  with pytest.raises(ValueError, match='no tokenizer.json or spiece.model in'):
    TextEncoder.open(tmp_path)
  path = tmp_path / 'tokenizer.json'
  path.write_text('{}')
  with pytest.raises(ValueError, match='tokenizer.json: not a JSON file of'):
    umt5_text.read_tokenizer(path)
  found = tokenizers.Tokenizer(
    tokenizers.models.Unigram([('a', 0.0)], 0, False)
  )
  found.save(str(path))
  with pytest.raises(ValueError, match=r'are \[None, None\]; wanted .* umT5'):
    umt5_text.read_tokenizer(path)
  with pytest.raises(ValueError, match='none.json: no such tokenizer'):
    umt5_text.read_tokenizer(tmp_path / 'none.json')
  with pytest.raises(
    ValueError, match='dtype=int8: wanted float32 or bfloat16'
  ):
    TextEncoder.open(folder, dtype='int8')
