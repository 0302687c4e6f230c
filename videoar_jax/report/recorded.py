"""Figures of the project's own runs, to stand beside a run's.

Those of the project are rows of docs/results.md, which says how each was made;
`tests/test_report_figures.py` holds one against the other.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from videoar_jax.evaluate import protocols
from videoar_jax.report import published

DOCUMENT = 'docs/results.md'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded:
  """What an earlier run of the same kind came to.

  Attributes:
    name: of the run.
    measured: what a result must hold to be compared with this run.
    num_videos: that were measured.
    figures: by the names that results have.
    commit: of the code.
    hardware: that it ran on.
  """

  name: str
  measured: Mapping[str, Any]
  num_videos: int
  figures: Mapping[str, float]
  commit: str
  hardware: str


_SHAPES = {'source': 'synthetic', 'frames': 9, 'resolution': [32, 32]}
_UCF9 = {'protocol': 'ucf9_train256_17f_64'}
_CORES = '2 cores of an AMD EPYC'

OWN = (
  Recorded(
    name='quickstart, tokenizer',
    measured={'recipe': 'tokenizer', **_SHAPES},
    num_videos=256,
    figures={
      'class_accuracy': 1.0,
      'class_accuracy_real': 1.0,
      'psnr': 24.96,
      'ssim': 0.827,
      'lpips': 0.040,
    },
    commit='77f432d',
    hardware=_CORES,
  ),
  Recorded(
    name='quickstart, generator',
    measured={'recipe': 'generator', **_SHAPES},
    num_videos=256,
    figures={'class_accuracy': 0.973, 'class_accuracy_real': 1.0},
    commit='77f432d',
    hardware=_CORES,
  ),
  Recorded(
    name='UCF-9, tokenizer',
    measured={'recipe': 'tokenizer', **_UCF9},
    num_videos=256,
    figures={
      'psnr': 24.6,
      'ssim': 0.773,
      'lpips': 0.261,
      'fvd': 2530.0,
      'fvd_inf': 2450.0,
      'kvd': 337.0,
      'kvd_stderr': 52.0,
    },
    commit='a2b4eab',
    hardware=_CORES,
  ),
  Recorded(
    name='UCF-9, generator by class, guidance 2',
    measured={'recipe': 'generator', **_UCF9},
    num_videos=256,
    figures={
      'fvd': 3286.0,
      'fvd_inf': 3193.0,
      'kvd': 379.0,
      'kvd_stderr': 59.0,
    },
    commit='a2b4eab',
    hardware=_CORES,
  ),
)

_UCF101 = 'UCF-101'
_KINDS = {'tokenizer': published.RFVD, 'generator': published.GFVD}


def find_recorded(result: Mapping[str, Any]) -> Recorded | None:
  """The recorded run measured like a result, but for the number of videos."""
  for run in OWN:
    if all(result.get(key) == value for key, value in run.measured.items()):
      return run
  return None


def find_published(result: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
  """What the paper states of the data that a result was measured on."""
  kind = _KINDS.get(str(result.get('recipe')))
  known = protocols.PROTOCOLS.get(str(result.get('protocol')))
  if kind is None or known is None or known.data_set != _UCF101:
    return ()
  found = published.of_videoar(kind)
  return tuple(
    (f'{kind[0]}{kind[1:].upper()}, {x.row}', x.value) for x in found
  )
