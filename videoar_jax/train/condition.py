"""What a generator's data sets and its last stage say of its conditions."""

import dataclasses
from typing import Any

import ml_collections
from etils import epath

from videoar_jax.core import manifest, processes
from videoar_jax.core.config import from_section
from videoar_jax.core.export import (
  CHECKPOINTS,
  CONFIG,
  read_config,
  tokenizer_digests,
)
from videoar_jax.data.captions import read_captions
from videoar_jax.data.config import DataConfig
from videoar_jax.data.pipeline import make_source
from videoar_jax.data.prompts import (
  PromptConfig,
  PromptEncoder,
  read_tokenizer,
  train_bpe,
)
from videoar_jax.transformer.config import Condition, TransformerConfig


def resolve_condition(
  config: Any, streams: tuple[DataConfig, ...], *, workdir: epath.Path
) -> ml_collections.ConfigDict:
  """The config with the data's classes, or with the prompts' tokenizer.

  A tokenizer that nobody gives is trained when the run begins, by its first
  process; other processes and later starts use that one. All must call this.

  Args:
    config: of a generator's run; `transformer.num_classes` 0 takes the data's.
    streams: what it trains on.
    workdir: where the run lives.

  Raises:
    ValueError: by class, the streams' classes differ, or are not as many as
      the transformer's; captions or a tokenizer cannot be read, or the
      tokenizer has more tokens than transformer.vocabulary.
  """
  transformer = from_section(TransformerConfig, config, 'transformer')
  is_text = transformer.condition == Condition.TEXT
  classes = _classes(streams, is_text)
  if not is_text:
    transformer = transformer.of_classes(len(classes))
  if not is_text and transformer.num_classes != len(classes):
    raise ValueError(
      f'transformer.num_classes={transformer.num_classes}: '
      f'{streams[0].source} has {len(classes)} classes; use that number, or 0'
    )
  resolved = config.copy_and_resolve_references()
  with resolved.unlocked():
    resolved.classes = classes
    resolved.transformer.num_classes = transformer.num_classes
    if is_text:
      resolved.prompts.tokenizer = processes.from_first(
        lambda: _tokenizer(
          resolved, streams, transformer.vocabulary, workdir=workdir
        )
      )
  if is_text:
    _check_prompts(resolved, transformer)
  return resolved


def _classes(streams: tuple[DataConfig, ...], is_text: bool) -> tuple[str, ...]:
  """The first stream's classes; labels must mean the same in all streams."""
  if is_text:
    # Captions are read where records are; classes do not need them.
    plain = dataclasses.replace(streams[0], captions='')
    return tuple(make_source(plain, train=True).classes)
  found = [tuple(make_source(x, train=True).classes) for x in streams]
  for stream, classes in zip(streams, found):
    if classes != found[0]:
      raise ValueError(
        f'{stream.source} has other classes than {streams[0].source}: '
        'all streams of a run by class need the same'
      )
  return found[0]


def _tokenizer(
  config: Any,
  streams: tuple[DataConfig, ...],
  vocabulary: int,
  *,
  workdir: epath.Path,
) -> str:
  """JSON of the prompts' tokenizer: given, this run's, the last's, or new."""
  given = config.prompts.tokenizer
  if given:
    return given if given.startswith('{') else read_tokenizer(given)
  begun = (workdir / CONFIG).exists() and manifest.list_steps(
    workdir / CHECKPOINTS
  )
  for run in (workdir if begun else '', config.init_from):
    kept = read_config(run).get('prompts') if run else None
    if kept is not None and kept.tokenizer:
      return kept.tokenizer
  prompts = PromptConfig(template=config.prompts.template)
  texts = [prompts.class_prompt(name) for name in config.classes]
  for path in sorted({stream.captions for stream in streams} - {''}):
    for captions in read_captions(path).values():
      texts += captions
  return train_bpe(texts, vocabulary=vocabulary)


def _check_prompts(config: Any, transformer: TransformerConfig) -> None:
  prompts = PromptConfig(**config.prompts.to_dict())
  encoder = PromptEncoder(prompts, transformer.prefix_length)
  if encoder.vocabulary > transformer.vocabulary:
    raise ValueError(
      f"transformer.vocabulary={transformer.vocabulary}: the prompts' "
      f'tokenizer has {encoder.vocabulary} tokens; use that number'
    )
  encoder.encode_classes(config.classes)


def check_last_stage(config: Any, tokenizer_digest: str) -> None:
  """Checks that the run named in `init_from` spoke this run's language.

  Its weights' shapes are checked where they are taken over.

  Args:
    config: of a generator's run, resolved.
    tokenizer_digest: of this run's tokenizer.

  Raises:
    ValueError: it had another tokenizer, or another tokenizer of prompts, so
      that its weights mean something else. Classes may be others, or stand in
      the place of prompts (see `initial.start_from`).
    CheckpointError: there is no such run.
  """
  if not config.init_from:
    return
  last = read_config(config.init_from)
  if last.recipe != config.recipe:
    return  # refused with the weights
  digests = tokenizer_digests(config.init_from)
  if digests is not None and digests['autoencoder'] != tokenizer_digest:
    raise ValueError(
      f'init_from={config.init_from}: a generator of the tokenizer '
      f'{digests["autoencoder"]}, and config.tokenizer is {tokenizer_digest}; '
      'the bits of two tokenizers mean different things: use the same'
    )
  both_text = all(
    x.transformer.condition == Condition.TEXT for x in (config, last)
  )
  if both_text and last.prompts.tokenizer != config.prompts.tokenizer:
    raise ValueError(
      f'init_from={config.init_from}: its prompts have another tokenizer; '
      "leave prompts.tokenizer='' to take over that one"
    )
