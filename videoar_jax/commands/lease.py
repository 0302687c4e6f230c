"""A GPU for minutes at a time, perhaps without a network: docs/gpu.md.

  bash launch/gpu_slices.sh pack SLICE [--data=FOLDER] [--split_file=FILE] \\
    [--tokenizer=CHECKPOINT] [--generator=CHECKPOINT] [--features=real.npz] \\
    [--python_version=3.12] [--packages=…]
  bash launch/gpu_slices.sh run SLICE [--minutes=9] [--smoke]
  bash launch/gpu_slices.sh rows
  bash launch/gpu_slices.sh open SLICE --workdir=runs/… [--tokenizer=…]

SLICE is kernels, tokenizer, generator or gfvd. `pack` fills gpu_bundle/ with
what the slice brings along, at most 64 MiB with the code. `run`, on the GPU
machine, does what there is time for; what it leaves in $OUT, or in
gpu_back/SLICE without that variable, belongs into gpu_back/SLICE, where the
next `pack` finds it. `rows` prints tables of all that came back, and `open`
makes a workdir of a run's state.
"""

import os
import pathlib

from videoar_jax.core import command, files
from videoar_jax.lease import bundle, returns, rows, running, slices

FLAGS = command.Flags()

_BUNDLE = FLAGS.text('bundle', 'gpu_bundle', 'Folder of what is brought.')
_BACK = FLAGS.text('back', 'gpu_back', 'Folder of what came back, by slice.')
_DATA = FLAGS.text('data', '', 'pack: folder of classes of clips.')
_SPLIT_FILE = FLAGS.text('split_file', '', 'pack: list of training clips.')
_TOKENIZER = FLAGS.text(
  'tokenizer', '', 'pack, and open of a generator: checkpoint of a tokenizer.'
)
_GENERATOR = FLAGS.text('generator', '', 'pack: checkpoint of a generator.')
_FEATURES = FLAGS.text('features', '', 'pack: of `evaluate features`.')
_PYTHON = FLAGS.text('python_version', '3.12', "pack: the GPU machine's.")
_PACKAGES = FLAGS.text(
  'packages', None, "pack: what the machine lacks; default: the slice's list."
)
_LIMIT = FLAGS.number(
  'limit_mib', 64.0, 'pack: the most, with the code.', above=0
)
_MINUTES = FLAGS.number('minutes', 9.0, 'run: for everything.', above=0)
_SPENT = FLAGS.number('spent_s', 0.0, 'run: of them, already spent.', least=0)
_SMOKE = FLAGS.switch('smoke', False, 'run: a few small steps, on a CPU.')
_WORK = FLAGS.text('work', 'runs/gpu', 'run: folder that steps write into.')
_OUT = FLAGS.text('out', None, 'run: what comes back; default: $OUT.')
_WORKDIR = FLAGS.text('workdir', None, 'open: the workdir to make.')


def main(words: list[str]) -> None:
  actions = {'pack': pack, 'run': run, 'open': open_state}
  action = command.chosen_action(words, [*actions, 'rows'])
  if action == 'rows':
    command.check_arguments(words[1:], ())
    print_rows()
    return
  if len(words) < 2:
    raise command.UsageError(f'{action} what: one of {", ".join(_names())}')
  command.check_arguments(words[2:], ())
  actions[action](words[1])


def pack(name: str) -> None:
  """Fills the bundle of a slice, and says what takes how much."""
  chosen = slices.find_slice(name)
  sources = bundle.Sources(
    data=_DATA.value,
    split_file=_SPLIT_FILE.value,
    tokenizer=_TOKENIZER.value,
    generator=_GENERATOR.value,
    features=_FEATURES.value,
    back=str(pathlib.Path(_BACK.value, name)),
    python=_PYTHON.value,
    packages=None
    if _PACKAGES.value is None
    else tuple(_PACKAGES.value.split(',')),
  )
  sizes = bundle.pack(
    name,
    chosen,
    sources,
    out=pathlib.Path(_BUNDLE.value),
    most_bytes=int(_LIMIT.value * returns.MIB),
  )
  for part, size in {**sizes, 'together': sum(sizes.values())}.items():
    print(f'{size / returns.MIB:6.1f} MiB  {part}')


def run(name: str) -> None:
  """Runs a slice; raises where nothing was done, or a step failed."""
  chosen = slices.find_slice(name, smoke=_SMOKE.value)
  out = _OUT.value or os.environ.get('OUT') or f'{_BACK.value}/{name}'
  files.output_folder(out, inputs=(_BUNDLE.value,), local=True)
  found = running.run(
    name,
    chosen,
    running.Places(
      bundle=pathlib.Path(_BUNDLE.value),
      work=pathlib.Path(_WORK.value, name),
      out=pathlib.Path(out),
    ),
    seconds=60 * _MINUTES.value - _SPENT.value,
    smoke=_SMOKE.value,
  )
  print(rows.tables(found))
  bad = [row['name'] for row in found if row['status'] == running.FAILED]
  if bad:
    raise ValueError(f'failed: {", ".join(bad)}; see {out}/{returns.LOG}')
  if not any(map(running.is_good, found)):
    raise ValueError('nothing was done; give it more --minutes')


def print_rows() -> None:
  """Prints the tables of all slices that came back."""
  paths = sorted(pathlib.Path(_BACK.value).glob(f'*/{returns.ROWS}'))
  if not paths:
    raise ValueError(
      f'{_BACK.value}: no */{returns.ROWS} in it; put what came back from '
      'SLICE into its folder SLICE'
    )
  for path in paths:
    print(f'### {path.parent.name}\n')
    print(rows.tables(running.read_rows(path)))


def open_state(name: str) -> None:
  """Makes a workdir of the state that came back from a slice."""
  slices.find_slice(name)
  command.check_arguments([], (_WORKDIR,))
  workdir = pathlib.Path(_WORKDIR.value)
  files.output_folder(_WORKDIR.value, local=True)
  if workdir.exists() and any(workdir.iterdir()):
    raise ValueError(f'--workdir={workdir}: not empty; give another')
  returns.open_state(
    pathlib.Path(_BACK.value, name), workdir, tokenizer=_TOKENIZER.value
  )
  print(f'{workdir} is as the slice left it')


def _names() -> list[str]:
  return list(slices.make_slices(smoke=False))
