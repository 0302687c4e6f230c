"""The notebook of the docs runs from top to bottom."""

import importlib.util
import json
import os
import pathlib

import pytest
from tiny_runs import runs  # noqa: F401

from videoar_jax import zoo

ROOT = pathlib.Path(__file__).parents[1]
TOUR = ROOT / 'docs' / 'tour.ipynb'
MODEL = 'weizmann4'
PICTURES = 8


def test_it_is_kept_without_what_it_showed():
  for cell in json.loads(TOUR.read_text())['cells']:
    assert not cell.get('outputs') and not cell.get('execution_count')


def execute(monkeypatch, **environment):
  """What the cells of the notebook put out, run in a process of its own."""
  for name in ('nbclient', 'ipykernel'):
    if importlib.util.find_spec(name) is None:
      pytest.skip(f'{name} is not installed; run: pip install -e .[dev]')
  import nbclient
  import nbformat

  for name, value in environment.items():
    monkeypatch.setenv(name, str(value))
  monkeypatch.setenv(
    'PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
  )
  notebook = nbformat.read(TOUR, as_version=4)
  nbclient.NotebookClient(notebook, timeout=600).execute()
  return [
    output for cell in notebook.cells for output in cell.get('outputs', ())
  ]


def check(outputs):
  pages = [x['data'].get('text/html', '') for x in outputs if 'data' in x]
  assert sum('data:image/webp;base64,' in page for page in pages) == PICTURES
  text = ''.join(x.get('text', '') for x in outputs)
  assert 'bits for' in text and "'fvd'" in text, text


def test_it_runs_on_a_tiny_model(runs, monkeypatch):  # noqa: F811
  check(
    execute(
      monkeypatch,
      VIDEOAR_TOUR_CHECKPOINT=runs / 'generator',
      JAX_DISABLE_MOST_OPTIMIZATIONS=1,
    )
  )


@pytest.mark.slow
def test_it_runs_on_the_model_that_comes_along(monkeypatch):
  if MODEL not in zoo.names():
    pytest.skip(f'no {MODEL} in this installation')
  monkeypatch.delenv('VIDEOAR_TOUR_CHECKPOINT', raising=False)
  check(execute(monkeypatch))
