"""The page, from the files of a run."""

import dataclasses
import pathlib
import platform
import re
import time
from collections.abc import Sequence

from videoar_jax.evaluate import provenance
from videoar_jax.report import copies, facts, figures, markup, videos
from videoar_jax.report.chart import training_curves
from videoar_jax.report.facts import GENERATOR, HALVES, IMAGE_STAGE, TOKENIZER
from videoar_jax.train import metrics, recipe, starts

REFRESH_S = 10
_RESULT = {
  'class_accuracy_by_class?': (dict, type(None)),
  'baselines?': (dict, type(None)),
  'h264?': (dict, type(None)),
  'intervals?': (dict, type(None)),
}
SAMPLES = pathlib.Path('samples/samples.npz')
# In a workdir: the work of the averaged parameters, as training sees it.
NEWEST = pathlib.Path('samples') / recipe.NEWEST


@dataclasses.dataclass(frozen=True)
class _Part:
  """A section's HTML, and notes on what it lacks."""

  content: str
  lacks: Sequence[str] = ()


def make_report(run: str | pathlib.Path, *, follow: bool = False) -> str:
  """The page of a run, HTML.

  Args:
    run: a workdir, or the folder of several.
    follow: the run goes on: a browser reads the page again and again until it
      is finished, and what is missing is only on its way.
  Raises:
    ValueError: there is no such folder, or nothing of a run in it where it is
      not to be followed.
  """
  run = pathlib.Path(run)
  if not run.is_dir():
    raise ValueError(f'--run={run}: no such folder')
  stages = read_stages(run)
  if not stages and not follow:
    raise ValueError(
      f'--run={run}: no run in it; give a workdir, or the folder that holds '
      'tokenizer/ and generator/'
    )
  goes_on = follow and not is_finished(run, stages)
  parts = {
    'Generated videos': _samples(run, stages.get(GENERATOR)),
    'Figures': _figures(run),
    'Reconstructions': _reconstructions(stages),
    **_training(stages),
    'The run': _about(stages),
  }
  name = run.resolve().name
  body = [
    f'<h1>{markup.text(name)}</h1>',
    facts.state(list(stages.values()), waits_for=_waits_for(run, stages)),
  ]
  for title, part in parts.items():
    # What a run lacks that goes on is on its way.
    content = part.content + ('' if goes_on else ''.join(part.lacks))
    if content:
      body.append(markup.section(title, content))
  body.append(markup.note(_versions()))
  return markup.document(name, body, refresh_s=REFRESH_S if goes_on else None)


def find_workdirs(run: pathlib.Path) -> dict[str, pathlib.Path]:
  """The workdirs of a run by what they train, in the order they train in."""
  own = facts.read_json(run / facts.CONFIG)
  if own is not None and own.get('recipe') in HALVES:
    return {own['recipe']: run}
  names = (IMAGE_STAGE, *HALVES)
  return {n: run / n for n in names if (run / n / facts.CONFIG).exists()}


def read_stages(run: pathlib.Path) -> dict[str, facts.Stage]:
  """Reads them all; see `facts.read_stage`."""
  found = find_workdirs(run)
  return {name: facts.read_stage(name, path) for name, path in found.items()}


def is_finished(run: pathlib.Path, stages: dict[str, facts.Stage]) -> bool:
  """Whether all is there that a run comes to.

  A workdir is finished when it is trained; a folder of several when its
  generator is, and was sampled and evaluated after that.
  """
  if not stages or not all(x.is_finished for x in stages.values()):
    return False
  alone = any(stage.path == run for stage in stages.values())
  return alone or GENERATOR in stages and not _waits_for(run, stages)


def read_files(run: str | pathlib.Path) -> list[pathlib.Path]:
  """What a report is made of, pictures of training left out."""
  run = pathlib.Path(run)
  found = [run / SAMPLES, *(run / f'{half}.json' for half in HALVES)]
  found += copies.picture_paths(run)
  for workdir in (run, *(run / name for name in (IMAGE_STAGE, *HALVES))):
    names = (facts.CONFIG, metrics.FILE, starts.FILE, NEWEST)
    found += [workdir / name for name in names]
  return found


def _waits_for(run: pathlib.Path, stages: dict[str, facts.Stage]) -> str:
  """What a folder of a trained generator still lacks; '' if nothing."""
  stage = stages.get(GENERATOR)
  if stage is None or stage.path == run:
    return ''
  last = max((x.stat().st_mtime for x in _checkpoints(stage.path)), default=0)
  for path, words in (
    (run / SAMPLES, 'sampling'),
    (run / f'{GENERATOR}.json', 'its evaluation'),
  ):
    if not path.exists() or path.stat().st_mtime < last:
      return words
  return ''


