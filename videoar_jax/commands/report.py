"""Writes what a run has come to as one self-contained HTML page.

  python -m videoar_jax.report --run=runs/quickstart \
    --out=runs/quickstart/report.html

DIR holds `tokenizer/` and `generator/` (workdirs), `samples/` (what
`videoar_jax.sample` wrote), `tokenizer.json` and `generator.json` (what
`videoar_jax.evaluate` wrote), and `image_tokenizer/`, where the tokenizer began
with one; or it is a workdir itself. What is missing is named in the page.
"""

import base64
import html
import io
import json
import pathlib
import platform
import re
import tempfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from videoar_jax import media
from videoar_jax.chart import training_curves
from videoar_jax.core import archive, command, files
from videoar_jax.evaluate import provenance
from videoar_jax.train import metrics

FLAGS = command.Flags()

_RUN = FLAGS.text('run', None, 'Folder of the run.')
_OUT = FLAGS.text('out', None, 'The page to write.')

HALVES = ('tokenizer', 'generator')
# A tokenizer of single frames, where the tokenizer started from one.
IMAGE_STAGE = 'image_tokenizer'
VIDEOS_OF_A_CLASS = 8
_RESULT = {'class_accuracy_by_class?': (dict, type(None))}
_SAMPLES = pathlib.Path('samples/samples.npz')
CLASSES_SHOWN = 20
# Metric -> what the page says of it, in the page's order.
FIGURES = {
  'class_accuracy': 'videos whose motion is that of their class, 0..1',
  'class_accuracy_real': 'the same of real clips: what can be reached',
  'psnr': 'peak signal-to-noise ratio of reconstructions, dB',
  'ssim': 'structural similarity of reconstructions, up to 1',
  'lpips': 'perceptual distance of reconstructions, from 0',
  'bits_per_pixel': 'bits the tokenizer spends on a pixel',
  'fvd': 'Fréchet video distance; compares only at one number of videos',
  'fvd_inf': 'the same, extrapolated to infinitely many videos',
  'kvd': 'kernel video distance, unbiased',
  'kvd_stderr': 'its standard error',
  'num_generated': 'videos measured',
  'frames': 'frames of each',
  'resolution': 'height and width, pixels',
  'split': 'of the real clips',
  'step': 'training step of the checkpoint',
}
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21;
  --soft: #666b73; --line: #d9dce1; --tint: #f5f6f8; --a: #2563a8;
  --b: #c2570c; --c: #2f7d4f; --d: #8a3ea8; --e: #a8872b; --f: #3d8f97; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e4e6e9;
  --soft: #9aa0a8; --line: #363a40; --tint: #1f2226; --a: #74aee8;
  --b: #f0955a; --c: #6fc391; --d: #c98be3; --e: #dcc06a; --f: #76c6ce; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin-bottom: 0; } h2 { margin-top: 2.5rem;
  border-bottom: 1px solid var(--line); } h3 { margin-bottom: .3rem; }
p, figcaption, summary { max-width: 44rem; } .soft, figcaption, td + td + td {
  color: var(--soft); font-size: .9rem; }
.missing { border-left: 3px solid var(--b); padding-left: .7rem; }
figure { margin: .8rem 0; } .row { display: grid; gap: .5rem 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
img { max-width: 100%; height: auto; image-rendering: pixelated; }
svg { width: 100%; height: auto; } svg path { stroke-width: 3; }
svg text { fill: var(--soft); font-size: 12px; }
svg .title { fill: var(--ink); font-weight: 600; }
svg .axis { stroke: var(--line); stroke-width: 1; }
polyline { fill: none; stroke-width: 1.8; stroke-linecap: round; }
table { border-collapse: collapse; } td, th { text-align: left;
  padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); }
td.number { font-variant-numeric: tabular-nums; } pre { background: var(--tint);
  padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""


def main(words: list[str]) -> None:
  command.check_arguments(words, (_RUN, _OUT))
  out = files.output_file(_OUT.value, inputs=read_files(_RUN.value))
  page = make_report(_RUN.value)
  with files.replacing(out) as partial:
    # Names may hold what is no text.
    partial.write_text(page, encoding='utf-8', errors='backslashreplace')
  print(f'written to {out}')


def make_report(run: str | pathlib.Path) -> str:
  """The page of a run, HTML.

  Raises:
    ValueError: there is no such folder, or nothing of a run in it.
  """
  run = pathlib.Path(run)
  if not run.is_dir():
    raise ValueError(f'--run={run}: no such folder')
  workdirs = find_workdirs(run)
  if not workdirs:
    raise ValueError(
      f'--run={run}: no run in it; give a workdir, or the folder that holds '
      'tokenizer/ and generator/'
    )
  name = run.resolve().name
  body = [
    f'<h1>{_text(name)}</h1>',
    f'<p class="soft">{_text(_versions())}</p>',
    _section('Figures', _figures(run)),
    *_image_stage(workdirs.get(IMAGE_STAGE)),
    _section('Training the tokenizer', _training(workdirs.get('tokenizer'))),
    _section('Training the generator', _training(workdirs.get('generator'))),
    _section('Reconstructions', _reconstructions(workdirs.get('tokenizer'))),
    _section('Generated videos', _samples(run, workdirs.get('generator'))),
    _section('Configuration', _configs(workdirs)),
  ]
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width">'
    f'<title>{_text(name)}: VideoAR report</title><style>{_STYLE}</style>'
    '</head><body>\n' + '\n'.join(body) + '\n</body></html>\n'
  )


