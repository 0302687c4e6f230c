"""What a run is, on what machine, how far it has come."""

import dataclasses
import json
import pathlib
from typing import Any

from videoar_jax.core import console, files
from videoar_jax.report import markup
from videoar_jax.train import goodput, metrics, starts

CONFIG = 'config.json'
TOKENIZER, GENERATOR = HALVES = ('tokenizer', 'generator')
# A tokenizer of single frames, where the tokenizer started from one.
IMAGE_STAGE = 'image_tokenizer'
# A second generator, by prompts, where there is one by class.
TEXT_STAGE = 'text_generator'
# Parts of a run in the order they train in, and what the page calls them.
TITLES = {
  IMAGE_STAGE: 'tokenizer on single frames',
  TOKENIZER: 'tokenizer',
  GENERATOR: 'generator',
  TEXT_STAGE: 'generator by text',
}
_SHOWN = {
  'data.source': 'data',
  'data.num_frames': 'frames of a clip',
  'data.height': 'height',
  'data.width': 'width',
  'data.batch_size': 'clips a step',
  'optimizer.learning_rate': 'learning rate',
  'seed': 'seed',
  'init_from': 'started from',
}


@dataclasses.dataclass(frozen=True)
class Stage:
  """A workdir of a run.

  Attributes:
    name: of `TITLES`.
    path: of the workdir.
    config: of the run.
    lines: of its metrics.
    starts: of it, see `train.starts`.
    times: of it, see `train.goodput`.
  """

  name: str
  path: pathlib.Path
  config: dict
  lines: list[dict]
  starts: list[dict]
  times: list[dict]

  @property
  def done(self) -> int:
    """Steps that metrics tell of."""
    return max((line['step'] for line in self.lines), default=0)

  @property
  def num_steps(self) -> int | None:
    """Steps of the whole run; None where the config does not say."""
    found = read_key(self.config, 'train.num_steps')
    return found if type(found) is int and found > 0 else None

  @property
  def is_finished(self) -> bool:
    return self.num_steps is not None and self.done >= self.num_steps

  @property
  def trained_s(self) -> float:
    """Seconds that its steps took, evaluations and checkpoints left out."""
    total, before = 0.0, 0
    for line in self.lines:
      if line.get('kind') == 'train':
        total += (line.get('step_s') or 0.0) * max(0, line['step'] - before)
        before = line['step']
    return total

  @property
  def step_s(self) -> float | None:
    """Seconds of a step, of late."""
    found = [x.get('step_s') for x in self.lines if x.get('kind') == 'train']
    return next((x for x in reversed(found) if x), None)


def read_stage(name: str, path: pathlib.Path) -> Stage:
  """Reads a workdir.

  Raises:
    ValueError: its config is damaged.
  """
  config = read_json(path / CONFIG) or {}
  return Stage(
    name,
    path,
    config,
    metrics.read_metrics(path),
    starts.read_starts(path),
    goodput.read_times(path),
  )


def read_json(path: pathlib.Path, shape: Any = dict) -> dict | None:
  """What a file holds; None where there is none."""
  if not path.exists():
    return None
  return files.read_json(path, shape, fix='write it again')


def read_key(config: dict, dotted: str) -> Any:
  """A value of a config by its name; None where there is none."""
  value: Any = config
  for name in dotted.split('.'):
    value = value.get(name) if isinstance(value, dict) else None
  return value


def state(stages: list[Stage], *, waits_for: str = '') -> str:
  """One line on how far the run has come.

  Args:
    stages: in the order they train in.
    waits_for: what comes after training and is not there yet.
  """
  at_work = [stage for stage in stages if not stage.is_finished]
  if not stages:
    words = 'Nothing is trained yet.'
  elif at_work:
    words = _at_work(at_work[-1])
  elif waits_for:
    words = f'Trained; {waits_for} is to come.'
  else:
    words = 'Finished.'
  return f'<p class="state"><b>{markup.text(words)}</b></p>'


def _at_work(stage: Stage) -> str:
  title = TITLES[stage.name]
  if stage.num_steps is None:
    return f'The {title}: {stage.done:,} steps.'
  words = f'The {title}: step {stage.done:,} of {stage.num_steps:,}'
  if stage.step_s:
    left = metrics.duration((stage.num_steps - stage.done) * stage.step_s)
    words += f', {left} of training to go'
  return f'{words}.'


def table(stages: list[Stage]) -> str:
  """What was trained, on what, for how long."""
  rows = [
    ('steps', *(_steps(stage) for stage in stages)),
    ('time of training', *(_time(stage) for stage in stages)),
    ('parameters', *(_parameters(stage) for stage in stages)),
  ]
  for key, words in _SHOWN.items():
    values = [read_key(stage.config, key) for stage in stages]
    if any(value not in (None, '') for value in values):
      rows.append((words, *(_value(value) for value in values)))
  shares = [goodput.describe(stage.times) for stage in stages]
  if any(shares):
    rows.append(('goodput', *(share or '–' for share in shares)))
  machines = [_machines(stage) for stage in stages]
  rows.append(('trained on', *machines))
  rows.append(('code', *(_code(stage) for stage in stages)))
  head = ('', *(TITLES[stage.name] for stage in stages))
  return markup.table(rows, head=head, numbers=False)


def _steps(stage: Stage) -> str:
  total = f' of {stage.num_steps:,}' if stage.num_steps else ''
  return f'{stage.done:,}{total}'


def _time(stage: Stage) -> str:
  if not stage.trained_s:
    return '–'
  return f'{metrics.duration(stage.trained_s)}, {stage.step_s:.3g} s a step'


def _parameters(stage: Stage) -> str:
  sizes = stage.starts[-1]['parameters'] if stage.starts else {}
  return ', '.join(f'{k} {console.count(v)}' for k, v in sizes.items()) or '–'


def _machines(stage: Stage) -> str:
  """Each machine once, in the order of the starts."""
  found = [
    f'{x["num_devices"]} × {x["device"]}, {x["cores"]} cores of '
    f'{x["processor"]}'
    for x in stage.starts
  ]
  return '; '.join(dict.fromkeys(found)) or 'not recorded'


def _code(stage: Stage) -> str:
  found = []
  for start in stage.starts:
    versions = start['versions']
    code = ''
    if commit := versions.get('commit'):
      code = f'{commit[:12]}{"-modified" * commit.endswith("-modified")}, '
    found.append(f'{code}jax {versions.get("jax")}')
  return '; '.join(dict.fromkeys(found)) or 'not recorded'


def _value(value: Any) -> str:
  return '–' if value in (None, '') else markup.short(value)


def configs(stages: list[Stage]) -> str:
  """Each whole config, to unfold."""
  return '\n'.join(
    markup.unfold(
      f'All settings: {TITLES[stage.name]}',
      json.dumps(stage.config, indent=2),
    )
    for stage in stages
  )
