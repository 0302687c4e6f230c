"""UCF-9 at 128×128 in slices of ten minutes on a lent GPU.

  bash launch/gpu_slices.sh pack tokenizer --data=DATA/ucf9_128 \
    --split_file=DATA/ucf101_splits/trainlist01.txt
  bash launch/gpu_slices.sh run tokenizer

and so on, as docs/gpu.md tells; or, where time is no limit,

  python -m videoar_jax.train --config=configs/ucf9_gpu.py:tokenizer \
    --config.data.source=folder:DATA/ucf9_128 \
    --config.data.split_file=DATA/ucf101_splits/trainlist01.txt \
    --workdir=runs/ucf9_gpu/tokenizer
  python -m videoar_jax.train --config=configs/ucf9_gpu.py:generator \
    --config.data.source=folder:DATA/ucf9_128 \
    --config.data.split_file=DATA/ucf101_splits/trainlist01.txt \
    --config.tokenizer=runs/ucf9_gpu/tokenizer \
    --workdir=runs/ucf9_gpu/generator

About a million parameters each: with averages and optimiser 15 and 16 MiB,
which travel to the GPU and back beside the clips. 31,200 bits a clip, as the
paper's. The perceptual loss is left out, whose network does not fit beside the
clips, and so is the discriminator, which would travel too.
Hardware, hours, figures: not run.
Variants: tokenizer, generator, and smoke (a few steps).
"""

from videoar_jax.train import defaults

_DATA = {
  'source': 'folder:DATA/ucf9_128',
  'num_frames': 17,
  'height': 128,
  'width': 128,
  'flip': True,
  'num_workers': 8,
}
# Nothing is saved between: a slice saves when its time is up.
_TRAIN = {
  'log_every': 50,
  'eval_every': 1000,
  'eval_batches': 4,
  'checkpoint_every_s': 0.0,
  'keep': 1,
}


def get_config(variant: str = ''):
  return defaults.build_variant(
    variant, {'tokenizer': _tokenizer, 'generator': _generator}
  )


def _tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(_DATA, batch_size=16)
  config.tokenizer.update(
    base_width=16,
    multipliers=(1, 2, 2, 2, 2),
    encoder_blocks=1,
    decoder_blocks=1,
    norm_groups=4,
  )
  config.losses.residual = 0.01
  config.optimizer.update(
    learning_rate=6e-4, warmup_steps=200, weight_decay=0.0
  )
  config.train.update(_TRAIN, num_steps=12_000)
  return config


def _generator():
  config = defaults.generator_config()
  config.data.update(_DATA, batch_size=32)
  config.transformer.update(num_layers=4, width=128, num_heads=4)
  config.optimizer.update(learning_rate=1e-3, warmup_steps=200)
  config.sampling.guidance = '2'
  config.train.update(_TRAIN, num_steps=12_000)
  return config
