"""States of prompts, as a text encoder gave them, cached by prompt.

A record is one prompt: its text, and (l, d) bfloat16, l its number of tokens.
The first record is the negative prompt, which guidance sets against all others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence

import ml_dtypes
import numpy as np

from videoar_jax.core import files, structure
from videoar_jax.data import captions, shard_writer, shards, work
from videoar_jax.data.prompts import shortened

KIND = 'embeddings'
_CLASSES = ('prompt',)  # records of every kind have one
_PER_SHARD = 128  # prompts, whose states are in memory at once
_COUNT = structure.at_least(1)
_SETTINGS = {'encoder': str, 'negative_prompt': str, 'per_shard': _COUNT}
_HEADER = {'shape': [_COUNT], 'label': structure.at_least(0, below=1)}


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """Cached states, by prompt.

  Attributes:
    path: of the folder.
    records: of the cache.
    places: key of each prompt -> its record.
    encoder: digest of the text encoder.
    negative_prompt: the text.
  """

  path: str
  records: shards.ShardReader
  places: dict[str, int]
  encoder: str
  negative_prompt: str

  def __len__(self) -> int:
    return len(self.places)

  def __contains__(self, prompt: str) -> bool:
    return _key(prompt.strip()) in self.places

  def __getitem__(self, prompt: str) -> np.ndarray:
    """States of a prompt, (l, d) bfloat16.

    Raises:
      ValueError: it was not prepared, or its record is damaged.
    """
    prompt = prompt.strip()
    place = self.places.get(_key(prompt))
    if place is None:
      raise ValueError(
        f'{self.path}: no states of the prompt {shortened(prompt)!r}; add it '
        'to the file of prompts and run data.prepare --text into a new folder'
      )

    def states(header: dict, parts: list) -> np.ndarray:
      (part,) = parts
      if header['name'] != prompt:
        raise ValueError('it is of another prompt')
      return np.frombuffer(part, ml_dtypes.bfloat16).reshape(header['shape'])

    return self.records.read(place, states)

  @functools.cached_property
  def negative(self) -> np.ndarray:
    """States of the negative prompt, (l, d) bfloat16."""
    return self[self.negative_prompt]

  def batch(self, prompts: Sequence[str], *, length: int) -> np.ndarray:
    """States of several prompts, zeros after each: (b, length, d) bfloat16.

    Raises:
      ValueError: as for one prompt, or one has more tokens than `length`.
    """
    found = [self[prompt] for prompt in prompts]
    longest = max(len(state_ld) for state_ld in found)
    if longest > length:
      raise ValueError(
        f'length={length}: a prompt has {longest} tokens; use that, or more'
      )
    width = found[0].shape[1]
    states_bld = np.zeros((len(found), length, width), ml_dtypes.bfloat16)
    for row_ld, state_ld in zip(states_bld, found):
      row_ld[: len(state_ld)] = state_ld
    return states_bld


def open_embeddings(path: str, *, encoder: str | None = None) -> Embeddings:
  """Opens a cache.

  Args:
    path: a folder that `data.prepare --text` wrote.
    encoder: digest of the text encoder that the states must be of; None takes
      any.
  Raises:
    ValueError: not such a folder, not finished, shards missing, truncated or
      altered, or states of another encoder.
  """
  manifest = shards.read_manifest(path, KIND, _SETTINGS)
  settings = manifest['plan']
  if encoder is not None and settings['encoder'] != encoder:
    raise ValueError(
      f'{path}: states of the text encoder with digest {settings["encoder"]}, '
      f'not {encoder}; name that encoder, or run data.prepare --text again'
    )
  structure.check(manifest, {'keys': [str]}, where=f'{path}/{shards.MANIFEST}')
  keys = manifest['keys']
  records = shards.ShardReader(path, manifest, shards.SPLITS[0], _HEADER)
  if len(keys) != len(records):
    raise ValueError(
      f'{path}: {len(keys)} prompts and {len(records)} records: altered; run '
      'data.prepare --text into an empty folder'
    )
  return Embeddings(
    path,
    records,
    {key: place for place, key in enumerate(keys)},
    settings['encoder'],
    settings['negative_prompt'],
  )


def read_prompts(path: str) -> list[str]:
  """Prompts of a file, each once, in order.

  Args:
    path: a text with a prompt on each line, or captions (see
      `captions.read_captions`), where the name ends in `.jsonl`.
  Raises:
    ValueError: no such file, not UTF-8, no prompt in it, or no such captions.
  """
  if str(path).endswith('.jsonl'):
    found = [
      x for several in captions.read_captions(path).values() for x in several
    ]
  else:
    found = [line for _, line in files.read_lines(path)]
  if not found:
    raise ValueError(f'prompts={path}: no line in it')
  return list(dict.fromkeys(prompt.strip() for prompt in found))


def prepare_embeddings(
  prompts: Sequence[str],
  out: str,
  *,
  negative_prompt: str,
  encoder: str,
  encode: Callable[[Sequence[str]], list[np.ndarray]],
) -> dict:
  """Encodes prompts and writes what `open_embeddings` reads.

  Args:
    prompts: each once.
    out: folder to write; begun with the same arguments, the rest is written.
    negative_prompt: encoded once, as the first of all.
    encoder: digest of the text encoder.
    encode: prompts -> the states of each, float (l, d).
  Returns:
    The manifest.
  Raises:
    ValueError: `out` holds something else, a prompt cannot be encoded, or a
      state is not finite.
    OSError: the disk is full.
  """
  everything = list(dict.fromkeys([negative_prompt.strip(), *prompts]))
  settings = {
    'encoder': encoder,
    'negative_prompt': everything[0],
    'prompts': hashlib.sha256('\0'.join(everything).encode()).hexdigest(),
    'per_shard': _PER_SHARD,
  }
  preparation = shard_writer.Preparation(out, kind=KIND, settings=settings)
  if preparation.manifest is not None:
    print(f'{out}: complete already, nothing to do')
    return preparation.manifest
  count = -(-len(everything) // _PER_SHARD)
  notes = []
  with contextlib.closing(work.Progress(len(everything), 'prompt')) as progress:
    for i, name in enumerate(shards.shard_names(shards.SPLITS[0], count)):
      group = everything[i * _PER_SHARD : (i + 1) * _PER_SHARD]
      note = preparation.finished(name, num_classes=len(_CLASSES))
      worked = note is None
      if worked:
        note = preparation.write(
          name,
          _records(group, encode),
          {'labels': [0] * len(group), 'skipped': {}},
        )
      progress.add(len(group), worked=worked)
      notes.append(note)
  splits = {
    split: shard_writer.summarise(found, _CLASSES)
    for split, found in zip(shards.SPLITS, (notes, []))
  }
  manifest = preparation.finish(
    {
      'classes': _CLASSES,
      'splits': splits,
      'skipped': {},
      'keys': [_key(prompt) for prompt in everything],
    }
  )
  print(f'{out}: {len(everything)} prompts, the negative one among them')
  return manifest


def _records(
  prompts: Sequence[str], encode: Callable[[Sequence[str]], list[np.ndarray]]
) -> Iterator[bytes]:
  for prompt, state_ld in zip(prompts, encode(prompts), strict=True):
    if not np.isfinite(state_ld).all():
      raise ValueError(
        f'the text encoder gives states of {shortened(prompt)!r} that are not '
        'finite; use another dtype'
      )
    header = {'name': prompt, 'label': 0, 'shape': state_ld.shape}
    yield shards.pack(header, [state_ld.astype(ml_dtypes.bfloat16).tobytes()])


def _key(prompt: str) -> str:
  return hashlib.sha256(prompt.encode()).hexdigest()[:32]
