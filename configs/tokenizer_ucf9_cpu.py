"""UCF-9 at 64×64 on two CPU cores: the tokenizer's losses, image start, length.

One run of clips of 5 and 17 frames and single frames together, begun as an
image tokenizer; with all losses (full) or without the adversarial, perceptual
and entropy ones (plain).

  python -m videoar_jax.data.prepare --source=folder:DATA/ucf9_128 \
    --split_file=DATA/ucf101_splits/trainlist01.txt --height=64 --width=64 \
    --out=data_cache/ucf9_64
  python -m videoar_jax.train --config=configs/ucf9_cpu.py:image_tokenizer \
    --config.data.source=array_record:data_cache/ucf9_64 \
    --workdir=runs/ucf9/image_tokenizer
  python -m videoar_jax.train --config=configs/tokenizer_ucf9_cpu.py:full \
    --config.init_from=runs/ucf9/image_tokenizer \
    --workdir=runs/tokenizer_ucf9_cpu/full

Without init_from the tokenizer of clips begins from scratch.
Figures: docs/results.md.
Variants: full, plain, and smoke (a few steps).
"""

from videoar_jax.core.config import section
from videoar_jax.data.config import DataConfig
from videoar_jax.train import defaults

_SOURCE = 'array_record:data_cache/ucf9_64'
_DATA = {'source': _SOURCE, 'height': 64, 'width': 64, 'flip': True}


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'full': _full, 'plain': _plain})


def _full():
  config = _plain()
  config.losses.update(perceptual=0.5, perceptual_frames=2, entropy=0.005)
  config.adversarial.update(weight=0.05, start=300)
  config.discriminator.update(base_width=16, norm_groups=4)
  config.discriminator_optimizer.update(
    learning_rate=2e-4, beta1=0.5, warmup_steps=50, weight_decay=0.0
  )
  return config


def _plain():
  config = defaults.tokenizer_config()
  config.data.update(_DATA, batch_size=4, num_frames=5, weight=2)
  config.more_data.update(
    image=section(DataConfig(**_DATA, batch_size=8, num_frames=1)),
    long=section(DataConfig(**_DATA, batch_size=1, num_frames=17)),
  )
  config.tokenizer.update(
    base_width=12,
    multipliers=(1, 4, 8, 8),
    num_time_levels=2,
    encoder_blocks=1,
    decoder_blocks=1,
    latent_width=24,
    scales=tuple((n, n) for n in (1, 2, 4, 8)),
    norm_groups=1,
    dtype='float32',
  )
  config.losses.update(entropy=0.0, residual=0.01)
  config.optimizer.update(
    learning_rate=3e-4, warmup_steps=50, ema_decay=0.99, weight_decay=0.01
  )
  config.train.update(
    num_steps=1000,
    log_every=20,
    eval_every=100,
    eval_batches=8,
    sample_every=500,
  )
  return config
