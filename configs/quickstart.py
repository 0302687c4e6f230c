"""Moving shapes, 9 frames of 32×32: both halves of VideoAR on a laptop's CPU.

  python -m videoar_jax.train --config=configs/quickstart.py:tokenizer \
    --workdir=runs/quickstart/tokenizer
  python -m videoar_jax.data.prepare --features --source=synthetic \
    --num_clips=4000 --num_frames=9 --height=32 --width=32 \
    --checkpoint=runs/quickstart/tokenizer --out=runs/quickstart/features
  python -m videoar_jax.train --config=configs/quickstart.py:generator \
    --config.data.source=features:runs/quickstart/features \
    --config.tokenizer=runs/quickstart/tokenizer \
    --workdir=runs/quickstart/generator

`bash launch/quickstart.sh` runs both, samples, evaluates and writes a report.
Variants: tokenizer, generator, and smoke (a few steps of either).
"""

from videoar_jax.train import defaults

_SCALES = ((1, 1), (2, 2), (4, 4), (8, 8))


def get_config(variant: str = ''):
  parts = defaults.parse_variant(variant, ('tokenizer', 'generator', 'smoke'))
  if len(parts & {'tokenizer', 'generator'}) != 1:
    raise ValueError(f'variant {variant!r}: use :tokenizer or :generator')
  config = _generator() if 'generator' in parts else _tokenizer()
  config.data.update(source='synthetic', height=32, width=32)
  config.train.update(log_every=50, eval_batches=8)
  if 'smoke' in parts:
    defaults.make_smoke(config)
  return config.lock()


def _tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(batch_size=4, num_frames=5)
  config.tokenizer.update(
    base_width=8,
    multipliers=(1, 2, 4),
    num_time_levels=2,
    encoder_blocks=1,
    decoder_blocks=1,
    latent_width=12,
    scales=_SCALES,
    norm_groups=1,
    dtype='float32',
  )
  config.optimizer.update(
    learning_rate=3e-4, warmup_steps=50, ema_decay=0.99, weight_decay=0.01
  )
  config.losses.residual = 0.01
  config.train.update(num_steps=2400, eval_every=500, sample_every=500)
  return config


def _generator():
  config = defaults.generator_config()
  config.data.update(batch_size=16, num_frames=9)
  config.transformer.update(
    num_layers=4,
    width=128,
    num_heads=4,
    num_classes=8,
    remat='none',
    dtype='float32',
  )
  config.optimizer.update(learning_rate=2e-3, warmup_steps=50, ema_decay=0.99)
  config.sampling.guidance = '2'
  config.train.update(num_steps=450, eval_every=150, sample_every=450)
  return config
