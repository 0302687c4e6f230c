"""A generator in stages: other streams, sizes and lengths, the same weights."""

import json

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image
from toy import compile_cache  # noqa: F401

from videoar_jax.core import processes
from videoar_jax.core.config import from_section, section
from videoar_jax.core.export import load_weights, tree_digest, write_export
from videoar_jax.core.mesh import MeshConfig, make_mesh, unbox
from videoar_jax.data.config import DataConfig
from videoar_jax.evaluate import exposure
from videoar_jax.evaluate.rules import Split
from videoar_jax.sample import sampler
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.train import condition, defaults
from videoar_jax.train.generator_recipe import make_generator_recipe
from videoar_jax.train.metrics import read_metrics
from videoar_jax.train.recipe import run_recipe

SMALL, LARGE = ((1, 1), (2, 2)), ((1, 1), (2, 2), (2, 3))


def _tokenizer(path, *, seed=0):
  """An export of a tokenizer of 4×4 and of 4×6 pixels."""
  config = defaults.tokenizer_config()
  config.tokenizer.update(
    base_width=2,
    multipliers=(1, 1),
    num_time_levels=1,
    encoder_blocks=1,
    decoder_blocks=1,
    latent_width=4,
    scales=SMALL,
    more_scales=(LARGE,),
    norm_groups=1,
    dtype='float32',
  )
  model = make_tokenizer(from_section(TokenizerConfig, config.tokenizer))
  clip = np.zeros((1, 1, 4, 4, 3), np.float32)
  params = unbox(model.init(jax.random.key(seed), clip)['params'])
  write_export(path, {'autoencoder': params}, config)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('stages')
  _tokenizer(path / 'tokenizer')
  return path


def _config(folder, *, frames, height, width, text=True, **keys):
  config = defaults.generator_config()
  config.tokenizer = str(folder / 'tokenizer')
  config.data.update(
    batch_size=2, num_frames=frames, height=height, width=width
  )
  config.transformer.update(
    num_layers=1, width=8, num_heads=2, num_classes=8, dtype='float32'
  )
  if text:
    config.transformer.update(
      condition='text', vocabulary=300, prefix_length=40
    )
    config.prompts.template = 'a shape that moves {}'
  config.optimizer.warmup_steps = 1
  config.sampling.guidance = '2'
  config.train.update(num_steps=2, log_every=1)
  config.update(keys)
  return config.lock()


def _train(config, workdir):
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  workdir = epath.Path(workdir)
  recipe = make_generator_recipe(config, workdir=workdir, mesh=mesh)
  run_recipe(recipe, workdir=workdir, mesh=mesh)
  return load_weights(workdir, expect='generator')


@pytest.fixture(scope='module')
def stage1(folder):
  """Pictures and videos of two sizes in turn; with prompts."""
  config = _config(folder, frames=3, height=4, width=4)
  picture = DataConfig(batch_size=3, num_frames=1, height=4, width=6)
  with config.unlocked():
    config.more_data.picture = section(picture)
  return _train(config, folder / 'stage1')


def test_a_stage_takes_turns_and_carries_its_prompts_tokenizer(folder, stage1):
  lines = [x for x in read_metrics(folder / 'stage1') if x['kind'] == 'train']
  scales = [sum('bit_accuracy/' in key for key in line) for line in lines]
  assert scales == [2, 3]
  rows = [round(line['clips_per_s'] * line['step_s']) for line in lines]
  assert rows == [2, 3]
  assert json.loads(stage1.config.prompts.tokenizer)['model']['type'] == 'BPE'
  assert len(stage1.config.classes) == 8


def _never(*_, **__):
  pytest.fail('trained again')


def test_the_same_command_again_reads_its_own_prompts_tokenizer(
  folder, stage1, monkeypatch, capsys
):
  monkeypatch.setattr(condition, 'train_bpe', _never)
  config = _config(folder, frames=3, height=4, width=4)
  picture = DataConfig(batch_size=3, num_frames=1, height=4, width=6)
  with config.unlocked():
    config.more_data.picture = section(picture)
  again = _train(config, folder / 'stage1')
  assert again.digests == stage1.digests
  assert again.config.prompts.tokenizer == stage1.config.prompts.tokenizer
  assert 'is trained already' in capsys.readouterr().out
  with config.unlocked():
    config.prompts.template = 'another {}'
  with pytest.raises(ValueError, match='prompts.template') as error:
    _train(config, folder / 'stage1')
  assert len(str(error.value)) < 1000  # no whole tokenizer in it


