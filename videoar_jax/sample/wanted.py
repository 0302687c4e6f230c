"""The videos that are asked for: by class, by prompt, or either."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from videoar_jax.core import fields
from videoar_jax.sample.sampler import Generator, label_of

MOST_VIDEOS = 1_000_000
_COUNT = fields.Range(least=1, most=MOST_VIDEOS)


@dataclasses.dataclass(frozen=True)
class Wanted:
  """The videos that are asked for.

  Attributes:
    names: class or prompt of each.
    conditions_nx: the same as the transformer reads it.
    facts: arrays for samples.npz.
  """

  names: list[str]
  conditions_nx: np.ndarray
  facts: dict[str, np.ndarray]

  def __len__(self) -> int:
    return len(self.names)


def by_class(
  generator: Generator, name: str | None, count: int | None = None
) -> Wanted:
  """Videos of a class; None lets all classes take turns.

  Args:
    generator: whose classes they are.
    name: of the class.
    count: videos in all; None: one of each class.
  Raises:
    ValueError: no such class, or no class at all.
  """
  if not generator.classes:
    raise ValueError('this generator knows no class by name; give a prompt')
  if name is None:
    labels = list(range(len(generator.classes)))
  else:
    labels = [label_of(name, generator.classes)]
  return _of_labels(generator, labels, count)


def by_prompt(
  generator: Generator, prompts: Sequence[str], count: int | None = None
) -> Wanted:
  """Videos of prompts, which take turns; None: one of each.

  Raises:
    ValueError: a prompt is empty or too long, or none is read.
  """
  prompts = _take_turns(prompts, count)
  conditions = generator.of_prompts(prompts)
  return Wanted(prompts, conditions, {'prompts': np.asarray(prompts)})


def by_condition(
  generator: Generator, condition: Any, count: int | None = None
) -> Wanted:
  """Videos of whatever a generator can be asked for.

  Args:
    generator: the generator.
    condition: name of a class, its label, a prompt where prompts are read, or
      a sequence of such, which take turns; None: all classes.
    count: videos in all; None: one of each.
  Raises:
    ValueError: none of these, or not one of this generator.
  """
  if condition is None:
    return by_class(generator, None, count)
  if isinstance(condition, str | int | np.integer):
    condition = [condition]
  if not np.iterable(condition):
    raise ValueError(_unknown(condition))
  items = list(condition)
  if not items:
    raise ValueError(f'condition={condition!r}: empty; leave it out for all')
  names = [_class_name(generator, item) for item in items]
  classes = generator.classes
  if generator.prompts is None or all(name in classes for name in names):
    labels = [label_of(name, classes) for name in names]
    return _of_labels(generator, labels, count)
  of_class = generator.prompts.config.class_prompt
  prompts = [of_class(name) if name in classes else name for name in names]
  return by_prompt(generator, prompts, count)


def _class_name(generator: Generator, item: Any) -> str:
  """A name or a prompt as it is, a label as the name of its class."""
  if isinstance(item, str):
    return str(item)
  if isinstance(item, bool) or not isinstance(item, int | np.integer):
    raise ValueError(_unknown(item))
  if not 0 <= item < len(generator.classes):
    raise ValueError(
      f'label {item}: wanted 0 to {len(generator.classes) - 1}, one of '
      f'{len(generator.classes)} classes'
    )
  return generator.classes[item]


def _unknown(item: Any) -> str:
  return (
    f'condition={item!r}: wanted the name of a class, its label, a prompt, or '
    'a list of these'
  )


def _of_labels(
  generator: Generator, labels: list[int], count: int | None
) -> Wanted:
  labels, classes = _take_turns(labels, count), generator.classes
  facts = {'labels': np.int32(labels), 'classes': np.asarray(classes)}
  names = [classes[label] for label in labels]
  return Wanted(names, generator.of_classes(labels), facts)


def _take_turns(items: Sequence[Any], count: int | None) -> list[Any]:
  if count is None:
    count = len(items)
  if fault := _COUNT.fault(count):
    raise ValueError(f'num_videos={count}: {fault}')
  return [items[i % len(items)] for i in range(count)]
