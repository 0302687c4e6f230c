"""A tokenizer at 256×256: 17 frames to 5×16×16, 48 bits a token.

  python -m videoar_jax.train --config=configs/tokenizer_256.py \
    --config.data.source=array_record:DATA/videos_256 \
    --config.init_from=RUNS/tokenizer_ucf101 --workdir=RUNS/tokenizer_256

The networks are those of `configs/tokenizer_ucf101.py`, which work at any size,
so that training may start from its weights. The scales are Infinity's at a
ratio of one up to 16 (docs/paper.md, Scales): 521 tokens a latent frame.
Hardware, hours, figures: not run; the paper has none at this resolution.
Variants: none, and smoke (a few small steps).
"""

from videoar_jax.train import defaults

_SCALES = tuple((n, n) for n in (1, 2, 4, 6, 8, 12, 16))


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'tokenizer': _tokenizer})


def _tokenizer():
  config = defaults.full_tokenizer_config()
  config.data.update(
    source='array_record:data_cache/videos_256',
    batch_size=64,
    height=256,
    width=256,
  )
  config.tokenizer.scales = _SCALES
  config.losses.update(drop_scales=2, drop_probability=0.1)
  config.train.num_steps = 150_000
  return config
