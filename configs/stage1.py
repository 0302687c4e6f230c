"""Stage I of a text-to-video generator: pictures and low-resolution videos.

  python -m videoar_jax.train --config=configs/stage1.py:4B \
    --config.data.source=array_record:DATA/videos_128 \
    --config.data.captions=DATA/captions.jsonl \
    --config.more_data.image.source=images:DATA/images \
    --config.more_data.image.captions=DATA/image_captions.jsonl \
    --config.tokenizer=RUNS/tokenizer_joint \
    --workdir=RUNS/stage1

Pictures of 256×256 and clips of 17 frames at 128×128 take turns. The prompts'
tokenizer is trained on the captions, and goes with the checkpoint to the later
stages.
Hardware, hours, figures: not run at this size; `configs/ucf9_stages.py` is a
small one that was.
Variants: L, XL, 4B, S and B (small ones, not in the paper), and smoke.
"""

from videoar_jax.core.config import section
from videoar_jax.data.config import DataConfig
from videoar_jax.train import defaults


def get_config(variant: str = ''):
  return defaults.build_size(variant, _stage)


def _stage(size: str):
  config = defaults.stage_config(size)
  config.data.update(
    source='array_record:data_cache/videos_128',
    captions='data_cache/captions.jsonl',
    batch_size=256,
    num_frames=17,
    height=128,
    width=128,
  )
  config.more_data.image = section(
    DataConfig(
      source='images:data_cache/images',
      captions='data_cache/image_captions.jsonl',
      batch_size=512,
      num_frames=1,
      height=256,
      width=256,
      num_workers=8,
    )
  )
  config.train.num_steps = 150_000
  return config
