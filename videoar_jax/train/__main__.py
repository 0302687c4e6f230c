"""Trains a tokenizer or a generator; rerun the same command to resume.

  python -m videoar_jax.train --config=configs/quickstart.py:tokenizer \
    --workdir=runs/tokenizer [--config.optimizer.learning_rate=3e-4]
  python -m videoar_jax.train export --workdir=runs/tokenizer --out=DIR
"""

import sys

from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from videoar_jax.core import cache, command
from videoar_jax.core import mesh as mesh_lib
from videoar_jax.core.config import from_section
from videoar_jax.core.export import load_weights, write_loaded
from videoar_jax.train.generator_recipe import make_generator_recipe
from videoar_jax.train.recipe import run_recipe
from videoar_jax.train.tokenizer_recipe import make_tokenizer_recipe

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config file, with a variant after a colon.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the run lives.')
_OUT = flags.DEFINE_string('out', None, 'export: the folder to write.')
_RAW = flags.DEFINE_bool(
  'raw', False, 'export: the last parameters instead of their average.'
)

_RECIPES = {
  'tokenizer': make_tokenizer_recipe,
  'generator': make_generator_recipe,
}


def main(argv: list[str]) -> None:
  cache.keep_programs()
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)  # Orbax tells much
  if argv[1:] == ['export']:
    command.check_arguments(argv[:1], (_WORKDIR, _OUT))
    action = export
  else:
    command.check_arguments(argv, (_CONFIG, _WORKDIR))
    action = train
  with command.refusals():
    action()


def export() -> None:
  """Writes a run's weights and config as safetensors and JSON."""
  loaded = load_weights(_WORKDIR.value, ema=not _RAW.value)
  write_loaded(_OUT.value, loaded)
  print(f'step {loaded.step} of {_WORKDIR.value} written to {_OUT.value}')


def train() -> None:
  """Runs, or resumes, what the config describes."""
  config = _CONFIG.value
  try:
    recipe_name = config.recipe
  except OSError as error:  # config_flags reports a bad file on first use
    raise ValueError(f'--config: {error}') from error
  if recipe_name not in _RECIPES:
    raise ValueError(
      f'recipe={recipe_name!r}: use one of {", ".join(_RECIPES)}'
    )
  workdir = epath.Path(_WORKDIR.value)
  workdir.mkdir(parents=True, exist_ok=True)
  mesh = mesh_lib.make_mesh(from_section(mesh_lib.MeshConfig, config.mesh))
  recipe = _RECIPES[recipe_name](config, workdir=workdir, mesh=mesh)
  run_recipe(recipe, workdir=workdir, mesh=mesh)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses flags; a config that cannot be built is an error, no traceback."""
  try:
    return app.parse_flags_with_usage(argv)
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    reason = ' '.join(str(error).replace("'", '').replace('\\', ' ').split())
    sys.exit(f'error: --config: {reason}')


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
