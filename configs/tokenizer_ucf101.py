"""The paper's tokenizer: UCF-101, 17 frames of 128×128 to 5×8×8, 48 bits.

  python -m videoar_jax.train --config=configs/tokenizer_image.py \
    --config.data.source=images:DATA/imagenet --workdir=RUNS/tokenizer_image
  python -m videoar_jax.data.prepare --source=folder:DATA/UCF-101 \
    --split_file=DATA/ucf101_splits/trainlist01.txt --height=128 --width=128 \
    --out=DATA/ucf101_128
  python -m videoar_jax.train --config=configs/tokenizer_ucf101.py \
    --config.data.source=array_record:DATA/ucf101_128 \
    --config.init_from=RUNS/tokenizer_image --workdir=RUNS/tokenizer_ucf101

2,000 epochs of 9,537 clips at batch 128 (VideoAR App. A). The paper gives no
weights of losses: these are Open-MAGVIT2's for UCF-101, with LeCAM as in
MAGVIT-v2 (PAPER §3). Without init_from, training starts from scratch.
Hardware, hours, figures: not run. The paper's rFVD is 61.
Variants: none, and smoke (a few small steps).
"""

from videoar_jax.train import defaults

_EPOCHS, _CLIPS, _BATCH = 2000, 9537, 128


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'tokenizer': _tokenizer})


def _tokenizer():
  config = defaults.tokenizer_config()
  config.data.update(
    source='array_record:data_cache/ucf101_128',
    batch_size=_BATCH,
    num_frames=17,
    height=128,
    width=128,
    flip=True,
    num_workers=8,
  )
  config.losses.update(l1=1.0, l2=0.0, perceptual=1.0)
  config.adversarial.update(weight=0.3, start=5000)
  adam = {'learning_rate': 1e-4, 'beta1': 0.5, 'beta2': 0.9}
  config.optimizer.update(adam, warmup_steps=1000, weight_decay=0.0)
  config.discriminator_optimizer.update(
    adam, warmup_steps=1000, weight_decay=0.0
  )
  config.train.update(
    num_steps=_EPOCHS * _CLIPS // _BATCH,
    log_every=100,
    eval_every=5000,
    eval_batches=8,
    sample_every=5000,
    checkpoint_every=5000,
    checkpoint_every_s=0.0,
  )
  return config
