"""Weizmann-4 at 64×64 on two CPU cores: real people, four actions, 17 frames.

`bash launch/weizmann.sh DATA` runs all of it:

  python -m videoar_jax.data.prepare --source=folder:DATA \
    --split_file=DATA/trainlist.txt --height=64 --width=64 \
    --out=data_cache/weizmann4_64
  python -m videoar_jax.train --config=configs/weizmann_cpu.py:image_tokenizer \
    --workdir=runs/weizmann/image_tokenizer
  python -m videoar_jax.train --config=configs/weizmann_cpu.py:tokenizer \
    --config.init_from=runs/weizmann/image_tokenizer \
    --workdir=runs/weizmann/tokenizer
  python -m videoar_jax.data.prepare --features \
    --source=array_record:data_cache/weizmann4_64 --height=64 --width=64 \
    --checkpoint=runs/weizmann/tokenizer --windows=24 --flips \
    --out=data_cache/weizmann4_features
  python -m videoar_jax.train --config=configs/weizmann_cpu.py:generator \
    --config.tokenizer=runs/weizmann/tokenizer \
    --workdir=runs/weizmann/generator
  python -m videoar_jax.train --config=configs/weizmann_cpu.py:text_generator \
    --config.tokenizer=runs/weizmann/tokenizer \
    --config.init_from=runs/weizmann/generator \
    --workdir=runs/weizmann/text_generator

56 clips of seven actors; two more actors are held out. The tokenizer learns on
single frames first, then on whole clips, with the perceptual, adversarial and
entropy losses; at a low rate, as a high one undoes what it has learnt. The
generator by prompts begins with the layers of that by class.
Figures: docs/results.md.
Variants: image_tokenizer, tokenizer, generator (by class), text_generator (by
prompts such as "a video of a person jumping jack"), and smoke (a few steps).
"""

from videoar_jax.train import defaults

_DATA = {'height': 64, 'width': 64, 'num_frames': 17, 'flip': True}
_CLIPS = 'array_record:data_cache/weizmann4_64'
_FEATURES = 'features:data_cache/weizmann4_features'


def get_config(variant: str = ''):
  return defaults.build_variant(
    variant,
    {
      'image_tokenizer': _image_tokenizer,
      'tokenizer': _tokenizer,
      'generator': _generator,
      'text_generator': _text_generator,
    },
  )


def _image_tokenizer():
  config = _plain_tokenizer()
  config.data.update(batch_size=16, num_frames=1)
  config.optimizer.update(kind='adamw', learning_rate=1e-3, warmup_steps=100)
  config.train.update(num_steps=3000, eval_every=500, sample_every=500)
  return config


def _tokenizer():
  config = _plain_tokenizer()
  config.losses.update(perceptual=0.5, perceptual_frames=2, entropy=0.005)
  config.adversarial.update(weight=0.005, start=200)
  config.discriminator.update(base_width=16, norm_groups=4)
  config.discriminator_optimizer.update(
    learning_rate=2e-4, beta1=0.5, warmup_steps=50, weight_decay=0.0
  )
  config.train.update(num_steps=600, eval_every=200, sample_every=200)
  return config


def _plain_tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(_DATA, source=_CLIPS, batch_size=2)
  config.tokenizer.update(
    patch=2,
    base_width=32,
    multipliers=(1, 2, 3),
    num_time_levels=2,
    encoder_blocks=1,
    decoder_blocks=1,
    block='mixed',
    latent_width=24,
    scales=tuple((n, n) for n in (1, 2, 4, 8)),
    norm_groups=1,
    dtype='float32',
  )
  config.losses.residual = 0.01
  config.optimizer.update(
    kind='muon',
    learning_rate=3e-4,
    warmup_steps=20,
    ema_decay=0.995,
    weight_decay=0.01,
  )
  config.train.update(log_every=50, eval_batches=8)
  return config


def _text_generator():
  config = _generator()
  config.transformer.update(condition='text', vocabulary=512, prefix_length=32)
  config.optimizer.learning_rate = 2e-3
  config.train.update(num_steps=1000, eval_every=500, sample_every=500)
  return config


def _generator():
  config = defaults.generator_config()
  config.data.update(_DATA, source=_FEATURES, batch_size=4)
  config.transformer.update(
    plan='next_scale_from_last',
    num_layers=6,
    width=144,
    num_heads=6,
    dtype='float32',
  )
  config.corruption.flip_max = 0.1
  config.optimizer.update(
    kind='muon', learning_rate=4e-3, warmup_steps=50, ema_decay=0.995
  )
  config.sampling.guidance = '2'
  config.train.update(
    num_steps=5000,
    log_every=50,
    eval_every=1000,
    eval_batches=16,
    sample_every=2500,
  )
  return config