def read_files(run: str | pathlib.Path) -> list[pathlib.Path]:
  """What a report is made of, pictures left out."""
  run = pathlib.Path(run)
  found = [run / _SAMPLES, *(run / f'{half}.json' for half in HALVES)]
  for workdir in (run, *(run / name for name in (IMAGE_STAGE, *HALVES))):
    found += [workdir / 'config.json', workdir / metrics.FILE]
  return found


def find_workdirs(run: pathlib.Path) -> dict[str, pathlib.Path]:
  """The workdirs of a run by what they train."""
  own = _read_json(run / 'config.json')
  if own is not None and own.get('recipe') in HALVES:
    return {own['recipe']: run}
  names = (IMAGE_STAGE, *HALVES)
  return {n: run / n for n in names if (run / n / 'config.json').exists()}


def _section(title: str, content: str) -> str:
  return f'<h2>{_text(title)}</h2>\n{content}'


def _missing(what: str, *, fix: str) -> str:
  return f'<p class="missing">Missing: {_text(what)}. {_text(fix)}</p>'


def _figures(run: pathlib.Path) -> str:
  """The table of metrics, and the whole results to unfold."""
  parts = []
  for half in HALVES:
    path = run / f'{half}.json'
    result = _read_json(path, _RESULT)
    parts.append(f'<h3>{half.capitalize()}</h3>')
    if result is None:
      fix = 'python -m videoar_jax.evaluate --checkpoint=… --out=… writes it.'
      parts.append(_missing(f'{path.name}, the {half} evaluated', fix=fix))
      continue
    rows = ''.join(
      f'<tr><td>{_text(name)}</td><td class="number">'
      f'{_text(_short(result[name]))}</td><td>{_text(about)}</td></tr>'
      for name, about in FIGURES.items()
      if result.get(name) is not None
    )
    parts.append(f'<table>{rows}</table>')
    by_class = result.get('class_accuracy_by_class')
    if by_class:
      shares = ', '.join(f'{k} {_short(v)}' for k, v in by_class.items())
      parts.append(f'<p class="soft">By class: {_text(shares)}.</p>')
    parts.append(_unfold(f'All of {path.name}', json.dumps(result, indent=2)))
  return '\n'.join(parts)


def _training(workdir: pathlib.Path | None) -> str:
  """Curves of a workdir's metrics."""
  curves = training_curves(metrics.read_metrics(workdir) if workdir else [])
  return curves or _missing(
    'its metrics', fix='python -m videoar_jax.train makes them.'
  )


def _image_stage(workdir: pathlib.Path | None) -> list[str]:
  if workdir is None:
    return []
  title = 'Training the tokenizer on single frames'
  return [_section(title, _training(workdir))]


def _reconstructions(workdir: pathlib.Path | None) -> str:
  """The newest picture of originals beside their reconstructions."""
  found = _training_picture(workdir, 'reconstructions')
  if found is None:
    fix = 'Training a tokenizer writes them (train.sample_every).'
    return _missing('reconstructions', fix=fix)
  path, step = found
  return _picture(
    path.read_bytes(),
    'image/png',
    f'Held-out clips and what the tokenizer makes of them after step {step}; '
    'time runs to the right.',
  )


def _training_picture(
  workdir: pathlib.Path | None, name: str
) -> tuple[pathlib.Path, int] | None:
  """The newest picture `samples/<name>_<step>.png`, and its step."""
  found = []
  for path in (workdir / 'samples').glob(f'{name}_*.png') if workdir else ():
    step = path.stem.removeprefix(f'{name}_')
    if path.is_file() and re.fullmatch('[0-9]{1,18}', step):
      found.append((path, int(step)))
  return max(found, key=lambda x: x[1]) if found else None


