"""The paper's generators: UCF-101 by class, 17 frames of 128×128.

  python -m videoar_jax.data.prepare --features \
    --source=array_record:DATA/ucf101_128 --height=128 --width=128 \
    --checkpoint=RUNS/tokenizer_ucf101 --windows=8 --flips \
    --out=DATA/ucf101_features
  python -m videoar_jax.train --config=configs/videoar_ucf101.py:L \
    --config.data.source=features:DATA/ucf101_features \
    --config.tokenizer=RUNS/tokenizer_ucf101 --workdir=RUNS/videoar_L
  python -m videoar_jax.sample --checkpoint=RUNS/videoar_L --class=all \
    --guidance=ucf --out=samples/
  python -m videoar_jax.evaluate --checkpoint=RUNS/videoar_L \
    --data=array_record:DATA/ucf101_128 --protocol=ucf101_train10k_17f_128 \
    --out=videoar_L.json

Sizes, optimiser, flips and guidance are the paper's (VideoAR, arXiv:2601.05966,
App. A). It states neither batch nor steps: here 1,000 epochs of 9,537 clips at
batch 64 (docs/paper.md, Training).
Parameters are sharded over all devices there are; see `core.mesh` for other
meshes.

Parameters in millions: S 50.5, B 268.7, L 906.4, XL 2148.1, 4B 3775.7, which is
16 D² for each layer of width D, and at most 0.3% for embeddings, norms and
head. The paper says 926 M, 2.0 B and 4 B of the last three.

Hardware, hours, figures: not run. The paper's gFVD is 90.3 (L) and 88.6 (XL).
Variants: S, B (small ones, not in the paper), L, XL, 4B, and smoke (a few small
steps).
"""

from videoar_jax.train import defaults

_EPOCHS, _CLIPS, _BATCH = 1000, 9537, 64


def get_config(variant: str = ''):
  return defaults.build_size(variant, _build)


def _build(size: str):
  config = defaults.generator_config(size)
  config.data.update(
    source='features:data_cache/ucf101_features',
    batch_size=_BATCH,
    num_frames=17,
    height=128,
    width=128,
    num_workers=8,
  )
  config.optimizer.update(warmup_steps=1000, ema_decay=0.9999)
  config.mesh.update(data=1, fsdp=-1)
  config.train.update(
    defaults.PAPER_CADENCE, num_steps=_EPOCHS * _CLIPS // _BATCH
  )
  return config
