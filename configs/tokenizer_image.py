"""An image tokenizer at 128×128, to start video tokenizers from.

  python -m videoar_jax.train --config=configs/tokenizer_image.py \
    --config.data.source=images:DATA/imagenet --workdir=RUNS/tokenizer_image

`images:PATH` is a folder of class folders of pictures, `array_record:PATH` what
`data.prepare --source=images:PATH` wrote, or prepared videos, of which a random
frame is taken. A picture is a clip of one frame, which meets the last time
slice of each kernel alone; the others stay zero, so that a video tokenizer with
`--config.init_from` starts as this one on every frame (docs/paper.md,
Inflation).
Hardware, hours, figures: not run.
Variants: none, and smoke (a few small steps).
"""

from videoar_jax.train import defaults


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'tokenizer': _tokenizer})


def _tokenizer():
  config = defaults.full_tokenizer_config()
  config.data.update(
    source='images:data_cache/images',
    batch_size=256,
    num_frames=1,
    height=128,
    width=128,
  )
  config.adversarial.start = 20_000
  config.train.num_steps = 200_000
  return config
