"""An image tokenizer at 128×128, to start video tokenizers from.

  python -m videoar_jax.train --config=configs/tokenizer_image.py \
    --config.data.source=images:DATA/imagenet --workdir=RUNS/tokenizer_image

`images:PATH` is a folder of class folders of pictures, `array_record:PATH` what
`data.prepare --source=images:PATH` wrote, or prepared videos, of which a random
frame is taken. A picture is a clip of one frame, which meets the last time
slice of each kernel alone; the others stay zero, so that a video tokenizer with
`--config.init_from` starts as this one on every frame (VideoAR App. A).
Hardware, hours, figures: not run.
Variants: none, and smoke (a few small steps).
"""

from videoar_jax.train import defaults


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'tokenizer': _tokenizer})


def _tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(
    source='images:data_cache/images',
    batch_size=256,
    num_frames=1,
    height=128,
    width=128,
    flip=True,
    num_workers=8,
  )
  config.losses.update(l1=1.0, l2=0.0, perceptual=1.0)
  config.adversarial.update(weight=0.3, start=20_000)
  adam = {'learning_rate': 1e-4, 'beta1': 0.5, 'beta2': 0.9}
  config.optimizer.update(adam, warmup_steps=1000, weight_decay=0.0)
  config.discriminator_optimizer.update(
    adam, warmup_steps=1000, weight_decay=0.0
  )
  config.train.update(
    num_steps=200_000,
    log_every=100,
    eval_every=5000,
    eval_batches=8,
    sample_every=5000,
    checkpoint_every=5000,
    checkpoint_every_s=0.0,
  )
  return config
