"""A tokenizer of images and videos, two resolutions and ratios, in one run.

  python -m videoar_jax.train --config=configs/tokenizer_joint.py \
    --config.data.source=array_record:DATA/videos_256 \
    --config.more_data.image.source=images:DATA/imagenet \
    --config.more_data.long.source=array_record:DATA/videos_256 \
    --config.more_data.wide.source=array_record:DATA/videos_wide \
    --config.init_from=RUNS/tokenizer_ucf101 --workdir=RUNS/tokenizer_joint

Streams of batches take turns, each with its length and resolution: clips of 17
frames at 256×256, single pictures of that size, clips of 65 frames at 128×128
and of 17 frames at 192×336, which is about 256² pixels at a ratio of 1.75. The
scales are Infinity's of those sizes (docs/paper.md, Scales), the lengths those
between which the paper trains. Those of 336×192, 512×512 and 384×672 are
declared for the stages of a generator; the networks work at any size. Held-out
figures are of the first stream alone.
Hardware, hours, figures: not run at this size.
Variants: none, and smoke (a few small steps of 5 frames).
"""

from videoar_jax.core.config import section
from videoar_jax.data.config import DataConfig
from videoar_jax.plan.schedules import schedule
from videoar_jax.train import defaults

_SMALL = tuple((n, n) for n in (1, 2, 3, 4, 6, 8))
_MORE = (
  _SMALL,
  schedule('0.06M', 1.75),
  schedule('0.06M', 1.75, upright=True),
  schedule('0.25M', 1.0),
  schedule('0.25M', 1.75),
)


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'tokenizer': _tokenizer})


def _tokenizer():
  config = defaults.full_tokenizer_config()
  config.data.update(
    source='array_record:data_cache/videos_256',
    batch_size=64,
    height=256,
    width=256,
    weight=2,
  )
  config.more_data.update(
    image=_stream('images:data_cache/images', 512, 1, 256, 256),
    long=_stream('array_record:data_cache/videos_256', 64, 65, 128, 128),
    wide=_stream('array_record:data_cache/videos_wide', 64, 17, 192, 336),
  )
  config.tokenizer.update(scales=schedule('0.06M', 1.0), more_scales=_MORE)
  config.losses.update(perceptual_frames=4, drop_scales=2, drop_probability=0.1)
  config.train.num_steps = 300_000
  return config


def _stream(source, batch_size, num_frames, height, width):
  return section(
    DataConfig(
      source=source,
      batch_size=batch_size,
      num_frames=num_frames,
      height=height,
      width=width,
      flip=True,
      num_workers=8,
    )
  )
