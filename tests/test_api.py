"""The Python surface: what it returns, what it refuses, what it leaves."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest
from tiny_runs import CLASSES, FRAMES, SIDE, runs  # noqa: F401
from toy import compile_cache  # noqa: F401

import videoar_jax as va
from videoar_jax import media
from videoar_jax.commands import sample as sample_command
from videoar_jax.core import archive, command
from videoar_jax.data.prompts import PromptConfig, PromptEncoder
from videoar_jax.data.prompts import train_bpe as train_prompts
from videoar_jax.evaluate import compare, protocols
from videoar_jax.sample import program as program_lib
from videoar_jax.sample import sampler
from videoar_jax.sample.wanted import by_condition

pytestmark = pytest.mark.filterwarnings('ignore:Some donated buffers')
VIDEO = (FRAMES, SIDE, SIDE, 3)


def noise(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope='module')
def model(runs):  # noqa: F811
  return va.load(runs / 'generator')


@pytest.fixture(scope='module')
def tokenizer(runs):  # noqa: F811
  return va.load_tokenizer(runs / 'tokenizer')


@pytest.fixture(scope='module')
def two(model):
  return model.sample(['left', 3], seed=5, guidance=2)


def test_the_package_is_imported_without_jax():
  source = (
    'import sys, videoar_jax as va; dir(va); '
    'assert not {"jax", "numpy"} & set(sys.modules)'
  )
  subprocess.run([sys.executable, '-c', source], check=True)


def test_its_names_are_there_and_no_others():
  for name in va.__all__:
    assert getattr(va, name).__module__.startswith('videoar_jax.api.')
    assert name in dir(va)
  with pytest.raises(AttributeError, match='no_such'):
    va.no_such  # noqa: B018


def test_a_model_says_what_it_was_trained_on(model, runs):  # noqa: F811
  assert model.classes == CLASSES and not model.reads_text
  assert model.num_frames == FRAMES and model.size == (SIDE, SIDE)
  assert repr(model) == (
    f'<{runs}/generator: 8 classes, {FRAMES} frames {SIDE}×{SIDE}>'
  )


def test_samples_are_those_of_the_sampler(model, two):
  assert isinstance(two, va.Videos) and two.dtype == np.uint8
  assert two.shape == (2, *VIDEO) and two.labels == ('left', 'down')
  sampling = model.generator.sampling(seed=5, guidance='2')
  wanted = sampler.sample_videos(
    model.generator.program(sampling),
    model.generator.nets,
    [0, 3],
    sampling=sampling,
  )
  np.testing.assert_array_equal(two, np.stack(list(wanted)))
  other = model.sample(['left', 3], seed=6, guidance=2)
  assert (np.asarray(other) != two).mean() > 0.1


@pytest.mark.parametrize(
  'other',
  [{'guidance': '1:30:60'}, {'temperature': 0.1}, {'top_p': 0.55}],
)
def test_how_bits_are_drawn_compiles_nothing(model, two, other):
  generator = model.generator
  chosen = program_lib.choose(
    generator.family, generator.sampling(guidance='2')
  )
  compiled = program_lib.sample_program(chosen)
  before = compiled._cache_size()
  drawing = {'guidance': 2, **other}
  found = model.sample(['left', 3], seed=5, **drawing)
  assert compiled._cache_size() == before > 0
  assert (np.asarray(found) != two).any()


@pytest.mark.parametrize(
  ('condition', 'count', 'labels'),
  [
    (None, None, range(8)),
    (None, 10, [*range(8), 0, 1]),
    ('up', None, [2]),
    ('up', 3, [2, 2, 2]),
    (np.int64(7), None, [7]),
    (['up', 1], None, [2, 1]),
    (('up', 1), 3, [2, 1, 2]),
    (np.asarray([4, 5]), None, [4, 5]),
  ],
)
def test_conditions_take_turns(model, condition, count, labels):
  wanted = by_condition(model.generator, condition, count)
  assert wanted.conditions_nx.tolist() == list(labels)
  assert wanted.names == [CLASSES[label] for label in labels]
  assert wanted.facts['labels'].tolist() == list(labels)


def test_a_model_of_text_takes_prompts_and_classes(model):
  config = PromptConfig(tokenizer=train_prompts(['a cat'], vocabulary=256))
  reader = PromptEncoder(config, 60)
  generator = dataclasses.replace(model.generator, prompts=reader)
  assert va.Model(generator).reads_text
  wanted = by_condition(generator, ['a cat runs', 'left', 1])
  said = ['a cat runs', *map(config.class_prompt, ('left', 'right'))]
  np.testing.assert_array_equal(
    wanted.conditions_nx, [reader.encode(text) for text in said]
  )
  assert wanted.names == said
  assert by_condition(generator, 'left').names == ['left']
  with pytest.raises(ValueError, match='is empty'):
    by_condition(generator, ' ')


def test_a_stream_is_made_as_it_is_asked_for(model, two):
  frames = model.stream('left', seed=5, guidance=2)
  first = next(frames)
  assert first.shape == (SIDE, SIDE, 3) and first.dtype == np.uint8
  # Another one beside it does not disturb it.
  beside = model.stream('left', seed=5, guidance=2)
  pairs = [(first, next(beside)), *zip(frames, beside, strict=True)]
  mine, others = (np.stack(x) for x in zip(*pairs))
  np.testing.assert_array_equal(mine, others)
  # Two programs may round a sum apart, which turns a bit over at times.
  assert (np.abs(mine.astype(int) - two[0]) <= 2).mean() > 0.98


def test_a_stream_that_is_closed_leaves_nothing_in_memory(model):
  def held():
    return sum(x.nbytes for x in jax.live_arrays())

  list(model.stream('left', guidance=2))  # compiled, with its constants
  before = held()
  for _ in range(2):
    frames = model.stream('left', guidance=2)
    next(frames)
    assert held() > before
    frames.close()
    assert held() == before


@pytest.fixture
def given(monkeypatch):
  """What a program is given to go on from; nothing is sampled."""
  found = []

  def sample_videos(program, nets, conditions_nx, *, sampling, given, mesh):
    found.append(given)
    for _ in conditions_nx:
      yield noise(sampling.num_frames, SIDE, SIDE, 3)

  monkeypatch.setattr(sampler, 'sample_videos', sample_videos)
  return found


def test_a_video_goes_on_from_its_last_frames(
  model, tokenizer, given, tmp_path
):
  video = noise(7, SIDE, SIDE, 3)
  longer = model.extend(video, 'up', given_frames=5, num_frames=13)
  assert longer.shape == (1, 13, SIDE, SIDE, 3) and longer.labels == ('up',)
  media.write_mp4(tmp_path / 'clip.mp4', video.repeat(2, 1).repeat(2, 2))
  model.extend(tmp_path / 'clip.mp4', given_frames=5, num_videos=2)
  model.extend(media.read_video(tmp_path / 'clip.mp4')[-5:], 'up')
  for found, wanted in zip(given[0], tokenizer.encode(video[-5:])):
    np.testing.assert_array_equal(found, wanted)
  # A file and its frames are the same.
  for one, other in zip(given[1], given[2]):
    np.testing.assert_array_equal(one, other)


def test_a_tokenizer_codes_and_decodes(tokenizer, runs):  # noqa: F811
  video = noise(6, SIDE, SIDE, 3)
  bits = tokenizer.encode(video)
  assert [x.shape for x in bits] == [(1, 3, n, n, 6) for n in (1, 2, 4)]
  assert all(x.dtype == bool for x in bits)
  decoded = tokenizer.decode(bits, num_frames=6)
  assert isinstance(decoded, va.Videos) and decoded.shape == (1, *video.shape)
  for given in (video, video[None]):
    np.testing.assert_array_equal(decoded, tokenizer.reconstruct(given))
  coarse = tokenizer.reconstruct(video, num_scales=1)
  assert coarse.shape == decoded.shape and (coarse != decoded).any()
  # A generator brings its own along.
  for beside in (
    va.load_tokenizer(runs / 'generator'),
    va.load(runs / 'generator').tokenizer,
  ):
    for one, other in zip(beside.encode(video), bits, strict=True):
      np.testing.assert_array_equal(one, other)
  assert 'generator: 16×16 to 3 scales, 6 bits a token' in repr(beside)


def test_videos_of_other_sizes_are_cropped_and_said_to_be(
  tokenizer, tmp_path, capsys
):
  videos = tokenizer.reconstruct(noise(1, 40, 24, 3))
  assert videos.shape == (1, 1, SIDE, SIDE, 3)
  assert 'video 1×40×24×3: 40×24 is cropped' in capsys.readouterr().err


MODEL = [
  (lambda m: m.sample('lft'), "class 'lft' does not exist; did you mean left"),
  (lambda m: m.sample(8), 'label 8: wanted 0 to 7'),
  (lambda m: m.sample(-1), 'label -1'),
  (lambda m: m.sample(True), 'condition=True: wanted the name of a class'),
  (lambda m: m.sample(1.5), 'condition=1.5: wanted'),
  (lambda m: m.sample([1.5]), 'condition=1.5: wanted'),
  (lambda m: m.sample([]), 'empty'),
  (lambda m: m.sample(num_videos='3'), "num_videos='3': wanted a whole"),
  (lambda m: m.sample(num_videos=0), 'num_videos=0: wanted at least 1'),
  (lambda m: m.sample(num_videos=10**9), 'at most 1000000'),
  (lambda m: m.sample(num_videos=10**6), 'GB of memory'),
  (lambda m: m.sample(num_frames=16), 'num_frames=16.*use 17'),
  (lambda m: m.sample(num_frames=9.0), 'num_frames=9.0: wanted a whole'),
  (lambda m: m.sample(seed=-1), 'seed=-1: wanted at least 0'),
  (lambda m: m.sample(seed='x'), "seed='x': wanted a whole number"),
  (lambda m: m.sample(guidance='strong'), "guidance='strong'"),
  (lambda m: m.sample(guidance=0), "guidance='0'"),
  (lambda m: m.sample(temperature=-1), 'temperature=-1'),
  (lambda m: m.sample(temperature='hot'), "temperature='hot': wanted a num"),
  (lambda m: m.sample(temperature=float('nan')), 'wanted a finite number'),
  (lambda m: m.sample(top_p=0.2), 'top_p=0.2'),
  (lambda m: m.sample(size='16x16'), r"size='16x16': wanted \(height"),
  (lambda m: m.sample(size=(40, 40)), '40×40'),
  (lambda m: m.stream(window=0), 'window=0'),
  (lambda m: m.stream(num_frames=18), 'num_frames=18.*use 17'),
  (lambda m: m.stream(num_frames=2 * 10**9 + 1), 'GB of memory'),
  (lambda m: m.stream(video='none.mp4'), 'none.mp4: .*No such file'),
  (lambda m: m.extend('none.png'), 'none.png: .*No such file'),
  (lambda m: m.extend(noise(4, 16, 16, 3)), '1 [+] 4k; given_frames=1'),
  (lambda m: m.extend(noise(9, 16, 16, 3)), '9 frames or more.*ask for more'),
  (lambda m: m.extend(noise(5, 16, 16, 3), given_frames=6), 'use 5'),
  (lambda m: m.extend(np.zeros((5, 16, 16, 3))), 'float64: wanted uint8'),
  (lambda m: m.extend(noise(2, 5, 16, 16, 3)), r'wanted uint8 \(T, H, W, 3\)'),
  (lambda m: m.extend(None), r'wanted uint8 \(T, H, W, 3\)'),
]
TOKENIZER = [
  (lambda t: t.reconstruct('none.mp4'), 'none.mp4: .*No such file'),
  (lambda t: t.reconstruct(noise(5, 16, 16)), 'wanted uint8'),
  (lambda t: t.reconstruct([]), 'wanted uint8'),
  (lambda t: t.reconstruct(noise(0, 5, 16, 16, 3)), 'wanted uint8'),
  (lambda t: t.reconstruct(noise(1, 16, 16, 3), size=(8, 8)), '8×8'),
  (lambda t: t.decode(3), 'bits of int'),
  (lambda t: t.decode([]), 'bits of shapes'),
  (lambda t: t.decode([noise(3)]), 'bits of shapes'),
  (lambda t: t.decode([noise(1, 1, n, n, 6) for n in (1, 4)]), 'wanted'),
  (lambda t: t.decode([noise(1, 1, n, n, 7) for n in (1, 2, 4)]), 'wanted'),
  (lambda t: t.decode([], num_frames=0), 'num_frames=0: wanted at least 1'),
]


@pytest.mark.parametrize(('call', 'said'), MODEL)
def test_what_a_model_cannot_do_is_told_first(model, monkeypatch, call, said):
  def sample(*_, **__):
    pytest.fail('sampled')

  monkeypatch.setattr(sampler, 'sample_videos', sample)
  monkeypatch.setattr(archive, 'free_memory', lambda: 10**9)
  with pytest.raises(ValueError, match=said) as error:
    call(model)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(('call', 'said'), TOKENIZER)
def test_what_a_tokenizer_cannot_code_is_told(tokenizer, call, said):
  with pytest.raises(ValueError, match=said) as error:
    call(tokenizer)
  assert '\n' not in str(error.value)


def test_what_is_no_checkpoint_is_told(runs, tmp_path):  # noqa: F811
  for load in (va.load, va.load_tokenizer):
    for given, said in (
      (tmp_path / 'none', 'none: no such checkpoint'),
      (None, 'checkpoint=None: wanted a path'),
      ('', "checkpoint='': wanted a path"),
      (tmp_path, 'holds no committed checkpoint'),
    ):
      with pytest.raises(ValueError, match=said):
        load(given)
  with pytest.raises(ValueError, match='wanted a generator'):
    va.load(runs / 'tokenizer')


@pytest.mark.parametrize(
  ('word', 'arguments'),
  [
    ('--class=lft', {'condition': 'lft'}),
    ('--num_frames=16', {'num_frames': 16}),
    ('--size=40x40', {'size': (40, 40)}),
    ('--guidance=strong', {'guidance': 'strong'}),
  ],
)
def test_errors_read_as_the_commands_do(
  model,
  runs,  # noqa: F811
  tmp_path,
  word,
  arguments,
):
  with pytest.raises(ValueError) as error:
    model.sample(**arguments)
  line = ['sample', f'--checkpoint={runs}/generator', f'--out={tmp_path}/x']
  with pytest.raises(SystemExit) as end:
    command.run(sample_command, [*line, word])
  assert end.value.code == f'error: {error.value}'


def test_distances_are_those_of_the_evaluation(monkeypatch, tmp_path):
  real, other = noise(4, 9, 8, 8, 3), noise(3, 9, 8, 8, 3, seed=1)

  def logits(model, videos, batch_size):
    return np.asarray(videos, np.float64)[:, :3, 0, :2, 0].reshape(-1, 6)

  class Model:
    config = protocols.get_protocol(protocols.DEFAULT).i3d
    sha256 = 'none'

  monkeypatch.setattr(compare.i3d, 'load_i3d', lambda _, **__: Model)
  monkeypatch.setattr(compare.i3d, 'logits', logits)
  found = va.fvd(real, other)
  wanted = compare.compare_features(*(logits(0, x, 0) for x in (real, other)))
  assert {key: found[key] for key in wanted} == wanted
  assert (found['num_real'], found['num_generated']) == (4, 3)
  np.savez(tmp_path / 'real.npz', videos=real)
  assert va.fvd(tmp_path / 'real.npz', va.Videos(other)) == found


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    ({'protocol': 'ucf9_train256_17f_6'}, 'nearest: ucf9_train256_17f_64'),
    ({'protocol': protocols.DEFAULT}, 'wants'),
    ({'generated': noise(4, 9, 8, 9, 3)}, 'one height and width'),
    ({'generated': noise(1, 9, 8, 8, 3)}, 'at least 2'),
    ({'generated': noise(4, 9, 8, 8)}, 'generated videos of shape'),
    ({'generated': noise(4, 9, 8, 8, 3).astype(int)}, 'dtype int64'),
    ({'real': 2.0 * np.ones((4, 9, 8, 8, 3))}, r'spans 2\.\.2'),
    ({'real': 'none.npz'}, 'none.npz: no such'),
    ({'seed': 0.5}, 'seed=0.5: wanted a whole'),
    ({'paired': True, 'generated': noise(3, 9, 8, 8, 3)}, 'equal'),
  ],
)
def test_sets_that_cannot_be_compared_are_told(arguments, said):
  sets = {name: noise(4, 9, 8, 8, 3) for name in ('real', 'generated')}
  with pytest.raises(ValueError, match=said):
    va.fvd(**{**sets, **arguments})
