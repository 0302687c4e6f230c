"""Stage II of a text-to-video generator: larger pictures and videos.

  python -m videoar_jax.train --config=configs/stage2.py:4B \
    --config.data.source=array_record:DATA/videos_192x336 \
    --config.more_data.upright.source=array_record:DATA/videos_336x192 \
    --config.more_data.image.source=images:DATA/images \
    --config.tokenizer=RUNS/tokenizer_joint \
    --config.init_from=RUNS/stage1 \
    --workdir=RUNS/stage2

Pictures of 384×672, clips of 17 frames at 192×336 and, upright, at 336×192 take
turns: three of Infinity's buckets (`plan.schedules`).
Hardware, hours, figures: not run at this size; `configs/ucf9_stages.py` is a
small one that was.
Variants: L, XL, 4B, S and B (small ones, not in the paper), and smoke.
"""

from ml_collections import ConfigDict

from videoar_jax.train import defaults


def get_config(variant: str = ''):
  return defaults.build_size(variant, _stage)


def _stage(size: str):
  config = defaults.stage_config(size)
  config.data.update(
    source='array_record:data_cache/videos_192x336',
    captions='data_cache/captions.jsonl',
    batch_size=128,
    num_frames=17,
    height=192,
    width=336,
    weight=2,
  )
  config.more_data.update(
    upright=ConfigDict(config.data), image=ConfigDict(config.data)
  )
  config.more_data.upright.update(
    source='array_record:data_cache/videos_336x192',
    height=336,
    width=192,
    weight=1,
  )
  config.more_data.image.update(
    source='images:data_cache/images',
    captions='data_cache/image_captions.jsonl',
    frame_stride=1,
    num_frames=1,
    height=384,
    width=672,
  )
  config.train.num_steps = 100_000
  return config
