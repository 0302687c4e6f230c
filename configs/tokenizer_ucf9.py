"""UCF-9 at 128×128 on one GPU: the paper's tokenizer, four times narrower.

  python -m videoar_jax.data.prepare --source=folder:DATA/ucf9_128 \
    --split_file=DATA/ucf101_splits/trainlist01.txt --height=128 --width=128 \
    --out=data_cache/ucf9_128
  python -m videoar_jax.train --config=configs/tokenizer_ucf9.py:full \
    --config.data.source=array_record:data_cache/ucf9_128 \
    --workdir=runs/tokenizer_ucf9/full
  python -m videoar_jax.train --config=configs/tokenizer_ucf9.py:plain \
    --config.data.source=array_record:data_cache/ucf9_128 \
    --workdir=runs/tokenizer_ucf9/plain

17 frames to 5×8×8, 48 bits a token, 31,200 bits a clip. `plain` leaves the
adversarial, perceptual and entropy losses out, to see what they do.
Hardware, hours, figures: not run.
Variants: full, plain, and smoke (a few small steps).
"""

from videoar_jax.train import defaults


def get_config(variant: str = ''):
  return defaults.build_variant(variant, {'full': _full, 'plain': _plain})


def _full():
  config = defaults.tokenizer_config()
  config.data.update(
    source='array_record:data_cache/ucf9_128',
    batch_size=16,
    num_frames=17,
    height=128,
    width=128,
    flip=True,
    num_workers=8,
  )
  config.tokenizer.update(base_width=32, norm_groups=8)
  config.discriminator.update(base_width=32, norm_groups=8)
  config.losses.update(l1=1.0, l2=0.0, perceptual=1.0, residual=0.01)
  config.adversarial.update(weight=0.1, start=4000)
  config.optimizer.update(
    learning_rate=3e-4, warmup_steps=200, weight_decay=0.0
  )
  config.discriminator_optimizer.update(
    learning_rate=1e-4, warmup_steps=200, weight_decay=0.0
  )
  config.train.update(
    num_steps=12_000,
    log_every=50,
    eval_every=1000,
    eval_batches=8,
    sample_every=2000,
  )
  return config


def _plain():
  config = _full()
  config.losses.update(perceptual=0.0, entropy=0.0)
  config.adversarial.weight = 0.0
  return config
