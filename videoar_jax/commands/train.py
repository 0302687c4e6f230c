"""Trains a tokenizer or a generator; rerun the same command to resume.

  python -m videoar_jax.train --config=configs/quickstart.py:tokenizer \
    --workdir=runs/tokenizer [--config.optimizer.learning_rate=3e-4]
  python -m videoar_jax.train export --workdir=runs/tokenizer --out=DIR \
    [--dtype=bfloat16]
  python -m videoar_jax.train verify --workdir=runs/tokenizer
  python -m videoar_jax.train --plan_only --topology=v5p:4x4x4 [--slices=2] \
    --config=configs/videoar_ucf101.py:L \
    --tokenizer=configs/tokenizer_ucf101.py [--out=FILE.json]

`verify` reads all checkpoints of a run against their digests. It exits with 0
where a restart would go on from the newest, else with 1.

`--plan_only` trains nothing: it compiles the step for TPUs that need not be
there (extra `plan`), on features of a tokenizer of that config, and says what
memory it needs, what it sends and the least time that it takes.

On several hosts the command is started on each of them, see
docs/several_hosts.md. A signal (SIGTERM, Ctrl-C) ends it with status 128 + its
number once the step is done and saved; 75 means that another process of the job
was lost, or that this one hung (train.hang_after_s), and that the same command
goes on from the last checkpoint.
"""

import sys

from etils import epath

from videoar_jax.core import (
  cache,
  command,
  files,
  job,
  lock,
  processes,
  start,
)
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.config import from_section
from videoar_jax.core.export import check_target, load_weights, write_loaded
from videoar_jax.core.weight_file import DTYPES
from videoar_jax.forecast.flags import define_flags
from videoar_jax.train import sections
from videoar_jax.train.generator_recipe import make_generator_recipe
from videoar_jax.train.profile import parse_steps
from videoar_jax.train.recipe import run_recipe
from videoar_jax.train.tokenizer_recipe import make_tokenizer_recipe
from videoar_jax.train.verify import verify_run

FLAGS = command.Flags()

_CONFIG = FLAGS.config('config', 'Config file, with a variant after a colon.')
_WORKDIR = FLAGS.text('workdir', None, 'Where the run lives.')
_PROFILE = FLAGS.text(
  'profile_steps', '', 'First and last step to trace, as 101:105, for XProf.'
)
_OUT = FLAGS.text(
  'out', None, 'export: the folder to write. --plan_only: a JSON file.'
)
_PLAN = define_flags(FLAGS)
_SLICES = FLAGS.count('slices', 1, '--plan_only: so many of the topology.')
_RAW = FLAGS.switch(
  'raw', False, 'export: the last parameters instead of their average.'
)
_DTYPE = FLAGS.choice(
  'dtype', 'float32', tuple(DTYPES), 'export: of the weights in the file.'
)
job.define_flags(FLAGS)

_RECIPES = {
  sections.TOKENIZER: make_tokenizer_recipe,
  sections.GENERATOR: make_generator_recipe,
}


def main(words: list[str]) -> None:
  cache.keep_programs()
  if words == ['export']:
    command.check_arguments([], (_WORKDIR, _OUT))
    export()
  elif words == ['verify']:
    command.check_arguments([], (_WORKDIR,))
    FLAGS.check_read((_WORKDIR,), by='verify')
    sys.exit(not verify_run(_WORKDIR.value))
  elif _PLAN.plan_only.value:
    command.check_arguments(words, (_CONFIG, _PLAN.topology))
    plan()
  else:
    command.check_arguments(words, (_CONFIG, _WORKDIR))
    _PLAN.check_unused()
    with start.together(FLAGS):
      train()


def export() -> None:
  """Writes a run's weights and config as safetensors and JSON."""
  check_target(_OUT.value, source=_WORKDIR.value)
  out = epath.Path(_OUT.value)
  loaded = load_weights(_WORKDIR.value, ema=not _RAW.value)
  with lock.hold(out, what='train export'):
    write_loaded(out, loaded, dtype=_DTYPE.value)
  print(f'step {loaded.step} of {_WORKDIR.value} written to {_OUT.value}')


def plan() -> None:
  """Says what the config's run needs on a topology."""
  # Imported where it is used: it takes long, and training never needs it.
  from videoar_jax.forecast import plan_only

  plan_only.plan_training(
    _CONFIG.value,
    _PLAN.tokenizer.value,
    name=_PLAN.topology.value,
    slices=_SLICES.value,
    out=_OUT.value,
  )


def train() -> None:
  """Runs, or resumes, what the config describes."""
  config = _CONFIG.value
  sections.check_config(config)
  workdir = epath.Path(_WORKDIR.value)
  parse_steps(_PROFILE.value, num_steps=config.train.num_steps)
  files.output_folder(workdir)
  mesh = mesh_lib.make_mesh(from_section(mesh_lib.MeshConfig, config, 'mesh'))
  sections.check_batches(config, mesh)
  with lock.hold(
    workdir, what='train', first=processes.is_first(), agree=_agree
  ):
    recipe = _RECIPES[config.recipe](config, workdir=workdir, mesh=mesh)
    run_recipe(recipe, workdir=workdir, mesh=mesh, profile_steps=_PROFILE.value)


def _agree(reason: str) -> str:
  """Lets all processes know whether the first one could not begin."""
  (refused,) = processes.agree(int(bool(reason)))
  return reason or 'refused by the first process' * refused
