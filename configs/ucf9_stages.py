"""Three stages of a text-to-video generator on UCF-9, on two CPU cores.

  for size in 32x32 48x80 64x64; do
    python -m videoar_jax.data.prepare --source=folder:DATA/ucf9_128 \
      --split_file=DATA/ucf101_splits/trainlist01.txt \
      --height=${size%x*} --width=${size#*x} --out=data_cache/ucf9_$size
  done
  python -m videoar_jax.train --config=configs/ucf9_stages.py:tokenizer \
    --config.init_from=runs/ucf9/tokenizer --workdir=runs/stages/tokenizer
  python -m videoar_jax.train --config=configs/ucf9_stages.py:stage1 \
    --workdir=runs/stages/stage1
  python -m videoar_jax.train --config=configs/ucf9_stages.py:stage2 \
    --config.init_from=runs/stages/stage1 --workdir=runs/stages/stage2
  python -m videoar_jax.train --config=configs/ucf9_stages.py:stage3 \
    --config.init_from=runs/stages/stage2 --workdir=runs/stages/stage3

The tokenizer of `configs/ucf9_cpu.py` learns three resolutions. Stage I sees
single frames of 64×64 and clips of 17 frames at 32×32, stage II clips at 64×64
and, wide, at 48×80, stage III clips of 33 frames at 64×64. Prompts are made of
the classes' names. Figures: docs/results.md.
Variants: tokenizer, stage1, stage2, stage3, and smoke (a few steps).
"""

from videoar_jax.core.config import section
from videoar_jax.data.config import DataConfig
from videoar_jax.train import defaults

_SCALES = tuple((n, n) for n in (1, 2, 4, 8))
_MORE_SCALES = (_SCALES[:3], ((1, 1), (2, 3), (3, 5), (6, 10)))


def get_config(variant: str = ''):
  return defaults.build_variant(
    variant,
    {
      'tokenizer': _tokenizer,
      'stage1': _stage1,
      'stage2': _stage2,
      'stage3': _stage3,
    },
  )


def _clips(num_frames: int, height: int, width: int, batch_size: int):
  return section(
    DataConfig(
      source=f'array_record:data_cache/ucf9_{height}x{width}',
      batch_size=batch_size,
      num_frames=num_frames,
      height=height,
      width=width,
      flip=True,
    )
  )


def _tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(_clips(9, 64, 64, 2))
  config.more_data.update(small=_clips(9, 32, 32, 8), wide=_clips(9, 48, 80, 2))
  config.tokenizer.update(
    base_width=12,
    multipliers=(1, 4, 8, 8),
    num_time_levels=2,
    encoder_blocks=1,
    decoder_blocks=1,
    latent_width=24,
    scales=_SCALES,
    more_scales=_MORE_SCALES,
    norm_groups=1,
    dtype='float32',
  )
  config.losses.residual = 0.01
  config.optimizer.update(
    learning_rate=3e-4, warmup_steps=20, ema_decay=0.99, weight_decay=0.01
  )
  config.train.update(
    num_steps=240, log_every=20, eval_every=120, sample_every=240
  )
  return config


def _stage1():
  config = _generator(num_steps=600)
  config.data.update(_clips(17, 32, 32, 8))
  config.more_data.image = _clips(1, 64, 64, 16)
  return config


def _stage2():
  config = _generator(num_steps=400)
  config.data.update(_clips(17, 64, 64, 8))
  config.more_data.wide = _clips(17, 48, 80, 8)
  return config


def _stage3():
  config = _generator(num_steps=100)
  config.data.update(_clips(33, 64, 64, 4))
  return config


def _generator(num_steps: int):
  config = defaults.generator_config()
  config.tokenizer = 'runs/stages/tokenizer'
  config.transformer.update(
    num_layers=4,
    width=128,
    num_heads=4,
    condition='text',
    vocabulary=512,
    prefix_length=32,
    dtype='float32',
  )
  config.optimizer.update(learning_rate=1e-3, warmup_steps=20, ema_decay=0.99)
  config.sampling.guidance = '2'
  config.train.update(
    num_steps=num_steps,
    log_every=20,
    eval_every=num_steps // 2,
    eval_batches=4,
    sample_every=num_steps,
  )
  return config