def test_other_processes_get_the_prompts_tokenizer_of_the_first(
  folder, tmp_path, monkeypatch
):
  sent = []

  def resolve(process, **changes):
    """What one of two processes makes of the config."""
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(jax, 'process_index', lambda: process)
    got = iter(list(sent))

    def send(x, is_source=True):
      del is_source
      sent.append(x)
      return next(got) if process else x

    monkeypatch.setattr(processes, 'agree', lambda *flags: send(flags))
    monkeypatch.setattr(processes.multihost_utils, 'broadcast_one_to_all', send)
    config = _config(folder, frames=3, height=4, width=4)
    config.update_from_flattened_dict(changes)
    streams = (DataConfig(num_frames=3, height=4, width=4),)
    return condition.resolve_condition(
      config, streams, workdir=epath.Path(tmp_path)
    ).prompts.tokenizer

  first = resolve(0)
  assert json.loads(first)['model']['type'] == 'BPE'
  monkeypatch.setattr(condition, 'train_bpe', _never)
  assert resolve(1) == first
  monkeypatch.undo()
  sent.clear()
  with pytest.raises(ValueError, match='vocabulary=100'):
    resolve(0, **{'transformer.vocabulary': 100})
  with pytest.raises(ValueError, match='the first process failed'):
    resolve(1, **{'transformer.vocabulary': 100})


def test_the_next_stage_begins_where_the_last_one_ended(folder, stage1):
  start = str(folder / 'stage1')
  config = _config(folder, frames=5, height=4, width=6, init_from=start)
  with config.unlocked():
    config.optimizer.learning_rate = 0.0
  stage2 = _train(config, folder / 'stage2')
  assert stage2.digests == stage1.digests
  assert stage2.config.prompts.tokenizer == stage1.config.prompts.tokenizer
  generator = sampler.Generator.of(stage2)
  videos = {}
  for size in ((4, 6), (4, 4)):
    sampling = generator.sampling(size=size, num_frames=3)
    (video,) = sampler.sample_videos(
      generator.program(sampling),
      generator.nets,
      generator.of_prompts(['something new']),
      sampling=sampling,
    )
    videos[size] = video
  assert {size: x.shape for size, x in videos.items()} == {
    (4, 6): (3, 4, 6, 3),
    (4, 4): (3, 4, 4, 3),
  }
  assert generator.sampling().size == (4, 6)
  with pytest.raises(ValueError, match='height×width=8×6'):
    generator.program(generator.sampling(size=(8, 6)))


def test_prompts_and_classes_take_each_others_layers(folder, stage1, capsys):
  start, digests = str(folder / 'stage1'), []
  for name, text in (('by_class', False), ('by_prompt', True)):
    config = _config(
      folder, frames=3, height=4, width=4, text=text, init_from=start
    )
    with config.unlocked():
      config.optimizer.learning_rate = 0.0
    there = _train(config, folder / name).nets['transformer']
    assert 'what they mean is learnt anew' in capsys.readouterr().err
    prefix = there.pop('prefix')
    assert set(prefix) == ({'words', 'unconditional'} if text else {'table'})
    digests.append(tree_digest(there))
    start = str(folder / name)
  wanted = dict(stage1.nets['transformer'])
  wanted.pop('prefix')
  assert digests == [tree_digest(wanted)] * 2


def test_the_harm_of_errors_is_measured_frame_by_frame(folder, stage1):
  generator = sampler.Generator.of(stage1)
  data = DataConfig(batch_size=4, num_frames=5, height=4, width=4)
  options = {'num_videos': 6, 'split': Split.VALIDATION, 'seed': 0}
  found = exposure.measure(generator, data, share=0.3, **options)
  assert [len(found[name]) for name in ('clean', 'flipped', 'harm')] == [2] * 3
  np.testing.assert_allclose(
    np.subtract(found['flipped'], found['clean']), found['harm'], atol=1e-9
  )
  assert found['harm'][0] != 0 and 0.3 < found['clean'][0] < 2
  with pytest.raises(ValueError, match=r'share=0\.0'):
    exposure.measure(generator, data, share=0.0, **options)


def test_only_the_first_frames_bits_are_flipped():
  bits = jax.random.bernoulli(jax.random.key(0), 0.5, (3, 2, 9, 9, 8)) * 1.0
  flipped = exposure.flip_first_frame(bits, jax.random.key(1), 0.1)
  np.testing.assert_array_equal(flipped[:, 1], bits[:, 1])
  assert abs(np.mean(flipped[:, 0] != bits[:, 0]) - 0.1) < 0.02