def _checkpoints(workdir: pathlib.Path) -> list[pathlib.Path]:
  return list((workdir / 'checkpoints').glob('[0-9]*'))


def _figures(run: pathlib.Path) -> _Part:
  parts, lacks = [], []
  for half in reversed(HALVES):
    path = run / f'{half}.json'
    result = facts.read_json(path, _RESULT)
    if result is None:
      fix = 'python -m videoar_jax.evaluate --checkpoint=… --out=… writes it.'
      what = f'{path.name}, the {half} evaluated'
      lacks.append(markup.missing(what, fix=fix))
    else:
      parts.append(f'<h3>{half.capitalize()}</h3>')
      parts.append(figures.show_result(path, result, folder=run))
  return _Part('\n'.join(parts), lacks)


def _training(stages: dict[str, facts.Stage]) -> dict[str, _Part]:
  """Curves of each workdir's metrics, the generator's first."""
  parts = {}
  for name in (GENERATOR, TOKENIZER, IMAGE_STAGE):
    stage = stages.get(name)
    if stage is not None or name in HALVES:
      curves = training_curves(stage.lines if stage else [])
      fix = 'python -m videoar_jax.train makes them.'
      lacks = [] if curves else [markup.missing('its metrics', fix=fix)]
      parts[f'Training the {facts.TITLES[name]}'] = _Part(curves or '', lacks)
  return parts


def _samples(run: pathlib.Path, stage: facts.Stage | None) -> _Part:
  """Generated videos; before there are any, those that training looks at."""
  if (run / SAMPLES).exists():
    shown = videos.read_samples(run / SAMPLES)
    note = markup.note(videos.describe(shown))
    return _Part(note + videos.grid(shown))
  fix = (
    'python -m videoar_jax.sample --checkpoint=… --out=…/samples makes them.'
  )
  caption = 'Samples while training, after step {}.'
  return _Part(
    _in_training(stage, 'samples', caption),
    [markup.missing(str(SAMPLES), fix=fix)],
  )


def _reconstructions(stages: dict[str, facts.Stage]) -> _Part:
  """The newest originals beside what the last tokenizer makes of them."""
  for name, what in ((TOKENIZER, 'clips'), (IMAGE_STAGE, 'frames')):
    caption = (
      f'Held-out {what}, and what the tokenizer makes of them after step {{}}.'
    )
    shown = _in_training(stages.get(name), 'reconstructions', caption)
    if shown:
      return _Part(shown)
  fix = 'Training a tokenizer writes them (train.sample_every).'
  return _Part('', [markup.missing('reconstructions', fix=fix)])


def _in_training(stage: facts.Stage | None, name: str, caption: str) -> str:
  """The newest of a workdir's pictures, moving ones if there are; or ''."""
  found = stage and _newest_picture(stage.path, name)
  if not found:
    return ''
  path, step = found
  caption = caption.format(f'{step:,}')
  moving = stage.path / NEWEST
  if moving.exists():
    shown = videos.read_samples(moving)
    if stage.name != GENERATOR:
      shown = videos.join_pairs(shown)
    return markup.note(caption) + videos.grid(shown)
  if stage.name != IMAGE_STAGE:
    caption += ' Time runs to the right.'
  return markup.picture(path.read_bytes(), 'image/png', caption)


def _newest_picture(
  workdir: pathlib.Path, name: str
) -> tuple[pathlib.Path, int] | None:
  """The newest picture `samples/<name>_<step>.png`, and its step."""
  found = []
  for path in (workdir / 'samples').glob(f'{name}_*.png'):
    step = path.stem.removeprefix(f'{name}_')
    if path.is_file() and re.fullmatch('[0-9]{1,18}', step):
      found.append((path, int(step)))
  return max(found, key=lambda x: x[1]) if found else None


def _about(stages: dict[str, facts.Stage]) -> _Part:
  shown = list(stages.values())
  lacks = [
    markup.missing(f"{half}'s config.json")
    for half in HALVES
    if half not in stages
  ]
  if not shown:
    return _Part('', lacks)
  return _Part('\n'.join([facts.table(shown), facts.configs(shown)]), lacks)


def _versions() -> str:
  found = provenance.versions()
  commit = f' at {found["commit"][:12]}' if found['commit'] else ''
  return (
    f'Written {time.strftime("%Y-%m-%d %H:%M")} by videoar_jax '
    f'{found["videoar_jax"]}{commit}, jax {found["jax"]}, Python '
    f'{platform.python_version()} on {platform.system()} {platform.machine()}.'
  )
