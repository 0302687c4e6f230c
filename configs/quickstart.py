"""Moving shapes, 9 frames of 32×32: both halves of VideoAR on a laptop's CPU.

  python -m videoar_jax.train --config=configs/quickstart.py:image_tokenizer \
    --workdir=runs/quickstart/image_tokenizer
  python -m videoar_jax.train --config=configs/quickstart.py:tokenizer \
    --config.init_from=runs/quickstart/image_tokenizer \
    --workdir=runs/quickstart/tokenizer
  python -m videoar_jax.data.prepare --features --source=synthetic \
    --num_clips=4000 --num_frames=9 --height=32 --width=32 \
    --checkpoint=runs/quickstart/tokenizer --out=runs/quickstart/features
  python -m videoar_jax.train --config=configs/quickstart.py:generator \
    --config.data.source=features:runs/quickstart/features \
    --config.tokenizer=runs/quickstart/tokenizer \
    --workdir=runs/quickstart/generator

`bash launch/quickstart.sh` runs all, samples, evaluates and writes a report.
The tokenizer learns on single frames first, which show many colours and shapes
in little time (VideoAR, arXiv:2601.05966, starts from an image tokenizer, too).
Variants: image_tokenizer, tokenizer, generator, and smoke (a few steps).
"""

from videoar_jax.train import defaults

_SCALES = ((1, 1), (2, 2), (4, 4))
_DATA = {'source': 'synthetic', 'height': 32, 'width': 32}
_TRAIN = {'log_every': 50, 'eval_batches': 8}


def get_config(variant: str = ''):
  return defaults.build_variant(
    variant,
    {
      'image_tokenizer': _image_tokenizer,
      'tokenizer': _tokenizer,
      'generator': _generator,
    },
  )


def _image_tokenizer():
  config = _tokenizer()
  config.data.update(batch_size=16, num_frames=1)
  config.optimizer.update(learning_rate=4e-3, warmup_steps=50)
  config.train.update(num_steps=400, eval_every=200, sample_every=200)
  return config


def _tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(_DATA, batch_size=2, num_frames=9)
  config.tokenizer.update(
    patch=2,
    base_width=24,
    multipliers=(1, 2, 4),
    num_time_levels=1,
    encoder_blocks=1,
    decoder_blocks=1,
    block='mixed',
    latent_width=48,
    scales=_SCALES,
    norm='rms',
    dtype='float32',
  )
  config.optimizer.update(
    kind='muon',
    learning_rate=3e-4,
    warmup_steps=20,
    ema_decay=0.99,
    weight_decay=0.01,
  )
  config.losses.residual = 0.01
  config.train.update(_TRAIN, num_steps=250, eval_every=125, sample_every=125)
  return config


def _generator():
  config = defaults.generator_config()
  config.data.update(_DATA, batch_size=8, num_frames=9)
  config.transformer.update(
    num_layers=4,
    width=128,
    num_heads=4,
    dtype='float32',
  )
  config.optimizer.update(
    kind='muon', learning_rate=4e-3, warmup_steps=50, ema_decay=0.99
  )
  config.sampling.guidance = '3'
  config.train.update(_TRAIN, num_steps=1300, eval_every=650, sample_every=1300)
  return config
