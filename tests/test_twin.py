"""The PyTorch twin computes what we compute; skipped where torch is missing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.core.mesh import make_mesh
from videoar_jax.core.placement import shard_batch
from videoar_jax.objectives import corruption
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.plan.next_scale import next_scale_plan
from videoar_jax.sample.program import SamplingConfig, make_sample_program
from videoar_jax.tokenizer import autoencoder
from videoar_jax.train.optimizer import OptimizerConfig
from videoar_jax.train.state import Update, create_state
from videoar_jax.train.step import make_step

torch = pytest.importorskip('torch')

from videoar_jax.benchmark.twin import features, side  # noqa: E402
from videoar_jax.benchmark.twin.training import Step  # noqa: E402
from videoar_jax.benchmark.twin.transformer import Transformer  # noqa: E402
from videoar_jax.benchmark.twin.weights import load_transformer  # noqa: E402

FRAMES = 3
TOKENIZERS = {
  'group': {'multipliers': (1, 2, 2), 'patch': 1},
  'rms': {'norm': 'rms', 'block': 'mixed', 'multipliers': (1, 2), 'patch': 2},
}


def _family(kind):
  family = tiny.family()
  tokenizer = dataclasses.replace(family.tokenizer, **TOKENIZERS[kind])
  return dataclasses.replace(family, tokenizer=tokenizer)


def _nets(family):
  """Random parameters, none of them as it is initialised."""
  rng = np.random.default_rng(1)

  def draw(x):
    gain = 1.0 if len(x.shape) < 2 else np.prod(x.shape[:-1]) ** -0.5
    return np.float32(gain * rng.normal(1.0 * (len(x.shape) < 2), 1, x.shape))

  shapes = autoencoder.param_shapes(family.tokenizer)
  return {
    'autoencoder': jax.tree.map(draw, shapes),
    family.net: jax.device_get(tiny.transformer_params(3)),
  }


@pytest.mark.parametrize(
  ('kind', 'guidance', 'top_p'), [('group', 'ucf', 1.0), ('rms', '1', 0.7)]
)
def test_the_twin_samples_our_bits(kind, guidance, top_p):
  family, batch = _family(kind), 3
  nets = _nets(family)
  factor = family.tokenizer.space_factor
  height, width = (side * factor for side in tiny.SCALES[-1])
  sampling = SamplingConfig(
    num_frames=family.tokenizer.pixel_frames(FRAMES),
    guidance=guidance,
    temperature=0.8,
    top_p=top_p,
    size=(height, width),
  )
  condition = np.asarray([4, 0, 2], np.int32)
  rng = np.random.default_rng(2)
  size = (batch, sampling.num_frames, height, width, 3)
  video = rng.standard_normal(size, np.float32)
  parts, results = side.make_sampling(family, nets, sampling, condition, video)
  program = make_sample_program(family, sampling)
  index = np.arange(batch, dtype=np.uint32)
  decoded, sampled = program(nets, condition, index, np.uint32(0))
  theirs = results()
  for s, bits in enumerate(sampled.bits):
    assert 0.2 < bits.mean() < 0.8
    np.testing.assert_array_equal(theirs[f'bits_{s}'], bits)
  assert decoded.std() > 10
  pixels = theirs['video'].astype(int) - np.asarray(decoded, int)
  assert np.abs(pixels).max() <= 1
  encoded = family.autoencoder.apply(
    {'params': nets['autoencoder']}, video, method='encode'
  )
  np.testing.assert_allclose(parts['encoder'](), encoded, rtol=0, atol=2e-5)
  shapes = [x.shape for x in parts['rollout']()[0]]
  assert shapes == [bits.shape for bits in sampled.bits]
  assert parts['sample']()[1].shape == parts['decoder']().shape == size


@pytest.mark.parametrize('ratio', [0.0, 1.0])
def test_the_twin_flips_histories_as_we_do(ratio):
  plan = next_scale_plan(FRAMES, tiny.SCALES)
  rng = np.random.default_rng(3)
  f = rng.standard_normal((2, FRAMES, *tiny.SCALES[-1], tiny.NUM_BITS))
  f = np.float32(f)
  ratios = np.full((2, FRAMES, len(tiny.SCALES)), ratio, np.float32)
  ours = corruption.corrupt(f, ratios, jax.random.key(0), plan=plan)
  inputs, targets, flipped = features.corrupt(
    torch.from_numpy(f), torch.from_numpy(ratios), plan
  )
  assert flipped == ratio
  np.testing.assert_array_equal(targets, ours.targets_blq)
  np.testing.assert_allclose(inputs, ours.inputs_blq, rtol=0, atol=1e-6)


def test_the_twins_flip_ratios_grow_from_frame_to_frame():
  config = corruption.CorruptionConfig(flip_min=0.1, flip_max=0.2)
  plan = next_scale_plan(FRAMES, tiny.SCALES)
  ratio = features.draw_flip_ratios(config, 400, plan).numpy()
  low, high = config.bounds(FRAMES)
  assert np.all(ratio[..., 1:] >= low[:, None] - 1e-6)
  assert np.all(ratio <= high[:, None] + 1e-6)
  assert np.all(ratio[:, 1:, 0] >= ratio[:, :-1, -1])
  ours = corruption.draw_flip_ratios(
    jax.random.key(0),
    config,
    batch=400,
    num_frames=FRAMES,
    num_scales=len(tiny.SCALES),
  )
  np.testing.assert_allclose(ratio.mean(0), ours.mean(0), atol=0.01)


@pytest.mark.parametrize('remat', ['none', 'full'])
def test_the_twin_learns_what_we_learn(remat):
  family = tiny.family(condition_dropout=0.0, remat=remat)
  plan = next_scale_plan(FRAMES, tiny.SCALES)
  sections = {
    'corruption': corruption.CorruptionConfig(flip_max=0.0),
    'optimizer': OptimizerConfig(
      learning_rate=0.02, warmup_steps=2, weight_decay=0.5, clip_norm=0.1
    ),
  }
  rng = np.random.default_rng(4)
  size = (3, FRAMES, *tiny.SCALES[-1], tiny.NUM_BITS)
  f, label = rng.standard_normal(size, np.float32), np.asarray([1, 5, 0])
  update = Update(
    net=family.net,
    init=family.init,
    objective=family.objective(sections['corruption'], FrameMaskConfig()),
    optimizer=sections['optimizer'],
  )
  mesh = make_mesh(devices=jax.devices()[:1])
  length = {'num_steps': 9, 'mesh': mesh}
  state = create_state([update], seed=0, **length)
  twin = Transformer(family.transformer, plan, tiny.NUM_BITS)
  load_transformer(twin, jax.device_get(state.nets[family.net].params))
  theirs = Step(twin, num_steps=9, **sections)
  ours = make_step([update], **length)
  batch = shard_batch({'features': f, 'label': np.int32(label)}, mesh)
  for split in (True, False, True):
    twin.split_attention(split)
    told = theirs(torch.from_numpy(f), torch.from_numpy(label))
    state, metrics = ours(state, batch, {})
    for name, value in told.items():
      assert value == pytest.approx(float(metrics[name]), abs=1e-4), name
  others = {'learning_rate', 'skipped_updates', 'bad_gradient', 'bad_input'}
  assert set(told) == set(metrics) - others
  net = state.nets[family.net]
  for params, found in ((net.params, twin), (net.ema, theirs.averaged)):
    wanted = Transformer(family.transformer, plan, tiny.NUM_BITS)
    load_transformer(wanted, jax.device_get(params))
    for name, value in wanted.state_dict().items():
      np.testing.assert_allclose(
        found.state_dict()[name], value, atol=2e-4, err_msg=name
      )


def test_the_twin_does_not_learn_from_what_is_not_finite():
  family = tiny.family()
  plan = next_scale_plan(FRAMES, tiny.SCALES)
  twin = Transformer(family.transformer, plan, tiny.NUM_BITS)
  load_transformer(twin, jax.device_get(tiny.transformer_params()))
  before = [x.clone() for x in twin.parameters()]
  step = Step(
    twin,
    corruption=corruption.CorruptionConfig(),
    optimizer=OptimizerConfig(warmup_steps=0),
    num_steps=9,
  )
  f = torch.zeros(1, FRAMES, *tiny.SCALES[-1], tiny.NUM_BITS)
  with torch.no_grad():
    before[0].copy_(torch.full_like(before[0], torch.inf))
    next(twin.parameters()).copy_(before[0])
  step(f, torch.zeros(1, dtype=torch.long))
  for old, new in zip(before, twin.parameters()):
    torch.testing.assert_close(new.detach(), old, rtol=0, atol=0)


def test_the_training_side_compares_logits():
  family = tiny.family()
  plan = next_scale_plan(FRAMES, tiny.SCALES)
  nets = {family.net: jax.device_get(tiny.transformer_params(5))}
  rng = np.random.default_rng(5)
  size = (2, FRAMES, *tiny.SCALES[-1], tiny.NUM_BITS)
  inputs = rng.standard_normal((2, plan.num_tokens, tiny.NUM_BITS), np.float32)
  condition = np.asarray([3, 5], np.int32)
  parts, results = side.make_training(
    family,
    nets,
    {
      'corruption': corruption.CorruptionConfig(),
      'optimizer': OptimizerConfig(warmup_steps=0),
    },
    9,
    rng.standard_normal(size, np.float32),
    condition,
    inputs,
  )
  ours = family.forward(
    jax.tree.map(jnp.asarray, nets[family.net]), inputs, condition, plan=plan
  )
  np.testing.assert_allclose(results()['logits'], ours, rtol=0, atol=1e-4)
  assert np.abs(ours).max() > 1
  first, second = (parts['step']()['loss'] for _ in range(2))
  assert first != second
