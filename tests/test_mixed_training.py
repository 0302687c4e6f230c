"""One training run on images and videos of two resolutions."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from videoar_jax.core.export import load_weights
from videoar_jax.train.metrics import read_metrics

CONFIG = '''
"""A tiny run that plays every part; see tests/test_mixed_training.py."""

from videoar_jax.core.config import section
from videoar_jax.data.config import DataConfig
from videoar_jax.train import defaults


def get_config(variant=''):
  config = defaults.tokenizer_config()
  config.data.update(num_frames=3, height=8, width=8, batch_size=4, weight=2)
  config.more_data.images = section(
    DataConfig(
      source='images:IMAGES',
      num_frames=1,
      height=8,
      width=16,
      batch_size=6,
    )
  )
  config.tokenizer.update(
    base_width=4,
    multipliers=(1, 1),
    num_time_levels=1,
    encoder_blocks=1,
    decoder_blocks=1,
    latent_width=4,
    scales=((1, 1), (4, 4)),
    more_scales=(((1, 2), (2, 4), (4, 8)),),
    norm_groups=2,
    dtype='float32',
  )
  config.adversarial.update(weight=0.2, start=2)
  config.losses.update(drop_scales=1, drop_probability=0.3)
  config.discriminator.update(
    base_width=4, multipliers=(1, 2), norm_groups=2, dtype='float32'
  )
  config.optimizer.warmup_steps = 1
  config.discriminator_optimizer.warmup_steps = 1
  config.train.update(
    num_steps=6,
    log_every=1,
    checkpoint_every=3,
    eval_every=6,
    eval_batches=1,
    sample_every=6,
  )
  return config.lock()
'''


@pytest.mark.parametrize(
  'judge', [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_images_videos_and_resolutions_in_one_run_that_resumes(
  shell, tmp_path, judge
):
  rng = np.random.default_rng(0)
  for i in range(24):
    path = tmp_path / 'images' / 'ab'[i % 2] / f'{i}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (20, 40, 3)).astype(np.uint8)).save(
      path
    )
  config = tmp_path / 'mixed.py'
  config.write_text(CONFIG.replace('IMAGES', str(tmp_path / 'images')))

  workdir = tmp_path / 'run'

  def run():
    done = shell.run(
      'train',
      f'--config={config}',
      f'--workdir={workdir}',
      f'--config.adversarial.weight={0.2 * judge}',
    )
    assert done.returncode == 0, done.stderr
    return load_weights(workdir)

  whole = run()
  lines = [x for x in read_metrics(workdir) if x['kind'] == 'train']
  os.rename(workdir / 'checkpoints' / '6', tmp_path / 'aside')
  assert load_weights(workdir).step == 3
  again = run()
  assert again.step == 6 and again.digests == whole.digests
  assert ('discriminator' in whole.digests) == judge
  sizes = [round(x['clips_per_s'] * x['step_s']) for x in lines]
  assert sizes == [4, 6, 4, 4, 6, 4]
  scales = [
    sum('bit_entropy' in k and v is not None for k, v in x.items())
    for x in lines
  ]
  assert scales == [2, 3, 2, 2, 3, 2]
  judged = [x.get('discriminator/loss') is not None for x in lines]
  assert judged == [False, False, *([judge] * 4)]
  json.dumps(lines, allow_nan=False)
