"""Figures of UCF-101 at 128×128 that papers state, and how they measured.

The one place where published figures stand. Who measured how is told by the
name of a protocol (`evaluate.protocols`), or in words where a paper does not
say it in full, or says it and no protocol here is it: then nothing that was
measured otherwise stands in its table, not even what another paper left open.
"""

import dataclasses

GFVD, RFVD = 'gfvd', 'rfvd'  # of samples by class, of reconstructions
VIDEOAR = 'VideoAR (arXiv:2601.05966)'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """What a paper states.

  Attributes:
    row: the model.
    kind: `GFVD` or `RFVD`.
    value: the distance.
    rules: name of a protocol, or how it was measured in words.
    source: the paper.
    steps: of the network, for a video; None where it does not say.
    seconds: for a video; of a machine that it need not name.
  """

  row: str
  kind: str
  value: float
  rules: str
  source: str
  steps: int | None = None
  seconds: float | None = None


_MAGVIT, _MAGVIT2 = 'MAGVIT (arXiv:2212.05199)', 'MAGVIT-v2 (arXiv:2310.05737)'
_LARP, _EVATOK = 'LARP (arXiv:2410.21264)', 'EVATok (arXiv:2603.12267)'
_PAR, _NAR = 'PAR (arXiv:2412.15119)', 'NAR (arXiv:2503.10696)'
_NBP = 'NBP (arXiv:2502.07737)'
_TATS, _OMNI = 'TATS (arXiv:2204.03638)', 'OmniTokenizer (arXiv:2406.09399)'
_OPEN = 'Open-MAGVIT2 (arXiv:2409.04410)'

# 10,000 windows of the train split, four times, as MAGVIT's; of 17 frames.
_DEFAULT = 'ucf101_train10k_17f_128'
_TATS_RULES, _OMNI_RULES = 'tats_2048_16f', 'omnitokenizer_2048_17f'
_LARP_RULES = 'larp_16f'


def _open(paper: str) -> str:
  return f'not stated in full by {paper}'


def _gfvd(row, value, rules, source, steps=None, seconds=None) -> Published:
  return Published(
    row=row,
    kind=GFVD,
    value=value,
    rules=rules,
    source=source,
    steps=steps,
    seconds=seconds,
  )


def _rfvd(row, value, source, rules='') -> Published:
  rules = rules or _open(source)
  return Published(row=row, kind=RFVD, value=value, rules=rules, source=source)


PUBLISHED = (
  _gfvd('VideoAR-L', 90.3, _open(VIDEOAR), VIDEOAR, 30, 0.86),
  _gfvd('VideoAR-XL', 88.6, _open(VIDEOAR), VIDEOAR, 30, 1.12),
  _gfvd('PAR-1x', 94.1, _open(_PAR), _PAR, 1280, 43.30),
  _gfvd('PAR-4x', 99.5, _open(_PAR), _PAR, 323, 11.27),
  _gfvd('PAR-16x', 103.4, _open(_PAR), _PAR, 95, 3.44),
  _gfvd('NAR-L', 96.2, _open(_NAR), _NAR, 34, 1.09),
  _gfvd('NAR-LP', 71.1, _open(_NAR), _NAR, 34, 1.30),
  _gfvd('MAGVIT', 76.0, 'magvit_16f', _MAGVIT, 12),
  _gfvd('MAGVIT-v2', 58.0, _DEFAULT, _MAGVIT2, 24),
  _gfvd('MAGVIT-v2, autoregressive', 109.0, _DEFAULT, _MAGVIT2, 1280),
  _gfvd('NBP, 0.7 B', 103.3, _DEFAULT, _NBP, 95),
  _gfvd('NBP, 1.2 B', 85.8, _DEFAULT, _NBP, 95),
  _gfvd('NBP, 3 B', 55.3, _DEFAULT, _NBP, 95),
  _gfvd('LARP, 343 M', 102.0, _LARP_RULES, _LARP),
  _gfvd('LARP, 632 M', 57.0, _LARP_RULES, _LARP),
  _gfvd('EVATok, 633 M', 48.0, _open(_EVATOK), _EVATOK),
  _gfvd('TATS', 332.0, _TATS_RULES, _TATS, 1024),
  _gfvd('OmniTokenizer', 191.0, _OMNI_RULES, _OMNI, 5120, 336.70),
  _rfvd('VideoAR, 16× in space', 61.0, VIDEOAR),
  _rfvd('MAGVIT-L, as NBP quotes it', 25.0, _NBP),
  _rfvd('NBP', 15.5, _NBP),
  _rfvd('Open-MAGVIT2', 16.0, _OPEN),
  _rfvd('LARP', 20.0, _LARP),
  _rfvd('EVATok', 9.7, _EVATOK),
  _rfvd('TATS', 162.0, _TATS),
  _rfvd('OmniTokenizer', 42.0, _OMNI, _OMNI_RULES),
)


def of_videoar(kind: str) -> list[Published]:
  """The rows of the paper that this project implements."""
  return [x for x in PUBLISHED if (x.kind, x.source) == (kind, VIDEOAR)]
