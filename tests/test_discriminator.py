"""Discriminators and adversarial losses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from videoar_jax.core.mesh import unbox
from videoar_jax.objectives import adversarial, forward, reconstruction
from videoar_jax.objectives.adversarial import (
  FAKE,
  REAL,
  AdversarialConfig,
  Opponent,
)
from videoar_jax.objectives.context import Context
from videoar_jax.objectives.forward import decode_whole, make_forward
from videoar_jax.objectives.reconstruction import TokenizerLossConfig
from videoar_jax.objectives.tokenizer import make_tokenizer_objective
from videoar_jax.tokenizer.autoencoder import make_tokenizer, to_float
from videoar_jax.tokenizer.discriminator import (
  DiscriminatorConfig,
  make_discriminator,
)
from videoar_jax.tokenizer.quantizer import decode_scales, encode_scales

PATCH = DiscriminatorConfig(
  base_width=4, multipliers=(1, 2, 2), norm_groups=2, dtype='float32'
)
STYLE = dataclasses.replace(PATCH, kind='stylegan', multipliers=(1, 2))


def _clips(seed, shape):
  rng = np.random.default_rng(seed)
  return rng.uniform(-1, 1, (*shape, 3)).astype(np.float32)


def _init(config, clips):
  model = make_discriminator(config)
  params = unbox(jax.jit(model.init)(jax.random.key(0), clips))['params']
  return params, jax.jit(lambda x: model.apply({'params': params}, x))


@pytest.mark.parametrize('frames', (1, 6))
@pytest.mark.parametrize('config', (PATCH, STYLE), ids=lambda c: c.kind)
def test_logits_of_a_clip_depend_on_it_alone_and_on_all_its_frames(
  config, frames
):
  clips = _clips(0, (2, frames, 12, 20))
  params, logits_of = _init(config, clips)
  logits = logits_of(clips)
  quarter = -(-frames // 4)
  patch = config.kind == 'patch'
  assert logits.shape == ((2, quarter, 3, 5) if patch else (2,))
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits_of(clips[1:])[0], logits[1], rtol=1e-4)
  for frame in range(frames):
    other = clips.copy()
    other[0, frame] *= -1
    moved = np.abs(logits_of(other) - logits)
    assert moved[0].max() > 1e-4 and moved[1].max() < 1e-6
  # One set of parameters serves other lengths and resolutions.
  bigger = _clips(1, (1, frames + 4, 24, 16))
  assert np.isfinite(logits_of(bigger)).all()
  init = make_discriminator(config).init
  abstract = jax.eval_shape(init, jax.random.key(0), bigger)['params']
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(
    lambda x: x.shape, unbox(abstract)
  )


def test_discriminators_that_cannot_be_are_refused():
  with pytest.raises(ValueError, match="kind='cnn': use patch or stylegan"):
    DiscriminatorConfig(kind='cnn')
  with pytest.raises(ValueError, match='norm_groups=3 does not divide 8'):
    dataclasses.replace(PATCH, norm_groups=3)
  with pytest.raises(ValueError, match='at least 8 pixels'):
    PATCH.check_resolution(4, 64)
  PATCH.check_resolution(8, 8)
  with pytest.raises(ValueError, match="loss='wasserstein'"):
    AdversarialConfig(loss='wasserstein')
  with pytest.raises(ValueError, match='lecam_decay=1'):
    AdversarialConfig(lecam_decay=1.0)


def test_losses_equal_their_formulas():
  rng = np.random.default_rng(0)
  real, fake = rng.normal(size=(2, 7)).astype(np.float32) * 2
  hinge = np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean()
  soft = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
  loss = adversarial.discriminator_loss
  np.testing.assert_allclose(loss(real, fake, 'hinge'), hinge, rtol=1e-5)
  np.testing.assert_allclose(
    loss(real, fake, 'non_saturating'), soft, rtol=1e-5
  )
  loss = adversarial.generator_loss
  np.testing.assert_allclose(loss(fake, 'hinge'), -fake.mean(), rtol=1e-5)
  np.testing.assert_allclose(
    loss(fake, 'non_saturating'), np.log1p(np.exp(-fake)).mean(), rtol=1e-5
  )
  penalty = adversarial.lecam_penalty
  assert penalty(2.0, -1.0, 0.5, -0.5) == 2.5**2 + 1.5**2
  assert penalty(-1.0, 1.0, 0.5, -0.5) == 0


def test_r1_of_a_linear_critic_is_half_its_squared_weights():
  clips = _clips(0, (3, 2, 4, 4))
  weights = np.random.default_rng(1).normal(size=clips.shape[1:])
  weights = weights.astype(np.float32)

  def logits_of(x):
    return jnp.einsum('bthwc,thwc->b', x, weights)

  np.testing.assert_allclose(
    adversarial.r1_penalty(logits_of, clips),
    0.5 * np.square(weights).sum(),
    rtol=1e-5,
  )


@pytest.fixture(scope='module')
def game():
  """Parameters of a tiny autoencoder and a discriminator, and a batch."""
  rng = np.random.default_rng(0)
  video = rng.integers(0, 256, (4, 3, 8, 8, 3)).astype(np.uint8)
  model = make_tokenizer(tiny.TOKENIZER)
  clip = jnp.zeros((1, 3, 8, 8, 3))
  params = unbox(jax.jit(model.init)(jax.random.key(0), clip))['params']
  judge, _ = _init(PATCH, clip)
  return model, params, judge, {'video': video}


def _context(nets, **options):
  return Context(rng=jax.random.key(1), nets=nets, **options)


def test_discriminator_learns_to_tell_and_keeps_to_lecam_and_r1(game):
  model, params, judge, batch = game
  opponent = Opponent(
    make_discriminator(PATCH), AdversarialConfig(weight=1, lecam=0.01, r1=1e-3)
  )
  objective = adversarial.make_discriminator_objective(model, opponent)
  context = _context({'autoencoder': params}, averages={REAL: 0.3, FAKE: -0.2})
  shared = make_forward(model, LOSSES)(params, batch, context)
  context = context.replace(shared=shared)

  @jax.jit
  def step(judge):
    found = jax.value_and_grad(objective, has_aux=True)(judge, batch, context)
    (loss, metrics), grads = found
    return jax.tree.map(lambda p, g: p - 0.05 * g, judge, grads), loss, metrics

  losses = []
  for _ in range(60):
    judge, loss, metrics = step(judge)
    losses.append(float(loss))
  np.testing.assert_allclose(
    loss,
    metrics['adversarial'] + 0.01 * metrics['lecam'] + 1e-3 * metrics['r1'],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    metrics['lecam'],
    adversarial.lecam_penalty(metrics[REAL], metrics[FAKE], 0.3, -0.2),
    rtol=1e-5,
  )
  assert losses[-1] < 0.7 * losses[0] and metrics['right'] > 0.9
  assert set(opponent.config.averages) <= set(metrics)


LOSSES = TokenizerLossConfig(residual=0.1)


def _differentiated(model, opponent):
  run = make_forward(model, LOSSES)
  objective = make_tokenizer_objective(model, LOSSES, opponent)

  def loss_of(params, batch, context):
    shared = run(params, batch, context)
    return objective(params, batch, context.replace(shared=shared))

  return jax.jit(jax.value_and_grad(loss_of, has_aux=True))


def _gradient(game, objective, step):
  model, params, judge, batch = game
  context = _context({'discriminator': judge}, step=step)
  (_, metrics), gradient = objective(params, batch, context)
  return metrics, gradient


@pytest.fixture(scope='module')
def gradients(game):
  """Of the losses without a judge, of the judge alone, of pixels alone."""
  model, params, judge, batch = game
  video = to_float(batch['video'])

  @jax.jit
  @jax.jacrev
  def parts(params):
    f = model.apply({'params': params}, video, method='encode')
    total = encode_scales(f, model.config.scales)[-1].total_bthwd
    decoded = model.apply({'params': params}, total, method='decode')
    logits = make_discriminator(PATCH).apply({'params': judge}, decoded)
    error = decoded - video
    pixels = jnp.mean(jnp.abs(error)) + jnp.mean(jnp.square(error))
    return -jnp.mean(logits), pixels

  _, plain = _gradient(game, _differentiated(model, None), 0)
  return plain, *parts(params)


@pytest.mark.parametrize('balance', ('fixed', 'adaptive'))
def test_autoencoder_gets_the_weighed_gradient_of_the_judge(
  game, gradients, balance
):
  plain, ours, others = gradients
  config = AdversarialConfig(weight=0.7, balance=balance, start=5)
  opponent = Opponent(make_discriminator(PATCH), config)
  played = _differentiated(game[0], opponent)
  waiting, early = _gradient(game, played, 4)
  assert waiting['adversarial_weight'] == 0
  metrics, late = _gradient(game, played, 5)
  weight = 0.7
  if balance == 'adaptive':
    norms = [
      jnp.linalg.norm(tree['decoder']['conv_out']['kernel'])
      for tree in (others, ours)
    ]
    weight *= float(norms[0] / (norms[1] + 1e-4))
    assert abs(weight - 0.7) > 0.05
  np.testing.assert_allclose(metrics['adversarial_weight'], weight, rtol=1e-3)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    early,
    plain,
  )
  jax.tree.map(
    lambda a, b, c: np.testing.assert_allclose(
      a, b + weight * c, rtol=2e-3, atol=2e-5
    ),
    late,
    plain,
    ours,
  )


def test_perceptual_loss_sees_drawn_frames_of_each_clip(monkeypatch):
  seen = []

  def lpips(params, a, b, *, network):
    seen.append((params, a))
    return jnp.mean(jnp.abs(a - b), axis=(1, 2, 3))

  monkeypatch.setattr(reconstruction, 'lpips', lpips)
  # The value of a pixel tells its clip and its frame.
  value = np.arange(15).reshape(3, 5)[..., None, None, None]
  video = np.broadcast_to(np.float32(value), (3, 5, 2, 2, 3))

  def loss(num_frames, seed):
    return reconstruction.perceptual_loss(
      'weights',
      video,
      np.zeros_like(video),
      num_frames=num_frames,
      rng=jax.random.key(seed),
    )

  assert float(loss(0, 0)) == pytest.approx(video.mean())
  assert seen[0][0] == 'weights' and seen[0][1].shape == (15, 2, 2, 3)
  draws = set()
  for seed in range(8):
    loss(2, seed)
    drawn = np.asarray(seen[-1][1])[:, 0, 0, 0].reshape(3, 2)
    assert (drawn // 5 == np.arange(3)[:, None]).all()
    assert all(len(set(row)) == 2 for row in drawn)
    draws.add(tuple(drawn.ravel()))
  assert len(draws) > 5


def test_dropped_scales_leave_the_decoding_of_the_coarser_ones():
  scales = tiny.TOKENIZER.scales
  f = jax.random.normal(jax.random.key(0), (3, 2, 4, 4, 8))
  keep = jnp.asarray([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
  whole = encode_scales(f, scales)
  dropped = encode_scales(f, scales, keep_bs=keep)
  for row, count in enumerate((3, 2, 1)):
    bits = [code.bits_bthwq[row : row + 1] for code in whole[:count]]
    np.testing.assert_array_equal(
      dropped[-1].total_bthwd[row], decode_scales(bits, scales)[0]
    )
  with pytest.raises(ValueError, match='drop_scales=3.*has 3 scales'):
    make_forward(
      make_tokenizer(tiny.TOKENIZER), TokenizerLossConfig(drop_scales=3)
    )


def test_scales_are_dropped_with_their_probability_and_only_the_finest():
  losses = TokenizerLossConfig(drop_scales=2, drop_probability=0.3)
  kept = forward._draw_kept(jax.random.key(0), losses, 4000, 5)
  np.testing.assert_allclose(
    kept.mean(0), [1, 1, 1, 0.7, 0.7], atol=4 * np.sqrt(0.21 / 4000)
  )
  assert kept[:, :3].all()
  none = TokenizerLossConfig(drop_scales=2)
  assert forward._draw_kept(jax.random.key(0), none, 4, 5) is None


@pytest.mark.parametrize('probability', (0.0, 0.7))
def test_the_judge_sees_all_scales_whatever_the_autoencoder_dropped(
  game, probability
):
  model, params, judge, batch = game
  losses = TokenizerLossConfig(drop_scales=2, drop_probability=probability)

  @jax.jit
  def run(params):
    shared = make_forward(model, losses)(params, batch, _context({}))
    f = model.apply(
      {'params': params}, to_float(batch['video']), method='encode'
    )
    total = encode_scales(f, tiny.TOKENIZER.scales)[-1].total_bthwd
    whole = model.apply({'params': params}, total, method='decode')
    return shared, decode_whole(model, params, shared), whole

  shared, seen, whole = run(params)
  np.testing.assert_allclose(seen, whole, atol=1e-6)
  dropped = np.abs(shared.decoded_bTHWc - whole).max() > 1e-3
  assert dropped == (not shared.is_whole) == (probability > 0)