def _refused(config, folder, message):
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  workdir = epath.Path(folder) / 'refused'
  with pytest.raises(ValueError, match=message):
    make_generator_recipe(config, workdir=workdir, mesh=mesh)


def test_a_stage_of_another_tokenizer_is_refused(folder, stage1, tmp_path):
  _tokenizer(tmp_path / 'tokenizer', seed=1)
  config = _config(
    tmp_path, frames=3, height=4, width=4, init_from=str(folder / 'stage1')
  )
  _refused(config, tmp_path, 'the bits of two tokenizers mean different things')


def test_a_stage_of_other_prompts_is_refused(folder, stage1, tmp_path):
  start = str(folder / 'stage1')
  config = _config(folder, frames=3, height=4, width=4, init_from=start)
  own = json.loads(stage1.config.prompts.tokenizer)
  own['model']['merges'] = own['model']['merges'][:1]
  (tmp_path / 'own.json').write_text(json.dumps(own))
  with config.unlocked():
    config.prompts.tokenizer = str(tmp_path / 'own.json')
  _refused(config, tmp_path, 'its prompts have another tokenizer')


def test_streams_of_other_classes_are_refused_by_class_alone(folder, tmp_path):
  for name in 'ab':
    (tmp_path / 'pictures' / name).mkdir(parents=True)
    for i in range(12):
      path = tmp_path / 'pictures' / name / f'{i}.png'
      Image.new('RGB', (8, 8)).save(path)
  config = _config(folder, frames=3, height=4, width=4, text=False)
  picture = DataConfig(
    source=f'images:{tmp_path}/pictures', num_frames=1, height=4, width=4
  )
  with config.unlocked():
    config.more_data.picture = section(picture)
  _refused(config, tmp_path, 'has other classes than synthetic')
  # To prompts it is all the same.
  config = _config(folder, frames=3, height=4, width=4)
  with config.unlocked():
    config.more_data.picture = section(picture)
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  workdir = epath.Path(tmp_path) / 'by_prompt'
  recipe = make_generator_recipe(config, workdir=workdir, mesh=mesh)
  assert len(recipe.streams) == 2 and len(recipe.config.classes) == 8


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'data.height': 12}, 'height×width=12×4'),
    ({'data.num_frames': 4}, 'num_frames=4'),
    ({'data.captions': 'none.jsonl'}, 'none.jsonl'),
    ({'transformer.vocabulary': 100}, 'vocabulary=100'),
    ({'transformer.prefix_length': 3}, 'the generator reads 3'),
    (
      {'transformer.plan': 'clip_pyramid', 'frame_mask.window': 1},
      'frame_mask: plan clip_pyramid',
    ),
    ({'corruption.time_ramp': 0.3}, 'time_ramp=0.3'),
    (
      {'transformer.positions': 'learned', 'transformer.max_positions': 1},
      'max_positions=1',
    ),
    ({'prompts.tokenizer': 'none.json'}, 'none.json'),
    ({'init_from': 'nowhere'}, 'nowhere'),
    ({'tokenizer': ''}, "tokenizer=''"),
  ],
)
def test_settings_that_do_not_fit_are_refused(
  folder, tmp_path, changes, message
):
  config = _config(folder, frames=3, height=4, width=4)
  config.update_from_flattened_dict(changes)
  _refused(config, tmp_path, message)


def test_classes_must_be_as_many_as_the_transformers(folder, tmp_path):
  config = _config(folder, frames=3, height=4, width=4, text=False)
  config.transformer.num_classes = 5
  _refused(config, tmp_path, 'num_classes=5: synthetic has 8 classes')


def test_a_clip_pyramid_is_trained_and_sampled(folder):
  config = _config(folder, frames=5, height=4, width=4, text=False)
  config.transformer.plan = 'clip_pyramid'
  config.corruption.update(time_ramp=0.0, inherit=False)
  generator = sampler.Generator.of(_train(config, folder / 'pyramid'))
  sampling = generator.sampling()
  (video,) = sampler.sample_videos(
    generator.program(sampling), generator.nets, [3], sampling=sampling
  )
  assert video.shape == (5, 4, 4, 3)
  with pytest.raises(ValueError, match='window=1: .* together'):
    generator.program(generator.sampling(window=1))
  with pytest.raises(ValueError, match='cannot go on from given'):
    sampler.check_continues(generator.family)
