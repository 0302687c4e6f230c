"""The paper's tokenizer: UCF-101, 17 frames of 128×128 to 5×8×8, 48 bits.

  python -m videoar_jax.train --config=configs/tokenizer_image.py \
    --config.data.source=images:DATA/imagenet --workdir=RUNS/tokenizer_image
  python -m videoar_jax.data.prepare --source=folder:DATA/UCF-101 \
    --split_file=DATA/ucf101_splits/trainlist01.txt --height=128 --width=128 \
    --out=DATA/ucf101_128
  python -m videoar_jax.train --config=configs/tokenizer_ucf101.py \
    --config.data.source=array_record:DATA/ucf101_128 \
    --config.init_from=RUNS/tokenizer_image --workdir=RUNS/tokenizer_ucf101

2,000 epochs of 9,537 clips at batch 128 (VideoAR, arXiv:2601.05966, App. A).
The paper gives no weights of losses: these are Open-MAGVIT2's for UCF-101, with
LeCAM as in MAGVIT-v2 (docs/paper.md, Tokenizer losses). Without init_from,
training starts from scratch.
Hardware, hours, figures: not run. The paper's rFVD is 61.
Variants: none, and smoke (a few small steps).
"""

from videoar_jax.train import defaults

_EPOCHS, _CLIPS, _BATCH = 2000, 9537, 128


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'tokenizer': _tokenizer})


def _tokenizer():
  config = defaults.full_tokenizer_config()
  config.data.update(
    source='array_record:data_cache/ucf101_128',
    batch_size=_BATCH,
    height=128,
    width=128,
  )
  config.train.num_steps = _EPOCHS * _CLIPS // _BATCH
  return config