def _samples(run: pathlib.Path, workdir: pathlib.Path | None) -> str:
  """Generated videos, class by class; else the last picture from training."""
  path = run / _SAMPLES
  if path.exists():
    return _by_class(*read_samples(path))
  fix = (
    'python -m videoar_jax.sample --checkpoint=… --out=…/samples makes them.'
  )
  missing = _missing(str(_SAMPLES), fix=fix)
  found = _training_picture(workdir, 'samples')
  if found is None:
    return missing
  note = 'Samples while training, one of each class; time runs to the right.'
  return missing + _picture(found[0].read_bytes(), 'image/png', note)


def read_samples(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, list]:
  """Videos, their labels and the classes' names.

  Raises:
    ValueError: the file is damaged, or its arrays are of another structure.
  """
  with archive.Archive(path, fix='sample again') as file:
    videos, labels, classes = (
      file.read_array(name) for name in ('videos', 'labels', 'classes')
    )
  fits = {
    'videos': videos.dtype == np.uint8 and videos.ndim == 5 and videos.size,
    'labels': labels.dtype.kind in 'iu' and labels.shape == videos.shape[:1],
    'classes': classes.dtype.kind == 'U' and classes.ndim == 1 and classes.size,
  }
  for name in fits:
    if not fits[name]:
      raise ValueError(f'{path}: `{name}` does not fit; sample again')
  if not 0 <= labels.min() <= labels.max() < len(classes):
    raise ValueError(
      f'{path}: labels {labels.min()} to {labels.max()} of {len(classes)} '
      'classes; sample again'
    )
  return videos, labels, [str(name) for name in classes]


def _by_class(videos_nTHWc, labels_n, classes: Sequence[str]) -> str:
  """A row of moving pictures for each class."""
  present = np.unique(labels_n).tolist()
  parts = []
  if len(present) > CLASSES_SHOWN:
    note = f'The first {CLASSES_SHOWN} of {len(present)} classes.'
    parts.append(f'<p class="soft">{note}</p>')
  for label in present[:CLASSES_SHOWN]:
    own = videos_nTHWc[labels_n == label]
    shown = own[:VIDEOS_OF_A_CLASS]
    row = media.labelled_grid(shown, columns=VIDEOS_OF_A_CLASS)
    name = classes[label]
    note = f'{name}: {len(shown)} of {len(own)} videos of {len(row)} frames'
    parts.append(_picture(_webp(row), 'image/webp', note))
  return f'<div class="row">{"".join(parts)}</div>'


def _configs(workdirs: dict[str, pathlib.Path]) -> str:
  parts = []
  for name in sorted({*HALVES, *workdirs}):
    config = name in workdirs and _read_json(workdirs[name] / 'config.json')
    if config:
      parts.append(_unfold(name, json.dumps(config, indent=2)))
    else:
      parts.append(_missing(f"{name}'s config.json", fix=''))
  return '\n'.join(parts)


def _webp(video_THWc: np.ndarray) -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'video.webp'
    media.write_webp(path, video_THWc, fps=8)
    return path.read_bytes()


def _picture(data: bytes, kind: str, note: str) -> str:
  """A figure that holds its picture; small ones are shown larger."""
  try:
    with Image.open(io.BytesIO(data)) as image:
      width = image.width
      image.verify()
  except Exception as error:  # whatever damaged pictures may cause
    why = f'a picture, which is damaged ({type(error).__name__})'
    return _missing(why, fix=note)
  shown = width * max(1, min(4, 900 // width))
  return (
    f'<figure><img width="{shown}" alt="{_text(note)}" '
    f'src="data:{kind};base64,{base64.b64encode(data).decode()}">'
    f'<figcaption>{_text(note)}</figcaption></figure>'
  )


def _unfold(title: str, text: str) -> str:
  return (
    f'<details><summary>{_text(title)}</summary>'
    f'<pre>{_text(text)}</pre></details>'
  )


def _versions() -> str:
  found = provenance.versions()
  commit = f' at {found["commit"][:12]}' if found['commit'] else ''
  return (
    f'videoar_jax {found["videoar_jax"]}{commit}, jax {found["jax"]}, '
    f'Python {platform.python_version()} on {platform.system()} '
    f'{platform.machine()}'
  )


def _short(value) -> str:
  """A value for the table: four digits, lists as 9×9."""
  if isinstance(value, list):
    return '×'.join(_short(item) for item in value)
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def _text(value) -> str:
  return html.escape(str(value))


def _read_json(path: pathlib.Path, shape: dict | None = None) -> dict | None:
  """What a file holds; None where there is none."""
  if not path.exists():
    return None
  return files.read_json(path, shape or dict, fix='write it again')
