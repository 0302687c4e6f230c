"""Whole configs with every key, for config files to override."""

import functools
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from videoar_jax.core.config import section
from videoar_jax.train import sections

_SMOKE = 'smoke'
# How often a run at paper scale reports and saves, in steps.
PAPER_CADENCE = {
  'log_every': 100,
  'eval_every': 5000,
  'eval_batches': 8,
  'sample_every': 5000,
  'checkpoint_every': 5000,
  'checkpoint_every_s': 0.0,
}
# Generators by name: layers, width, heads. L, XL and 4B are the paper's.
SIZES = {
  'S': (12, 512, 8),
  'B': (16, 1024, 16),
  'L': (24, 1536, 12),
  'XL': (32, 2048, 16),
  '4B': (36, 2560, 32),
}


def tokenizer_config() -> ConfigDict:
  """A tokenizer run at paper scale; unlocked.

  `more_data` maps names to further sections like `data`, whose batches take
  turns with those of `data` (see `data.mixture`).
  """
  return _config(sections.TOKENIZER)


def full_tokenizer_config() -> ConfigDict:
  """A tokenizer run at paper scale with all its losses; unlocked.

  Losses and optimisers are Open-MAGVIT2's for UCF-101, LeCAM MAGVIT-v2's, as
  VideoAR gives none (docs/paper.md, Tokenizer losses).
  """
  config = tokenizer_config()
  config.data.update(num_frames=17, flip=True, num_workers=8)
  config.losses.update(l1=1.0, l2=0.0, perceptual=1.0)
  config.adversarial.update(weight=0.3, start=5000)
  for optimizer in (config.optimizer, config.discriminator_optimizer):
    optimizer.update(
      learning_rate=1e-4,
      beta1=0.5,
      beta2=0.9,
      warmup_steps=1000,
      weight_decay=0.0,
    )
  config.train.update(PAPER_CADENCE)
  return config


def generator_config(size: str = 'L') -> ConfigDict:
  """A generator run at paper scale; unlocked.

  The data set fills in `classes`, `transformer.num_classes` or, where prompts
  condition, `prompts.tokenizer`. `more_data` is that of `tokenizer_config`.
  """
  layers, width, heads = SIZES[size]
  config = _config(sections.GENERATOR)
  config.transformer.update(num_layers=layers, width=width, num_heads=heads)
  return config


def stage_config(size: str) -> ConfigDict:
  """A stage of a text-to-video generator at paper scale; unlocked.

  The paper states the optimiser and what the stages see; it states neither
  batches, steps nor the reader of the text (docs/paper.md, Training).
  """
  config = generator_config(size)
  # 24 to 8 frames a second.
  config.data.update(frame_stride=3, num_workers=8)
  config.transformer.update(
    condition='text', vocabulary=32_768, prefix_length=256
  )
  config.sampling.guidance = 'text'
  config.optimizer.update(warmup_steps=1000, ema_decay=0.9999)
  config.mesh.update(data=1, fsdp=-1)
  config.train.update(PAPER_CADENCE)
  return config


def make_smoke(config: ConfigDict) -> None:
  """Cuts a run down to a few small steps that touch every part of it."""
  config.train.update(num_steps=4, log_every=1, eval_every=2, eval_batches=1)
  config.train.accumulate = 1
  config.optimizer.warmup_steps = 1
  for stream in (config.data, *config.more_data.values()):
    stream.batch_size = min(stream.batch_size, 8)
  if config.recipe == 'tokenizer':
    net, judge = config.tokenizer, config.discriminator
    for part in (net, judge):
      part.base_width = min(part.base_width, max(8, part.norm_groups))
    for stream in (config.data, *config.more_data.values()):
      stream.num_frames = min(stream.num_frames, 1 + 2**net.num_time_levels)
    config.adversarial.start = min(config.adversarial.start, 1)
    config.discriminator_optimizer.warmup_steps = 1
  else:
    net = config.transformer
    head_width, heads = net.width // net.num_heads, min(net.num_heads, 2)
    net.update(
      num_layers=min(net.num_layers, 2),
      num_heads=heads,
      width=heads * head_width,
    )


def _config(recipe: str) -> ConfigDict:
  """Everything of a recipe's run, as it is where nothing else is said."""
  parts = {
    name: section(cls()) for name, cls in sections.SECTIONS[recipe].items()
  }
  own = section(sections.RUNS[recipe]())
  return ConfigDict(
    {**own, sections.MORE_DATA: ConfigDict(), **parts}, convert_dict=False
  )


def build_variant(
  variant: str | None, makers: Mapping[str, Callable[[], ConfigDict]]
) -> ConfigDict:
  """Builds and locks a config file's variant, as in `FILE:generator,smoke`.

  Args:
    variant: one of the makers' names, which may be left out where there is
      but one; with `smoke`, a few steps of it.
    makers: name -> what makes the config.

  Raises:
    ValueError: a part that is not known, none where there are several, or two.
  """
  parts = [part for part in (variant or '').split(',') if part]
  names = [part for part in parts if part != _SMOKE]
  if not names and len(makers) == 1:
    names = list(makers)
  if len(names) != 1 or names[0] not in makers:
    raise ValueError(
      f'variant {variant!r}: use one of {", ".join(f":{m}" for m in makers)}; '
      f'add ,{_SMOKE} for a few steps'
    )
  config = makers[names[0]]()
  if _SMOKE in parts:
    make_smoke(config)
  return config.lock()


def build_size(
  variant: str | None, make: Callable[[str], ConfigDict]
) -> ConfigDict:
  """As `build_variant`, of a config file whose variants are `SIZES`."""
  return build_variant(
    variant, {size: functools.partial(make, size) for size in SIZES}
  )
