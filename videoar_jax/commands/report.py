"""Writes what a run has come to as one self-contained HTML page.

  python -m videoar_jax.report --run=runs/quickstart \
    --out=runs/quickstart/report.html [--follow]

DIR holds `tokenizer/` and `generator/` (workdirs), `samples/` (what
`videoar_jax.sample` wrote), `tokenizer.json` and `generator.json` (what
`videoar_jax.evaluate` wrote), and `image_tokenizer/`, where the tokenizer began
with one; or it is a workdir itself. What is missing is named in the page.

With `--follow` the page is written again whenever there is something new, and
a browser that shows it reads it again by itself, until the run is finished:
a workdir trained, or a folder's generator trained, sampled and evaluated.
Stopped before, it leaves a page that stands still.

A run in a bucket is read through a copy of what the page shows; it cannot be
followed. Where FILE is an .svg, it holds the curves of training alone, of one
workdir:

  python -m videoar_jax.report --run=runs/quickstart/generator --out=curves.svg
"""

import contextlib
import pathlib
import tempfile
import time

from etils import epath

from videoar_jax.core import buckets, command, console, files
from videoar_jax.report import sections

FLAGS = command.Flags()

_RUN = FLAGS.text('run', None, 'Folder of the run.')
_OUT = FLAGS.text('out', None, 'The page to write, or curves as .svg.')
_FOLLOW = FLAGS.switch('follow', False, 'Write it again until the run ends.')

_CURVES = '.svg'
_LOOK_S = 3.0  # between two looks for something new


def main(words: list[str]) -> None:
  command.check_arguments(words, (_RUN, _OUT))
  if buckets.is_bucket(_RUN.value):
    if _FOLLOW.value:
      buckets.check_on_disk(_RUN.value)
    with tempfile.TemporaryDirectory() as folder:
      copy = buckets.copy_results(_RUN.value, pathlib.Path(folder))
      make(copy)
  else:
    make(pathlib.Path(_RUN.value))


def make(run: pathlib.Path) -> None:
  """Makes the page, or curves, of a run on this machine."""
  out = files.output_file(_OUT.value, inputs=sections.read_files(run))
  if out.suffix == _CURVES:
    FLAGS.check_read((_RUN, _OUT), by=f'curves, {_OUT.value}')
  if _FOLLOW.value:
    with contextlib.suppress(KeyboardInterrupt), command.terminable():
      follow(run, out)
  write(run, out)
  print(f'written to {out}')


def follow(run: pathlib.Path, out: epath.Path) -> None:
  """Writes the page whenever a file it is made of changes, to the run's end."""
  seen = None
  while not seen or not sections.is_finished(run, sections.read_stages(run)):
    found = _stamps(run)
    if found != seen:
      write(run, out, follow=True)
      if seen is None:
        console.note(f'open {out}; it is written again while the run goes on')
      seen = found
    time.sleep(_LOOK_S)


def write(run: pathlib.Path, out: epath.Path, *, follow: bool = False):
  """Makes the page, or curves, and puts it where it belongs, whole."""
  if out.suffix == _CURVES:
    page = sections.make_curves(run)
  else:
    page = sections.make_report(run, follow=follow)
  with files.replacing(out) as partial:
    # Names of files may hold bytes that are no text.
    partial.write_text(page, encoding='utf-8', errors='backslashreplace')


def _stamps(run: pathlib.Path) -> list:
  """What changes when a file of the run does."""
  found = []
  for path in sections.read_files(run):
    with contextlib.suppress(OSError):
      about = path.stat()
      found.append((path, about.st_mtime_ns, about.st_size))
  return found
