"""UCF-9 at 64×64 on two CPU cores: nine classes of UCF-101, 17 frames.

  python -m videoar_jax.data.prepare --source=folder:DATA/ucf9_128 \
    --split_file=DATA/ucf101_splits/trainlist01.txt --height=64 --width=64 \
    --out=data_cache/ucf9_64
  python -m videoar_jax.train --config=configs/ucf9_cpu.py:image_tokenizer \
    --config.data.source=array_record:data_cache/ucf9_64 \
    --workdir=runs/ucf9/image_tokenizer
  python -m videoar_jax.train --config=configs/ucf9_cpu.py:short_tokenizer \
    --config.data.source=array_record:data_cache/ucf9_64 \
    --config.init_from=runs/ucf9/image_tokenizer \
    --workdir=runs/ucf9/short_tokenizer
  python -m videoar_jax.train --config=configs/ucf9_cpu.py:tokenizer \
    --config.data.source=array_record:data_cache/ucf9_64 \
    --config.init_from=runs/ucf9/short_tokenizer --workdir=runs/ucf9/tokenizer
  python -m videoar_jax.data.prepare --features \
    --source=array_record:data_cache/ucf9_64 --height=64 --width=64 \
    --checkpoint=runs/ucf9/tokenizer --windows=3 --flips \
    --out=data_cache/ucf9_features
  python -m videoar_jax.train --config=configs/ucf9_cpu.py:generator \
    --config.data.source=features:data_cache/ucf9_features \
    --config.tokenizer=runs/ucf9/tokenizer --workdir=runs/ucf9/generator
  python -m videoar_jax.train --config=configs/ucf9_cpu.py:text_generator \
    --config.data.source=features:data_cache/ucf9_features \
    --config.tokenizer=runs/ucf9/tokenizer --workdir=runs/ucf9/text_generator

The tokenizer trains on single frames, on clips of 5 frames and at last on those
of 17 that it is to code: without these the frames after the first few drift.
Figures: docs/results.md.
Variants: image_tokenizer, short_tokenizer, tokenizer, generator (by class),
text_generator (by prompts such as "a video of a person baby crawling"), and
smoke (a few steps).
"""

from videoar_jax.train import defaults

_SCALES = tuple((n, n) for n in (1, 2, 4, 8))
_DATA = {'height': 64, 'width': 64, 'flip': True}
_TRAIN = {'log_every': 20, 'eval_batches': 8}


def get_config(variant: str = ''):
  return defaults.build_variant(
    variant,
    {
      'image_tokenizer': _image_tokenizer,
      'short_tokenizer': _short_tokenizer,
      'tokenizer': _tokenizer,
      'generator': _generator,
      'text_generator': _text_generator,
    },
  )


def _image_tokenizer():
  config = _short_tokenizer()
  config.data.update(batch_size=12, num_frames=1)
  config.train.update(num_steps=6000, eval_every=1000, sample_every=2000)
  return config


def _tokenizer():
  config = _short_tokenizer()
  config.data.update(batch_size=2, num_frames=17)
  config.optimizer.learning_rate = 3e-4
  config.train.update(num_steps=200, eval_every=100, sample_every=200)
  return config


def _short_tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(
    _DATA, source='array_record:data_cache/ucf9_64', batch_size=4, num_frames=5
  )
  config.tokenizer.update(
    base_width=12,
    multipliers=(1, 4, 8, 8),
    num_time_levels=2,
    encoder_blocks=1,
    decoder_blocks=1,
    latent_width=24,
    scales=_SCALES,
    norm_groups=1,
    dtype='float32',
  )
  config.losses.residual = 0.01
  config.optimizer.update(
    learning_rate=6e-4, warmup_steps=50, ema_decay=0.99, weight_decay=0.01
  )
  config.train.update(_TRAIN, num_steps=1800, eval_every=600, sample_every=600)
  return config


def _text_generator():
  config = _generator()
  config.transformer.update(condition='text', vocabulary=512, prefix_length=32)
  return config


def _generator():
  config = defaults.generator_config()
  config.data.update(
    _DATA,
    source='features:data_cache/ucf9_features',
    batch_size=8,
    num_frames=17,
  )
  config.transformer.update(
    num_layers=4,
    width=128,
    num_heads=4,
    dtype='float32',
  )
  config.optimizer.update(learning_rate=1e-3, warmup_steps=50, ema_decay=0.99)
  config.sampling.guidance = '2'
  config.train.update(
    _TRAIN, num_steps=3000, eval_every=1000, sample_every=1500
  )
  return config
