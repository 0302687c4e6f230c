"""Stage III of a text-to-video generator: long videos of high resolution alone.

  python -m videoar_jax.train --config=configs/stage3.py:4B \
    --config.data.source=array_record:DATA/videos_384x672 \
    --config.data.captions=DATA/captions.jsonl \
    --config.tokenizer=RUNS/tokenizer_joint \
    --config.init_from=RUNS/stage2 \
    --workdir=RUNS/stage3

Clips of 65 frames at 384×672, eight seconds at 8 frames a second: 17 latent
frames of 2,628 tokens.
Hardware, hours, figures: not run at this size; `configs/ucf9_stages.py` is a
small one that was.
Variants: L, XL, 4B, S and B (small ones, not in the paper), and smoke.
"""

from videoar_jax.train import defaults


def get_config(variant: str = ''):
  return defaults.build_size(variant, _stage)


def _stage(size: str):
  config = defaults.stage_config(size)
  config.data.update(
    source='array_record:data_cache/videos_384x672',
    captions='data_cache/captions.jsonl',
    batch_size=64,
    num_frames=65,
    height=384,
    width=672,
  )
  config.train.num_steps = 30_000
  return config
